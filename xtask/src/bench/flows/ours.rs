//! The gateway with the flows that are measured.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail};

use super::super::line::{Ask, Line};
use super::service::Service;
use crate::server::{Server, gateway};
use crate::workspace::scratch;

/// The small service's document.
const DOCUMENT: &str = "openapi: 3.1.0
info: {title: small, version: '1'}
paths:
  /do:
    post: {operationId: do, requestBody: BODY, responses: RESPONSES}
  /undo:
    post: {operationId: undo, requestBody: BODY, responses: RESPONSES}
  /hold:
    post: {operationId: hold, requestBody: BODY, responses: RESPONSES}
";
const BODY: &str = "{required: true, content: {application/json: {schema: {type: object}}}}";
const RESPONSES: &str = "{'200': {description: done, content: {application/json: {schema: {type: object}}}}}";

/// The flows, by name.
const FLOWS: [(&str, &str); 5] = [
    ("one", "  - a: {call: small__do, with: {body: {step: a}}}\n"),
    ("saga", "STEPS"),
    (
        "undone",
        "STEPS  - fail: {raise: {error: {type: 'https://example.com/no', status: 409, title: it can't be}}}\n",
    ),
    (
        "held",
        "  - a: {call: small__do, with: {body: {step: a}}}\n  \
         - hold: {call: small__hold, with: {body: {number: '${ $workflow.input.number }'}}}\n",
    ),
    ("waiter", "  - wait: {wait: {hours: 1}}\n"),
];
const STEPS: [&str; 3] = ["a", "b", "c"];

/// The gateway.
pub(super) struct Ours {
    config: PathBuf,
    port: u16,
    server: Option<Server>,
}

impl Ours {
    /// Writes its configuration into an empty folder and starts it.
    pub(super) fn start(name: &str, service: &Service) -> anyhow::Result<Self> {
        let folder = scratch("run").join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("flows"))?;
        fs::write(folder.join("small.yaml"), DOCUMENT.replace("BODY", BODY).replace("RESPONSES", RESPONSES))?;
        let undo = |step| {
            format!(
                "{{\"trunkline.dev/saga\": {{undo: {{tool: small__undo, args: {{body: {{step: {step}}}}}}}}}}}"
            )
        };
        let step = |step| {
            format!(
                "  - {step}: {{call: small__do, with: {{body: {{step: {step}}}}}, metadata: {}}}\n",
                undo(step)
            )
        };
        let steps: String = STEPS.into_iter().map(step).collect();
        for (name, tasks) in FLOWS {
            let text = format!(
                "document: {{dsl: 1.0.3, namespace: bench, name: {name}, version: 1.0.0}}\ndo:\n{}",
                tasks.replace("STEPS", &steps)
            );
            fs::write(folder.join("flows").join(format!("{name}.yaml")), text)?;
        }
        let text = format!(
            "listen: 127.0.0.1:0\ndata_dir: {}\nservices:\n  small: {{openapi: {{document: {}, base_url: \"http://127.0.0.1:{}\"}}, resilience: {{adaptive: {{enabled: false}}}}}}\n\
             flows:\n  definitions: [{}]\n  tools: {{small__hold: {{keyed: true}}}}\n",
            folder.join("state").display(),
            folder.join("small.yaml").display(),
            service.port,
            folder.join("flows").display(),
        );
        let config = folder.join("trunkline.yaml");
        fs::write(&config, text)?;
        let mut ours = Self { config, port: 0, server: None };
        ours.again()?;
        Ok(ours)
    }

    /// Starts it (once more) on its data. Gives the seconds from the start of the process until it takes requests.
    pub(super) fn again(&mut self) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let server = Server::start(&mut gateway("release", &self.config)?)?;
        self.port = server.url.rsplit(':').next().and_then(|port| port.parse().ok()).context("no port")?;
        self.server = Some(server);
        while self.get("/readyz")?["status"] != "ok" {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Asks it to end.
    pub(super) fn stop(&mut self) {
        self.server = None;
    }

    /// Kills it.
    pub(super) fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.server.as_ref().map_or(0, Server::pid)
    }

    /// Runs a flow and waits for its end.
    pub(super) fn ask(&self, flow: &str, body: String) -> Ask {
        let path = format!("/v1/tools/{flow}:call");
        let expect = if flow == "undone" { "\"undone\"" } else { "\"completed\"" };
        Ask { port: self.port, path, headers: "", body, expect }
    }

    /// Starts a flow and does not wait for its end. The deadline is the margin that is left for the answer; where the disk
    /// takes longer, the answer is that, and the flow is started all the same.
    pub(super) fn send(&self, line: &mut Line, flow: &str, body: String) -> anyhow::Result<()> {
        let ask = Ask { headers: "trunkline-timeout-ms: 250\r\n", ..self.ask(flow, body) };
        match line.ask("POST", &ask)? {
            (200 | 504, _) => Ok(()),
            (status, body) => bail!("{flow} is not started: {status} {body}"),
        }
    }

    /// A connection to it.
    pub(super) fn line(&self) -> anyhow::Result<Line> {
        Line::open(self.port)
    }

    /// Asks the gateway something.
    pub(super) fn get(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        let ask = Ask { path: path.to_owned(), expect: "", ..self.ask("", String::new()) };
        let (_, body) = Line::open(self.port)?.ask("GET", &ask)?;
        Ok(serde_json::from_str(&body)?)
    }
}
