//! Consul, by the stand-in for its agent: what is followed, what is told, and agents that misbehave.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use consul_stand_in::{Fault, StandIn};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use trunkline_connectors::consul::{
    Announce, AnnouncedCheck, Announcement, Client, Config, ConsulSource, Health, Lookup, announce,
};
use trunkline_connectors::http_client::HttpClient;
use trunkline_model::{Failure, Instance, InstanceSource, Secret};

const PATIENCE: Duration = Duration::from_secs(20);

fn client(url: &str, more: Config) -> Client {
    Client::new(&Config { address: url.to_owned(), ..more }, &HttpClient::new().unwrap()).unwrap()
}

fn source(agent: &StandIn, token: Option<&str>) -> ConsulSource {
    let config = Config { token: token.map(Secret::new), ..Config::default() };
    let client = client(&agent.url(), config);
    ConsulSource::new(client, Lookup::default(), "orders", "http://{host}:{port}/", Arc::new(|| 0.0))
}

fn place(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

async fn next(source: &mut ConsulSource) -> Result<Vec<String>, Failure> {
    let told = tokio::time::timeout(PATIENCE, source.next()).await.expect("it is told");
    let url = |instance: Instance| instance.url;
    told.map(|instances| instances.into_iter().map(url).collect())
}

#[tokio::test]
async fn what_comes_goes_and_falls_ill_is_told_once() {
    let agent = StandIn::start().await.unwrap();
    agent.put("orders", "one", place(1));
    agent.put("other", "two", place(2));
    let mut source = source(&agent, None);
    assert_eq!(next(&mut source).await.unwrap(), ["http://127.0.0.1:1/"]);
    agent.put("orders", "three", place(3));
    assert_eq!(next(&mut source).await.unwrap().len(), 2);
    // What changes nothing of the service is not told.
    agent.put("other", "four", place(4));
    agent.check("one", "critical", "it is ill");
    assert_eq!(next(&mut source).await.unwrap(), ["http://127.0.0.1:3/"]);
    agent.take("three");
    // The last one is better than none.
    assert_eq!(next(&mut source).await.unwrap(), ["http://127.0.0.1:1/"]);
    agent.take("one");
    assert!(next(&mut source).await.unwrap().is_empty());
    assert!(agent.asked() < 12, "{}", agent.asked());
}

#[tokio::test]
async fn an_index_that_goes_back_or_is_zero_starts_anew_and_does_not_spin() {
    let agent = StandIn::start().await.unwrap();
    agent.put("orders", "one", place(1));
    let mut source = source(&agent, None);
    next(&mut source).await.unwrap();
    agent.go_back();
    agent.put("orders", "two", place(2));
    assert_eq!(next(&mut source).await.unwrap().len(), 2);
    agent.misbehave(Some(Fault::ZeroIndex));
    let before = agent.asked();
    let idle = tokio::time::timeout(Duration::from_secs(3), source.next()).await;
    assert!(idle.is_err(), "nothing is new");
    assert!(agent.asked() - before <= 6, "{}", agent.asked() - before);
    agent.misbehave(None);
    agent.put("orders", "three", place(3));
    assert_eq!(next(&mut source).await.unwrap().len(), 3);
}

#[tokio::test]
async fn garbage_and_silence_are_told_and_what_comes_after_them_is_believed() {
    let mut agent = StandIn::start().await.unwrap();
    agent.put("orders", "one", place(1));
    let mut source = source(&agent, None);
    next(&mut source).await.unwrap();
    for (fault, code) in [
        (Fault::Garbage, "TL9012"),
        (Fault::OtherShape, "TL9012"),
        (Fault::NoIndex, "TL9012"),
        (Fault::Broken, "TL9010"),
    ] {
        agent.misbehave(Some(fault));
        assert_eq!(next(&mut source).await.unwrap_err().code, code, "{fault:?}");
        agent.misbehave(None);
        // The same set is told again: it is known again.
        while next(&mut source).await.is_err() {}
    }
    let address = agent.address().to_string();
    drop(agent);
    assert_eq!(next(&mut source).await.unwrap_err().code, "TL9010");
    agent = StandIn::start_at(&address).await.unwrap();
    agent.put("orders", "two", place(2));
    let back = loop {
        if let Ok(back) = next(&mut source).await {
            break back;
        }
    };
    assert_eq!(back, ["http://127.0.0.1:2/"]);
}

#[tokio::test]
async fn a_token_is_shown_and_a_refusal_says_who_can_help() {
    let agent = StandIn::start().await.unwrap();
    agent.demand(Some("let-me-in"));
    agent.put("orders", "one", place(1));
    let failure = next(&mut source(&agent, None)).await.unwrap_err();
    assert_eq!(failure.code, "TL9011");
    assert!(!failure.explain().contains("let-me-in"));
    assert_eq!(next(&mut source(&agent, Some("let-me-in"))).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_announced_is_there_with_its_check_and_goes_at_the_end() {
    let agent = StandIn::start().await.unwrap();
    let target = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tcp = target.local_addr().unwrap().to_string();
    let end = CancellationToken::new();
    let mut told = tokio::task::JoinSet::new();
    let ttl = AnnouncedCheck { ttl_ms: Some(1_500), ..AnnouncedCheck::default() };
    let tcp = AnnouncedCheck { tcp: Some(tcp), interval_ms: 100, ..AnnouncedCheck::default() };
    let ill = Arc::new(std::sync::atomic::AtomicBool::new(false));
    for (name, check) in [("beats", ttl), ("is-looked-at", tcp)] {
        let ill = ill.clone();
        let health = move || match ill.load(std::sync::atomic::Ordering::Relaxed) {
            true => Health::Critical("its database is gone".to_owned()),
            false => Health::Passing,
        };
        let announce_ =
            Announce { port: 7400, tags: vec!["a".to_owned()], check: Some(check), ..Announce::default() };
        let what = Announcement { name: name.to_owned(), announce: announce_, health: Arc::new(health) };
        let client = client(&agent.url(), Config::default());
        told.spawn(announce(client, what, Arc::new(|| 0.0), end.clone()));
    }
    let until = async |expected: serde_json::Value| {
        let look = async {
            while json!(agent.known()) != expected {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let seen = tokio::time::timeout(PATIENCE, look).await;
        assert!(seen.is_ok(), "{expected} but {:?}", agent.known());
    };
    until(json!([["beats", "passing"], ["is-looked-at", "passing"]])).await;
    // It goes on beating for longer than its time to live.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(agent.known()[0].1, "passing");
    ill.store(true, std::sync::atomic::Ordering::Relaxed);
    until(json!([["beats", "critical"], ["is-looked-at", "passing"]])).await;
    // An agent that has forgotten is told again.
    agent.take("beats");
    until(json!([["beats", "critical"], ["is-looked-at", "passing"]])).await;
    end.cancel();
    while told.join_next().await.is_some() {}
    until(json!([])).await;
}
