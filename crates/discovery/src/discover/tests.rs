//! Questions to a catalogue of fakes.

use serde_json::json;
use trunkline_model::{
    BoxFuture, Call, CallContext, Contents, Effects, Failure, Outcome, Schema, ServiceId, ServiceState,
    ServiceStatus, Tool, ToolSpec,
};

use super::*;
use crate::{Catalog, Names, Registered};

struct Fake {
    id: ServiceId,
    up: bool,
    tools: Vec<Arc<dyn Tool>>,
    instances: Vec<InstanceStatus>,
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
        ServiceStatus {
            state: if self.up { ServiceState::Up } else { ServiceState::Down },
            cause: (!self.up).then(|| "it is being mended".to_owned()),
            restarts: 0,
            protocol: "fake".to_owned(),
            stderr: Vec::new(),
        }
    }

    fn instances(&self) -> Vec<InstanceStatus> {
        self.instances.clone()
    }

    fn contents(&self) -> Arc<Contents> {
        Arc::new(Contents { tools: self.tools.clone(), ..Contents::default() })
    }

    fn request<'a>(&'a self, _: &'a Call, _: &'a CallContext) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(std::future::pending())
    }

    fn subscribe<'a>(&'a self, _: &'a str, _: bool) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(std::future::pending())
    }
}

fn tool(service: &str, name: &str, capability: &str, version: &str) -> Arc<dyn Tool> {
    let input = json!({
        "type": "object", "required": ["order"],
        "properties": {"order": {"type": "integer"}, "note": {"type": "string"}},
    });
    let order =
        json!({"type": "object", "properties": {"id": {}, "lines": {"items": {"properties": {"sku": {}}}}}});
    Arc::new(FakeTool(ToolSpec {
        service: ServiceId::new(service),
        name: Arc::from(name),
        version: Arc::from(version),
        title: None,
        description: String::new(),
        capabilities: vec![Capability::new(capability)],
        dependencies: Vec::new(),
        input: Schema::new(input),
        output: Some(Schema::new(json!({"type": "object", "properties": {"order": order}}))),
        effects: Effects { read_only: name.starts_with("get"), ..Effects::default() },
        raw: None,
    }))
}

fn instance(zone: &str, healthy: bool, latency_ms: f64) -> InstanceStatus {
    InstanceStatus {
        url: format!("http://{zone}/"),
        zone: Some(zone.to_owned()),
        version: None,
        healthy,
        cause: None,
        pending: 0,
        latency_ms: Some(latency_ms),
        ejections: 0,
        capabilities: Vec::new(),
        metadata: BTreeMap::from([("tier".to_owned(), zone.to_uppercase())]),
    }
}

fn catalog() -> Catalog {
    let service = |name: &str, up, tools, instances, about: About| {
        let service: Arc<dyn Service> = Arc::new(Fake { id: ServiceId::new(name), up, tools, instances });
        (ServiceId::new(name), Registered { service, names: Names::Qualified, about: Arc::new(about) })
    };
    let about = About { version: Some("v3".to_owned()), ..About::default() };
    let catalog = Catalog::new();
    catalog.set_services(
        [
            service(
                "one",
                true,
                vec![
                    tool("one", "get", "orders.read", "1.2.3"),
                    tool("one", "make", "orders.create", "1.2.3"),
                ],
                vec![instance("a", true, 9.0), instance("b", false, 1.0)],
                About::default(),
            ),
            service(
                "two",
                true,
                vec![
                    tool("two", "get", "orders.read.fast", "2.0.0"),
                    tool("two", "pay", "payments.card", "2.0.0"),
                ],
                vec![instance("b", true, 2.0)],
                About::default(),
            ),
            service("down", false, vec![tool("down", "get", "orders.read", "")], Vec::new(), about),
        ]
        .into_iter()
        .collect(),
    );
    catalog
}

fn names(query: Value) -> Vec<String> {
    let query: Query = serde_json::from_value(query).unwrap();
    let found = catalog().snapshot().discover(&query, |_| true).unwrap();
    found.tools.iter().map(|fit| fit.tool.to_string()).collect()
}

#[test]
fn tools_are_found_by_what_they_can_do_the_exact_and_the_fast_first() {
    assert_eq!(names(json!({"capability": "orders.read"})), ["one__get", "two__get"]);
    assert_eq!(names(json!({"capability": "orders"})), ["two__get", "one__make", "one__get"]);
    assert_eq!(names(json!({"capability": "*.read"})), ["two__get", "one__get"]);
    assert_eq!(names(json!({"capability": "order"})), [""; 0]);
    assert_eq!(names(json!({"capability": "orders.read.fast.er"})), [""; 0]);
    assert_eq!(names(json!({})).len(), 4);
}

#[test]
fn all_that_is_asked_has_to_hold() {
    for (query, expected) in [
        (json!({"version": "^1"}), vec!["one__get", "one__make"]),
        (json!({"version": ">=2, <3"}), vec!["two__get", "two__pay"]),
        (json!({"version": ">=3", "unwell": true}), vec!["down__get"]),
        (json!({"capability": "orders.read", "zone": "b"}), vec!["two__get"]),
        (json!({"capability": "orders.read", "zone": "a"}), vec!["one__get"]),
        (json!({"metadata": {"tier": "B"}, "read_only": true}), vec!["two__get"]),
        (json!({"read_only": false}), vec!["two__pay", "one__make"]),
        (json!({"capability": "payments", "gives": ["order"]}), vec!["two__pay"]),
        (json!({"capability": "payments", "gives": ["note"]}), vec![]),
        (json!({"capability": "payments", "needs": ["order.id", "order.lines.sku"]}), vec!["two__pay"]),
        (json!({"capability": "payments", "needs": ["order.price"]}), vec![]),
        (json!({"capability": "payments", "arguments": {"order": 7}}), vec!["two__pay"]),
        (json!({"capability": "payments", "arguments": {"order": "7"}}), vec![]),
        (json!({"limit": 1}), vec!["two__get"]),
    ] {
        assert_eq!(names(query.clone()), expected, "{query}");
    }
}

#[test]
fn what_does_not_fit_is_told_with_its_reason_and_what_may_not_be_called_is_not_there() {
    let query = json!({"capability": "orders.read", "version": "2", "gives": ["order"]});
    let query: Query = serde_json::from_value(query).unwrap();
    let found = catalog().snapshot().discover(&query, |entry| &*entry.name != "one__get").unwrap();
    assert_eq!(found.tools.len(), 1);
    let left_out: Vec<_> = found.left_out.iter().map(|one| (&*one.tool, &*one.why)).collect();
    assert_eq!(left_out, [("down__get", "its version is v3")]);
    let found = catalog().snapshot().discover(&Query::default(), |_| true).unwrap();
    assert_eq!(found.left_out[0].why, "it can't be called now: it is being mended");
    let wrong = Query { version: Some("newest".to_owned()), ..Query::default() };
    assert!(catalog().snapshot().discover(&wrong, |_| true).is_err());
}
