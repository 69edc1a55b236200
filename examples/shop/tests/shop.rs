//! The real binary, asked over HTTP: operations, idempotency, consistency, chaos, start and stop.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

const SERVICES: [&str; 4] = ["orders", "stock", "payments", "shipping"];

struct Shop {
    child: Child,
    stdin: Option<ChildStdin>,
    addresses: HashMap<String, String>,
}

struct Answer {
    status: u16,
    head: String,
    body: Value,
}

impl Shop {
    fn start(data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_shop"))
            .args(["serve", "--with-parent", "--listen-base", "127.0.0.1:0", "--data"])
            .arg(data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().take(SERVICES.len());
        let addresses = lines
            .map(|line| {
                let line = line.unwrap();
                let (name, url) = line.split_once(" http://").unwrap();
                (name.to_owned(), url.to_owned())
            })
            .collect();
        let stdin = child.stdin.take();
        Self { child, stdin, addresses }
    }

    fn ask(&self, service: &str, method: &str, path: &str, key: &str, body: &Value) -> Option<Answer> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.ask_text(service, method, path, key, &body)
    }

    /// The answer, or nothing where the connection closes without one.
    fn ask_text(&self, service: &str, method: &str, path: &str, key: &str, body: &str) -> Option<Answer> {
        let mut stream = TcpStream::connect(&self.addresses[service]).unwrap();
        let key = if key.is_empty() { String::new() } else { format!("Idempotency-Key: {key}\r\n") };
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n{key}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some(Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_lowercase(),
            body: serde_json::from_str(body).unwrap_or_else(|_| body.into()),
        })
    }

    fn get(&self, service: &str, path: &str) -> Answer {
        self.ask(service, "GET", path, "", &Value::Null).unwrap()
    }

    fn post(&self, service: &str, path: &str, body: &Value) -> Answer {
        self.ask(service, "POST", path, "", body).unwrap()
    }

    fn available(&self, sku: &str) -> Value {
        self.get("stock", &format!("/items/{sku}")).body["available"].clone()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn shop() -> (Shop, tempfile::TempDir) {
    let data = tempfile::tempdir().unwrap();
    (Shop::start(data.path()), data)
}

fn mugs(quantity: i64) -> Value {
    json!({"lines": [{"sku": "mug-blue", "quantity": quantity}]})
}

#[test]
fn every_described_operation_is_there_and_nothing_else_is_described() {
    let (shop, _data) = shop();
    for service in SERVICES {
        assert_eq!(shop.get(service, "/healthz").status, 200);
        let document = shop.get(service, "/openapi.yaml");
        assert!(document.head.contains("content-type: application/yaml"));
        let document: Value = serde_saphyr::from_str(document.body.as_str().unwrap()).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["servers"][0]["url"], "/");
        for (path, operations) in document["paths"].as_object().unwrap() {
            assert!(!path.starts_with("/_") && path != "/healthz");
            let (before, after) = path.split_once('{').unwrap_or((path, ""));
            let (_, after) = after.split_once('}').unwrap_or_default();
            let real = if before == path { path.clone() } else { format!("{before}nothing{after}") };
            for method in operations.as_object().unwrap().keys().filter(|key| *key != "parameters") {
                let answer = shop.ask(service, &method.to_uppercase(), &real, "", &json!({})).unwrap();
                let kind = answer.body["type"].as_str().unwrap_or_default();
                assert!(!kind.starts_with("/problems/no-such"), "{service}: {method} {real} gives {kind}");
            }
        }
    }
    assert_eq!(shop.get("orders", "/elsewhere").body["type"], "/problems/no-such-path");
    let answer = shop.ask("orders", "DELETE", "/orders", "", &Value::Null).unwrap();
    assert_eq!((answer.status, &answer.body["type"]), (405, &json!("/problems/no-such-operation")));
}

