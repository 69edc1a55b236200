//! `_meta` of requests: who we are and what the caller can do (2026-07-28), the progress token, the trace, and what
//! the caller sent along.

use std::io::Write as _;

use trunkline_model::{CallContext, ClientFeatures, Json};

use super::client::ClientInfo;
use super::jsonrpc;
use super::revision::Revision;

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CLIENT: &str = "io.modelcontextprotocol/clientInfo";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// What every request of a session says in `_meta`: the part that stays the same.
#[derive(Debug)]
pub(super) struct MetaPrefix(Option<Vec<u8>>);

impl MetaPrefix {
    /// The fixed part for `revision`.
    pub(super) fn new(revision: Revision, client: &ClientInfo) -> Self {
        Self(revision.is_modern().then(|| {
            let client = client.to_json();
            format!(r#""{VERSION}":"{revision}","{CLIENT}":{client},"{CAPABILITIES}":"#).into_bytes()
        }))
    }

    /// Appends `"_meta":{…}`, preceded by a comma where `more` says so. Nothing is appended where there is nothing
    /// to say.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        more: bool,
        id: u64,
        context: Option<&CallContext>,
        extra: Option<&Json>,
    ) {
        let start = out.len();
        out.extend_from_slice(if more { br#","_meta":{"# } else { br#""_meta":{"# });
        let empty = out.len();
        if let Some(prefix) = &self.0 {
            out.extend_from_slice(prefix);
            write_capabilities(out, context.map(|context| context.client.features()).unwrap_or_default());
        }
        if let Some(context) = context {
            if context.client.wants_progress() {
                separate(out, empty);
                let _ = write!(out, r#""progressToken":{id}"#);
            }
            let trace = &context.trace;
            write_text(out, empty, "traceparent", trace.traceparent.as_deref());
            write_text(out, empty, "tracestate", trace.tracestate.as_deref());
            write_text(out, empty, "baggage", trace.baggage.as_deref());
        }
        if let Some(extra) = extra {
            let traced = context.is_some_and(|context| context.trace.traceparent.is_some());
            jsonrpc::for_each_member(extra, |key, value| {
                let ours = matches!(key, VERSION | CLIENT | CAPABILITIES | "progressToken")
                    || (traced && matches!(key, "traceparent" | "tracestate" | "baggage"));
                if !ours {
                    separate(out, empty);
                    out.extend_from_slice(jsonrpc::quoted(key).as_bytes());
                    out.push(b':');
                    out.extend_from_slice(value.get().as_bytes());
                }
            });
        }
        if out.len() == empty {
            out.truncate(start);
        } else {
            out.push(b'}');
        }
    }
}

/// The capabilities of a caller with `features`, for one request.
fn write_capabilities(out: &mut Vec<u8>, features: ClientFeatures) {
    out.extend_from_slice(br#"{"extensions":{"io.modelcontextprotocol/tasks":{}}"#);
    match (features.elicitation_form, features.elicitation_url) {
        (true, true) => out.extend_from_slice(br#","elicitation":{"form":{},"url":{}}"#),
        (true, false) => out.extend_from_slice(br#","elicitation":{"form":{}}"#),
        (false, true) => out.extend_from_slice(br#","elicitation":{"url":{}}"#),
        (false, false) => {}
    }
    if features.sampling {
        out.extend_from_slice(br#","sampling":{}"#);
    }
    if features.roots {
        out.extend_from_slice(br#","roots":{}"#);
    }
    out.push(b'}');
}

fn write_text(out: &mut Vec<u8>, empty: usize, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        separate(out, empty);
        let _ = write!(out, r#""{key}":{}"#, jsonrpc::quoted(value));
    }
}

fn separate(out: &mut Vec<u8>, empty: usize) {
    if out.len() > empty {
        out.push(b',');
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use trunkline_model::{Principal, TraceContext};

    use super::*;

    fn written(prefix: &MetaPrefix, context: Option<&CallContext>, extra: Option<&Json>) -> String {
        let mut out = Vec::new();
        prefix.write(&mut out, false, 5, context, extra);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_legacy_request_without_anything_to_say_has_no_meta() {
        let prefix = MetaPrefix::new(Revision::NEWEST_LEGACY, &ClientInfo::default());
        let context = CallContext::unattended(Arc::new(Principal::local()), Instant::now());
        assert_eq!(written(&prefix, Some(&context), None), "");
    }

    #[test]
    fn the_callers_members_are_kept_but_for_reserved_ones() {
        let prefix = MetaPrefix::new(Revision::NEWEST_LEGACY, &ClientInfo::default());
        let mut context = CallContext::unattended(Arc::new(Principal::local()), Instant::now());
        context.trace = TraceContext { traceparent: Some("00-ab".into()), ..TraceContext::default() };
        let extra = Json::parse(r#"{"progressToken":"x","a":{"b":1},"traceparent":"00-cd"}"#).unwrap();
        assert_eq!(
            written(&prefix, Some(&context), Some(&extra)),
            r#""_meta":{"traceparent":"00-ab","a":{"b":1}}"#
        );
    }

    #[test]
    fn a_modern_request_says_who_asks() {
        let prefix = MetaPrefix::new(Revision::NEWEST, &ClientInfo::default());
        let text = written(&prefix, None, None);
        let value: serde_json::Value = serde_json::from_str(&format!("{{{text}}}")).unwrap();
        assert_eq!(value["_meta"][VERSION], "2026-07-28");
        assert!(value["_meta"][CAPABILITIES].is_object());
    }
}
