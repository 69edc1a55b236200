//! Endpoints that a workflow names itself: HTTP, operations of OpenAPI documents, MCP servers, commands.
//!
//! A workflow may come from a model. So nothing here is reached that the operator has not allowed: [`access`] is where
//! that is decided, for every kind.

mod access;
mod answer;
mod http;
mod mcp;
mod openapi;
mod process;
mod proof;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use serde::Deserialize;
use serde_json::Value;
use trunkline_connectors::http_client::HttpClient;
use trunkline_connectors::process::Place;
use trunkline_model::{BoxFuture, EffectState};
use trunkline_orchestrator::Fault;
use trunkline_orchestrator::outside::{self, EndpointCall};

use crate::config::Flows;
use access::Access;
use openapi::Documents;
use proof::{Proofs, Tokens};

/// What went wrong, and whether it may have happened all the same.
type Failed = (Fault, EffectState);

/// Endpoints that a workflow names itself. Cloning is cheap.
#[derive(Clone)]
pub struct Endpoints(Arc<Shared>);

struct Shared {
    access: ArcSwap<Access>,
    http: HttpClient,
    documents: Documents,
    tokens: Tokens,
    /// Where commands run.
    place: Place,
}

impl Endpoints {
    /// Endpoints as `config` allows them. Commands run in `folder`.
    #[must_use]
    pub fn new(config: &Flows, http: HttpClient, folder: &Path) -> Self {
        let place = Place { cwd: folder.to_owned(), env: Vec::new(), inherit_env: Vec::new() };
        let access = ArcSwap::from_pointee(Access::new(config));
        Self(Arc::new(Shared {
            access,
            http,
            documents: Documents::default(),
            tokens: Tokens::default(),
            place,
        }))
    }

    /// Puts what is allowed in force. Calls that are under way go on.
    pub fn reconfigure(&self, config: &Flows) {
        self.0.access.store(Arc::new(Access::new(config)));
    }
}

impl Shared {
    /// What makes proofs for calls until `deadline`.
    fn proofs<'a>(&'a self, access: &'a Access, deadline: Instant) -> Proofs<'a> {
        Proofs { http: &self.http, access, tokens: &self.tokens, deadline }
    }
}

impl outside::Endpoints for Endpoints {
    fn call(&self, call: EndpointCall) -> BoxFuture<'static, Result<Value, Failed>> {
        let shared = self.0.clone();
        Box::pin(async move {
            let access = shared.access.load_full();
            match call.kind {
                "http" => http::call(&shared, &access, call).await,
                "openapi" => openapi::call(&shared, &access, call).await,
                "mcp" => mcp::call(&shared, &access, call).await,
                "shell" | "script" => process::call(&shared.place, &access, call).await,
                other => {
                    Err(refused(Fault::configuration(format!("there are no endpoints of kind {other:?}"))))
                }
            }
        })
    }
}

/// Nothing has happened.
fn refused(fault: Fault) -> Failed {
    (fault, EffectState::None)
}

/// Reads a call's `with`.
fn read<T: for<'de> Deserialize<'de>>(with: Value) -> Result<T, Failed> {
    serde_json::from_value(with).map_err(|error| refused(Fault::configuration(format!("with: {error}"))))
}

/// A value as text: what is text already stays as it is.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
