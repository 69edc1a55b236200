//! Three times as many calls as a service can take: with the limiter those that matter are answered as if they were
//! alone, and the service is used to the full; without it, hardly anybody is answered in time.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::load::{Http, Stream, client, goodput, send};
use crate::stage::{Gateway, service};

/// What the service does at a time, and how long each takes: 400 a second.
const AT_A_TIME: usize = 8;
const TAKES: Duration = Duration::from_millis(20);

/// How long a caller waits.
const PATIENCE: Duration = Duration::from_millis(500);

/// Callers whose calls matter less.
const CALLERS: usize = 40;

/// The share of its capacity that calls of high priority ask for, and how much is asked for in all.
const HIGH: f64 = 0.2;
const OVER: f64 = 3.0;

/// The bars: of the goodput of high priority alone, and of the capacity.
const HIGH_BAR: f64 = 0.99;
const ALL_BAR: f64 = 0.90;

/// What takes the limiter away.
const WITHOUT: &str = "resilience: { adaptive: { enabled: false }, bulkhead: { concurrent: 100000 } }\n";

pub(crate) async fn run(seconds: u64) -> anyhow::Result<bool> {
    let (warm, measured) = (Duration::from_secs(seconds), Duration::from_secs(seconds));
    let http = client();
    let capacity = capacity(&http).await?;
    let (alone, with) = {
        let gateway = gateway("").await?;
        let alone = goodput(http.clone(), high(&gateway, capacity), warm / 2, measured).await?;
        (alone, both(&http, &gateway, capacity, warm, measured).await?)
    };
    let without = {
        let gateway = gateway(WITHOUT).await?;
        both(&http, &gateway, capacity, warm, measured).await?
    };
    println!("{:<44} {:>8} {:>8} {:>8}", "good answers a second", "high", "low", "all");
    println!("{:<44} {:>8} {:>8} {capacity:>8.0}", "the service itself, as much as it can take", "", "");
    println!("{:<44} {alone:>8.1} {:>8} {alone:>8.1}", "high priority alone", "");
    for (what, (high, low)) in
        [("three times the capacity, with the limiter", with), ("the same without it", without)]
    {
        println!("{what:<44} {high:>8.1} {low:>8.1} {:>8.1}", high + low);
    }
    let (high_share, all_share) = (with.0 / alone, (with.0 + with.1) / capacity);
    let met = high_share >= HIGH_BAR && all_share >= ALL_BAR;
    let without_share = (without.0 + without.1) / capacity;
    println!(
        "high priority keeps {:.1} % (bar {:.0}), the service {:.1} % of its capacity (bar {:.0}; without the limiter {:.1}): {}",
        high_share * 100.0,
        HIGH_BAR * 100.0,
        all_share * 100.0,
        ALL_BAR * 100.0,
        without_share * 100.0,
        if met { "met" } else { "MISSED" },
    );
    println!(
        "{{\"bench\":\"overload\",\"capacity\":{capacity:.1},\"high_alone\":{alone:.1},\"high_with\":{:.1},\"low_with\":{:.1},\
         \"high_without\":{:.1},\"low_without\":{:.1},\"bars_met\":{met}}}",
        with.0, with.1, without.0, without.1
    );
    Ok(met)
}

/// What the service answers a second where always enough is asked of it.
async fn capacity(http: &Http) -> anyhow::Result<f64> {
    let url = format!("{}/work", service(AT_A_TIME, TAKES).await?);
    let (begun, time) = (Instant::now(), Duration::from_secs(4));
    let callers = (0..AT_A_TIME * 2).map(|_| {
        let (http, url) = (http.clone(), url.clone());
        tokio::spawn(async move {
            let mut answered = 0_u32;
            while begun.elapsed() < time {
                answered += u32::from(send(&http, "GET", &url, &[]).await.unwrap_or(false));
            }
            answered
        })
    });
    let callers: Vec<_> = callers.collect();
    let mut answered = 0;
    for caller in callers {
        answered += caller.await?;
    }
    Ok(f64::from(answered) / begun.elapsed().as_secs_f64())
}

/// The gateway in front of a service that has not been asked yet.
async fn gateway(more: &str) -> anyhow::Result<Gateway> {
    let url = service(AT_A_TIME, TAKES).await?;
    let mut config = format!(
        "{more}services: {{ fixed: {{ openapi: {{ document: \"DOCUMENT\", base_url: \"{url}\" }} }} }}\n\
         priorities: {{ rules: [{{ principal: ops, class: high }}, {{ principal: \"batch-*\", class: low }}] }}\n\
         auth:\n  api_keys:\n    - {{ id: ops, key: {} }}\n",
        key("ops")
    );
    for caller in 0..CALLERS {
        let id = format!("batch-{caller}");
        writeln!(config, "    - {{ id: {id}, key: {} }}", key(&id))?;
    }
    Gateway::start(&config).await
}

fn key(id: &str) -> String {
    format!("the-key-of-{id}-for-a-benchmark")
}

fn stream(gateway: &Gateway, keys: Vec<String>, per_second: f64) -> Stream {
    let url = format!("{}/v1/tools/fixed__work:call", gateway.url);
    Stream { url, keys, per_second, patience: PATIENCE }
}

fn high(gateway: &Gateway, capacity: f64) -> Stream {
    stream(gateway, vec![key("ops")], capacity * HIGH)
}

/// The goodput of both priorities.
async fn both(
    http: &Http,
    gateway: &Gateway,
    capacity: f64,
    warm: Duration,
    measured: Duration,
) -> anyhow::Result<(f64, f64)> {
    let keys = (0..CALLERS).map(|caller| key(&format!("batch-{caller}"))).collect();
    let low = stream(gateway, keys, capacity * (OVER - HIGH));
    let high = tokio::spawn(goodput(http.clone(), high(gateway, capacity), warm, measured));
    let low = tokio::spawn(goodput(http.clone(), low, warm, measured));
    Ok((high.await??, low.await??))
}
