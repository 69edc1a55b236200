//! `trunkline chaos`: a fault proxy before a service.

use std::path::PathBuf;

use tokio::net::TcpListener;

use super::block_on;
use super::output::{print, say};
use super::stop::Stop;
use crate::Error;
use crate::chaos::{Fault, Kind, Proxy, Script, Step};

/// The largest script, in bytes.
const MAX_SCRIPT: u64 = 1 << 20;

/// Stand before a service and disturb it, by a script.
#[derive(Debug, clap::Args)]
pub(super) struct Chaos {
    /// The service: `host:port`, or a URL of it.
    #[arg(long, value_name = "ADDRESS")]
    to: String,
    /// Listen here.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: String,
    /// What to do: a YAML file, as docs/chaos.md describes it.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Throw the dice by this seed in place of the script's.
    #[arg(long)]
    seed: Option<u64>,
    /// Let every answer come so much later, beside what the script says.
    #[arg(long, value_name = "MS")]
    latency_ms: Option<u64>,
}

impl Chaos {
    pub(super) fn run(self) -> Result<(), Stop> {
        let script = self.script()?;
        let to = address(&self.to)?;
        let seed = script.seed;
        block_on(async {
            let listener = TcpListener::bind(&self.listen).await.map_err(|error| Error::Usage {
                reason: format!("cannot listen on {}: {error}", self.listen),
                fix: "Listen on another address with --listen.".to_owned(),
            })?;
            print(&format!("listening on http://{}\n", listener.local_addr()?))?;
            say(&format_args!("before {to}, seed {seed}; interrupt to end"));
            let proxy = Proxy::new(to, script);
            tokio::select! {
                served = proxy.run(listener) => served?,
                () = crate::app::stop_signal() => {}
            }
            say(&proxy.told());
            Ok(())
        })
    }

    fn script(&self) -> Result<Script, Error> {
        let mut script = match &self.script {
            None => Script::default(),
            Some(file) => {
                let unreadable = |reason: String| Error::Unreadable { file: file.clone(), reason };
                let size = std::fs::metadata(file).map_err(|error| unreadable(error.to_string()))?.len();
                if size > MAX_SCRIPT {
                    return Err(unreadable(format!("it is larger than {MAX_SCRIPT} bytes")));
                }
                let text = std::fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
                Script::read(&text)?
            }
        };
        script.seed = self.seed.unwrap_or(script.seed);
        if let Some(ms) = self.latency_ms.filter(|ms| *ms > 0) {
            if script.steps.is_empty() {
                script.steps.push(Step::default());
            }
            let latency = Fault { ms, ..Fault::every(Kind::Latency) };
            script.steps.iter_mut().for_each(|step| step.faults.push(latency.clone()));
        }
        script.checked()
    }
}

/// Host and port of an address or URL.
fn address(text: &str) -> Result<String, Error> {
    let unusable = || Error::Usage {
        reason: "--to names no host and port".to_owned(),
        fix: "Write --to 127.0.0.1:8080.".to_owned(),
    };
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = url::Url::parse(&whole).map_err(|_| unusable())?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(unusable)?;
    let port = url.port_or_known_default().ok_or_else(unusable)?;
    Ok(format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_or_a_url_names_the_service() {
        for (text, expected) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://a:81/mcp", "a:81"),
            ("https://a/", "a:443"),
            ("[::1]:5", "[::1]:5"),
        ] {
            assert_eq!(address(text).unwrap(), expected);
        }
        assert!(address("a b").is_err());
    }
}
