//! Instances that a registry or a name server tells of, on the real binary: killed, added, moved and forgotten while they are
//! called. Consul is the stand-in of fixtures/consul-stand-in, the name server is dnsmasq.

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};

use consul_stand_in::{Fault, StandIn};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use super::instances::{Load, Stub, config, shown};
use super::support::process::Gateway;
use super::support::{eventually, http};

fn urls(shown: &[Value]) -> Vec<String> {
    let mut urls: Vec<String> = shown.iter().map(|one| one["url"].as_str().unwrap().to_owned()).collect();
    urls.sort();
    urls
}

async fn are(gateway: &Gateway, stubs: &[&Stub]) {
    let mut expected: Vec<String> = stubs.iter().map(|stub| format!("http://{}/", stub.address)).collect();
    expected.sort();
    eventually("the instances are those that are told", async || {
        (urls(&shown(gateway).await) == expected).then_some(())
    })
    .await;
}

async fn callable(gateway: &Gateway) {
    eventually("its tool can be called", async || {
        (gateway.call("names__getName", &json!({}), &[]).await.status == 200).then_some(())
    })
    .await;
}

/// What the gateway says is wrong with where the instances come from.
async fn says(gateway: &Gateway, what: Option<&str>) {
    eventually("it says how its source is", async || {
        let services = gateway.get("/v1/services").await.json().await;
        let cause = services["services"][0]["cause"].as_str().map(str::to_owned);
        match (what, cause) {
            (None, None) => Some(()),
            (Some(what), Some(cause)) => cause.contains(what).then_some(()),
            _ => None,
        }
    })
    .await;
}

#[tokio::test]
async fn what_consul_knows_is_called_whatever_becomes_of_it_and_no_call_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (mut one, two, three) =
        (Stub::start("one").await, Stub::start("two").await, Stub::start("three").await);
    let mut agent = StandIn::start().await.unwrap();
    agent.demand(Some("secret-token"));
    agent.put("names", "a", one.address);
    let registry = format!(
        "registry: {{ consul: {{ address: \"{}\", token: secret-token, announce: {{ gateway: {{ port: 7400, \
         check: {{ ttl_ms: 5000 }} }}, shop-names: {{ port: 7400, service: names, check: {{ ttl_ms: 5000 }} }} }} }} }}\n",
        agent.url()
    );
    let config = registry + &config(folder.path(), "discover: { consul: {} }");
    let gateway = Gateway::begin(&config).await;
    callable(&gateway).await;
    let load = Load::start(gateway.address);
    // Added, moved to another place, and killed.
    agent.put("names", "b", two.address);
    are(&gateway, &[&one, &two]).await;
    eventually("the second is called", async || (two.calls() > 20).then_some(())).await;
    agent.put("names", "a", three.address);
    are(&gateway, &[&two, &three]).await;
    eventually("the third is called", async || (three.calls() > 20).then_some(())).await;
    one.kill().await;
    let mut three = three;
    three.kill().await;
    agent.check("a", "critical", "connection refused");
    are(&gateway, &[&two]).await;
    // Garbage, an index that goes back, and an agent that is gone: what was known last stays.
    agent.misbehave(Some(Fault::Garbage));
    says(&gateway, Some("not a list of instances")).await;
    agent.misbehave(None);
    says(&gateway, None).await;
    agent.go_back();
    agent.take("a");
    let known = eventually("it is announced", async || {
        let known = agent.known();
        (known.len() == 3 && known.iter().all(|(_, status)| status == "passing")).then_some(known)
    });
    assert_eq!(
        known.await.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(),
        ["b", "gateway", "shop-names"]
    );
    let address = agent.address().to_string();
    drop(agent);
    says(&gateway, Some("can't be asked")).await;
    are(&gateway, &[&two]).await;
    agent = StandIn::start_at(&address).await.unwrap();
    agent.put("names", "b", two.address);
    says(&gateway, None).await;
    load.none_failed().await;
    eventually("both failures and their ends are events", async || {
        let events = gateway.events("dev.trunkline.service_call.changed").await;
        let told = events.iter().filter(|event| event["data"]["action"] == "source");
        let failing: Vec<_> = told.map(|event| event["data"]["context"]["failing"] == true).collect();
        (failing == [true, false, true, false]).then_some(())
    })
    .await;
    assert!(!gateway.log().contains("secret-token"));
}