#[test]
fn the_first_rows_agree_with_each_other() {
    let (shop, _data) = shop();
    let orders = shop.get("orders", "/orders").body;
    for order in orders["orders"].as_array().unwrap() {
        let sum: i64 = order["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["quantity"].as_i64().unwrap() * item["unit_price_cents"].as_i64().unwrap())
            .sum();
        assert_eq!(order["total_cents"], sum);
        let id = order["id"].as_str().unwrap();
        let paid = shop.get("payments", &format!("/payments?order_id={id}")).body;
        for payment in paid["payments"].as_array().unwrap() {
            assert_eq!(payment["amount_cents"], sum, "{id}");
        }
    }
    assert_eq!(
        shop.get("shipping", "/shipments/shp-303/tracking").body["stops"].as_array().unwrap().len(),
        2
    );
}

#[test]
fn an_order_is_placed_and_taken_back() {
    let (shop, _data) = shop();
    let item = json!({"sku": "mug-blue", "quantity": 4, "unit_price_cents": 1250});
    let order = shop.post("orders", "/orders", &json!({"customer": "ada", "items": [item]}));
    assert_eq!((order.status, &order.body["total_cents"]), (201, &json!(5000)));
    let id = order.body["id"].as_str().unwrap();
    assert!(order.head.contains(&format!("location: /orders/{id}")));

    let before = shop.available("mug-blue");
    let held = shop.post("stock", "/reservations", &mugs(4)).body["id"].as_str().unwrap().to_owned();
    assert_eq!(shop.available("mug-blue"), before.as_i64().unwrap() - 4);

    let charge = json!({"order_id": id, "amount_cents": 5000, "card": "card-ada"});
    let payment = shop.post("payments", "/payments", &charge).body["id"].as_str().unwrap().to_owned();
    let address = json!({"name": "Ada", "street": "Lindenweg 4", "postal_code": "80331", "city": "München", "country": "DE"});
    let parcel = shop.post("shipping", "/shipments", &json!({"order_id": id, "address": address}));
    let parcel = parcel.body["id"].as_str().unwrap().to_owned();

    let cancel = |service, path: &str| shop.post(service, path, &Value::Null).body["status"].clone();
    assert_eq!(cancel("shipping", &format!("/shipments/{parcel}/cancel")), "cancelled");
    let refund = shop.post("payments", &format!("/payments/{payment}/refunds"), &json!({}));
    assert_eq!(refund.body["payment"]["status"], "refunded");
    for _ in 0..2 {
        let path = format!("/reservations/{held}");
        let released = shop.ask("stock", "DELETE", &path, "", &Value::Null).unwrap();
        assert_eq!(released.body["status"], "released");
        assert_eq!(shop.available("mug-blue"), before);
    }
    assert_eq!(cancel("orders", &format!("/orders/{id}/cancel")), "cancelled");
    assert_eq!(cancel("orders", &format!("/orders/{id}/cancel")), "cancelled");
    let listed = shop.get("orders", "/orders?customer=ada&status=cancelled").body;
    assert_eq!(listed["orders"].as_array().unwrap().len(), 2);
}

#[test]
fn what_would_be_inconsistent_is_refused() {
    let (shop, _data) = shop();
    let kind = |answer: Answer| (answer.status, answer.body["type"].as_str().unwrap_or_default().to_owned());
    let refused = |service, path, body| kind(shop.post(service, path, &body));
    let problem = |status, name: &str| (status, format!("/problems/{name}"));

    let both = json!({"lines": [{"sku": "mug-blue", "quantity": 1}, {"sku": "teapot-clay", "quantity": 1}]});
    let before = shop.available("mug-blue");
    assert_eq!(refused("stock", "/reservations", both), problem(409, "insufficient-stock"));
    assert_eq!(shop.available("mug-blue"), before, "all lines or none");

    let too_much = json!({"amount_cents": 4001});
    assert_eq!(
        refused("payments", "/payments/pay-7002/refunds", too_much),
        problem(409, "refund-exceeds-charge")
    );
    assert_eq!(
        refused("payments", "/payments/pay-7003/refunds", json!({})),
        problem(409, "refund-exceeds-charge")
    );
    let declined = json!({"order_id": "ord-1005", "amount_cents": 1, "card": "card-declined"});
    assert_eq!(refused("payments", "/payments", declined), problem(402, "card-declined"));
    assert_eq!(refused("orders", "/orders/ord-1001/cancel", json!({})), problem(409, "not-cancellable"));
    assert_eq!(refused("shipping", "/shipments/shp-303/cancel", json!({})), problem(409, "not-cancellable"));
    assert_eq!(kind(shop.get("orders", "/orders/ord-9")), problem(404, "not-found"));
    assert_eq!(kind(shop.get("orders", "/orders/1001")), problem(404, "not-found"));
}

#[test]
fn a_bad_request_is_told_everything_that_is_wrong_with_it() {
    let (shop, _data) = shop();
    let items = json!([{"sku": "", "quantity": 0, "unit_price_cents": -1}]);
    let answer = shop.post("orders", "/orders", &json!({"customer": "  ", "items": items}));
    assert_eq!(answer.status, 422);
    assert!(answer.head.contains("content-type: application/problem+json"));
    let errors = answer.body["errors"].as_array().unwrap();
    let pointers: Vec<_> = errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["#/customer", "#/items/0/sku", "#/items/0/quantity", "#/items/0/unit_price_cents"]);

    let unknown = shop.post("stock", "/reservations", &json!({"lines": [], "colour": 1}));
    assert!(unknown.body["detail"].as_str().unwrap().contains("unknown field `colour`"));
    let broken = shop.ask_text("stock", "POST", "/reservations", "", "{\"lines\": [").unwrap();
    assert_eq!((broken.status, &broken.body["type"]), (400, &json!("/problems/malformed-request")));
    let huge = format!("\"{}\"", "x".repeat(70_000));
    let answer = shop.ask_text("orders", "POST", "/orders", "", &huge).unwrap();
    assert_eq!(answer.status, 413);
    assert_eq!(shop.get("orders", "/orders?limit=0").status, 400);
    assert_eq!(shop.get("orders", "/orders?colour=blue").status, 400);
}

