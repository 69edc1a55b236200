//! What the configuration says of events: subscriptions, webhooks that come in, and where loops are stopped.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_model::Secret;
use trunkline_orchestrator::choreography::webhook::{Scheme as Proof, Signer};
use trunkline_orchestrator::choreography::{
    Loops as Bounds, Order, Rules, Subscription as Ready, Target, Webhook as Incoming,
};

use super::Flows;

/// What reacts to events. Exactly one of `tool`, `flow` and `webhook` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Subscription {
    /// The types of events, with `*` for any text.
    pub types: Vec<String>,
    /// Their source, with `*` for any text; any where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// jq that holds of the events that are wanted: `.data.amount > 100`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// The tool that is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The flow that is started: its name, or `namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<String>,
    /// Where the event is sent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Outgoing>,
    /// The arguments of the tool (none where left out), the input of the flow or what is sent (the event where left out). A
    /// string `${ jq }` takes values of the event: `${ .data.order_id }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Value>,
    /// The type of the event that is published when the tool or webhook is done, with what it came to as its data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emit: Option<String>,
    /// Of the subscriptions of a group, one has each event. A group of its own where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// How many deliveries run at the same time; the others wait.
    pub concurrency: u32,
    /// How often a tool or webhook is tried: 5 times where left out. A flow says by itself what it tries again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// The pause before the second attempt, in milliseconds; it doubles with every further one.
    pub backoff_ms: u64,
    /// How long one attempt may take, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for Subscription {
    fn default() -> Self {
        Self {
            types: Vec::new(),
            source: None,
            filter: None,
            tool: None,
            flow: None,
            webhook: None,
            args: None,
            emit: None,
            group: None,
            concurrency: 8,
            attempts: None,
            backoff_ms: 1000,
            timeout_ms: 30_000,
        }
    }
}

/// Where events are sent to, signed by Standard Webhooks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Outgoing {
    /// An http or https URL. `flows.allow_hosts` does not apply to it; redirects are not followed.
    pub url: String,
    /// What it is signed with: `whsec_` and base64, or any text.
    pub secret: Secret,
}

/// A webhook that comes in at `/v1/webhooks/NAME`. Its signature is its proof: it needs no API key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// How a request proves where it comes from.
    pub scheme: Scheme,
    /// What it is signed with.
    pub secret: Secret,
    /// How far its time may be from now, in seconds. GitHub sends none.
    #[serde(default = "tolerance")]
    pub tolerance_s: u64,
    /// The type of its events; what the sender calls them where left out.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "type")]
    pub kind: Option<String>,
    /// The source of its events, which nobody else may use; `/webhooks/NAME` where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// How a request proves where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    Standard,
    /// GitHub: `X-Hub-Signature-256`.
    Github,
    /// Stripe: `Stripe-Signature`.
    Stripe,
}

/// Where events that go round are stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Loops {
    /// How often an event may come about by the same subscription.
    pub repeats: u32,
    /// By how many subscriptions in all.
    pub hops: u32,
}

impl Default for Loops {
    fn default() -> Self {
        Self { repeats: 3, hops: 32 }
    }
}

fn tolerance() -> u64 {
    300
}

/// What is wrong with an entry: the member that it is about (none for the whole), in words, and what to do.
pub(crate) type Fault = (&'static str, String, &'static str);

