//! `crash`: sagas in flight against the shop while the gateway is killed, over and over. In the end the books are read.
//!
//! The shop's services run beside the gateway and live on. Some of their requests fail, so that sagas have something to
//! undo. What counts: no saga ends in a state that is neither done, undone nor visibly stuck; money and stock add up;
//! and no effect happened twice under one key.

mod books;
mod http;
mod sync;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::command;
use crate::report::Outcome;
use crate::server::free_port;
use crate::workspace::{self, root};
use books::Books;

/// How long all sagas may take to come to their ends after the last crash.
const SETTLE: Duration = Duration::from_secs(120);

/// How long every request to the shop takes.
const LATENCY_MS: u64 = 50;

/// What to do.
#[derive(clap::Args)]
pub(crate) struct Config {
    /// How often the gateway is killed.
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// How many sagas are started.
    #[arg(long, default_value_t = 200)]
    sagas: u32,
    /// The share of requests to the last service that fail, in percent.
    #[arg(long, default_value_t = 20)]
    failures: u32,
}

/// A short run, as a part of all tests.
pub(crate) fn leg() -> anyhow::Result<Outcome> {
    let (note, held) = crash(&Config { rounds: 8, sagas: 200, failures: 20 })?;
    let (sync_note, sync_held) = sync::kill_at_every_sync(&folder(), &["lost"], 3)?;
    let passed = usize::from(held) + usize::from(sync_held);
    Ok(Outcome { passed, failed: 2 - passed, note: format!("{note}; {sync_note}") })
}

/// Runs the test and prints its figures last.
pub(crate) fn run(config: &Config) -> anyhow::Result<bool> {
    let (figures, held) = crash(config)?;
    let (sync_figures, sync_held) = sync::kill_at_every_sync(&folder(), &["before", "after", "lost"], 1)?;
    println!("{figures}\n{sync_figures}");
    Ok(held && sync_held)
}

/// Where the test keeps its files.
fn folder() -> std::path::PathBuf {
    workspace::scratch("run").join("crash")
}

/// Runs the test. Gives its figures, and whether all that has to hold does.
fn crash(config: &Config) -> anyhow::Result<(String, bool)> {
    command::run(
        Command::new("cargo").args(["build", "--quiet", "--package", "trunkline"]).current_dir(root()),
    )?;
    let folder = folder();
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let base = shop_ports()?;
    let _shop = shop(&folder, base)?;
    wait_for(base + 3)?;
    let port = free_port()?;
    write_config(&folder, base, port)?;
    let books = Books::new(base);
    let before = books.reserved()?;
    let share = f64::from(config.failures) / 100.0;
    // Slow enough for sagas to be under way when the gateway is killed.
    for service in 0..3 {
        http::post(base + service, "/_chaos", &json!({"latency_ms": LATENCY_MS}))?;
    }
    let last = json!({"latency_ms": LATENCY_MS, "fail_share": share, "mode": "error"});
    http::post(base + 3, "/_chaos", &last)?;
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut gateway = start(&folder, port)?;
    let (mut tried, mut started, mut resumes) = (0, 0, Vec::new());
    for round in 0..config.rounds {
        let upto = config.sagas * (round + 1) / config.rounds;
        while started < upto {
            // The answer may be lost with the gateway: the saga is in the log or it never was.
            tried += 1;
            if send(port, tried - 1, false).is_ok() {
                started += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(chance.upto(5 * LATENCY_MS)));
        drop(gateway);
        let begun = Instant::now();
        gateway = start(&folder, port)?;
        resumes.push(begun.elapsed());
    }
    for service in 0..4 {
        http::post(base + service, "/_chaos", &json!({"latency_ms": 0, "fail_share": 0.0}))?;
    }
    let ends = settle(port)?;
    let report = books.check(before, tried, &ends)?;
    resumes.sort();
    let resume = resumes.get(resumes.len() / 2).copied().unwrap_or_default();
    for fault in &report.faults {
        println!("FAULT {fault}");
    }
    let figures = format!(
        "crash: {} kills, {} sagas ({} times one was brought back): {} done, {} undone, {} failed before anything was done, {} stuck, {} open; \
         {} effects done twice under one key; up again after {:.2} s (median)",
        config.rounds,
        report.sagas,
        brought_back(&folder)?,
        report.done,
        report.undone,
        report.faulted,
        report.stuck,
        report.open,
        report.twice,
        resume.as_secs_f64(),
    );
    println!("{figures}");
    drop(gateway);
    Ok((figures, report.faults.is_empty() && report.open == 0))
}

/// How many instances all the gateways have found unfinished when they started, as their log says.
fn brought_back(folder: &std::path::Path) -> anyhow::Result<u64> {
    let log = fs::read_to_string(folder.join("trunkline.log"))?;
    let count = |line: &str| line.split("instances=").nth(1)?.trim().parse::<u64>().ok();
    Ok(log.lines().filter(|line| line.contains("flows go on")).filter_map(count).sum())
}

/// The shop's services, beside the gateway.
fn shop(folder: &std::path::Path, base: u16) -> anyhow::Result<Killed> {
    let shop = Command::new(workspace::binary("debug", "trunkline"))
        .args(["shop", "--data"])
        .arg(folder.join("shop"))
        .args(["--listen-base", &format!("127.0.0.1:{base}")])
        .stdout(std::process::Stdio::null())
        .stderr(fs::File::create(folder.join("shop.log"))?)
        .spawn()
        .context("the shop can't be started")?;
    Ok(Killed(shop))
}

/// A process that is killed, not asked to end.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(folder: &std::path::Path, port: u16) -> anyhow::Result<Killed> {
    let gateway = Killed(gateway(folder)?.spawn()?);
    wait_for(port)?;
    Ok(gateway)
}

