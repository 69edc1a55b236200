//! How long a question takes among 10,000 services: by the index, and by looking at all of them, in one run.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use trunkline_discovery::discover::Query;
use trunkline_discovery::{Catalog, Names, Registered};
use trunkline_model::{
    BoxFuture, Call, CallContext, Capability, Contents, Effects, Failure, Outcome, Schema, Service,
    ServiceId, ServiceState, ServiceStatus, Tool, ToolSpec,
};

/// How many services there are, with two tools each.
const SERVICES: usize = 10_000;

/// Questions of each kind.
const QUESTIONS: usize = 5_000;

/// The bars: the median and the 99th percentile.
const BARS: (Duration, Duration) = (Duration::from_micros(50), Duration::from_millis(1));

struct Fake {
    id: ServiceId,
    contents: Arc<Contents>,
}

struct FakeTool(ToolSpec);

impl Tool for FakeTool {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn execute<'a>(&'a self, _: &'a Call, _: &'a CallContext) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(std::future::pending())
    }
}

impl Service for Fake {
    fn id(&self) -> &ServiceId {
        &self.id
    }

    fn status(&self) -> ServiceStatus {
        let protocol = "fake".to_owned();
        ServiceStatus { state: ServiceState::Up, cause: None, restarts: 0, protocol, stderr: Vec::new() }
    }

    fn contents(&self) -> Arc<Contents> {
        self.contents.clone()
    }

    fn request<'a>(&'a self, _: &'a Call, _: &'a CallContext) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(std::future::pending())
    }

    fn subscribe<'a>(&'a self, _: &'a str, _: bool) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(std::future::pending())
    }
}

fn tool(service: &str, number: usize, kind: &str) -> Arc<dyn Tool> {
    let input = json!({"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}});
    Arc::new(FakeTool(ToolSpec {
        service: ServiceId::new(service),
        name: Arc::from(kind),
        version: Arc::from(format!("{}.{}.0", 1 + number % 5, number % 10)),
        title: None,
        description: String::new(),
        capabilities: vec![Capability::new(format!("area{}.thing{}.{kind}", number % 50, number % 1000))],
        dependencies: Vec::new(),
        input: Schema::new(input),
        output: Some(Schema::new(json!({"type": "object", "properties": {"name": {"type": "string"}}}))),
        effects: Effects::default(),
        raw: None,
    }))
}

fn main() {
    let services = (0..SERVICES).map(|number| {
        let name = format!("service-{number}");
        let tools = vec![tool(&name, number, "read"), tool(&name, number, "write")];
        let contents = Arc::new(Contents { tools, ..Contents::default() });
        let service: Arc<dyn Service> = Arc::new(Fake { id: ServiceId::new(&name), contents });
        (ServiceId::new(&name), Registered { service, names: Names::Qualified, about: Arc::default() })
    });
    let catalog = Catalog::new();
    catalog.set_services(services.collect());
    let snapshot = catalog.snapshot();
    let ask = |number: usize, kind: &str| -> Query {
        let capability = match kind {
            "one capability" => format!("area{}.thing{}.read", number % 50, number % 1000),
            "an area" => format!("area{}", number % 50),
            _ => format!("area{}.*.write", number % 50),
        };
        let query = json!({
            "capability": capability, "version": ">=2, <4", "gives": ["id", "note"], "needs": ["name"],
        });
        serde_json::from_value(query).unwrap_or_default()
    };
    let begun = Instant::now();
    let _ = snapshot.discover(&ask(0, "an area"), |_| true);
    println!("the index of {SERVICES} services with 2 tools each is made in {:.1?}", begun.elapsed());
    println!("{:<28} {:>12} {:>12} {:>16}", "a question for", "median", "99th", "all looked at");
    let (mut together, mut rows) = (Vec::new(), Vec::new());
    for kind in ["one capability", "an area", "a pattern"] {
        let (mut times, mut all) = (Vec::with_capacity(QUESTIONS), Vec::new());
        for number in 0..QUESTIONS {
            let query = ask(number, kind);
            let start = Instant::now();
            let found = black_box(snapshot.discover(&query, |_| true));
            times.push(start.elapsed());
            assert!(found.is_ok());
            if number % 100 == 0 {
                let pattern = query.capability.unwrap_or_default();
                let start = Instant::now();
                let fits =
                    |tool: &&Arc<dyn Tool>| tool.capabilities().iter().any(|one| one.matches(&pattern));
                black_box(snapshot.tools.values().map(|entry| &entry.tool).filter(fits).count());
                all.push(start.elapsed());
            }
        }
        let (median, p99, scan) =
            (quantile(&mut times, 0.5), quantile(&mut times, 0.99), quantile(&mut all, 0.5));
        println!("{kind:<28} {median:>12.1?} {p99:>12.1?} {scan:>16.1?}");
        together.append(&mut times);
        rows.push(json!({
            "what": kind, "p50_us": median.as_secs_f64() * 1e6, "p99_us": p99.as_secs_f64() * 1e6,
            "scan_p50_us": scan.as_secs_f64() * 1e6,
        }));
    }
    let (median, p99) = (quantile(&mut together, 0.5), quantile(&mut together, 0.99));
    let met = median <= BARS.0 && p99 <= BARS.1;
    let verdict = if met { "met" } else { "MISSED" };
    println!("all questions: {median:.1?} of {:?}, {p99:.1?} of {:?}: {verdict}", BARS.0, BARS.1);
    println!("{}", json!({"bench": "discover", "services": SERVICES, "rows": rows, "bars_met": met}));
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank among measurements"
)]
fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * share) as usize]
}