#[test]
fn lists_come_in_pages() {
    let (shop, _data) = shop();
    let first = shop.get("stock", "/items?search=TEA&limit=2").body;
    let next = first["next"].as_str().unwrap();
    let mut found = first["items"].as_array().unwrap().clone();
    let rest = shop.get("stock", &format!("/items?search=TEA&after={next}")).body;
    assert_eq!(rest["next"], Value::Null);
    found.extend(rest["items"].as_array().unwrap().iter().cloned());
    assert_eq!(found.len(), 6);
    assert_eq!(shop.get("stock", "/items?available=false").body["items"].as_array().unwrap().len(), 2);
}

#[test]
fn a_repeated_key_gets_the_first_answer_and_is_refused_for_another_request() {
    let data = tempfile::tempdir().unwrap();
    let shop = Shop::start(data.path());
    let before = shop.available("mug-blue").as_i64().unwrap();
    let reserve =
        |shop: &Shop, quantity| shop.ask("stock", "POST", "/reservations", "one", &mugs(quantity)).unwrap();
    let first = reserve(&shop, 5);
    assert!(!first.head.contains("idempotent-replayed"));
    let again = reserve(&shop, 5);
    assert_eq!((again.status, &again.body), (201, &first.body));
    assert!(again.head.contains("idempotent-replayed: true") && again.head.contains("location: "));
    let other = reserve(&shop, 6);
    assert_eq!((other.status, &other.body["type"]), (422, &json!("/problems/idempotency-key-reused")));
    let elsewhere = shop.ask("stock", "DELETE", "/reservations/res-502", "one", &Value::Null).unwrap();
    assert_eq!(elsewhere.status, 422);

    // Equal JSON is equal, however it is written.
    let text = r#" { "lines" : [ {"quantity": 5, "sku": "mug-blue"} ] } "#;
    assert_eq!(shop.ask_text("stock", "POST", "/reservations", "one", text).unwrap().body, first.body);

    // The key outlives the process.
    drop(shop);
    let shop = Shop::start(data.path());
    assert_eq!(reserve(&shop, 5).body, first.body);
    assert_eq!(shop.available("mug-blue"), before - 5);

    // A refused request leaves its key unused.
    let ask = |quantity| shop.ask("stock", "POST", "/reservations", "two", &mugs(quantity)).unwrap().status;
    assert_eq!((ask(900), ask(1)), (409, 201));
}

#[test]
fn chaos_fails_the_share_it_was_told_in_the_way_it_was_told() {
    let (shop, _data) = shop();
    let statuses = |count| (0..count).map(|_| shop.get("stock", "/items").status).collect::<Vec<_>>();
    assert_eq!(shop.post("stock", "/_chaos", &json!({"fail_share": 0.5, "mode": "error"})).status, 200);
    assert_eq!(statuses(4), [200, 503, 200, 503]);
    assert_eq!(shop.get("orders", "/orders").status, 200, "the others go on");
    assert_eq!(shop.get("stock", "/healthz").status, 200);

    shop.post("stock", "/_chaos", &json!({"fail_share": 1, "mode": "reset"}));
    assert!(shop.ask("stock", "GET", "/items", "", &Value::Null).is_none());

    // The work is done, and the caller can't know.
    let before = {
        shop.post("stock", "/_chaos", &json!({}));
        shop.available("mug-blue").as_i64().unwrap()
    };
    shop.post("stock", "/_chaos", &json!({"fail_share": 1, "mode": "reset", "when": "after"}));
    assert!(shop.ask("stock", "POST", "/reservations", "unseen", &mugs(2)).is_none());
    shop.post("stock", "/_chaos", &json!({}));
    assert_eq!(shop.available("mug-blue"), before - 2);
    let seen = shop.ask("stock", "POST", "/reservations", "unseen", &mugs(2)).unwrap();
    assert!(seen.head.contains("idempotent-replayed"));

    for wrong in [json!({"fail_share": 1.5}), json!({"mode": "melt"}), json!({"latency_ms": -1})] {
        assert!([400, 422].contains(&shop.post("stock", "/_chaos", &wrong).status));
    }
    assert_eq!(shop.get("stock", "/_chaos").body["fail_share"], 0.0);
}

#[test]
fn it_stops_with_its_parent_and_on_sigterm_even_while_a_request_hangs() {
    for by_signal in [true, false] {
        let (mut shop, _data) = shop();
        shop.post("orders", "/_chaos", &json!({"fail_share": 1, "mode": "hang"}));
        let mut hanging = TcpStream::connect(&shop.addresses["orders"]).unwrap();
        hanging.write_all(b"GET /orders HTTP/1.1\r\nHost: shop\r\n\r\n").unwrap();
        hanging.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let silence = hanging.read(&mut [0; 1]).unwrap_err();
        assert!(matches!(silence.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        if by_signal {
            let kill = format!("kill -TERM {}", shop.child.id());
            assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        } else {
            drop(shop.stdin.take());
        }
        assert!(shop.child.wait().unwrap().success());
    }
}

#[test]
fn an_address_that_others_can_reach_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_shop"))
        .args(["serve", "--listen-base", "0.0.0.0:0", "--data"])
        .arg(data.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("not a loopback address"));
}