/// The tools that `/v1/discover` finds, or why those that it leaves out do not fit.
async fn found(gateway: &Gateway, capability: &str) -> Value {
    let query = json!({"capability": capability}).to_string();
    let found = http::post(gateway.address, "/v1/discover", &[], query).await.json().await;
    match found["tools"][0]["tool"].as_str() {
        Some(tool) => json!([tool, found["tools"][0]["capability"], found["tools"][0]["instances"]]),
        None => found["left_out"][0]["why"].clone(),
    }
}

async fn finds(gateway: &Gateway, capability: &str, expected: Value) {
    eventually(&format!("{capability} finds {expected}"), async || {
        (found(gateway, capability).await == expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_tags_in_consul_say_is_found_and_changes_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (Stub::start("one").await, Stub::start("two").await);
    let agent = StandIn::start().await.unwrap();
    agent.describe("names", "a", one.address, &["capability=people.names.read", "v2"], &[("team", "a")]);
    let config = format!("registry: {{ consul: {{ address: \"{}\" }} }}\n", agent.url())
        + &config(folder.path(), "discover: { consul: {} }");
    let gateway = Gateway::begin(&config).await;
    callable(&gateway).await;
    let fit = |term: &str, instances: usize| json!(["names__getName", term, instances]);
    finds(&gateway, "people.names", fit("people.names.read", 1)).await;
    finds(&gateway, "names.read", fit("names.read", 1)).await;
    // Another instance can more, by its metadata; the first says something else of itself from now on.
    agent.describe("names", "b", two.address, &[], &[("capabilities", "people.mail")]);
    finds(&gateway, "people.mail", fit("people.mail", 2)).await;
    agent.describe("names", "a", one.address, &["capability=people.nicknames"], &[("team", "a")]);
    finds(&gateway, "people.nicknames", fit("people.nicknames", 2)).await;
    finds(&gateway, "people.names", Value::Null).await;
    // Gone with the instance.
    agent.take("b");
    finds(&gateway, "people.mail", Value::Null).await;
    finds(&gateway, "people.nicknames", fit("people.nicknames", 1)).await;
    let changes = eventually("each change is an event", async || {
        let events = gateway.events("dev.trunkline.service_call.changed").await;
        let told: Vec<Value> = events
            .iter()
            .filter(|event| {
                event["data"]["action"] == "instance" && event["data"]["context"]["healthy"] == true
            })
            .map(|event| event["data"]["context"]["capabilities"].clone())
            .collect();
        (told.len() >= 3 && told.last() == Some(&json!(["people.nicknames"]))).then_some(told)
    })
    .await;
    assert!(
        changes.contains(&json!(["people.names.read"])) && changes.contains(&json!(["people.mail"])),
        "{changes:?}"
    );
}

/// An authority with a certificate of its own, and one that it gave a server at this machine.
struct Authority {
    certificate: String,
    server: (String, String),
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let certificate = parameters.self_signed(&key).unwrap();
        let issuer = Issuer::new(parameters, key);
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let server = server.signed_by(&key, &issuer).unwrap();
        Self { certificate: certificate.pem(), server: (server.pem(), key.serialize_pem()) }
    }
}

#[tokio::test]
async fn an_agent_behind_tls_is_believed_only_by_its_own_authority() {
    let folder = tempfile::tempdir().unwrap();
    let one = Stub::start("one").await;
    let (right, wrong) = (Authority::new("right"), Authority::new("wrong"));
    let agent = StandIn::start_tls(&right.server.0, &right.server.1).await.unwrap();
    agent.put("names", "a", one.address);
    let trusting = |authority: &Authority| {
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, &authority.certificate).unwrap();
        let address = format!("address: \"{}\", ca_file: {}", agent.url(), file.display());
        let announce = "announce: { gateway: { port: 7400, check: { ttl_ms: 5000 } } }";
        format!("registry: {{ consul: {{ {address}, {announce} }} }}\n")
            + &config(folder.path(), "discover: { consul: {} }")
    };
    let gateway = Gateway::begin(&trusting(&right)).await;
    callable(&gateway).await;
    eventually("it is announced", async || {
        agent.known().contains(&("gateway".to_owned(), "passing".to_owned())).then_some(())
    })
    .await;
    drop(gateway);
    let asked = agent.asked();
    let gateway = Gateway::begin(&trusting(&wrong)).await;
    says(&gateway, Some("certificate: UnknownIssuer (it is checked against `registry.consul.ca_file`)"))
        .await;
    assert_ne!(gateway.call("names__getName", &json!({}), &[]).await.status, 200);
    assert_eq!(agent.asked(), asked, "nothing was said to an agent that is not believed");
}

/// A real name server.
struct Dnsmasq(Child);

impl Dnsmasq {
    /// Serves `records` at a port of this machine. None where dnsmasq is not installed.
    fn start(port: u16, records: &[String]) -> Option<Self> {
        let mut command = Command::new("dnsmasq");
        command.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--pid-file",
        ]);
        command.args(["--listen-address=127.0.0.1", "--bind-interfaces", "--local=/test/", "--local-ttl=1"]);
        command.args(["--user=root", "--group=root", "--log-facility=-"]);
        command.arg(format!("--port={port}")).args(records);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok().map(Self)
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that the system gives nobody by itself, so that it is still free when the server is started again.
fn quiet_port() -> u16 {
    let free = |port: &u16| {
        UdpSocket::bind(("127.0.0.1", *port)).is_ok()
            && std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()
    };
    let begin = u16::try_from(std::process::id() % 20_000).unwrap() + 10_000;
    (begin..begin + 1_000).find(free).expect("a port is free")
}

fn srv(stub: &Stub, weight: u16) -> String {
    format!("--srv-host=_names._tcp.test,host.test,{},0,{weight}", stub.address.port())
}

#[tokio::test]
async fn what_a_name_server_knows_is_called_whatever_becomes_of_it_and_no_call_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (Stub::start("one").await, Stub::start("two").await);
    let port = quiet_port();
    let host = "--host-record=host.test,127.0.0.1".to_owned();
    let Some(mut server) = Dnsmasq::start(port, &[host.clone(), srv(&one, 1)]) else {
        eprintln!("dnsmasq is not installed: nothing is tested");
        return;
    };
    let registry = format!(
        "registry: {{ dns: {{ servers: [\"127.0.0.1:{port}\"], min_ttl_ms: 200, max_ttl_ms: 2000 }} }}\n"
    );
    let discover = "discover: { dns: { srv: _names._tcp.test } }";
    let gateway = Gateway::begin(&(registry.clone() + &config(folder.path(), discover))).await;
    callable(&gateway).await;
    let load = Load::start(gateway.address);
    // Added.
    drop(server);
    server = Dnsmasq::start(port, &[host.clone(), srv(&one, 1), srv(&two, 3)]).unwrap();
    are(&gateway, &[&one, &two]).await;
    let weights: Vec<_> = shown(&gateway).await.iter().map(|one| one["metadata"]["host"].clone()).collect();
    assert_eq!(weights, ["host.test", "host.test"]);
    eventually("the second is called", async || (two.calls() > 20).then_some(())).await;
    // Gone: what was known last stays.
    drop(server);
    says(&gateway, Some("can't be asked")).await;
    are(&gateway, &[&one, &two]).await;
    // Back, and one has moved away.
    server = Dnsmasq::start(port, &[host, srv(&two, 1)]).unwrap();
    says(&gateway, None).await;
    are(&gateway, &[&two]).await;
    load.none_failed().await;
    // Addresses in place of services, by a changed configuration.
    let discover = format!("discover: {{ dns: {{ name: host.test, port: {} }} }}", one.address.port());
    gateway.configure(&(registry + &config(folder.path(), &discover)));
    are(&gateway, &[&one]).await;
    callable(&gateway).await;
    drop(server);
}

