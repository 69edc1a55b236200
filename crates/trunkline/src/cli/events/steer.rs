//! `trunkline events publish|dead-letters|replay|discard|subscriptions`: what is told, and what could not be delivered.

use clap::Subcommand;
use serde_json::{Value, json};

use super::super::block_on;
use super::super::call::{read, usage};
use super::super::client::Client;
use super::super::output::{Format, print_data, say, short, table};
use super::super::stop::Stop;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Publish an event, to which flows and subscriptions react.
    Publish {
        /// Its type, such as com.example.order.paid.
        #[arg(value_name = "TYPE")]
        kind: String,
        /// What there is to say of it: JSON, `@file`, or `-` for standard input.
        #[arg(long, value_name = "JSON")]
        data: Option<String>,
        /// Where it has happened: a URI reference.
        #[arg(long)]
        source: Option<String>,
        /// What it happened to.
        #[arg(long)]
        subject: Option<String>,
        /// Its id. Publishing it again under the same source and id does nothing.
        #[arg(long)]
        id: Option<String>,
    },
    /// List the subscriptions, what they have under way and what has died.
    Subscriptions,
    /// List the deliveries that have failed in the end, the newest first.
    DeadLetters {
        #[command(flatten)]
        which: Which,
        /// open, replayed or discarded.
        #[arg(long, default_value = "open")]
        state: String,
    },
    /// Deliver the event of a dead letter again, or those of many.
    Replay(Settle),
    /// Leave a dead letter as it is for good, or many.
    Discard(Settle),
}

/// Which dead letters.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// Only those of this subscription.
    #[arg(long, value_name = "NAME")]
    subscription: Option<String>,
    /// Only events of this type.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

/// Which dead letters are settled, and how.
#[derive(Debug, clap::Args)]
pub(super) struct Settle {
    /// The dead letter; none for all that fit.
    #[arg(required_unless_present = "all")]
    id: Option<String>,
    /// All that are open and fit.
    #[arg(long, conflicts_with = "id")]
    all: bool,
    #[command(flatten)]
    which: Which,
    /// Why, for the record.
    #[arg(long)]
    reason: Option<String>,
    /// Only say which they are.
    #[arg(long, requires = "all")]
    dry_run: bool,
}

impl Which {
    fn members(&self) -> Vec<(&'static str, Value)> {
        let text = |name, value: &Option<String>| value.as_ref().map(|value| (name, json!(value)));
        let limit = ("limit", json!(self.limit));
        text("subscription", &self.subscription)
            .into_iter()
            .chain(text("type", &self.kind))
            .chain([limit])
            .collect()
    }
}

impl Command {
    pub(super) fn run(self, client: &Client, format: Format) -> Result<(), Stop> {
        match self {
            Self::Publish { kind, data, source, subject, id } => {
                let data = data.map(|text| parse(&read(&text)?)).transpose()?;
                let mut event = json!({"specversion": "1.0", "type": kind});
                for (name, value) in [("source", source), ("subject", subject), ("id", id)] {
                    if let Some(value) = value {
                        event[name] = json!(value);
                    }
                }
                if let Some(data) = data {
                    event["data"] = data;
                }
                let answer: Value = block_on(client.post(&["v1", "events"], event.to_string()))?;
                Ok(print_data(format, &answer, published)?)
            }
            Self::Subscriptions => {
                let answer: Value = block_on(client.get(&["v1", "subscriptions"], &[]))?;
                Ok(print_data(format, &answer["subscriptions"], subscriptions)?)
            }
            Self::DeadLetters { which, state } => {
                let mut query = vec![("state", state)];
                query.extend(which.members().into_iter().map(|(name, value)| (name, text(&value))));
                let query: Vec<_> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let answer: Value = block_on(client.get(&["v1", "dead-letters"], &query))?;
                Ok(print_data(format, &answer["dead_letters"], letters)?)
            }
            Self::Replay(settle) => settle.run(client, format, "replay"),
            Self::Discard(settle) => settle.run(client, format, "discard"),
        }
    }
}

impl Settle {
    fn run(self, client: &Client, format: Format, action: &str) -> Result<(), Stop> {
        if let Some(id) = self.id {
            let body = json!({"reason": self.reason}).to_string();
            let path = format!("{id}:{action}");
            let answer: Value = block_on(client.post(&["v1", "dead-letters", &path], body))?;
            return Ok(print_data(format, &json!([answer]), settled)?);
        }
        let which: Value =
            self.which.members().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let body = json!({"action": action, "where": which, "reason": self.reason, "dry_run": self.dry_run});
        let answer: Value = block_on(client.post(&["v1", "dead-letters"], body.to_string()))?;
        if self.dry_run {
            say("nothing was done; these would be");
        }
        Ok(print_data(format, &answer["dead_letters"], settled)?)
    }
}

fn parse(text: &str) -> Result<Value, Stop> {
    serde_json::from_str(text).map_err(|error| usage(format!("the data is not JSON: {error}")))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn published(answer: &Value) -> String {
    let what = if answer["duplicate"] == true { "was published before" } else { "is published" };
    format!("{} of {} {what}\n", text(&answer["id"]), text(&answer["source"]))
}

fn rows<const N: usize>(all: &Value, row: impl Fn(&Value) -> [String; N]) -> Vec<[String; N]> {
    all.as_array().into_iter().flatten().map(row).collect()
}

fn subscriptions(all: &Value) -> String {
    let names = ["name", "group", "concurrency", "under_way", "dead"];
    table(
        ["NAME", "GROUP", "AT ONCE", "UNDER WAY", "DEAD"],
        &rows(all, |one| names.map(|name| text(&one[name]))),
    )
}

fn letters(all: &Value) -> String {
    let row = |one: &Value| {
        let time = one["time_ms"].as_i64().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        [
            text(&one["id"]),
            text(&one["state"]),
            text(&one["subscription"]),
            time.map(|time| format!("{time:.0}")).unwrap_or_default(),
            short(&format!("{} {}", text(&one["event"]["type"]), text(&one["event"]["id"])), 50),
            short(&text(&one["fault"]["detail"]), 80),
        ]
    };
    table(["DEAD LETTER", "STATE", "SUBSCRIPTION", "TIME", "EVENT", "WHY"], &rows(all, row))
}

fn settled(all: &Value) -> String {
    let row = |one: &Value| {
        let problem = &one["problem"]["detail"];
        let done = if problem.is_null() { &one["done"] } else { problem };
        [text(&one["id"]), text(done), text(&one["replayed_as"])]
    };
    table(["DEAD LETTER", "", "DELIVERED AS"], &rows(all, row))
}
