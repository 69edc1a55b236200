//! `trunkline audit`: who did what, and what came of it.

use serde_json::Value;

use super::client::ServerArgs;
use super::output::{print_data, short, table};
use super::stop::Stop;
use super::{OutputArgs, block_on};

/// Show who did what, and what came of it, the newest first.
#[derive(Debug, clap::Args)]
pub(super) struct Audit {
    /// Only what this principal did.
    #[arg(long)]
    principal: Option<String>,
    /// Only what was done to this: `service/tool`, or a flow as `namespace/name`.
    #[arg(long)]
    target: Option<String>,
    /// Only this: call, flow.start, flow.cancel, flow.undo, flow.retry, flow.resolve, flow.end.
    #[arg(long)]
    action: Option<String>,
    /// Only what came to this: done, tool_error, failed, refused, asked, completed, undone…
    #[arg(long)]
    outcome: Option<String>,
    /// Only what stands before this position of the record.
    #[arg(long, value_name = "POSITION")]
    before: Option<u64>,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

impl Audit {
    pub(super) fn run(self) -> Result<(), Stop> {
        let client = self.server.client()?;
        let filter = [
            ("principal", self.principal),
            ("target", self.target),
            ("action", self.action),
            ("outcome", self.outcome),
            ("before", self.before.map(|before| before.to_string())),
            ("limit", Some(self.limit.to_string())),
        ];
        let query: Vec<(&str, &str)> =
            filter.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
        let answer: Value = block_on(client.get(&["v1", "audit"], &query))?;
        Ok(print_data(self.output.output, &answer["deeds"], deeds)?)
    }
}

fn deeds(deeds: &Value) -> String {
    let rows: Vec<_> = deeds
        .as_array()
        .into_iter()
        .flatten()
        .map(|deed| {
            let text = |name: &str| deed[name].as_str().unwrap_or_default().to_owned();
            [
                text("time"),
                text("who"),
                text("action"),
                text("target"),
                text("outcome"),
                text("correlation"),
                short(&text("detail"), 100),
            ]
        })
        .collect();
    table(["TIME", "WHO", "WHAT", "TO", "OUTCOME", "CALL OR INSTANCE", "DETAIL"], &rows)
}
