//! A tool of an MCP server.

use std::borrow::Cow;
use std::sync::{Arc, Weak};

use http::HeaderValue;
use serde::Deserialize;
use serde_json::value::RawValue;

use trunkline_model::{
    BoxFuture, Call, CallContext, Effects, Failure, Json, Outcome, Schema, Tool, ToolSpec,
};

use super::client::Request;
use super::headers::{self, ParamHeader};
use super::hub::Hub;
use super::jsonrpc;
use super::service::Core;
use super::tasks;

/// The longest tool name.
const MAX_NAME: usize = 512;

/// A tool of an MCP server.
pub(super) struct McpTool {
    spec: ToolSpec,
    /// `"name":…,"arguments":`, ready to be sent.
    prefix: Vec<u8>,
    name_header: Option<HeaderValue>,
    params: Vec<ParamHeader>,
    core: Weak<Core>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    title: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    description: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    input_schema: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output_schema: Option<&'a RawValue>,
    #[serde(default)]
    annotations: Option<Annotations>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Annotations {
    title: Option<String>,
    read_only_hint: Option<bool>,
    destructive_hint: Option<bool>,
    idempotent_hint: Option<bool>,
    open_world_hint: Option<bool>,
}

impl Annotations {
    fn effects(&self) -> Effects {
        let read_only = self.read_only_hint.unwrap_or(false);
        Effects {
            read_only,
            idempotent: self.idempotent_hint.unwrap_or(read_only),
            destructive: self.destructive_hint.unwrap_or(!read_only) && !read_only,
            open_world: self.open_world_hint.unwrap_or(true),
        }
    }
}

impl McpTool {
    /// Reads a tool object. `mirrored` says whether arguments are mirrored in headers on this connection.
    ///
    /// # Errors
    /// Why the tool can't be offered.
    pub(super) fn read(
        raw: Json,
        hub: &Hub,
        core: Weak<Core>,
        version: &Arc<str>,
        mirrored: bool,
    ) -> Result<Self, String> {
        let wire: Wire<'_> = serde_json::from_slice(raw.as_bytes()).map_err(|error| error.to_string())?;
        if wire.name.is_empty() || wire.name.len() > MAX_NAME {
            return Err(format!("its name has {} bytes", wire.name.len()));
        }
        let document = |raw: Option<&RawValue>| {
            raw.map(|raw| serde_json::from_str::<serde_json::Value>(raw.get())).transpose()
        };
        let input = document(wire.input_schema).map_err(|error| format!("inputSchema: {error}"))?;
        let output = document(wire.output_schema).map_err(|error| format!("outputSchema: {error}"))?;
        let params = match &input {
            Some(input) if mirrored => headers::param_headers(input)?,
            _ => Vec::new(),
        };
        let settings = hub.config.tools.get(&*wire.name).cloned().unwrap_or_default();
        let annotations = wire.annotations.unwrap_or_default();
        let own = annotations.effects();
        let description = settings.description.or_else(|| wire.description.map(Cow::into_owned));
        let spec = ToolSpec {
            service: hub.id.clone(),
            name: Arc::from(&*wire.name),
            version: Arc::clone(version),
            title: wire.title.map(Cow::into_owned).or(annotations.title),
            description: description.unwrap_or_default(),
            capabilities: settings.capabilities,
            dependencies: Vec::new(),
            input: input.map_or_else(Schema::any_object, Schema::new),
            output: output.map(Schema::new),
            effects: settings.effects.map_or(own, |stated| stated.over(own)),
            raw: Some(raw.clone()),
        };
        Ok(Self {
            prefix: format!(r#""name":{},"arguments":"#, jsonrpc::quoted(&spec.name)).into_bytes(),
            name_header: headers::header_value(&spec.name),
            params,
            core,
            spec,
        })
    }
}

impl Tool for McpTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn execute<'a>(
        &'a self,
        call: &'a Call,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(async move {
            let core = self.core.upgrade().ok_or_else(|| Core::gone(&self.spec.service))?;
            if let (Some(task), Some(resume)) = (tasks::resumed(call.resume.as_ref()), &call.resume) {
                return Box::pin(core.resume_task(task, resume, context)).await;
            }
            let arguments: &[u8] = if call.arguments.is_object() { call.arguments.as_bytes() } else { b"{}" };
            let resume = call.resume.as_ref().map(super::service::resume_members).unwrap_or_default();
            let request = Request {
                method: "tools/call",
                params: &[&self.prefix, arguments, &resume],
                meta: call.meta.as_ref(),
                name: self.name_header.clone(),
                param_headers: headers::mirror(&self.params, &call.arguments),
                repeatable: self.spec.effects.repeatable(),
            };
            core.perform(&request, context).await
        })
    }
}
