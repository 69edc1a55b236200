//! How spans are sent: the configuration, and the variables `OTEL_*` of the environment for what it leaves out.

use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::config::Otlp;
use crate::{Error, semconv};

/// How spans are sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The whole address.
    pub url: String,
    /// Headers that go with each request. Their values may be secrets.
    pub headers: Vec<(String, String)>,
    /// How long a request may take.
    pub timeout: Duration,
    /// How long spans wait to be sent together.
    pub delay: Duration,
    /// The most spans that wait.
    pub queue: usize,
    /// The most spans of one request.
    pub batch: usize,
    /// The share of traces that are sent, from 0 to 1.
    pub share: f64,
    /// Whether a caller's decision not to sample is followed.
    pub follows_parent: bool,
    /// What is said of this process.
    pub resource: Vec<(String, String)>,
}

/// Reads a variable of the environment.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Settings {
    /// How spans are sent; none where they are not.
    ///
    /// # Errors
    /// [`Error::Setting`] names what can't be used.
    pub fn new(config: &Otlp, env: Env<'_>) -> Result<Option<Self>, Error> {
        let get =
            |name: &str| env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        if get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        match get("OTEL_TRACES_EXPORTER").as_deref() {
            Some("none") => return Ok(None),
            None | Some("otlp") => {}
            Some(_) => return Err(bad("OTEL_TRACES_EXPORTER", "is neither `otlp` nor `none`")),
        }
        let below = |base: &str| format!("{}/v1/traces", base.trim_end_matches('/'));
        let url = match (&config.endpoint, get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")) {
            (Some(base), _) => Some(below(base)),
            (None, Some(url)) => Some(url),
            (None, None) => get("OTEL_EXPORTER_OTLP_ENDPOINT").map(|base| below(&base)),
        };
        let Some(url) = url else { return Ok(None) };
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(bad("the endpoint of OTLP", "is no http:// or https:// address"));
        }
        let either = |name: &str| {
            get(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"))
                .or_else(|| get(&format!("OTEL_EXPORTER_OTLP_{name}")))
        };
        match either("PROTOCOL").as_deref() {
            None | Some("http/protobuf") => {}
            Some(_) => {
                return Err(bad("OTEL_EXPORTER_OTLP_PROTOCOL", "is not `http/protobuf`, the only one known"));
            }
        }
        if either("COMPRESSION").is_some_and(|value| value != "none") {
            return Err(bad("OTEL_EXPORTER_OTLP_COMPRESSION", "is not `none`, the only one known"));
        }
        let mut headers = pairs(&either("HEADERS").unwrap_or_default(), "OTEL_EXPORTER_OTLP_HEADERS")?;
        for (name, value) in &config.headers {
            headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
            headers.push((name.clone(), value.expose().to_owned()));
        }
        let number = |name: &str, usual: u64| match get(name) {
            None => Ok(usual),
            Some(text) => text.parse().map_err(|_| bad(name, "is no whole number")),
        };
        let timeout = match either("TIMEOUT") {
            None => 10_000,
            Some(text) => {
                text.parse().map_err(|_| bad("OTEL_EXPORTER_OTLP_TIMEOUT", "is no whole number"))?
            }
        };
        let (share, follows_parent) = sampler(&get)?;
        let queue = usize::try_from(number("OTEL_BSP_MAX_QUEUE_SIZE", 16_384)?).unwrap_or(usize::MAX);
        let batch = usize::try_from(number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)?).unwrap_or(usize::MAX);
        Ok(Some(Self {
            url,
            headers,
            timeout: Duration::from_millis(timeout),
            delay: Duration::from_millis(number("OTEL_BSP_SCHEDULE_DELAY", 1_000)?),
            queue: queue.clamp(1, 1 << 20),
            batch: batch.clamp(1, queue.clamp(1, 8_192)),
            share,
            follows_parent,
            resource: resource(&get)?,
        }))
    }
}

fn sampler(get: &dyn Fn(&str) -> Option<String>) -> Result<(f64, bool), Error> {
    let name = get("OTEL_TRACES_SAMPLER").unwrap_or_else(|| "parentbased_always_on".to_owned());
    let (follows, kind) = match name.strip_prefix("parentbased_") {
        Some(kind) => (true, kind),
        None => (false, &*name),
    };
    let share = match kind {
        "always_on" => 1.0,
        "always_off" => 0.0,
        "traceidratio" => {
            let text = get("OTEL_TRACES_SAMPLER_ARG").unwrap_or_else(|| "1".to_owned());
            let share: Option<f64> = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
            share.ok_or_else(|| bad("OTEL_TRACES_SAMPLER_ARG", "is no number from 0 to 1"))?
        }
        _ => return Err(bad("OTEL_TRACES_SAMPLER", "is not a sampler that is known")),
    };
    Ok((share, follows))
}

fn resource(get: &dyn Fn(&str) -> Option<String>) -> Result<Vec<(String, String)>, Error> {
    let mut resource =
        pairs(&get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default(), "OTEL_RESOURCE_ATTRIBUTES")?;
    let mut put = |name: &str, value: String, always: bool| {
        if always {
            resource.retain(|(known, _)| known != name);
        }
        if !resource.iter().any(|(known, _)| known == name) {
            resource.push((name.to_owned(), value));
        }
    };
    match get("OTEL_SERVICE_NAME") {
        Some(name) => put(semconv::SERVICE_NAME, name, true),
        None => put(semconv::SERVICE_NAME, crate::span::OURS.to_owned(), false),
    }
    put(semconv::SERVICE_VERSION, env!("CARGO_PKG_VERSION").to_owned(), false);
    Ok(resource)
}

/// `name=value` pairs between commas, the values percent-encoded.
fn pairs(text: &str, what: &str) -> Result<Vec<(String, String)>, Error> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=').ok_or_else(|| bad(what, "is no list of name=value"))?;
            let value =
                percent_decode_str(value.trim()).decode_utf8().map_err(|_| bad(what, "is no UTF-8"))?;
            Ok((name.trim().to_owned(), value.into_owned()))
        })
        .collect()
}

fn bad(what: &str, how: &str) -> Error {
    Error::Setting(format!("{what} {how}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<Option<Settings>, Error> {
        let get = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Settings::new(&Otlp::default(), &get)
    }

    #[test]
    fn the_variables_of_opentelemetry_are_honoured() {
        assert_eq!(with(&[]).unwrap(), None);
        let settings = with(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x, a=b"),
            ("OTEL_SERVICE_NAME", "edge"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,zone=a"),
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ]);
        let settings = settings.unwrap().unwrap();
        assert_eq!(settings.url, "http://c:4318/v1/traces");
        assert_eq!(settings.headers[0], ("authorization".to_owned(), "Bearer x".to_owned()));
        assert_eq!((settings.share, settings.follows_parent, settings.delay.as_millis()), (0.25, false, 50));
        assert!(settings.resource.contains(&("service.name".to_owned(), "edge".to_owned())));
        assert!(settings.resource.contains(&("zone".to_owned(), "a".to_owned())));
        let own = with(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://c/x")]).unwrap().unwrap();
        assert_eq!(own.url, "https://c/x");
        assert_eq!(
            with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), ("OTEL_SDK_DISABLED", "TRUE")]).unwrap(),
            None
        );
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_TRACES_SAMPLER", "often"),
            ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x"),
        ] {
            let error =
                with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), (name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