/// The gateway, to be started.
fn gateway(folder: &std::path::Path) -> anyhow::Result<Command> {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("trunkline.log"))?;
    let mut gateway = Command::new(workspace::binary("debug", "trunkline"));
    gateway.arg("up").arg(folder.join("trunkline.yaml")).stdout(std::process::Stdio::null()).stderr(log);
    Ok(gateway)
}

fn wait_for(port: u16) -> anyhow::Result<()> {
    let end = Instant::now() + Duration::from_secs(30);
    while http::get(port, "/healthz").is_err() {
        if Instant::now() > end {
            bail!("nothing answers on port {port}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Four neighbouring ports that were free a moment ago.
fn shop_ports() -> anyhow::Result<u16> {
    for _ in 0..100 {
        let base = free_port()?;
        let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        if base < 65_000 && (base..base + 4).all(free) {
            return Ok(base);
        }
    }
    bail!("no four neighbouring ports are free")
}

fn write_config(folder: &std::path::Path, base: u16, port: u16) -> anyhow::Result<()> {
    let documents = root().join("examples/shop/openapi");
    let mut text =
        format!("listen: 127.0.0.1:{port}\ndata_dir: {}\nservices:\n", folder.join("state").display());
    for (number, name) in ["orders", "stock", "payments", "shipping"].iter().enumerate() {
        let document = documents.join(format!("{name}.yaml"));
        let port = usize::from(base) + number;
        text.push_str(&format!(
            "  {name}: {{ openapi: {{ document: {}, base_url: \"http://127.0.0.1:{port}\" }} }}\n",
            document.display()
        ));
    }
    fs::write(folder.join("trunkline.yaml"), text)?;
    Ok(())
}

/// Starts a saga and does not wait for its end. Where it is to be `refused`, the last step is a card that is declined.
fn send(port: u16, number: u32, refused: bool) -> anyhow::Result<()> {
    let address = json!({"name": "Ada", "street": "1", "city": "b", "postal_code": "1", "country": "DE"});
    let line = json!([{"sku": books::SKU, "quantity": 1}]);
    let item = json!([{"sku": books::SKU, "quantity": 1, "unit_price_cents": books::PRICE}]);
    let order = "${ .steps.order.id }";
    let result = "${ .result.id }";
    let mut plan = json!({
        "name": "buy",
        "steps": [
            {"id": "order", "tool": "orders__createOrder",
             "args": {"body": {"customer": format!("crash-{number}"), "items": item}},
             "undo": {"tool": "orders__cancelOrder", "args": {"order_id": result}}},
            {"id": "reserve", "tool": "stock__reserveStock", "args": {"body": {"order_id": order, "lines": line}},
             "undo": {"tool": "stock__releaseStock", "args": {"reservation_id": result}}},
            {"id": "pay", "tool": "payments__chargePayment",
             "args": {"body": {"order_id": order, "amount_cents": books::PRICE, "card": "card-ada"}},
             "undo": {"tool": "payments__refundPayment", "args": {"payment_id": result}}},
            {"id": "ship", "tool": "shipping__createShipment", "after": ["reserve", "pay"],
             "args": {"body": {"order_id": order, "address": address}},
             "undo": {"tool": "shipping__cancelShipment", "args": {"shipment_id": result}}},
        ],
    });
    if refused {
        plan["steps"][3] = json!({
            "id": "tip", "tool": "payments__chargePayment", "after": ["reserve", "pay"],
            "args": {"body": {"order_id": order, "amount_cents": 1, "card": "card-declined"}},
        });
    }
    let answer = http::post(port, "/v1/tools/run_plan:call", &json!({"plan": plan, "wait_ms": 0}))?;
    if answer["is_error"] == true {
        bail!("the plan is refused: {answer}");
    }
    Ok(())
}

/// Waits until no saga runs any more. Gives all of them.
fn settle(port: u16) -> anyhow::Result<Vec<Value>> {
    let end = Instant::now() + SETTLE;
    loop {
        let answer = http::get(port, "/v1/instances?limit=1000")?;
        let all = answer["instances"].as_array().cloned().unwrap_or_default();
        if !all.iter().any(sync::is_open) || Instant::now() > end {
            return Ok(all);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Numbers without a pattern (xorshift64*).
struct Chance(u64);

impl Chance {
    fn upto(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }
}
