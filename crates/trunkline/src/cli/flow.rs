//! `trunkline flow`: checks, runs, shows and steers flows.

mod life;
mod progress;
mod timeline;

use clap::Subcommand;
use serde_json::{Value, json};
use trunkline_orchestrator::workflow::Workflow;

use super::call::read;
use super::client::{Client, ServerArgs};
use super::output::{Format, plain_lines, print, print_data, say, short, table};
use super::stop::Stop;
use super::{OutputArgs, block_on};

/// Check, run, show and steer flows: chains of tools that survive a crash and take back what they did.
#[derive(Debug, clap::Args)]
pub(super) struct Flow {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say everything that is wrong with a plan or a workflow, with patches.
    Check {
        /// The text, `@file`, or `-` for standard input.
        source: String,
    },
    /// Run a named flow, or a plan (`@file`).
    Run {
        /// The flow's name, or a plan: `@file`, or `-`.
        flow: String,
        /// The input of a named flow: a JSON object, `@file`, or `-`.
        #[arg(long)]
        input: Option<String>,
    },
    /// List instances, the newest first.
    List {
        /// Only those of this status: running, waiting, queued, compensating, stuck, completed, faulted, cancelled, undone.
        #[arg(long)]
        status: Option<String>,
        /// Only those of this flow.
        #[arg(long)]
        flow: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Show an instance as a timeline.
    Show {
        /// The instance.
        instance: String,
    },
    /// Ask an instance to end. What it has done is undone.
    Cancel(life::Cancel),
    /// Undo what a completed instance did.
    Undo(life::Undo),
    /// Begin another instance in the place of one that failed.
    Retry(life::Retry),
    /// Open a transaction: calls made with `trunkline call --transaction` can be undone together.
    Begin {
        /// What it is for.
        #[arg(long)]
        title: Option<String>,
        /// After how many seconds it rolls back by itself, where it was not ended.
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u64>,
    },
    /// End a transaction. What its calls did stays done.
    Commit {
        /// The transaction.
        transaction: String,
    },
    /// End a transaction and undo what its calls did.
    Rollback {
        /// The transaction.
        transaction: String,
        /// Why, for the record.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Show undos that tools seem to have, to paste into the configuration. None is used before that.
    Proposals,
    /// List what waits for its turn under `flows.limits`.
    Queues,
    /// Say what to do with a step that is stuck.
    Resolve {
        /// The instance.
        instance: String,
        /// The step, as `flow show` writes it.
        step: String,
        /// Try it again.
        #[arg(long, group = "how")]
        retry: bool,
        /// Leave it as it is, for this reason.
        #[arg(long, group = "how", value_name = "REASON")]
        skip: Option<String>,
        /// It took effect, with this result (JSON).
        #[arg(long, group = "how", value_name = "RESULT")]
        done: Option<String>,
        /// It did not take effect.
        #[arg(long, group = "how")]
        not_done: bool,
    },
}

impl Flow {
    pub(super) fn run(self) -> Result<(), Stop> {
        let format = self.output.output;
        let client = self.server.client()?;
        match self.command {
            Command::Check { source } => check(&client, format, &source),
            Command::Run { flow, input } => start(client, &flow, input, format),
            Command::List { status, flow, limit } => {
                let limit = limit.to_string();
                let mut query = vec![("limit", limit.as_str())];
                query.extend(status.as_deref().map(|status| ("status", status)));
                query.extend(flow.as_deref().map(|flow| ("flow", flow)));
                let answer: Value = block_on(client.get(&["v1", "instances"], &query))?;
                Ok(print_data(format, &answer["instances"], instances_table)?)
            }
            Command::Show { instance } => {
                let answer: Value = block_on(client.get(&["v1", "instances", &instance], &[]))?;
                match format {
                    Format::Table => Ok(print(&plain_lines(&timeline::of(&answer)))?),
                    other => Ok(print_data(other, &answer, |_| String::new())?),
                }
            }
            Command::Proposals => {
                let answer: Value = block_on(client.get(&["v1", "flows", "proposals"], &[]))?;
                Ok(print_data(format, &answer["proposals"], life::proposals)?)
            }
            Command::Queues => {
                let answer: Value = block_on(client.get(&["v1", "queues"], &[]))?;
                Ok(print_data(format, &answer, life::queues)?)
            }
            Command::Cancel(cancel) => cancel.run(&client, format),
            Command::Undo(undo) => undo.run(&client, format),
            Command::Retry(retry) => retry.run(&client, format),
            Command::Begin { title, timeout } => {
                let mut body = serde_json::Map::new();
                body.extend(title.map(|title| ("title".to_owned(), json!(title))));
                body.extend(timeout.map(|seconds| ("timeout_s".to_owned(), json!(seconds))));
                let body = Value::Object(body).to_string();
                let answer: Value = block_on(client.post(&["v1", "transactions"], body))?;
                print_document(format, &answer["result"]["structuredContent"])
            }
            Command::Commit { transaction } => {
                print_document(format, &order(&client, &transaction, "commit", &json!({}))?)
            }
            Command::Rollback { transaction, reason } => {
                let body = json!({"reason": reason});
                print_document(format, &order(&client, &transaction, "rollback", &body)?)
            }
            Command::Resolve { instance, step, retry: _, skip, done, not_done } => {
                let resolution = match (skip, done, not_done) {
                    (Some(reason), ..) => json!({"skip": {"reason": reason}}),
                    (_, Some(result), _) => json!({"resolve": {"done": true, "result": parse(&result)?}}),
                    (_, _, true) => json!({"resolve": {"done": false}}),
                    _ => json!("retry"),
                };
                let body = json!({"step": step, "resolution": resolution});
                order(&client, &instance, "resolve", &body)?;
                say(&format_args!("{instance} goes on"));
                Ok(())
            }
        }
    }
}

/// Asks something of an instance.
fn order(client: &Client, instance: &str, verb: &str, body: &Value) -> Result<Value, Stop> {
    let path = format!("{instance}:{verb}");
    block_on(client.post(&["v1", "instances", &path], body.to_string()))
}

/// Prints what has no table.
fn print_document(format: Format, value: &Value) -> Result<(), Stop> {
    let format = if format == Format::Table { Format::Yaml } else { format };
    Ok(print_data(format, value, |_| String::new())?)
}

/// Starts a flow and waits for its end, with its progress where somebody watches.
fn start(client: Client, flow: &str, input: Option<String>, format: Format) -> Result<(), Stop> {
    let body = if flow.starts_with('@') || flow == "-" {
        json!({"plan": parse(&read(flow)?)?})
    } else {
        let input = input.map(|text| read(&text)).transpose()?;
        json!({"flow": flow, "input": input.map(|text| parse(&text)).transpose()?})
    };
    let client = match progress::is_watched() {
        true => client.with("trunkline-timeout-ms", progress::PATIENCE_MS.to_string()),
        false => client,
    };
    let answer: Value = block_on(client.post(&["v1", "instances"], body.to_string()))?;
    let shown = answer["result"].get("structuredContent").unwrap_or(&answer["result"]);
    let shown = if shown.is_null() { &answer["result"] } else { shown };
    if progress::is_watched() && shown["status"] == "running" {
        let ended = block_on(progress::follow(&client, &text(&shown["instance"])))?;
        print_document(format, &ended)?;
        return if ended["status"] == "completed" { Ok(()) } else { Err(Stop::ToolError) };
    }
    print_document(format, shown)?;
    if answer["is_error"] == true { Err(Stop::ToolError) } else { Ok(()) }
}

fn parse(text: &str) -> Result<Value, Stop> {
    serde_json::from_str(text).map_err(|error| super::call::usage(format!("it is not JSON: {error}")))
}

/// What is wrong with a plan or a workflow.
fn check(client: &Client, format: Format, source: &str) -> Result<(), Stop> {
    let text = read(source)?;
    let plan = serde_json::from_str::<Value>(&text).ok().filter(|plan| plan.get("steps").is_some());
    let Some(plan) = plan else { return check_workflow(&text) };
    let body = json!({"plan": plan, "check_only": true}).to_string();
    let answer: Value = block_on(client.post(&["v1", "tools", "run_plan:call"], body))?;
    let findings = &answer["result"]["structuredContent"]["findings"];
    Ok(print_data(format, findings, findings_table)?)
}

/// What is wrong with a workflow by itself; its tools are known to the gateway alone.
fn check_workflow(text: &str) -> Result<(), Stop> {
    match Workflow::read(text) {
        Ok(workflow) => {
            say(&format_args!("{} {} is a workflow", workflow.full_name(), workflow.document.version));
            Ok(())
        }
        Err(invalid) => {
            for finding in &invalid.findings {
                say(finding);
            }
            Err(Stop::Said)
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn findings_table(findings: &Value) -> String {
    let rows: Vec<_> = findings
        .as_array()
        .into_iter()
        .flatten()
        .map(|finding| {
            let names = ["severity", "path", "message", "expected"];
            names.map(|name| short(&text(&finding[name]), 90))
        })
        .collect();
    if rows.is_empty() { "no faults\n".to_owned() } else { table(["", "WHERE", "WHAT", "EXPECTED"], &rows) }
}

fn instances_table(instances: &Value) -> String {
    let rows: Vec<_> = instances
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| {
            let started =
                row["started_ms"].as_i64().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
            [
                text(&row["id"]),
                text(&row["flow"]),
                text(&row["status"]),
                started.map(|time| format!("{time:.0}")).unwrap_or_default(),
                text(&row["principal"]),
                short(&text(&row["fault"]), 80),
            ]
        })
        .collect();
    table(["INSTANCE", "FLOW", "STATUS", "STARTED", "FOR", "FAULT"], &rows)
}