#[tokio::test]
async fn wrong_sources_are_found_when_the_configuration_is_read() {
    let folder = tempfile::tempdir().unwrap();
    for (registry, discover, reason) in [
        ("", "discover: { dns: { name: a.test } }", "addresses say no port"),
        ("", "discover: { dns: { name: a.test, srv: b.test } }", "exactly one of name and srv"),
        ("", "discover: { consul: { url: \"ftp://{host}\" } }", "no URL of an instance"),
        ("", "discover: { consul: {}, lease: {} }", "exactly one source"),
        ("registry: { dns: { servers: [here] } }\n", "discover: { dns: { srv: b.test } }", "no IP address"),
        ("registry: { consul: { address: x } }\n", "discover: { consul: {} }", "address"),
        ("registry: { consul: { ca_file: none.pem } }\n", "discover: { consul: {} }", "none.pem"),
    ] {
        let file = folder.path().join("trunkline.yaml");
        std::fs::write(&file, registry.to_owned() + &config(folder.path(), discover)).unwrap();
        let checked = Command::new(super::support::process::TRUNKLINE)
            .args(["config", "check"])
            .arg(&file)
            .output()
            .unwrap();
        let said =
            String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
        assert!(!checked.status.success() && said.contains(reason), "{discover}: {said}");
    }
}
