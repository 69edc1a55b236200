//! Calls of kind `openapi`: an operation of a document that the workflow names.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Map, Value};
use trunkline_connectors::http_client::HttpClient;
use trunkline_connectors::openapi::{self, Document, Request};
use trunkline_model::Failure;
use trunkline_orchestrator::Fault;
use trunkline_orchestrator::outside::EndpointCall;
use url::Url;

use super::access::Access;
use super::answer::Output;
use super::http::{Ask, Sending};
use super::{Failed, Shared, read, refused};

/// The largest document with all it refers to, in bytes.
const MAX_DOCUMENT: usize = 8 << 20;

/// How long a document is taken for what it was.
const FRESH: Duration = Duration::from_secs(60);

/// How many documents are kept.
const MAX_KEPT: usize = 16;

/// Documents that were fetched a short while ago.
#[derive(Default)]
pub(super) struct Documents(Mutex<HashMap<Url, (Instant, Arc<Document>)>>);

impl Documents {
    async fn get(&self, url: &Url, http: &HttpClient) -> Result<Arc<Document>, trunkline_connectors::Error> {
        if let Some((since, document)) = self.0.lock().get(url)
            && since.elapsed() < FRESH
        {
            return Ok(document.clone());
        }
        let document = Arc::new(Document::load(url, MAX_DOCUMENT, http).await?);
        let mut kept = self.0.lock();
        kept.retain(|_, (since, _)| since.elapsed() < FRESH);
        let oldest = kept.iter().min_by_key(|(_, (since, _))| *since).map(|(url, _)| url.clone());
        if kept.len() >= MAX_KEPT
            && let Some(oldest) = oldest
        {
            kept.remove(&oldest);
        }
        kept.insert(url.clone(), (Instant::now(), document.clone()));
        Ok(document)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct With {
    document: String,
    operation_id: String,
    #[serde(default)]
    parameters: Map<String, Value>,
    #[serde(default)]
    output: Output,
    #[serde(default)]
    redirect: bool,
}

pub(super) async fn call(shared: &Shared, access: &Access, mut call: EndpointCall) -> Result<Value, Failed> {
    let With { document, operation_id, parameters, output, redirect } = read(call.with.take())?;
    let url = Url::parse(&document).map_err(|error| {
        refused(Fault::configuration(format!("the document {document:?} is no absolute URI: {error}")))
    })?;
    access.url(&url)?;
    // What is fetched before the operation is asked for has no effect.
    let document = tokio::time::timeout_at(call.deadline.into(), shared.documents.get(&url, &shared.http));
    let document = match document.await {
        Ok(Ok(document)) => document,
        Ok(Err(error)) => return Err(before(error)),
        Err(_) => return Err(refused(Fault::timeout(format!("{url} was not read in time")))),
    };
    // Large documents take a while.
    let work = move || openapi::request(&document, &operation_id, &parameters);
    let request = match tokio::task::spawn_blocking(work).await {
        Ok(Ok(request)) => request,
        Ok(Err(error)) => return Err(before(error)),
        Err(error) => return Err(refused(Fault::runtime(format!("{url} can't be read: {error}")))),
    };
    let Request { method, url, headers, body } = request;
    let sending = Sending::of(shared, access, &call);
    sending.send(Ask { method, url, headers, body, output, redirect }).await
}

/// What went wrong before anything was asked for.
fn before(error: trunkline_connectors::Error) -> Failed {
    refused(Fault::from(&Failure::from(error)))
}
