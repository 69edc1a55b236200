//! Tells a Consul agent of services, keeps their heartbeat, and takes them back at the end.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::config::Announce;
use crate::source::{Chance, Error, Pace};

/// How often a registration without a heartbeat is made again: an agent that has lost its state learns of it so.
const AGAIN: Duration = Duration::from_mins(1);

/// The shortest time after which an agent forgets what is critical.
const FORGET: Duration = Duration::from_mins(1);

/// How something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It can be used.
    Passing,
    /// It can, but something is not as it should be.
    Warning(String),
    /// It can't.
    Critical(String),
}

/// Something that an agent is told of.
pub struct Announcement {
    /// Its name in Consul.
    pub name: String,
    /// What is told.
    pub announce: Announce,
    /// How it is at the moment.
    pub health: Arc<dyn Fn() -> Health + Send + Sync>,
}

impl Announcement {
    fn id(&self) -> &str {
        self.announce.id.as_deref().unwrap_or(&self.name)
    }

    fn ttl(&self) -> Option<Duration> {
        self.announce.check.as_ref().and_then(|check| check.ttl_ms).map(Duration::from_millis)
    }

    /// The body of `PUT /v1/agent/service/register`.
    fn body(&self) -> Value {
        let Announce { address, port, tags, meta, check, .. } = &self.announce;
        let ms = |ms: u64| format!("{ms}ms");
        let check = check.as_ref().map(|check| {
            let mut body = match (&check.http, &check.tcp, check.ttl_ms) {
                (Some(url), ..) => json!({"HTTP": url}),
                (_, Some(place), _) => json!({"TCP": place}),
                (.., ttl) => json!({"TTL": ms(ttl.unwrap_or_default())}),
            };
            if check.ttl_ms.is_none() {
                body["Interval"] = json!(ms(check.interval_ms));
                body["Timeout"] = json!(ms(check.timeout_ms));
            }
            if let Some(after) = check.forget_after_ms {
                let after = Duration::from_millis(after).max(FORGET);
                body["DeregisterCriticalServiceAfter"] = json!(format!("{}s", after.as_secs()));
            }
            // Known from the start: or the agent asks for one second.
            body["CheckID"] = json!(format!("service:{}", self.id()));
            body
        });
        let mut body = json!({"ID": self.id(), "Name": self.name, "Port": port, "Tags": tags, "Meta": meta});
        if let Some(address) = address {
            body["Address"] = json!(address);
        }
        if let Some(check) = check {
            body["Check"] = check;
        }
        body
    }
}

/// Registers something at the agent, and goes on until `shutdown`: then it is taken back.
pub async fn announce(client: Client, what: Announcement, chance: Chance, shutdown: CancellationToken) {
    let mut pace = Pace::new(chance);
    let mut registered = false;
    let mut failing = false;
    let every = what.ttl().map_or(AGAIN, |ttl| ttl / 3);
    let told = async {
        loop {
            pace.turn().await;
            let done = tell(&client, &what, &mut registered).await;
            match done {
                Ok(()) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!(service = what.name, "Consul knows of it again");
                    }
                    pace.succeeded();
                    sleep_until(Instant::now() + every).await;
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(service = what.name, %error, "Consul can't be told; it is tried again");
                    }
                    pace.failed();
                }
            }
        }
    };
    shutdown.run_until_cancelled(told).await;
    // Whoever stops us does not wait for ever.
    let path = ["agent", "service", "deregister", what.id()];
    if let Err(error) = client.put(&path, &[], &Value::Null).await {
        tracing::warn!(service = what.name, %error, "Consul can't be told that it has ended");
    }
}

/// Registers it where the agent does not know it, and says how it is.
async fn tell(client: &Client, what: &Announcement, registered: &mut bool) -> Result<(), Error> {
    if !*registered || what.ttl().is_none() {
        let query = [("replace-existing-checks", "true")];
        client.put(&["agent", "service", "register"], &query, &what.body()).await?;
        *registered = true;
    }
    if what.ttl().is_none() {
        return Ok(());
    }
    let (status, output) = match (what.health)() {
        Health::Passing => ("passing", String::new()),
        Health::Warning(why) => ("warning", why),
        Health::Critical(why) => ("critical", why),
    };
    let check = format!("service:{}", what.id());
    let path = ["agent", "check", "update", &check];
    let known = client.put(&path, &[], &json!({"Status": status, "Output": output})).await?;
    if !known {
        *registered = false;
        let cause = "it has forgotten the registration, which is made again".to_owned();
        return Err(Error::Unusable { source_name: client.name(), cause });
    }
    Ok(())
}
