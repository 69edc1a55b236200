//! A set of commands as a service. It is always up: a command is started for each call.

use std::path::Path;
use std::sync::Arc;

use trunkline_model::{
    BoxFuture, Call, CallContext, Contents, Failure, Outcome, Schema, Service, ServiceId, ServiceState,
    ServiceStatus, Tool, ToolSpec,
};

use crate::Error;

use super::argv::Template;
use super::client::Place;
use super::config::{Config, ProcessTool};
use super::tool::CommandTool;

/// A set of commands as a service.
pub struct Processes {
    id: ServiceId,
    contents: Arc<Contents>,
}

/// Makes a service. `base_dir` is the folder of the configuration file, from which `cwd` starts.
///
/// # Errors
/// The configuration can't be used: an empty `argv`, a schema that is none, a stream to a parameter that is not there.
pub fn build(config: Config, base_dir: &Path, id: ServiceId) -> Result<Arc<Processes>, Error> {
    let cwd = config.cwd.as_deref().map_or_else(|| base_dir.to_owned(), |cwd| base_dir.join(cwd));
    let place = Arc::new(Place {
        // A relative path would change its meaning with the process's own folder.
        cwd: std::path::absolute(&cwd).unwrap_or(cwd),
        env: config.env.into_iter().collect(),
        inherit_env: config.inherit_env,
    });
    let mut tools: Vec<Arc<dyn Tool>> = Vec::with_capacity(config.tools.len());
    for (name, tool) in config.tools {
        let tool = command(&id, &name, tool, &place)
            .map_err(|cause| Error::ProcessConfig { tool: name.clone(), cause })?;
        tools.push(Arc::new(tool));
    }
    Ok(Arc::new(Processes { id, contents: Arc::new(Contents { tools, ..Contents::default() }) }))
}

fn command(id: &ServiceId, name: &str, tool: ProcessTool, place: &Arc<Place>) -> Result<CommandTool, String> {
    let template = Template::parse(&tool.argv)?;
    let input = tool.input.clone().unwrap_or_else(|| template.default_schema(tool.stdin.as_deref()));
    let input = object_schema(input, "input")?;
    if let Some(properties) = input.document().get("properties") {
        let stdin = tool.stdin.as_deref().filter(|name| *name != "*");
        for name in template.parameters().into_iter().chain(stdin) {
            if properties.get(name).is_none() {
                return Err(format!("`input` has no property `{name}`, which `argv` or `stdin` uses"));
            }
        }
    }
    let output = tool.output.clone().map(|output| object_schema(output, "output")).transpose()?;
    let spec = ToolSpec {
        service: id.clone(),
        name: Arc::from(name),
        version: Arc::from(""),
        title: None,
        description: if tool.description.is_empty() { tool.argv.join(" ") } else { tool.description.clone() },
        capabilities: tool.capabilities.clone(),
        dependencies: Vec::new(),
        input,
        output,
        effects: tool.effects,
        raw: None,
    };
    Ok(CommandTool { spec, template, config: tool, place: place.clone() })
}

/// A configured schema, which has to be one of an object.
fn object_schema(document: serde_json::Value, member: &str) -> Result<Schema, String> {
    if document.get("type").and_then(serde_json::Value::as_str) != Some("object") {
        return Err(format!("`{member}` has to be a JSON Schema with `type: object`"));
    }
    let schema = Schema::new(document);
    match schema.defect() {
        Some(defect) => Err(format!("`{member}` is not a valid JSON Schema: {defect}")),
        None => Ok(schema),
    }
}

impl Service for Processes {
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

    fn request<'a>(
        &'a self,
        call: &'a Call,
        _context: &'a CallContext,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(async { Err(Error::ToolsOnly(call.operation.method()).into()) })
    }

    fn subscribe<'a>(&'a self, _uri: &'a str, _on: bool) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Err(Error::ToolsOnly("resources/subscribe").into()) })
    }
}
