//! What goes back to the client: results, errors and notifications, in the form of its era.

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::HeaderMap;
use indexmap::IndexMap;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use trunkline_model::{Failure, Json, Operation, Question, ToolResult};

/// How the door answers one message.
pub(crate) enum Answer {
    /// There is nothing to say: a notification or a response was taken.
    Accepted,
    /// One message.
    Message {
        /// The JSON-RPC message.
        body: Bytes,
        /// The HTTP status.
        status: u16,
        /// Further HTTP headers.
        headers: HeaderMap,
    },
    /// Messages as they come.
    Stream(BoxStream<'static, Frame>),
}

/// One message of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// The id by which a client may ask for what comes after.
    pub(crate) id: Option<String>,
    /// The JSON-RPC message; empty for a frame that only carries an id.
    pub(crate) data: Bytes,
}

/// The two eras of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Era {
    Modern,
    Legacy,
}

/// JSON-RPC and MCP error codes.
pub(crate) mod codes {
    pub(crate) const PARSE: i32 = -32700;
    pub(crate) const INVALID_REQUEST: i32 = -32600;
    pub(crate) const METHOD_NOT_FOUND: i32 = -32601;
    pub(crate) const INVALID_PARAMS: i32 = -32602;
    pub(crate) const INTERNAL: i32 = -32603;
    pub(crate) const RESOURCE_NOT_FOUND: i32 = -32002;
    pub(crate) const HEADER_MISMATCH: i32 = -32020;
    pub(crate) const MISSING_CAPABILITY: i32 = -32021;
    pub(crate) const UNSUPPORTED_VERSION: i32 = -32022;
}

impl Answer {
    /// A successful result that is JSON text already.
    pub(crate) fn result(id: &Json, result: &[u8]) -> Self {
        Self::message(result_message(id, result), 200)
    }

    /// One message.
    pub(crate) fn message(body: Bytes, status: u16) -> Self {
        Self::Message { body, status, headers: HeaderMap::new() }
    }

    /// A failure.
    pub(crate) fn failure(id: Option<&Json>, failure: &Failure, era: Era) -> Self {
        let (body, status) = error_message(id, failure, era);
        Self::message(body, status)
    }
}

/// `{"jsonrpc":"2.0","id":…,"result":…}`.
pub(crate) fn result_message(id: &Json, result: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(result.len() + id.len() + 40);
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b",\"result\":");
    out.extend_from_slice(result);
    out.push(b'}');
    one_line(out)
}

/// `{"jsonrpc":"2.0","method":…,"params":…}`.
pub(crate) fn notification(method: &str, params: &Json) -> Bytes {
    one_line(
        [
            b"{\"jsonrpc\":\"2.0\",\"method\":\"",
            method.as_bytes(),
            b"\",\"params\":",
            params.as_bytes(),
            b"}",
        ]
        .concat(),
    )
}

/// A request to the client.
pub(crate) fn question_message(id: &str, question: &Question) -> Bytes {
    let id = Value::from(id).to_string();
    one_line(
        [
            b"{\"jsonrpc\":\"2.0\",\"id\":",
            id.as_bytes(),
            b",\"method\":\"",
            question.method.as_bytes(),
            b"\",\"params\":",
            question.params.as_bytes(),
            b"}",
        ]
        .concat(),
    )
}

/// Progress under the caller's own token.
pub(crate) fn progress_message(params: &Json, token: &Json) -> Bytes {
    notification("notifications/progress", &with_members(params, &[("progressToken", token)]))
}

