//! Headers that repeat a part of the body (revision 2026-07-28), so that proxies can route without reading it. Where
//! they disagree with the body, someone on the way saw another request than we do, so the request is refused.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde_json::Value;
use trunkline_discovery::ToolEntry;
use trunkline_model::Json;

use crate::Error;

/// Checks `Mcp-Method` and `Mcp-Name` against the body.
pub(super) fn check_standard(headers: &HeaderMap, method: &str, name: Option<&str>) -> Result<(), Error> {
    expect(headers, "mcp-method", method)?;
    match name {
        Some(name) => expect(headers, "mcp-name", name),
        None => Ok(()),
    }
}

/// Checks `Mcp-Param-*` against the arguments, for the parameters that the tool's schema marks.
pub(super) fn check_parameters(headers: &HeaderMap, tool: &ToolEntry, arguments: &Json) -> Result<(), Error> {
    if tool.header_parameters.is_empty() {
        return Ok(());
    }
    let arguments = arguments.to_value();
    for (path, header) in &tool.header_parameters {
        let value = path.iter().try_fold(&arguments, |value, name| value.get(name));
        let name = format!("mcp-param-{}", header.to_ascii_lowercase());
        match value {
            Some(Value::String(text)) => expect(headers, &name, text)?,
            Some(other @ (Value::Bool(_) | Value::Number(_))) => expect(headers, &name, &other.to_string())?,
            _ if headers.contains_key(&name) => {
                return Err(Error::HeaderMismatch(format!("the header {name} has no parameter in the body")));
            }
            _ => {}
        }
    }
    Ok(())
}

fn expect(headers: &HeaderMap, name: &str, wanted: &str) -> Result<(), Error> {
    let Some(value) = headers.get(name) else {
        return Err(Error::HeaderMismatch(format!("the header {name} is missing; the body has {wanted:?}")));
    };
    let decoded = value.to_str().ok().map(str::trim).and_then(decode);
    match decoded {
        Some(value) if value == wanted => Ok(()),
        Some(value) => {
            Err(Error::HeaderMismatch(format!("the header {name} is {value:?}, the body has {wanted:?}")))
        }
        None => Err(Error::HeaderMismatch(format!("the header {name} can't be decoded"))),
    }
}

/// A value that does not fit a header is sent as `=?base64?…?=`.
fn decode(value: &str) -> Option<Cow<'_, str>> {
    let Some(encoded) = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Some(Cow::Borrowed(value));
    };
    let bytes = STANDARD.decode(encoded).ok()?;
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_do_not_fit_a_header_are_decoded() {
        assert_eq!(decode("plain").as_deref(), Some("plain"));
        assert_eq!(decode("=?base64?SGVsbG8=?=").as_deref(), Some("Hello"));
        assert_eq!(decode("=?base64?SGVsbG8?="), None);
        assert_eq!(decode("=?base64?SGVs!!!bG8=?="), None);
        assert_eq!(decode("SGVsbG8=").as_deref(), Some("SGVsbG8="));
    }
}
