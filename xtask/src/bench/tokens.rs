//! `bench tokens`: how many tokens a model reads and writes for 20 tasks against 50, 250 and 1,000 tools: where all tools are
//! listed, with the gateway's default, and with a plan. The tools are those of the development sets, as commands behind a real
//! gateway; the agent is scripted. A token is estimated as four bytes of what passes by.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use crate::command;
use crate::server::gateway_config;
use crate::workspace::{binary, root};

/// How many tools the agent has.
const SIZES: [usize; 3] = [50, 250, 1_000];

/// What the default may cost beside the list of all tools, at 250 tools.
const BAR: f64 = 0.2;

/// What every tool answers.
const ANSWER: &str = r#"{"status":"ok","reference":"7f3c","items":[{"id":1,"name":"first","value":12.5},{"id":2,"name":"second","value":7.25},{"id":3,"name":"third","value":3.0}],"note":"Values are as of today."}"#;

/// The tasks: for each step what the agent looks for, the tool that does it, its arguments.
const TASKS: &str = include_str!("tokens/tasks.json");

/// Measures, prints a table and one JSON line.
pub(super) fn run(folders: &[PathBuf]) -> anyhow::Result<bool> {
    command::run(
        Command::new("cargo").args(["build", "--quiet", "--package", "trunkline"]).current_dir(root()),
    )?;
    let shared = root().join("../shared/data/toolsearch");
    let sets = if folders.is_empty() {
        ["bfcl", "sealtools"].map(|set| shared.join(set)).to_vec()
    } else {
        folders.to_vec()
    };
    let tools = tools(&sets)?;
    let tasks: Vec<Vec<Step>> = tasks()?;
    println!(
        "{:<8} {:<10} {:>10} {:>10} {:>10} {:>10} {:>8}",
        "tools", "way", "listed", "written", "read", "total", "share"
    );
    let (mut rows, mut good) = (Vec::new(), true);
    for size in SIZES {
        let config = config(&tools, &tasks, size)?;
        let all = measure(&config, "all", false, &tasks)?;
        let ways = [
            ("list-all", all),
            ("default", measure(&config, "auto", false, &tasks)?),
            ("plan", measure(&config, "auto", true, &tasks)?),
        ];
        for (way, spent) in ways {
            let share = spent.total() / all.total();
            println!(
                "{size:<8} {way:<10} {:>10.0} {:>10.0} {:>10.0} {:>10.0} {:>7.1}%",
                spent.listed,
                spent.written,
                spent.read,
                spent.total(),
                share * 100.0
            );
            good &= way != "default" || share <= 1.0 && (size != 250 || share <= BAR);
            rows.push(json!({
                "tools": size, "way": way, "listed": spent.listed, "written": spent.written, "read": spent.read,
                "total": spent.total(), "share": share, "not_found": spent.missed,
            }));
        }
    }
    println!(
        "the default is never above the list of all, and at most {:.0} % of it at 250: {}",
        BAR * 100.0,
        if good { "met" } else { "MISSED" }
    );
    println!(
        "{}",
        json!({"bench": "tokens", "tasks": tasks.len(), "rows": rows, "bar": BAR, "bar_met": good})
    );
    Ok(good)
}

/// Tokens of one task in the mean.
#[derive(Clone, Copy, Default)]
struct Spent {
    /// The list of tools, once a task.
    listed: f64,
    /// What the model writes.
    written: f64,
    /// Results.
    read: f64,
    /// Steps whose tool the search did not tell of: the whole list was read for them.
    missed: usize,
}

impl Spent {
    fn total(&self) -> f64 {
        self.listed + self.written + self.read
    }
}

struct Step {
    query: String,
    tool: String,
    arguments: Value,
}

fn tasks() -> anyhow::Result<Vec<Vec<Step>>> {
    let read: Value = serde_json::from_str(TASKS)?;
    let step = |step: &Value| {
        let text =
            |name: &str| step[name].as_str().map(str::to_owned).context("a step without query or tool");
        Ok(Step { query: text("query")?, tool: text("tool")?, arguments: step["arguments"].clone() })
    };
    read.as_array()
        .context("no tasks")?
        .iter()
        .map(|task| task.as_array().into_iter().flatten().map(step).collect())
        .collect()
}

fn tools(sets: &[PathBuf]) -> anyhow::Result<Vec<Value>> {
    let mut names = HashSet::new();
    let mut found = Vec::new();
    for set in sets {
        let text =
            std::fs::read_to_string(set.join("tools.jsonl")).with_context(|| set.display().to_string())?;
        for line in text.lines() {
            let tool: Value = serde_json::from_str(line)?;
            if names.insert(name(&tool)) {
                found.push(tool);
            }
        }
    }
    Ok(found)
}

/// A name as commands may have it.
fn name(tool: &Value) -> String {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    tool["name"]
        .as_str()
        .unwrap_or_default()
        .chars()
        .map(|letter| if fits(letter) { letter } else { '_' })
        .collect()
}

