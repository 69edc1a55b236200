//! `trunkline call`: calls a tool.

use std::io::Read;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::client::{Client, ServerArgs};
use super::output::{Format, plain_lines, print, print_data, say};
use super::stop::Stop;
use super::{OutputArgs, block_on};
use crate::Error;

/// The largest arguments, in bytes.
const MAX_ARGUMENTS: u64 = 64 << 20;

/// Call a tool of the running gateway.
#[derive(Debug, clap::Args)]
pub(super) struct Call {
    /// The tool's advertised name.
    tool: String,
    /// The arguments: a JSON object, `@file`, or `-` for standard input.
    arguments: Option<String>,
    /// One argument. The value is read as JSON where it is JSON, else as text. Can be given again.
    #[arg(long = "arg", value_name = "NAME=VALUE")]
    args: Vec<String>,
    /// The transaction that the call is to be a step of.
    #[arg(long, value_name = "ID")]
    transaction: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// The gateway's answer to a call.
#[derive(Debug, Deserialize, Serialize)]
struct Answer {
    call_id: String,
    outcome: String,
    #[serde(default)]
    is_error: bool,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    result: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    requests: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    request_state: Value,
}

impl Call {
    pub(super) fn run(self) -> Result<(), Stop> {
        let mut arguments = match &self.arguments {
            Some(text) => object(&read(text)?)?,
            None => Map::new(),
        };
        for arg in &self.args {
            let (name, value) = named(arg)?;
            arguments.insert(name, value);
        }
        let mut client = self.server.client()?;
        if let Some(transaction) = self.transaction {
            client = client.with("trunkline-transaction", transaction);
        }
        call(&client, &self.tool, arguments, self.output.output)
    }
}

/// Calls a tool and prints its answer.
pub(super) fn call(
    client: &Client,
    tool: &str,
    arguments: Map<String, Value>,
    format: Format,
) -> Result<(), Stop> {
    let path = format!("{tool}:call");
    let body = Value::Object(arguments).to_string();
    let answer: Answer = block_on(client.post(&["v1", "tools", &path], body))?;
    match format {
        Format::Table => print(&text(&answer))?,
        format => print_data(format, &answer, |_| String::new())?,
    }
    if answer.outcome == "input_required" {
        say(&format_args!(
            "the tool asks for input, which this command can't give (call {}); an MCP client can",
            answer.call_id
        ));
        return Err(Stop::InputRequired);
    }
    if answer.is_error { Err(Stop::ToolError) } else { Ok(()) }
}

pub(super) fn usage(reason: String) -> Stop {
    let fix = "Write '{\"name\": \"value\"}', @file, -, or --arg name=value.".to_owned();
    Error::Usage { reason, fix }.into()
}

/// The text of the arguments.
pub(super) fn read(text: &str) -> Result<String, Stop> {
    let mut read = String::new();
    let source: Box<dyn Read> = match text.strip_prefix('@') {
        Some(file) => Box::new(
            std::fs::File::open(file).map_err(|error| usage(format!("{file} can't be read: {error}")))?,
        ),
        None if text == "-" => Box::new(std::io::stdin()),
        None => return Ok(text.to_owned()),
    };
    source
        .take(MAX_ARGUMENTS)
        .read_to_string(&mut read)
        .map_err(|error| usage(format!("the arguments can't be read: {error}")))?;
    Ok(read)
}

fn object(text: &str) -> Result<Map<String, Value>, Stop> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(usage("the arguments are not a JSON object".to_owned())),
        Err(error) => Err(usage(format!("the arguments are not JSON: {error}"))),
    }
}

fn named(arg: &str) -> Result<(String, Value), Stop> {
    let (name, value) =
        arg.split_once('=').ok_or_else(|| usage("--arg is not written name=value".to_owned()))?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((name.to_owned(), value))
}

/// What `ask` has understood, where it did it at once.
fn understood(answer: &Answer) -> String {
    let wishes = answer.result["_meta"]["trunkline.dev/ask"]["wishes"].as_array();
    let line = |wish: &Value| {
        let word = |member: &str| wish[member].as_str().unwrap_or_default().to_owned();
        let (tool, intent, why) = (word("tool"), word("intent"), word("why"));
        let named = if tool == intent { tool } else { format!("{tool}, intent {intent}") };
        let sure = 100.0 * wish["confidence"].as_f64().unwrap_or(0.0);
        plain_lines(&format!("{named}, {sure:.0} % sure: {why}"))
    };
    wishes.map(Vec::as_slice).unwrap_or_default().iter().map(line).collect()
}

/// The answer for a terminal: its text, else the whole result.
fn text(answer: &Answer) -> String {
    if answer.outcome == "input_required" {
        return serde_json::to_string_pretty(&answer.requests).unwrap_or_default() + "\n";
    }
    let blocks = answer.result["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    if blocks.is_empty() {
        return serde_json::to_string_pretty(&answer.result).unwrap_or_default() + "\n";
    }
    let block = |block: &Value| match block["text"].as_str() {
        Some(text) => pretty(text),
        None => {
            let size = block["data"].as_str().map_or(0, str::len) / 4 * 3;
            let kind = block["type"].as_str().unwrap_or("content");
            let media = block["mimeType"].as_str().unwrap_or_default();
            plain_lines(&format!("[{kind} {media} {size} bytes; -o json prints it]"))
        }
    };
    let told: String = blocks.iter().map(block).collect();
    understood(answer) + &told
}

/// JSON text is indented, so that it can be read.
fn pretty(text: &str) -> String {
    let starts_json = text.trim_start().starts_with(['{', '[']);
    match serde_json::from_str::<Value>(text) {
        Ok(value) if starts_json => serde_json::to_string_pretty(&value).unwrap_or_default() + "\n",
        _ => plain_lines(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_are_json_where_they_look_like_it() {
        let value = |arg| named(arg).unwrap().1;
        assert_eq!(value("n=3"), json!(3));
        assert_eq!(value("t=three"), json!("three"));
        assert_eq!(value("t=\"3\""), json!("3"));
        assert_eq!(value("l=[1,2]"), json!([1, 2]));
        assert_eq!(value("e="), json!(""));
        assert_eq!(value("u=a=b"), json!("a=b"));
        assert!(named("none").is_err());
        assert!(object("[1]").is_err());
    }
}
