//! A command as a tool.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use trunkline_model::{
    BoxFuture, Call, CallContext, EffectState, Failure, Json, Outcome, Tool, ToolResult, ToolSpec,
};

use crate::Error;

use super::argv::Template;
use super::client::{Finished, Place, Run};
use super::config::{Format, ProcessTool};

/// A command as a tool.
pub(super) struct CommandTool {
    pub(super) spec: ToolSpec,
    pub(super) template: Template,
    pub(super) config: ProcessTool,
    pub(super) place: Arc<Place>,
}

impl CommandTool {
    async fn call(&self, call: &Call, context: &CallContext) -> Result<Outcome, Error> {
        let given: Map<String, Value> = call.arguments.to().map_err(|error| Error::ProcessArgument {
            argument: "(all)".to_owned(),
            cause: format!("an object is expected: {error}"),
        })?;
        let run = Run {
            program: &self.template.program,
            arguments: self.template.fill(&given, self.spec.input.document())?,
            stdin: self.stdin(&given, &call.arguments),
            max_output: self.config.max_output_bytes,
            deadline: context.deadline.min(Instant::now() + Duration::from_millis(self.config.timeout_ms)),
        };
        let finished = self.place.run(run).await?;
        let code = finished.status.code().unwrap_or(-1);
        if !self.config.ok_exit_codes.contains(&code) {
            return Ok(refusal(code, &finished).into());
        }
        Ok(match self.config.format {
            Format::Text => text(&finished),
            Format::Json => self.document(&finished, "JSON", |stdout| Json::parse(stdout.to_vec()))?,
            Format::JsonLines => self.document(&finished, "one JSON value a line", lines)?,
        }
        .into())
    }

    /// What is written to standard input: text as it is, anything else as JSON.
    fn stdin(&self, given: &Map<String, Value>, arguments: &Json) -> Option<Bytes> {
        match self.config.stdin.as_deref()? {
            "*" => Some(arguments.bytes()),
            name => Some(match given.get(name) {
                None | Some(Value::Null) => Bytes::new(),
                Some(Value::String(text)) => Bytes::from(text.clone()),
                Some(other) => Bytes::from(other.to_string()),
            }),
        }
    }

    fn document(
        &self,
        finished: &Finished,
        expected: &'static str,
        read: impl Fn(&[u8]) -> Result<Json, trunkline_model::JsonError>,
    ) -> Result<ToolResult, Error> {
        let wrong =
            |cause: String| Error::ProcessOutput { program: self.template.program.clone(), expected, cause };
        if finished.cut > 0 {
            let limit = self.config.max_output_bytes;
            return Err(wrong(format!("it wrote more than {limit} bytes (`max_output_bytes`)")));
        }
        let document = read(&finished.stdout).map_err(|error| wrong(error.to_string()))?;
        Ok(ToolResult::document(&document, false))
    }
}

/// JSON lines as an object with the values as `items`: structured content is an object for every client.
fn lines(stdout: &[u8]) -> Result<Json, trunkline_model::JsonError> {
    let mut body = Vec::with_capacity(stdout.len() + 16);
    body.extend_from_slice(b"{\"items\":[");
    let mut first = true;
    for line in stdout.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
        // Checked one by one: two halves of a value on two lines must not become one.
        let line = Json::parse(line.to_vec())?;
        if !std::mem::take(&mut first) {
            body.push(b',');
        }
        body.extend_from_slice(line.as_bytes());
    }
    body.extend_from_slice(b"]}");
    Json::parse(body)
}

fn text(finished: &Finished) -> ToolResult {
    let mut text = String::from_utf8_lossy(&finished.stdout).into_owned();
    // Many commands say on standard error what they have done.
    if text.is_empty() {
        text = finished.stderr.trim().to_owned();
    }
    if finished.cut > 0 {
        text.push_str(&cut_note(finished));
    }
    ToolResult::text(&text, false)
}

fn cut_note(finished: &Finished) -> String {
    format!("\n[cut off here: {} more bytes]", finished.cut)
}

/// A command's own error: its exit code and what it said.
fn refusal(code: i32, finished: &Finished) -> ToolResult {
    let mut text = format!("exit code {code}");
    let stdout = String::from_utf8_lossy(&finished.stdout);
    for said in [stdout.trim(), finished.stderr.trim()] {
        if !said.is_empty() {
            text.push('\n');
            text.push_str(said);
        }
    }
    if finished.cut > 0 {
        text.push_str(&cut_note(finished));
    }
    ToolResult::content(json!([{"type": "text", "text": text}]), None, true)
}

impl Tool for CommandTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn execute<'a>(
        &'a self,
        call: &'a Call,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(async move {
            self.call(call, context).await.map_err(|error| {
                let failure = Failure::from(error);
                let effect = if self.spec.effects.read_only { EffectState::None } else { failure.effect };
                Failure { effect, ..failure }
            })
        })
    }
}
