//! How long an answer over HTTP may be kept (RFC 9111, RFC 5861), and by what the service knows it again (RFC 9110).

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, header};
use trunkline_model::{Freshness, Validators};

/// The longest validator that is kept, in bytes.
const MAX_VALIDATOR: usize = 512;

/// The longest time that a header may name.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// What the headers of an answer say; none where they say nothing.
pub(super) fn freshness(headers: &HeaderMap) -> Option<Freshness> {
    let mut found = Freshness { validators: validators(headers), ..Freshness::default() };
    let (mut max_age, mut shared, mut revalidates) = (None, None, false);
    let mut said = false;
    for value in headers.get_all(header::CACHE_CONTROL) {
        let Ok(value) = value.to_str() else { continue };
        said = true;
        for directive in value.split(',') {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            let time = seconds(argument);
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" => found.no_store = true,
                // It may be kept, and not be given without asking.
                "no-cache" => revalidates = true,
                "must-revalidate" | "proxy-revalidate" => {
                    found.stale_if_error = Some(Duration::ZERO);
                    found.stale_while_revalidate = Some(Duration::ZERO);
                }
                "public" => found.public = true,
                // What can't be read is stale.
                "max-age" => max_age = Some(time.unwrap_or_default()),
                "s-maxage" => shared = Some(time.unwrap_or_default()),
                "stale-while-revalidate" => found.stale_while_revalidate = time,
                "stale-if-error" => found.stale_if_error = time,
                _ => {}
            }
        }
    }
    if headers.get_all(header::VARY).iter().any(|vary| vary.as_bytes().trim_ascii() == b"*") {
        found.no_store = true;
    }
    let age = text(headers, &header::AGE).and_then(seconds).unwrap_or_default();
    let expires = || Some(expires(headers)?.saturating_sub(date(headers, &header::DATE)?));
    found.fresh_for = match shared.or(max_age) {
        _ if revalidates => Some(Duration::ZERO),
        Some(time) => Some(time.saturating_sub(age)),
        None => expires(),
    };
    let says = said || found.no_store || found.fresh_for.is_some() || found.validators.is_some();
    says.then_some(found)
}

/// By what the service knows the answer again.
fn validators(headers: &HeaderMap) -> Option<Arc<Validators>> {
    let kept = |name: &HeaderName| {
        let value = text(headers, name).filter(|value| !value.is_empty() && value.len() <= MAX_VALIDATOR);
        value.map(Arc::from)
    };
    let found = Validators { etag: kept(&header::ETAG), last_modified: kept(&header::LAST_MODIFIED) };
    (found != Validators::default()).then(|| Arc::new(found))
}

/// When the answer is stale, by the service's clock. What can't be read, such as `0`, has passed.
fn expires(headers: &HeaderMap) -> Option<Duration> {
    headers.get(header::EXPIRES)?;
    Some(date(headers, &header::EXPIRES).unwrap_or_default())
}

/// A date as the time since 1970.
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<Duration> {
    let at = jiff::fmt::rfc2822::parse(text(headers, name)?).ok()?.timestamp();
    u64::try_from(at.as_second()).ok().map(Duration::from_secs)
}

fn seconds(text: &str) -> Option<Duration> {
    let digits = text.trim().trim_matches('"');
    let all = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // More than a number holds is for ever.
    all.then(|| Duration::from_secs(digits.parse().unwrap_or(u64::MAX)).min(LONGEST))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(headers: &[(&'static str, &'static str)]) -> Option<Freshness> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        freshness(&map)
    }

    fn fresh_for(headers: &[(&'static str, &'static str)]) -> Option<u64> {
        of(headers)?.fresh_for.map(|time| time.as_secs())
    }

    #[test]
    fn what_says_nothing_is_nothing() {
        assert_eq!(of(&[("content-type", "application/json"), ("vary", "accept")]), None);
    }

    #[test]
    fn times_are_read_and_bounded() {
        assert_eq!(fresh_for(&[("cache-control", "public, max-age=60"), ("age", "20")]), Some(40));
        assert_eq!(fresh_for(&[("cache-control", "max-age=60, s-maxage=\"5\"")]), Some(5));
        assert_eq!(fresh_for(&[("cache-control", "max-age=99999999999999999999")]), Some(31_536_000));
        assert_eq!(fresh_for(&[("cache-control", "max-age=-1")]), Some(0));
        assert_eq!(fresh_for(&[("cache-control", "max-age=60"), ("cache-control", "no-cache")]), Some(0));
        let date = ("date", "Wed, 21 Oct 2015 07:28:00 GMT");
        assert_eq!(fresh_for(&[date, ("expires", "Wed, 21 Oct 2015 07:29:30 GMT")]), Some(90));
        assert_eq!(fresh_for(&[date, ("expires", "0")]), Some(0));
        assert_eq!(fresh_for(&[("expires", "Wed, 21 Oct 2015 07:29:30 GMT")]), None, "no date to go by");
    }

    #[test]
    fn what_must_not_be_kept_and_what_is_known_again() {
        assert!(of(&[("cache-control", "No-Store")]).unwrap().no_store);
        assert!(of(&[("vary", " * ")]).unwrap().no_store);
        let found = of(&[("etag", "W/\"7\""), ("cache-control", "public, stale-if-error=60")]).unwrap();
        assert!(found.public && found.fresh_for.is_none());
        assert_eq!(found.stale_if_error, Some(Duration::from_secs(60)));
        assert_eq!(found.validators.unwrap().etag.as_deref(), Some("W/\"7\""));
    }
}
