//! What was seen of a call, as spans: the call, its phases, its attempts, and what it waited for.

use serde_json::Value;
use trunkline_model::SpanId;

use crate::call::{Attempt, CallRecord, Ending, PHASES, Phase};
use crate::clock::Clock;
use crate::metrics::split;
use crate::redact::redacted;
use crate::semconv;
use crate::span::{Span, SpanKind, Status, attribute};

/// Pauses shorter than this are no waits, in nanoseconds.
const PAUSE: u64 = 1_000_000;

/// The spans of a call. `protocol` is that of its service.
pub(crate) fn spans(record: &CallRecord, clock: &Clock, protocol: Option<&str>) -> Vec<Span> {
    let began = clock.at(record.began);
    let mut spans = vec![of_call(record, began)];
    for (phase, name) in PHASES {
        let Some((start, end)) = record.phase(phase) else { continue };
        let mut span = child(record, phase as u16, name.to_owned(), began + start, began + end);
        span.attributes.push(attribute(semconv::PHASE, name));
        spans.push(span);
    }
    let attempts = record.attempts.lock();
    let execute = record.trace.span.child(Phase::Execute as u16);
    let begun = record.phase(Phase::Execute).map_or(0, |(start, _)| start);
    let mut reached = begun;
    for (number, attempt) in attempts.iter().enumerate() {
        if number == 0 && attempt.start.saturating_sub(begun) > PAUSE {
            spans.push(wait(record, number, "queue", began + begun, began + attempt.start, execute));
        } else if number > 0 && attempt.start.saturating_sub(reached) > PAUSE {
            spans.push(wait(record, number, "pause", began + reached, began + attempt.start, execute));
        }
        let end = attempt.end.unwrap_or(record.took).max(attempt.start);
        reached = reached.max(end);
        let mut span = of_attempt(record, attempt, number, began, end, protocol);
        span.parent = Some(execute);
        spans.push(span);
    }
    spans
}

fn child(record: &CallRecord, number: u16, name: String, start: u64, end: u64) -> Span {
    let id = record.trace.span.child(number);
    Span::ours(record.trace.trace, id, Some(record.trace.span), name, start, end)
}

fn wait(
    record: &CallRecord,
    number: usize,
    what: &'static str,
    start: u64,
    end: u64,
    parent: SpanId,
) -> Span {
    let number = u16::try_from(number).unwrap_or(u16::MAX >> 1);
    let mut span = child(record, 0x4000 + number, format!("wait {what}"), start, end);
    span.parent = Some(parent);
    span.attributes.push(attribute(semconv::WAITS_FOR, what));
    span
}

fn of_call(record: &CallRecord, began: u64) -> Span {
    let (service, tool) = split(&record.target);
    let name =
        if record.known { format!("{} {}", record.method, record.target) } else { record.method.to_owned() };
    let (trace, id) = (record.trace.trace, record.trace.span);
    let mut span = Span::ours(trace, id, record.parent, name, began, began + record.took);
    span.kind = if matches!(record.door, "flow" | "") { SpanKind::Internal } else { SpanKind::Server };
    let put = &mut span.attributes;
    put.push(attribute(semconv::MCP_METHOD, record.method));
    put.push(attribute(semconv::DOOR, if record.door.is_empty() { "cache" } else { record.door }));
    put.push(attribute(semconv::CALL, record.call.to_string()));
    put.push(attribute(semconv::ENDUSER, &*record.principal.id));
    put.extend(record.conversation.as_deref().map(|name| attribute(semconv::CONVERSATION, name)));
    match record.door {
        "stdio" => put.push(attribute(semconv::NETWORK_TRANSPORT, "pipe")),
        "mcp" | "http" => put.push(attribute(semconv::NETWORK_TRANSPORT, "tcp")),
        _ => {}
    }
    put.push(attribute(semconv::TARGET, &*record.target));
    if record.known {
        put.push(attribute("trunkline.service", service));
    }
    match record.method {
        "tools/call" => {
            put.push(attribute(semconv::GEN_AI_OPERATION, semconv::EXECUTE_TOOL));
            put.push(attribute(semconv::GEN_AI_TOOL, tool));
        }
        "prompts/get" => put.push(attribute(semconv::GEN_AI_PROMPT, tool)),
        "resources/read" => put.push(attribute(semconv::MCP_RESOURCE, tool)),
        _ => {}
    }
    put.extend(record.cache.map(|state| attribute(semconv::CACHE, state)));
    put.push(attribute("trunkline.outcome", record.ending.name()));
    let json = |json: &trunkline_model::Json| Value::from(redacted(json));
    put.extend(
        record.arguments.as_ref().map(|arguments| attribute(semconv::GEN_AI_ARGUMENTS, json(arguments))),
    );
    put.extend(record.result.as_ref().map(|result| attribute(semconv::GEN_AI_RESULT, json(result))));
    ended(&mut span, record);
    span
}

