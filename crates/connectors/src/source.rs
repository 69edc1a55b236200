//! What sources of instances share: what can go wrong, how often they ask, and how an address becomes a URL.

mod error;
mod pace;

use std::sync::Arc;

use url::Url;

pub use error::Error;
pub(crate) use pace::Pace;

/// A number from 0 to 1.
pub type Chance = Arc<dyn Fn() -> f64 + Send + Sync>;

/// The most instances that are taken of one answer.
pub(crate) const MAX_INSTANCES: usize = 1_000;

/// The URL of an instance: `template` with `{host}` and `{port}` filled in. An IPv6 address gets its brackets.
///
/// # Errors
/// Why there is none, in words.
pub fn place(template: &str, host: &str, port: u16) -> Result<String, String> {
    let plain = !host.is_empty()
        && host.len() <= 255
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'%'));
    if !plain {
        return Err("its address is no host name or IP address".to_owned());
    }
    if port == 0 && template.contains("{port}") {
        return Err("it has no port".to_owned());
    }
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let text = template.replace("{host}", &host).replace("{port}", &port.to_string());
    let url = Url::parse(&text).map_err(|error| format!("its address can't be used: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("its address is no http or https URL".to_owned());
    }
    Ok(url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_fills_the_template_and_can_say_nothing_else() {
        let template = "http://{host}:{port}/mcp";
        assert_eq!(place(template, "10.0.0.1", 80).unwrap(), "http://10.0.0.1/mcp");
        assert_eq!(place(template, "::1", 8080).unwrap(), "http://[::1]:8080/mcp");
        assert_eq!(place("https://{host}/", "a.example", 0).unwrap(), "https://a.example/");
        for host in ["", "a/b", "user@a", "a b", "a?b", "a#b", "{port}", &"a".repeat(300)] {
            assert!(place(template, host, 80).is_err(), "{host}");
        }
        assert!(place(template, "a", 0).is_err());
    }
}
