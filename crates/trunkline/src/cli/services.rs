//! `trunkline services`: how the services are.

use serde_json::Value;

use super::client::ServerArgs;
use super::output::{print_data, short, table};
use super::stop::Stop;
use super::{OutputArgs, block_on};

/// List the services of the running gateway.
#[derive(Debug, clap::Args)]
pub(super) struct Services {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

impl Services {
    pub(super) fn run(self) -> Result<(), Stop> {
        let client = self.server.client()?;
        let answer: Value = block_on(client.get(&["v1", "services"], &[]))?;
        Ok(print_data(self.output.output, &answer, to_table)?)
    }
}

fn to_table(answer: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let instance = |instance: Value| {
        let state = if instance["healthy"] == true { "up" } else { "out" };
        [
            format!("  {}", text(&instance["url"])),
            state.to_owned(),
            String::new(),
            String::new(),
            text(&instance["zone"]),
            short(instance["cause"].as_str().unwrap_or_default(), 80),
        ]
    };
    let rows: Vec<_> = list(&answer["services"])
        .into_iter()
        .flat_map(|service| {
            let instances = list(&service["instances"]).into_iter().map(instance);
            let row = [
                text(&service["id"]),
                text(&service["state"]),
                text(&service["tools"]),
                text(&service["restarts"]),
                text(&service["protocol"]),
                short(service["cause"].as_str().unwrap_or_default(), 80),
            ];
            std::iter::once(row).chain(instances).collect::<Vec<_>>()
        })
        .collect();
    table(["SERVICE", "STATE", "TOOLS", "RESTARTS", "PROTOCOL", "CAUSE"], &rows)
}
