//! A read that is answered from the cache, beside the same read of the service itself.

use std::time::{Duration, Instant};

use crate::load::{Http, client, send};
use crate::stage::{Gateway, service};

/// How long the service takes: an ordinary one over a network.
const TAKES: Duration = Duration::from_millis(20);

/// How often each is asked.
const TIMES: usize = 300;

/// The bar: how many times faster.
const BAR: f64 = 20.0;

pub(crate) async fn run() -> anyhow::Result<bool> {
    let url = service(64, TAKES).await?;
    let of = |name: &str, more: &str| {
        format!("  {name}: {{ openapi: {{ document: \"DOCUMENT\", base_url: \"{url}\" }}{more} }}\n")
    };
    let kept = of("kept", ", cache: { ttl_ms: 3600000 }");
    let gateway = Gateway::start(&format!("services:\n{kept}{}", of("plain", ""))).await?;
    let http = client();
    let tool = |name: &str| format!("{}/v1/tools/{name}:call", gateway.url);
    println!(
        "{:<28} {:>12} {:>14} {:>12} {:>8}",
        "microseconds, median", "service", "by the gateway", "kept", "times"
    );
    let mut times = Vec::new();
    for path in ["work", "quick"] {
        let legs = [
            ("GET", format!("{url}/{path}")),
            ("POST", tool(&format!("plain__{path}"))),
            ("POST", tool(&format!("kept__{path}"))),
        ];
        // Known connections, and an answer that is kept.
        for (method, url) in &legs {
            send(&http, method, url, &[]).await?;
        }
        let [direct, plain, kept] = medians(&http, &legs).await?;
        let what = if path == "work" { "a service that takes 20 ms" } else { "one that takes no time" };
        println!("{what:<28} {direct:>12.0} {plain:>14.0} {kept:>12.0} {:>8.1}", direct / kept);
        times.push(direct / kept);
    }
    let met = times[0] >= BAR;
    println!(
        "a kept answer is {:.0} times faster; the bar is {BAR:.0}: {}",
        times[0],
        if met { "met" } else { "MISSED" }
    );
    println!(
        "{{\"bench\":\"cache\",\"times_faster\":{:.1},\"times_of_an_instant_service\":{:.2},\"bars_met\":{met}}}",
        times[0], times[1]
    );
    Ok(met)
}

/// The medians of asking each, in turn, in microseconds.
async fn medians(http: &Http, legs: &[(&str, String); 3]) -> anyhow::Result<[f64; 3]> {
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..TIMES {
        for ((method, url), times) in legs.iter().zip(&mut times) {
            let begun = Instant::now();
            anyhow::ensure!(send(http, method, url, &[]).await?, "{url} was not answered well");
            times.push(begun.elapsed());
        }
    }
    Ok(times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1e6
    }))
}
