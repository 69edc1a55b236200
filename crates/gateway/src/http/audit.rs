//! Who did what, and what came of it: the record as auditors read it.
//!
//! It is read from the record itself, the newest first, and not from tables of its own: a call would have to pay for
//! them, and what is read here can't differ from what was recorded.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::{Extension, Json};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_event_log::{Filter, RecordedEvent};
use trunkline_model::Principal;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::problem::Problem;
use crate::{Error, Gateway};

/// The most entries of a page.
const MAX_PAGE: usize = 1000;

/// How many events are looked at for one page, and at once.
const MAX_SCAN: u64 = 20_000;
const WINDOW: u64 = 1_000;

/// Which deeds.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// Whose.
    principal: Option<String>,
    /// `service/tool`, or the flow as `namespace/name`.
    target: Option<String>,
    /// Only calls of the tools of this service.
    service: Option<String>,
    /// `call`, `flow.start`, `flow.cancel`, `flow.undo`, `flow.retry`, `flow.resolve`, `flow.end`, `console.sign_in` or
    /// `console.sign_out`.
    action: Option<String>,
    /// `done`, `tool_error`, `failed`, `refused`, `asked`, or how a flow ended.
    outcome: Option<String>,
    /// Only what stands before this position of the record.
    before: Option<u64>,
    /// The most entries of a page: 100 where left out, 1000 at most.
    limit: Option<usize>,
}

/// What was done.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Deed {
    /// Where it stands in the record.
    position: u64,
    /// When.
    #[schema(value_type = String)]
    time: Timestamp,
    /// Who.
    who: String,
    /// What.
    action: &'static str,
    /// To what.
    target: String,
    /// What came of it.
    outcome: String,
    /// By which door, or by flows.
    via: String,
    /// The call or instance.
    #[schema(value_type = String)]
    correlation: Uuid,
    /// The trace that it was part of; whether that was kept is another question.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    /// In words: why it failed, or the reason that was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// A page.
#[derive(Serialize, ToSchema)]
pub(crate) struct Deeds {
    /// The newest first.
    deeds: Vec<Deed>,
    /// Where older ones begin (`before`); none where there are none.
    next: Option<u64>,
}

/// Who did what, and what came of it, the newest first. The holder of an API key sees its own deeds.
#[utoipa::path(get, path = "/v1/audit", params(Which), responses((status = 200, body = Deeds)))]
pub(crate) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Arc<Principal>>,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Deeds>, Problem> {
    let Query(which) = which.map_err(|error| Error::Params(error.body_text()))?;
    let own = (principal.is_confined()).then(|| principal.id.to_string());
    let filter = Filter { target: which.target.clone(), principal: own, ..Filter::default() };
    let limit = which.limit.unwrap_or(100).clamp(1, MAX_PAGE);
    let (oldest, head) = (gateway.log.oldest(), gateway.log.head());
    let mut before = which.before.unwrap_or(head + 1).min(head + 1);
    let end = before.saturating_sub(MAX_SCAN).max(oldest);
    let mut deeds = Vec::new();
    while before > end && deeds.len() < limit {
        let from = before.saturating_sub(WINDOW).max(end);
        let mut window = window(&gateway, from, before, &filter).await?;
        window.retain(|deed| fits(&which, deed));
        window.reverse();
        deeds.extend(window);
        before = from;
    }
    if deeds.len() > limit {
        deeds.truncate(limit);
        before = deeds.last().map_or(before, |deed| deed.position);
    }
    Ok(Json(Deeds { deeds, next: (before > oldest).then_some(before) }))
}

/// The deeds between two positions, the oldest first.
async fn window(gateway: &Gateway, from: u64, before: u64, filter: &Filter) -> Result<Vec<Deed>, Problem> {
    let (mut from, mut deeds) = (from, Vec::new());
    while from < before {
        let limit = usize::try_from(before - from).unwrap_or(usize::MAX);
        let page = gateway.log.read_all(from, limit, Some(filter.clone())).await;
        let page = page.map_err(|error| Error::Log(error.to_string()))?;
        let inside = page.events.iter().take_while(|event| event.position < before);
        deeds.extend(inside.filter_map(deed));
        if page.end || page.next <= from {
            break;
        }
        from = page.next;
    }
    Ok(deeds)
}

fn fits(which: &Which, deed: &Deed) -> bool {
    let is = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
    let of = |service: &str| deed.target.strip_prefix(service).is_some_and(|tool| tool.starts_with('/'));
    which.service.as_deref().is_none_or(|service| deed.action == "call" && of(service))
        && is(&which.principal, &deed.who)
        && is(&which.action, deed.action)
        && is(&which.outcome, &deed.outcome)
}

/// What was done at the console that is no call and no order.
fn of_console(action: &str) -> Option<&'static str> {
    ["console.sign_in", "console.sign_out"].into_iter().find(|known| *known == action)
}

/// What an event says that somebody did; `None` for one that says nothing of that kind.
fn deed(recorded: &RecordedEvent) -> Option<Deed> {
    let event = &recorded.event;
    let kind = event.kind.strip_prefix("dev.trunkline.")?.strip_suffix(".v1")?;
    let action = match kind {
        "tool_execution.completed" | "tool_execution.failed" | "tool_execution.refused" => "call",
        "flow.started" => "flow.start",
        "flow.cancel_requested" => "flow.cancel",
        "flow.undo_requested" => "flow.undo",
        "flow.retried" => "flow.retry",
        "flow.resolved" => "flow.resolve",
        "flow.finished" => "flow.end",
        _ => of_console(&event.data.action)?,
    };
    let context = event.data.context.to_value();
    // An entry of a journal is an object with one member: its kind.
    let entry = match &context {
        Value::Object(members) if action != "call" => members.values().next().unwrap_or(&Value::Null),
        _ => &context,
    };
    let text = |name: &str| entry[name].as_str().map(str::to_owned);
    let outcome = match kind {
        "tool_execution.refused" => "refused".to_owned(),
        "tool_execution.completed" => match text("outcome").as_deref() {
            Some("tool_error") => "tool_error".to_owned(),
            _ => "done".to_owned(),
        },
        "tool_execution.failed" => "failed".to_owned(),
        "flow.finished" => text("status").unwrap_or_default(),
        _ if action.starts_with("console.") => "done".to_owned(),
        "flow.started" => "done".to_owned(),
        _ => "asked".to_owned(),
    };
    let detail = match action {
        "flow.end" => entry["fault"]["detail"].as_str().map(str::to_owned),
        "flow.resolve" => Some(format!("{} {}", text("key").unwrap_or_default(), entry["resolution"])),
        "flow.retry" => text("instance").map(|new| format!("as {new}")),
        "call" => text("detail"),
        _ => text("reason"),
    };
    Some(Deed {
        position: recorded.position,
        time: event.time,
        who: text("by").unwrap_or_else(|| event.principal.id.to_string()),
        action,
        target: event.target.to_string(),
        outcome,
        via: event.source.to_string(),
        correlation: event.correlation,
        trace: event.traceparent.as_deref().and_then(|header| header.get(3..35)).map(str::to_owned),
        detail,
    })
}
