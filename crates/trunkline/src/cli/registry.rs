//! `trunkline registry`: registers services with a running gateway.

use std::collections::BTreeMap;

use clap::Subcommand;
use hyper::Method;
use serde_json::{Map, Value, json};

use super::client::ServerArgs;
use super::output::{print_data, say, table};
use super::stop::Stop;
use super::{OutputArgs, block_on};

/// Register services with the running gateway.
#[derive(Debug, clap::Args)]
pub(super) struct Registry {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the services that have registered themselves.
    List,
    /// Register a service, or say anew what it is.
    Register(Box<Register>),
    /// Renew the lease of a service.
    Heartbeat {
        /// Its name.
        name: String,
    },
    /// Take a service away.
    Deregister {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, clap::Args)]
struct Register {
    /// Its name.
    name: String,
    /// What it speaks.
    #[arg(long, value_parser = ["mcp", "openapi"])]
    kind: String,
    /// Where it is.
    #[arg(long)]
    url: String,
    /// Where its OpenAPI document is.
    #[arg(long, value_name = "URL")]
    document: Option<String>,
    /// What it is for.
    #[arg(long)]
    description: Option<String>,
    /// What its tools can do, as dotted terms; may be given several times.
    #[arg(long = "capability", value_name = "TERM")]
    capabilities: Vec<String>,
    /// Its version.
    #[arg(long, value_name = "VERSION")]
    service_version: Option<String>,
    /// The zone that it runs in.
    #[arg(long)]
    zone: Option<String>,
    /// What else is known of it; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// How long it stays without a heartbeat, in milliseconds.
    #[arg(long)]
    ttl_ms: Option<u64>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or("NAME=VALUE is expected")?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

impl Register {
    fn body(self) -> Value {
        let metadata: BTreeMap<String, String> = self.metadata.into_iter().collect();
        let members = [
            ("name", json!(self.name)),
            ("kind", json!(self.kind)),
            ("url", json!(self.url)),
            ("document", json!(self.document)),
            ("description", json!(self.description)),
            ("capabilities", json!(self.capabilities)),
            ("version", json!(self.service_version)),
            ("zone", json!(self.zone)),
            ("metadata", json!(metadata)),
            ("ttl_ms", json!(self.ttl_ms)),
        ];
        let there = members.into_iter().filter(|(_, value)| !value.is_null());
        Value::Object(there.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
    }
}

impl Registry {
    pub(super) fn run(self) -> Result<(), Stop> {
        let client = self.server.client()?;
        let format = self.output.output;
        let services = ["v1", "registry", "services"];
        let lease: Value = match self.command {
            Command::List => {
                let answer: Value = block_on(client.get(&services, &[]))?;
                return Ok(print_data(format, &answer, to_table)?);
            }
            Command::Deregister { name } => {
                let path = ["v1", "registry", "services", &name];
                block_on(client.send(Method::DELETE, &path, &[], None, "application/json"))?;
                say(&format!("{name} is taken away"));
                return Ok(());
            }
            Command::Register(service) => block_on(client.post(&services, service.body().to_string()))?,
            Command::Heartbeat { name } => {
                let path = ["v1", "registry", "services", &name, "heartbeat"];
                block_on(client.post(&path, String::new()))?
            }
        };
        Ok(print_data(format, &lease, |lease| {
            let (name, ttl) = (text(&lease["name"]), text(&lease["ttl_ms"]));
            format!("{name} is registered; a heartbeat within {ttl} ms renews that\n")
        })?)
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn to_table(answer: &Value) -> String {
    let rows: Vec<_> = answer["services"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|standing| {
            let service = &standing["service"];
            [
                text(&service["name"]),
                text(&service["kind"]),
                text(&service["url"]),
                text(&service["version"]),
                text(&standing["by"]),
                text(&standing["left_ms"]),
            ]
        })
        .collect();
    table(["SERVICE", "KIND", "URL", "VERSION", "BY", "LEFT MS"], &rows)
}
