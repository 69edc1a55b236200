//! Lines from an MCP client on standard input. Whatever they are, every line that is written is one JSON-RPC message,
//! and the door closes when the input ends.

#![no_main]

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use indexmap::IndexMap;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_discovery::{Catalog, Names, Registered};
use trunkline_gateway::mcp::stdio;
use trunkline_gateway::{Config, Gateway, Parts, Sealer, Sources};
use trunkline_model::{
    BoxFuture, Call, CallContext, Contents, Effects, Failure, Outcome, Schema, Service, ServiceId,
    ServiceState, ServiceStatus, Tool, ToolResult, ToolSpec,
};
use trunkline_policy::{Authenticator, Authorizer};
use uuid::Uuid;

fuzz_target!(|input: &[u8]| {
    let Door { runtime, gateway, .. } = door();
    let written = runtime.block_on(async {
        let (output, mut other_end) = tokio::io::duplex(64 << 10);
        let reading = tokio::spawn(async move {
            let mut written = Vec::new();
            other_end.read_to_end(&mut written).await.expect("a pipe in memory can be read");
            written
        });
        stdio::serve(gateway.clone(), input, output, CancellationToken::new())
            .await
            .expect("a pipe in memory does not fail");
        reading.await.expect("the reader does not panic")
    });
    for line in written.split_inclusive(|byte| *byte == b'\n') {
        let message: Message = serde_json::from_slice(line).expect("a line is one JSON value");
        assert_eq!(message.jsonrpc, "2.0");
    }
});

/// A message. The others of its members go back as the client wrote them, such as an id of `1e400`: JSON, though not
/// everyone can read its value.
#[derive(Deserialize)]
struct Message {
    jsonrpc: String,
}

/// Everything behind the door, made once.
struct Door {
    runtime: Runtime,
    gateway: Arc<Gateway>,
    _folder: tempfile::TempDir,
}

fn door() -> &'static Door {
    static DOOR: OnceLock<Door> = OnceLock::new();
    DOOR.get_or_init(|| {
        // A panic in a task would end in its handle, unseen.
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            report(panic);
            std::process::abort();
        }));
        let folder = tempfile::tempdir().expect("there is room for the event log");
        let mut log = trunkline_event_log::Config::new(folder.path().join("events.db"));
        log.batch_interval = Duration::from_millis(1);
        let (log, writer) = log.build(Arc::new(Timestamp::now)).expect("the event log opens");
        std::thread::spawn(move || writer.run());
        let catalog = Arc::new(Catalog::new());
        let service: Arc<dyn Service> = Arc::new(Echo::new());
        let registered = Registered { service, names: Names::Plain };
        catalog.set_services(IndexMap::from([(ServiceId::new("tiny"), registered)]));
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be had");
        let gateway = Gateway::new(Parts {
            config: Config::default(),
            catalog,
            log,
            authenticator: Authenticator::new(&Default::default()).expect("no keys are no mistake"),
            authorizer: Authorizer::new(&Default::default()),
            sealer: Sealer::new(&[7; 32]).expect("the key has its length"),
            sources: Sources {
                now: Arc::new(Timestamp::now),
                time_id: Arc::new(Uuid::now_v7),
                random_id: Arc::new(Uuid::new_v4),
            },
            tasks: TaskTracker::new(),
            runtime: runtime.handle().clone(),
        });
        Door { runtime, gateway, _folder: folder }
    })
}

/// A service with one tool, which gives back its arguments.
struct Echo {
    id: ServiceId,
    contents: Arc<Contents>,
}

struct EchoTool(ToolSpec);

impl Echo {
    fn new() -> Self {
        let id = ServiceId::new("tiny");
        let spec = ToolSpec {
            service: id.clone(),
            name: Arc::from("echo"),
            version: Arc::from(""),
            title: None,
            description: "Gives back its arguments".to_owned(),
            capabilities: Vec::new(),
            dependencies: Vec::new(),
            input: Schema::new(json!({"type": "object", "properties": {"text": {"type": "string"}}})),
            output: None,
            effects: Effects::READ_ONLY,
            raw: None,
        };
        let contents = Contents { tools: vec![Arc::new(EchoTool(spec))], ..Contents::default() };
        Self { id, contents: Arc::new(contents) }
    }
}

impl Tool for EchoTool {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn execute<'a>(&'a self, call: &'a Call, _: &'a CallContext) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(async { Ok(Outcome::Complete(ToolResult::text(call.arguments.as_str(), false))) })
    }
}

impl Service for Echo {
    fn id(&self) -> &ServiceId {
        &self.id
    }

    fn status(&self) -> ServiceStatus {
        ServiceStatus {
            state: ServiceState::Up,
            cause: None,
            restarts: 0,
            protocol: "process".to_owned(),
            stderr: Vec::new(),
        }
    }

    fn contents(&self) -> Arc<Contents> {
        self.contents.clone()
    }

    fn request<'a>(&'a self, call: &'a Call, _: &'a CallContext) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(async { Ok(Outcome::Complete(ToolResult::text(&call.name, false))) })
    }

    fn subscribe<'a>(&'a self, _: &'a str, _: bool) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }
}
