//! Requests, and what came of them.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// A client that keeps its connections.
pub(crate) type Http = Client<HttpConnector, Full<Bytes>>;

pub(crate) fn client() -> Http {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).pool_max_idle_per_host(4_096).build(connector)
}

/// One request. Whether it was answered well.
pub(crate) async fn send(
    http: &Http,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
) -> anyhow::Result<bool> {
    let mut request = Request::builder().method(method).uri(url).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if method == "POST" { Full::from("{}") } else { Full::default() };
    let response = http.request(request.body(body)?).await.context("no answer")?;
    let good = response.status() == 200;
    response.into_body().collect().await.context("a broken answer")?;
    Ok(good)
}

/// A stream of requests that come whether or not earlier ones were answered.
#[derive(Clone)]
pub(crate) struct Stream {
    pub(crate) url: String,
    /// Whose requests they are, in turn.
    pub(crate) keys: Vec<String>,
    pub(crate) per_second: f64,
    /// How long each is waited for.
    pub(crate) patience: Duration,
}

/// Sends a stream for `warm` and then for `measured`. Gives how many of the latter a second were answered well and in time.
pub(crate) async fn goodput(
    http: Http,
    stream: Stream,
    warm: Duration,
    measured: Duration,
) -> anyhow::Result<f64> {
    let mut ticks = interval(Duration::from_secs_f64(1.0 / stream.per_second));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (begun, mut calls, mut sent, mut good) = (Instant::now(), JoinSet::new(), 0_usize, 0_u32);
    while begun.elapsed() < warm + measured {
        ticks.tick().await;
        let counts = begun.elapsed() >= warm;
        let (http, stream) = (http.clone(), stream.clone());
        let key = stream.keys[sent % stream.keys.len()].clone();
        sent += 1;
        calls.spawn(async move {
            let patience = stream.patience.as_millis().to_string();
            let headers = [("x-api-key", &*key), ("trunkline-timeout-ms", &*patience)];
            let call = send(&http, "POST", &stream.url, &headers);
            let good = tokio::time::timeout(stream.patience, call).await;
            counts && matches!(good, Ok(Ok(true)))
        });
        while let Some(ended) = calls.try_join_next() {
            good += u32::from(ended.unwrap_or(false));
        }
    }
    while let Some(ended) = calls.join_next().await {
        good += u32::from(ended.unwrap_or(false));
    }
    Ok(f64::from(good) / measured.as_secs_f64())
}
