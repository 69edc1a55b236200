//! The wiring of events: the rules of the configuration, the dispatcher, and the webhooks that go out.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode, header};
use jiff::Timestamp;
use trunkline_connectors::http_client::{HttpClient, HttpError};
use trunkline_gateway::flows::FlowTools;
use trunkline_model::{BoxFuture, Effects, Failure, Json, Outcome, Principal, PrincipalKind, ToolResult};
use trunkline_orchestrator::Error;
use trunkline_orchestrator::choreography::webhook::{Signer, TOOL};
use trunkline_orchestrator::outside::{Contract, StepCall, Tools};

use crate::config;

/// The longest answer of a receiver that is read, in bytes. Nothing of it is kept.
const MAX_ANSWER: usize = 64 << 10;

/// The tools of flows, with the webhooks that go out: each can be called by the deliveries of its subscription alone.
pub(super) struct Hands {
    tools: Arc<FlowTools>,
    http: HttpClient,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    receivers: ArcSwap<HashMap<String, Arc<Receiver>>>,
}

/// Where a webhook goes.
struct Receiver {
    name: String,
    url: String,
    signer: Signer,
}

impl Hands {
    pub(super) fn new(
        tools: Arc<FlowTools>,
        http: HttpClient,
        now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Self {
        Self { tools, http, now, receivers: ArcSwap::default() }
    }

    /// Puts what the configuration says in force.
    pub(super) fn reconfigure(&self, config: &config::Flows) {
        let receivers = config.subscriptions.iter().filter_map(|(name, subscription)| {
            let webhook = subscription.webhook.as_ref()?;
            let signer = Signer::new(webhook.secret.expose()).ok()?;
            let receiver = Receiver { name: name.clone(), url: webhook.url.clone(), signer };
            Some((name.clone(), Arc::new(receiver)))
        });
        self.receivers.store(Arc::new(receivers.collect()));
    }

    /// The receiver that a tool's name stands for, where it is one of this principal's.
    fn receiver(&self, principal: &Principal, tool: &str) -> Option<Result<Arc<Receiver>, Failure>> {
        let name = tool.strip_prefix(TOOL)?;
        let own = principal.kind == PrincipalKind::System
            && principal.id.strip_prefix("subscription:") == Some(name);
        let known = self.receivers.load().get(name).filter(|_| own).cloned();
        let missing = || Error::NoTarget { what: "webhook", name: name.to_owned() }.into();
        Some(known.ok_or_else(missing))
    }
}

impl Tools for Hands {
    fn contract(&self, principal: &Principal, tool: &str) -> Result<Contract, Failure> {
        let Some(receiver) = self.receiver(principal, tool) else {
            return self.tools.contract(principal, tool);
        };
        let receiver = receiver?;
        Ok(Contract {
            target: Arc::from(format!("webhooks/{}", receiver.name)),
            version: Arc::from(""),
            hash: Arc::from(""),
            effects: Effects { destructive: false, ..Effects::default() },
            // Receivers know a webhook that is sent again by its id.
            keyed: true,
            undo: None,
        })
    }

    fn call(&self, step: StepCall) -> BoxFuture<'static, Result<Outcome, Failure>> {
        let receiver = match self.receiver(&step.principal, &step.tool) {
            None => return self.tools.call(step),
            Some(Err(failure)) => return Box::pin(std::future::ready(Err(failure))),
            Some(Ok(receiver)) => receiver,
        };
        let (http, now) = (self.http.clone(), (self.now)());
        Box::pin(async move { receiver.send(&http, now, &step).await })
    }
}

impl Receiver {
    /// Sends an event. Its id is that of the delivery, in every attempt.
    async fn send(&self, http: &HttpClient, now: Timestamp, step: &StepCall) -> Result<Outcome, Failure> {
        let failed = |why: String, gone: bool, unknown: bool| -> Failure {
            Error::NotTaken { name: self.name.clone(), why, gone, unknown }.into()
        };
        let body = step.arguments.to_value()["event"].to_string();
        let (id, time) = (step.instance.to_string(), now.as_second());
        let request = Request::post(&self.url)
            .header(header::CONTENT_TYPE, "application/cloudevents+json; charset=utf-8")
            .header(header::USER_AGENT, concat!("trunkline/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &id)
            .header("webhook-timestamp", time.to_string())
            .header("webhook-signature", self.signer.sign(&id, time, body.as_bytes()))
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| failed("its url can't be asked".to_owned(), true, false))?;
        match http.send(request, step.deadline, MAX_ANSWER).await {
            Ok(answer) if answer.status.is_success() => {
                let status = serde_json::json!({"status": answer.status.as_u16()});
                Ok(ToolResult::document(&Json::from_value(&status), false).into())
            }
            Ok(answer) => {
                // Redirects are not followed: the operator named this place and no other.
                let gone = answer.status == StatusCode::GONE;
                Err(failed(format!("it answered {}", answer.status.as_u16()), gone, false))
            }
            Err(error @ HttpError::Connect(_)) => Err(failed(error.to_string(), false, false)),
            // It has taken the event; it only says too much about it.
            Err(HttpError::TooLarge { .. }) => Ok(ToolResult::text("taken", false).into()),
            Err(error) => Err(failed(error.to_string(), false, true)),
        }
    }
}