/// The message that answers a modern request with a service's result.
///
/// Every modern result says what type it is, and that of a read how long it may be kept. Results of services that don't
/// say, are completed on the way. A legacy client gets the result as it is, and ignores what it does not know.
pub(crate) fn modern_result_message(
    id: &Json,
    result: &ToolResult,
    operation: Operation,
    ttl_ms: u64,
) -> Bytes {
    let body = &result.body;
    let Some(members) = body.as_bytes().trim_ascii().strip_prefix(b"{") else {
        return result_message(id, body.as_bytes());
    };
    let mut head = Vec::with_capacity(96);
    if !has_member(body, "resultType") {
        head.extend_from_slice(br#""resultType":"complete","#);
    }
    if operation == Operation::ReadResource && !has_member(body, "ttlMs") {
        head.extend_from_slice(format!(r#""ttlMs":{ttl_ms},"cacheScope":"private","#).as_bytes());
    }
    if members.trim_ascii_start() == b"}" {
        head.pop_if(|last| *last == b',');
    }
    let mut out = Vec::with_capacity(body.len() + head.len() + id.len() + 48);
    for part in [b"{\"jsonrpc\":\"2.0\",\"id\":", id.as_bytes(), b",\"result\":{", &head, members, b"}"] {
        out.extend_from_slice(part);
    }
    one_line(out)
}

/// The result that ends a modern request with questions.
pub(crate) fn input_required_result(requests: &Json, state: Option<&str>) -> Json {
    let mut result = json!({ "resultType": "input_required", "inputRequests": requests.to_value() });
    if let Some(state) = state {
        result["requestState"] = Value::from(state);
    }
    Json::from(result)
}

/// A failed tool call as a result that a model can read: what failed, and what to do.
pub(crate) fn failed_tool_result(failure: &Failure) -> ToolResult {
    let details = serde_json::to_value(failure).unwrap_or_default();
    let body = json!({
        "content": [{ "type": "text", "text": failure.explain() }],
        "isError": true,
        "_meta": { "dev.trunkline/failure": details },
    });
    ToolResult::raw(Json::from(body), true)
}

/// Whether a failed tool call is told as a result, for the model, or as an error, for the client.
pub(crate) fn told_to_model(failure: &Failure) -> bool {
    failure.rpc.is_none() && !matches!(failure.code, "TL1003" | "TL1010" | "TL1021")
}

/// The JSON-RPC error message of a failure, and its HTTP status.
pub(crate) fn error_message(id: Option<&Json>, failure: &Failure, era: Era) -> (Bytes, u16) {
    let (error, status) = match &failure.rpc {
        Some(error) => service_error(error, era),
        None => (own_error(failure), own_status(failure, era)),
    };
    let id = id.map_or("null", Json::as_str);
    let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}");
    (one_line(body.into_bytes()), status)
}

/// A service's own error, passed on; where the eras have different codes for it, in the caller's.
fn service_error(error: &Json, era: Era) -> (String, u16) {
    let mut value = error.to_value();
    let code = value["code"].as_i64().and_then(|code| i32::try_from(code).ok()).unwrap_or(codes::INTERNAL);
    if era == Era::Modern && code == codes::RESOURCE_NOT_FOUND {
        value["code"] = Value::from(codes::INVALID_PARAMS);
        return (value.to_string(), 200);
    }
    let status = match code {
        _ if era == Era::Legacy => 200,
        codes::MISSING_CAPABILITY | codes::HEADER_MISMATCH | codes::UNSUPPORTED_VERSION => 400,
        codes::METHOD_NOT_FOUND => 404,
        _ => 200,
    };
    (error.as_str().to_owned(), status)
}

fn own_error(failure: &Failure) -> String {
    let code = match failure.code {
        "TL1001" => codes::INVALID_REQUEST,
        "TL1003" | "TL1004" | "TL1005" | "TL1006" | "TL1010" | "TL1017" | "TL7041" | "TL7042" | "TL7044" => {
            codes::INVALID_PARAMS
        }
        "TL1014" => codes::HEADER_MISMATCH,
        "TL1015" => codes::UNSUPPORTED_VERSION,
        "TL1016" | "TL7043" => codes::METHOD_NOT_FOUND,
        "TL7040" => codes::MISSING_CAPABILITY,
        _ => codes::INTERNAL,
    };
    let mut data = serde_json::to_value(failure).unwrap_or_default();
    // What a failure carries for programs stands beside its own members, as the protocol's own errors have it.
    if let Some(Value::Object(more)) = data.as_object_mut().and_then(|data| data.remove("data")) {
        for (key, value) in more {
            data[&key] = value;
        }
    }
    json!({ "code": code, "message": failure.explain(), "data": data }).to_string()
}

fn own_status(failure: &Failure, era: Era) -> u16 {
    match failure.code {
        // What the protocol maps to a status; other errors of a request that was understood travel in a 200.
        "TL1001" | "TL1002" | "TL1008" | "TL1009" | "TL1014" | "TL1015" | "TL1018" | "TL2001" | "TL2002" => {
            failure.status
        }
        "TL1016" | "TL1017" | "TL7040" if era == Era::Modern => failure.status,
        _ => 200,
    }
}

/// The answer to a text that is no message: a parse error where it is no JSON either. Its id is null.
pub(crate) fn unreadable(text: &[u8], failure: &Failure) -> Bytes {
    let json = serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok();
    let code = if json { codes::INVALID_REQUEST } else { codes::PARSE };
    let error = json!({
        "jsonrpc": "2.0", "id": null,
        "error": { "code": code, "message": failure.explain(), "data": failure },
    });
    Bytes::from(error.to_string())
}

/// The object with further or replaced members; the rest stays as it came.
pub(crate) fn with_members(object: &Json, members: &[(&str, &Json)]) -> Json {
    let mut all: IndexMap<String, Box<RawValue>> = object.to().unwrap_or_default();
    for (key, value) in members {
        if let Ok(value) = to_raw_value(value) {
            all.insert((*key).to_owned(), value);
        }
    }
    Json::from_serialize(&all).unwrap_or_else(|_| object.clone())
}

/// How an answer that was kept begins.
const KEPT: &[u8] = br#"{"resultType":"complete","#;

/// Whether the object has the member. The text is only parsed where the name occurs in it at all.
fn has_member(object: &Json, key: &str) -> bool {
    // An answer that was kept begins with these, and is not read again.
    if object.as_bytes().starts_with(KEPT) && matches!(key, "resultType" | "ttlMs") {
        return key == "resultType" || object.as_bytes()[KEPT.len()..].starts_with(br#""ttlMs":"#);
    }
    use serde::de::IgnoredAny;
    let occurs = memchr::memmem::find(object.as_bytes(), key.as_bytes()).is_some();
    occurs && object.to::<IndexMap<String, IgnoredAny>>().is_ok_and(|members| members.contains_key(key))
}

/// A message on one line: a line break between tokens becomes a space. (Within a string there can be none.)
fn one_line(mut message: Vec<u8>) -> Bytes {
    for byte in &mut message {
        if matches!(*byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    Bytes::from(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modern_result_says_its_type_once() {
        let id = Json::parse("1").unwrap();
        let message = |body: &str, operation| {
            let result = ToolResult::raw(Json::parse(body.to_owned()).unwrap(), false);
            String::from_utf8(modern_result_message(&id, &result, operation, 5).to_vec()).unwrap()
        };
        let head = r#"{"jsonrpc":"2.0","id":1,"result":"#;
        assert_eq!(
            message(r#"{"content":[]}"#, Operation::CallTool),
            format!(r#"{head}{{"resultType":"complete","content":[]}}}}"#)
        );
        assert_eq!(message("{}", Operation::CallTool), format!(r#"{head}{{"resultType":"complete"}}}}"#));
        let typed = r#"{"resultType":"complete","content":[]}"#;
        assert_eq!(message(typed, Operation::CallTool), format!("{head}{typed}}}"));
        assert_eq!(
            message(r#"{"contents":[]}"#, Operation::ReadResource),
            format!(r#"{head}{{"resultType":"complete","ttlMs":5,"cacheScope":"private","contents":[]}}}}"#)
        );
    }

    #[test]
    fn messages_stay_on_one_line() {
        let body = result_message(&Json::parse("1").unwrap(), b"{\n \"a\": \"b\\n\"\r\n}");
        assert_eq!(&body[..], br#"{"jsonrpc":"2.0","id":1,"result":{  "a": "b\n"  }}"#);
    }

    #[test]
    fn an_old_error_code_reaches_a_new_client_in_its_own() {
        let error = Json::parse(r#"{"code":-32002,"message":"no","data":{"uri":"x"}}"#).unwrap();
        let (text, _) = service_error(&error, Era::Modern);
        assert_eq!(text, r#"{"code":-32602,"message":"no","data":{"uri":"x"}}"#);
        assert_eq!(service_error(&error, Era::Legacy).0, error.as_str());
    }
}