impl Subscription {
    /// Makes a subscription ready.
    pub(crate) fn ready(&self, name: &str) -> Result<Ready, Fault> {
        let given = [self.tool.is_some(), self.flow.is_some(), self.webhook.is_some()];
        if given.iter().filter(|there| **there).count() != 1 {
            let fix = "Keep exactly one of tool, flow and webhook.";
            return Err(("", "it does not say one thing to do with an event".to_owned(), fix));
        }
        if self.types.is_empty() {
            return Err(("types", "there are no types".to_owned(), "Write types: [\"com.example.*\"]."));
        }
        if self.flow.is_some() && self.attempts.is_some() {
            let fix = "Let the flow try again what may fail (try, retry), or leave attempts out.";
            return Err((
                "attempts",
                "a flow that has failed was undone; it is not run again by itself".to_owned(),
                fix,
            ));
        }
        if let Some(kind) = &self.emit
            && (self.flow.is_some() || kind.is_empty() || kind.starts_with("dev.trunkline."))
        {
            let fix = "Write a type such as com.example.shipped; let a flow emit by itself.";
            return Err(("emit", "this can't be emitted".to_owned(), fix));
        }
        if self.concurrency == 0 || self.attempts == Some(0) || self.timeout_ms == 0 {
            let fix = "Write a number above 0.";
            return Err((
                "",
                "0 for concurrency, attempts or timeout_ms would deliver nothing".to_owned(),
                fix,
            ));
        }
        if self.tool.is_some() && self.args.as_ref().is_some_and(|args| !args.is_object()) {
            return Err((
                "args",
                "the arguments of a tool are an object".to_owned(),
                "Write args: { name: value }.",
            ));
        }
        let target = match (&self.tool, &self.flow, &self.webhook) {
            (Some(tool), ..) => Target::Tool(tool.clone()),
            (_, Some(flow), _) => Target::Flow(flow.clone()),
            (_, _, webhook) => {
                if let Some(webhook) = webhook {
                    let url = url::Url::parse(&webhook.url).ok();
                    if !url.is_some_and(|url| url.has_host() && matches!(url.scheme(), "http" | "https")) {
                        let fix = "Write https://host/path.";
                        return Err(("webhook", "the url is no http or https URL".to_owned(), fix));
                    }
                    Signer::new(webhook.secret.expose()).map_err(secret)?;
                }
                Target::Webhook
            }
        };
        let order = Order {
            name: name.to_owned(),
            types: self.types.clone(),
            source: self.source.clone(),
            filter: self.filter.clone(),
            target,
            args: self.args.clone(),
            emit: self.emit.clone(),
            group: self.group.clone(),
            concurrency: self.concurrency.min(100_000) as usize,
            attempts: self.attempts.unwrap_or(5),
            backoff: Duration::from_millis(self.backoff_ms),
            timeout: Duration::from_millis(self.timeout_ms),
        };
        Ready::new(order)
            .map_err(|(member, why)| (member, why, "Mend it; expressions are jq over the event."))
    }
}

impl Webhook {
    /// Makes a webhook ready.
    pub(crate) fn ready(&self, name: &str) -> Result<Incoming, Fault> {
        let proof = match self.scheme {
            Scheme::Standard => Proof::Standard,
            Scheme::Github => Proof::Github,
            Scheme::Stripe => Proof::Stripe,
        };
        let tolerance = Duration::from_secs(self.tolerance_s);
        let (kind, source) = (self.kind.clone(), self.source.clone());
        if kind.as_deref().is_some_and(|kind| kind.is_empty() || kind.starts_with("dev.trunkline.")) {
            return Err((
                "type",
                "this type can't be used".to_owned(),
                "Write one such as com.example.paid.",
            ));
        }
        Incoming::new(name, proof, self.secret.expose(), tolerance, kind, source).map_err(secret)
    }
}

fn secret(why: &'static str) -> Fault {
    (
        "secret",
        format!("the secret can't be used: {why}"),
        "Make one with `openssl rand -base64 32`, with whsec_ before it.",
    )
}

/// The rules that the configuration makes.
///
/// # Errors
/// The first entry that can't be used. A configuration that was checked has none.
pub(crate) fn rules(config: &Flows) -> Result<Rules, String> {
    let mut subscriptions = Vec::with_capacity(config.subscriptions.len());
    for (name, subscription) in &config.subscriptions {
        let ready = subscription.ready(name);
        subscriptions
            .push(Arc::new(ready.map_err(|(_, why, _)| format!("flows.subscriptions.{name}: {why}"))?));
    }
    let mut webhooks = HashMap::with_capacity(config.webhooks.len());
    for (name, webhook) in &config.webhooks {
        let ready = webhook.ready(name).map_err(|(_, why, _)| format!("flows.webhooks.{name}: {why}"))?;
        webhooks.insert(name.clone(), ready);
    }
    let loops = Bounds { repeats: config.loops.repeats as usize, hops: config.loops.hops as usize };
    Ok(Rules { subscriptions, loops, webhooks })
}

/// The loops that can be seen among subscriptions and the workflows of the definitions, each in words.
pub(crate) fn loops(
    config: &Flows,
    definitions: &[Arc<trunkline_orchestrator::workflow::Workflow>],
) -> Vec<String> {
    let Ok(mut rules) = rules(config) else { return Vec::new() };
    for workflow in definitions {
        if let Some(Ok(subscription)) = Ready::scheduled(workflow) {
            rules.subscriptions.push(Arc::new(subscription));
        }
    }
    let found = trunkline_orchestrator::choreography::loops::find(&rules.subscriptions, definitions);
    found.iter().map(|path| path.join(" → ")).collect()
}
