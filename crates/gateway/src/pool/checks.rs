//! Checks of instances: made again and again, and believed after some of a kind in a row.

use std::sync::{Arc, Weak};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};
use trunkline_model::BoxFuture;
use trunkline_resilience::balance::Sign;

use super::Shared;

/// How instances are checked. At most one of `http`, `tcp`, `mcp` and `command` is given; without any nothing is checked, and how an
/// instance is shows in its calls and its connection alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthConfig {
    /// A path that an instance answers with success (2xx) while it is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// It takes connections.
    pub tcp: bool,
    /// It answers `server/discover`, or `ping` in older revisions of MCP.
    pub mcp: bool,
    /// A command that succeeds while it is well: program and arguments. `{url}`, `{host}` and `{port}` stand for the instance.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The time between two checks, in milliseconds, a tenth more or less.
    pub interval_ms: u64,
    /// How long a check may take, in milliseconds. One that takes longer has failed.
    pub timeout_ms: u64,
    /// After so many good checks in a row an instance is well.
    pub healthy_after: u32,
    /// After so many bad checks in a row it is not.
    pub unhealthy_after: u32,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            http: None,
            tcp: false,
            mcp: false,
            command: Vec::new(),
            interval_ms: 5_000,
            timeout_ms: 2_000,
            healthy_after: 2,
            unhealthy_after: 3,
        }
    }
}

impl HealthConfig {
    /// Whether there is anything to check.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.http.is_some() || self.tcp || self.mcp || !self.command.is_empty()
    }
}

/// Makes one check of an instance at an address, and says what is wrong. It need not end.
pub type Probe = Arc<dyn Fn(String) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Checks in a row that came to the same.
#[derive(Default)]
struct Row {
    good: u32,
    bad: u32,
}

impl Row {
    /// What is to be believed after one more, where that is enough for anything.
    fn believes(&mut self, found: Result<(), String>, config: &HealthConfig) -> Option<Result<(), String>> {
        match found {
            Ok(()) => {
                (self.good, self.bad) = (self.good.saturating_add(1), 0);
                (self.good >= config.healthy_after).then_some(Ok(()))
            }
            Err(cause) => {
                (self.good, self.bad) = (0, self.bad.saturating_add(1));
                (self.bad >= config.unhealthy_after).then_some(Err(cause))
            }
        }
    }
}

/// Checks an instance until it or its pool has gone.
pub(super) async fn watch(pool: Weak<Shared>, url: String, config: HealthConfig, probe: Probe) {
    let interval = Duration::from_millis(config.interval_ms.max(10));
    let limit = Duration::from_millis(config.timeout_ms.max(1));
    let mut row = Row::default();
    // So that the instances are not checked all at once; another share for each.
    let mut share = url.bytes().fold(7_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    sleep(interval.mul_f64(f64::from(share % 1000) / 1000.0)).await;
    loop {
        let found = timeout(limit, probe(url.clone())).await;
        let found = found.unwrap_or_else(|_| Err(format!("its check did not end within {limit:.1?}")));
        let Some(pool) = pool.upgrade() else { return };
        let members = pool.members.load();
        let Some(endpoint) = members.endpoints.iter().find(|endpoint| endpoint.instance().url == url) else {
            return;
        };
        if let Some(believed) = row.believes(found, &config)
            && endpoint.saw(Sign::Check, believed.err().map(Arc::from), Instant::now().into_std())
        {
            pool.tell();
        }
        drop(members);
        drop(pool);
        share = share.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        sleep(interval.mul_f64(0.9 + 0.2 * f64::from(share >> 16) / 65_536.0)).await;
    }
}
