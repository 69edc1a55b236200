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
    let rows: Vec<_> = answer["services"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|service| {
            [
                text(&service["id"]),
                text(&service["state"]),
                text(&service["tools"]),
                text(&service["restarts"]),
                text(&service["protocol"]),
                short(service["cause"].as_str().unwrap_or_default(), 80),
            ]
        })
        .collect();
    table(["SERVICE", "STATE", "TOOLS", "RESTARTS", "PROTOCOL", "CAUSE"], &rows)
}