/// A gateway with so many tools: those of the tasks, and others from all over the sets.
fn config(tools: &[Value], tasks: &[Vec<Step>], size: usize) -> anyhow::Result<PathBuf> {
    let wanted: HashSet<&str> = tasks.iter().flatten().map(|step| step.tool.as_str()).collect();
    let (needed, others): (Vec<_>, Vec<_>) =
        tools.iter().partition(|tool| wanted.contains(name(tool).as_str()));
    if needed.len() != wanted.len() {
        let there: HashSet<String> = needed.into_iter().map(name).collect();
        bail!(
            "no such tools: {:?}",
            wanted.iter().filter(|tool| !there.contains(**tool)).collect::<Vec<_>>()
        );
    }
    let more = size.saturating_sub(needed.len());
    let step = (others.len() / more.max(1)).max(1);
    let mut commands = Map::new();
    for tool in needed.into_iter().chain(others.into_iter().step_by(step).take(more)) {
        let input = tool.get("parameters").cloned().unwrap_or_else(|| json!({"type": "object"}));
        commands.insert(name(tool), json!({
            "description": tool["description"], "argv": ["echo", ANSWER], "input": input, "format": "json",
            "effects": {"read_only": true},
        }));
    }
    // JSON is YAML.
    let service = json!({"names": "plain", "process": {"tools": commands}});
    gateway_config(&format!("tokens-{size}"), &format!("  tools: {service}\n"))
}

/// One client over standard input and output.
struct Client {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    next: u64,
}

impl Client {
    fn start(config: &Path, show: &str) -> anyhow::Result<Self> {
        let log = std::fs::File::create(config.with_extension("log"))?;
        let mut child = Command::new(binary("debug", "trunkline"))
            .arg("stdio")
            .arg(config)
            .args(["--tools", show])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let (input, output) =
            (child.stdin.take().context("no input")?, child.stdout.take().context("no output")?);
        let mut client = Self { child, input, output: BufReader::new(output), next: 0 };
        client.ask("initialize", json!({
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"},
        }))?;
        writeln!(client.input, "{}", json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
        Ok(client)
    }

    fn ask(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.next += 1;
        writeln!(
            self.input,
            "{}",
            json!({"jsonrpc": "2.0", "id": self.next, "method": method, "params": params})
        )?;
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line)? == 0 {
                bail!("the gateway has ended: its log is beside its configuration");
            }
            let message: Value = serde_json::from_str(&line)?;
            if message["id"] == self.next {
                return message.get("result").cloned().with_context(|| format!("{method}: {message}"));
            }
        }
    }

    /// Calls a tool. Gives the text of the answer, and counts.
    fn call(&mut self, spent: &mut Spent, name: &str, arguments: &Value) -> anyhow::Result<String> {
        let params = json!({"name": name, "arguments": arguments});
        spent.written += tokens(&params.to_string());
        let result = self.ask("tools/call", params)?;
        let blocks = result["content"].as_array().into_iter().flatten();
        let text: String = blocks.filter_map(|block| block["text"].as_str()).collect();
        if result["isError"] == true {
            bail!("{name} {arguments}: {text}");
        }
        spent.read += tokens(&text);
        Ok(text)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::cast_precision_loss, reason = "a length of text")]
fn tokens(text: &str) -> f64 {
    text.len() as f64 / 4.0
}

/// Does every task, each as a conversation of its own.
#[expect(clippy::cast_precision_loss, reason = "a few tasks")]
fn measure(config: &Path, show: &str, plan: bool, tasks: &[Vec<Step>]) -> anyhow::Result<Spent> {
    let mut client = Client::start(config, show)?;
    let all = tokens(&Client::start(config, "all")?.ask("tools/list", json!({}))?["tools"].to_string());
    let mut spent = Spent::default();
    for task in tasks {
        let listed = client.ask("tools/list", json!({}))?["tools"].clone();
        spent.listed += tokens(&listed.to_string());
        let known = |name: &str| listed.as_array().into_iter().flatten().any(|tool| tool["name"] == name);
        let mut steps = Vec::new();
        for (number, step) in task.iter().enumerate() {
            let is_listed = known(&step.tool);
            if !is_listed {
                find(&mut client, &mut spent, step, all)?;
            }
            if plan && task.len() > 1 {
                steps.push(json!({"id": format!("s{number}"), "tool": step.tool, "args": step.arguments}));
            } else if is_listed {
                client.call(&mut spent, &step.tool, &step.arguments)?;
            } else {
                client.call(
                    &mut spent,
                    "call_tool",
                    &json!({"name": step.tool, "arguments": step.arguments}),
                )?;
            }
        }
        if !steps.is_empty() {
            let output = format!(".steps.s{}.reference", steps.len() - 1);
            client.call(&mut spent, "run_plan", &json!({"plan": {"steps": steps, "output": output}}))?;
        }
    }
    let count = tasks.len() as f64;
    Ok(Spent {
        listed: spent.listed / count,
        written: spent.written / count,
        read: spent.read / count,
        ..spent
    })
}

/// Searches for the tool of a step, wider where the first answer has not got it. Where it is not found at all, the agent reads
/// the whole list.
fn find(client: &mut Client, spent: &mut Spent, step: &Step, all: f64) -> anyhow::Result<()> {
    let tells = |text: &str| text.lines().any(|line| line.starts_with(&format!("{}(", step.tool)));
    let first = client.call(spent, "search_tools", &json!({"query": step.query}))?;
    if tells(&first)
        || tells(&client.call(spent, "search_tools", &json!({"query": step.query, "limit": 25}))?)
    {
        return Ok(());
    }
    spent.missed += 1;
    spent.read += all;
    Ok(())
}
