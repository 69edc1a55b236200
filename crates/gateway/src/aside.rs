//! What the doors say beside an answer, in HTTP headers: what is left of limits, when to come back, how old it is.

use std::fmt::Write as _;
use std::time::Duration;

use http::HeaderMap;
use http::header::{AGE, HeaderName, HeaderValue, RETRY_AFTER};
use trunkline_model::{Failure, Json, Quota, Retry, Served, ServedState, ToolResult};

/// How much a call matters, as its caller says.
pub(crate) const PRIORITY: &str = "trunkline-priority";

/// What is left of a limit (draft-ietf-httpapi-ratelimit-headers-10).
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// What is limited (the same draft).
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// How a cache came to an answer (RFC 9211).
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// The headers of an answer to a call.
pub(crate) fn of_result(quotas: &[Quota], result: Option<&ToolResult>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    limits(&mut headers, quotas);
    if let Some(served) = result.and_then(|result| result.freshness.as_ref()?.served) {
        age(&mut headers, served);
    }
    headers
}

/// The headers of a failure: when to come back, and of what too much was asked.
pub(crate) fn of_failure(failure: &Failure) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(quota) = failure.data.as_ref().and_then(|data| quota_of(failure, data)) {
        limits(&mut headers, std::slice::from_ref(&quota));
    }
    if let Retry::After(wait) = failure.retry {
        headers.insert(RETRY_AFTER, HeaderValue::from(whole(wait).max(1)));
    }
    headers
}

/// The limit that a failure tells of.
fn quota_of(failure: &Failure, data: &Json) -> Option<Quota> {
    let told = data.to_value();
    let told = told.get("quota").filter(|_| matches!(failure.code, "TL1027" | "TL8032"))?;
    let number = |name: &str| told[name].as_u64().unwrap_or(0);
    let units = ["requests", "tokens", "content-bytes", "money-micros"];
    Some(Quota {
        policy: told["policy"].as_str()?.into(),
        unit: units.into_iter().find(|unit| told["unit"] == **unit)?,
        limit: number("limit"),
        window: Duration::from_millis(number("window_ms")),
        left: number("left"),
        reset: Duration::from_millis(number("reset_ms")),
    })
}

/// What limits there are, and what is left of them.
fn limits(headers: &mut HeaderMap, quotas: &[Quota]) {
    if quotas.is_empty() {
        return;
    }
    let (mut policies, mut left) = (String::new(), String::new());
    for quota in quotas {
        let Quota { policy, unit, limit, window, .. } = quota;
        if !policies.is_empty() {
            policies.push_str(", ");
            left.push_str(", ");
        }
        // Writing to a String can't fail.
        let _ = write!(policies, "\"{policy}\";q={limit}");
        if *unit != "requests" {
            let _ = write!(policies, ";qu=\"{unit}\"");
        }
        // A window has whole seconds there.
        if window.subsec_nanos() == 0 {
            let _ = write!(policies, ";w={}", window.as_secs());
        }
        let _ = write!(left, "\"{policy}\";r={};t={}", quota.left, whole(quota.reset));
    }
    let mut put = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    put(RATE_LIMIT_POLICY, &policies);
    put(RATE_LIMIT, &left);
}

fn age(headers: &mut HeaderMap, served: Served) {
    let ttl = served.fresh_for.as_secs();
    let status = match served.state {
        ServedState::Hit => format!("trunkline; hit; ttl={ttl}"),
        ServedState::Revalidated => format!("trunkline; fwd=stale; fwd-status=304; ttl={ttl}"),
        ServedState::Shared => "trunkline; fwd=uri-miss; collapsed".to_owned(),
        ServedState::Stale => "trunkline; hit; ttl=0; detail=revalidating".to_owned(),
        ServedState::StaleIfError => "trunkline; hit; ttl=0; detail=error".to_owned(),
    };
    headers.insert(AGE, HeaderValue::from(served.age.as_secs()));
    if let Ok(status) = HeaderValue::try_from(status) {
        headers.insert(CACHE_STATUS, status);
    }
}

/// Whole seconds, not too few.
fn whole(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_structured_fields() {
        let quota = |policy: &str, unit, window, reset| Quota {
            policy: policy.into(),
            unit,
            limit: 100,
            window: Duration::from_millis(window),
            left: 7,
            reset: Duration::from_millis(reset),
        };
        let mut headers = HeaderMap::new();
        limits(&mut headers, &[quota("a b", "requests", 60_000, 1), quota("t", "tokens", 1_500, 0)]);
        assert_eq!(headers["ratelimit-policy"], r#""a b";q=100;w=60, "t";q=100;qu="tokens""#);
        assert_eq!(headers["ratelimit"], r#""a b";r=7;t=1, "t";r=7;t=0"#);
    }
}