/// How the call ended, on its span.
fn ended(span: &mut Span, record: &CallRecord) {
    match record.ending {
        Ending::Done => return,
        Ending::ToolError => {
            span.attributes.push(attribute(semconv::ERROR_TYPE, semconv::TOOL_ERROR));
            span.error = Some("the tool answered with an error of its own".to_owned());
        }
        Ending::Cancelled => {
            span.attributes.push(attribute(semconv::ERROR_TYPE, "cancelled"));
            span.error = Some("the caller went away or cancelled the call".to_owned());
        }
        Ending::Failed | Ending::Refused => {}
    }
    span.status = Status::Error;
    if let Some(failure) = &record.failure {
        span.attributes.push(attribute(semconv::ERROR_TYPE, failure.code));
        span.attributes.push(attribute(semconv::CODE, failure.code));
        let word = |value: Value| value.as_str().unwrap_or_default().to_owned();
        let (fault, effect) = (serde_json::to_value(failure.fault), serde_json::to_value(failure.effect));
        span.attributes.push(attribute(semconv::FAULT, fault.map(word).unwrap_or_default()));
        span.attributes.push(attribute(semconv::EFFECT, effect.map(word).unwrap_or_default()));
        span.error = Some(failure.detail.chars().take(2_000).collect());
    }
}

fn of_attempt(
    record: &CallRecord,
    attempt: &Attempt,
    number: usize,
    began: u64,
    end: u64,
    protocol: Option<&str>,
) -> Span {
    let (service, tool) = split(&record.target);
    let is_mcp = protocol.is_some_and(|protocol| protocol.starts_with("mcp"));
    let what = if is_mcp { record.method } else { semconv::EXECUTE_TOOL };
    let name = format!("{what} {tool}");
    let (trace, start) = (record.trace.trace, began + attempt.start);
    let mut span = Span::ours(trace, attempt.span, None, name, start, began + end);
    span.kind = SpanKind::Client;
    let put = &mut span.attributes;
    put.push(attribute(semconv::PEER_SERVICE, service));
    put.push(attribute(semconv::ATTEMPT, number + 1));
    if is_mcp {
        put.push(attribute(semconv::MCP_METHOD, record.method));
    }
    if record.method == "tools/call" {
        put.push(attribute(semconv::GEN_AI_OPERATION, semconv::EXECUTE_TOOL));
        put.push(attribute(semconv::GEN_AI_TOOL, tool));
    }
    put.extend(protocol.map(|protocol| attribute("trunkline.protocol", protocol)));
    match attempt.ending {
        Ending::Done => {}
        Ending::ToolError => {
            put.push(attribute(semconv::ERROR_TYPE, semconv::TOOL_ERROR));
            span.status = Status::Error;
        }
        ending => {
            put.push(attribute(semconv::ERROR_TYPE, attempt.code.unwrap_or(ending.name())));
            span.status = Status::Error;
            let failed = attempt.code.is_some() && attempt.end.is_some();
            span.error =
                Some(if failed { "the attempt failed" } else { "nobody waited for its end" }.to_owned());
        }
    }
    span
}
