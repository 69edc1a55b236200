//! `trunkline flow cancel|undo|retry`: of one instance, or of many by a filter.

use serde_json::{Value, json};

use super::text;
use crate::cli::block_on;
use crate::cli::client::Client;
use crate::cli::output::{Format, plain_lines, print_data, say, short, table};
use crate::cli::stop::Stop;

/// Which instances.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// The instance.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    instance: Option<String>,
    /// All that fit the filter, the newest first.
    #[arg(long)]
    all: bool,
    /// Only those of this status, or of these, with commas between them.
    #[arg(long, requires = "all")]
    status: Option<String>,
    /// Only those of this flow.
    #[arg(long, requires = "all")]
    flow: Option<String>,
    /// Only those of this principal.
    #[arg(long, requires = "all")]
    principal: Option<String>,
    /// Only those that were started at this time or later (RFC 3339).
    #[arg(long, requires = "all", value_name = "TIME")]
    started_from: Option<String>,
    /// Only those that were started before this time (RFC 3339).
    #[arg(long, requires = "all", value_name = "TIME")]
    started_before: Option<String>,
    /// At most so many.
    #[arg(long, requires = "all")]
    limit: Option<usize>,
    /// Only tell what would be done.
    #[arg(long, requires = "all")]
    dry_run: bool,
}

/// Ask an instance to end.
#[derive(Debug, clap::Args)]
pub(super) struct Cancel {
    #[command(flatten)]
    which: Which,
    /// Why, for the record.
    #[arg(long)]
    reason: Option<String>,
}

/// Undo what a completed instance did.
#[derive(Debug, clap::Args)]
pub(super) struct Undo {
    #[command(flatten)]
    which: Which,
    /// Why, for the record.
    #[arg(long)]
    reason: Option<String>,
}

/// Begin another instance in the place of one that failed.
#[derive(Debug, clap::Args)]
pub(super) struct Retry {
    #[command(flatten)]
    which: Which,
    /// Keep what was done before this step; from the start where left out.
    #[arg(long, value_name = "STEP")]
    from: Option<String>,
}

impl Cancel {
    pub(super) fn run(self, client: &Client, format: Format) -> Result<(), Stop> {
        let Some(id) = self.which.instance else {
            return self.which.ask_all(client, format, "cancel", json!({"reason": self.reason}));
        };
        ask(client, &id, "cancel", &json!({"reason": self.reason}))?;
        say(&format_args!("{id} ends, and what it did is undone; see `trunkline flow show {id}`"));
        Ok(())
    }
}

impl Undo {
    pub(super) fn run(self, client: &Client, format: Format) -> Result<(), Stop> {
        let Some(id) = self.which.instance else {
            return self.which.ask_all(client, format, "undo", json!({"reason": self.reason}));
        };
        ask(client, &id, "undo", &json!({"reason": self.reason}))?;
        say(&format_args!("what {id} did is undone; see `trunkline flow show {id}`"));
        Ok(())
    }
}

impl Retry {
    pub(super) fn run(self, client: &Client, format: Format) -> Result<(), Stop> {
        let Some(id) = self.which.instance else {
            return self.which.ask_all(client, format, "retry", json!({"from": self.from}));
        };
        let answer = ask(client, &id, "retry", &json!({"from": self.from}))?;
        let new = text(&answer["retried_as"]);
        print_data(format, &answer, |_| format!("{new}\n"))?;
        say(&format_args!("{new} runs in the place of {id}; see `trunkline flow show {new}`"));
        Ok(())
    }
}

fn ask(client: &Client, id: &str, verb: &str, body: &Value) -> Result<Value, Stop> {
    let path = format!("{id}:{verb}");
    block_on(client.post(&["v1", "instances", &path], body.to_string()))
}

impl Which {
    fn ask_all(self, client: &Client, format: Format, verb: &str, mut body: Value) -> Result<(), Stop> {
        body["dry_run"] = json!(self.dry_run);
        for (name, value) in [
            ("status", self.status),
            ("flow", self.flow),
            ("principal", self.principal),
            ("started_from", self.started_from),
            ("started_before", self.started_before),
        ] {
            body[name] = json!(value);
        }
        if let Some(limit) = self.limit {
            body["limit"] = json!(limit);
        }
        let path = format!("instances:{verb}");
        let answer: Value = block_on(client.post(&["v1", &path], body.to_string()))?;
        Ok(print_data(format, &answer, |answer| many(answer, verb))?)
    }
}

/// What was done or would be, an instance a line.
fn many(answer: &Value, verb: &str) -> String {
    let dry = answer["dry_run"] == true;
    let rows: Vec<_> = answer["instances"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|asked| {
            let what = match asked["refused"]["detail"].as_str() {
                Some(detail) => format!("refused: {detail}"),
                None if dry => would(&asked["would"], verb),
                None if verb == "retry" => format!("retried as {}", text(&asked["retried_as"])),
                None => format!("{verb}: under way"),
            };
            [text(&asked["instance"]), text(&asked["flow"]), text(&asked["status"]), short(&what, 160)]
        })
        .collect();
    table(["INSTANCE", "FLOW", "STATUS", if dry { "WOULD BE" } else { "DONE" }], &rows)
}

fn would(would: &Value, verb: &str) -> String {
    let steps = |name: &str| would[name].as_array().map(Vec::as_slice).unwrap_or_default();
    match verb {
        "retry" if steps("kept").is_empty() => "retried from the start".to_owned(),
        "retry" => format!("retried, {} steps kept", steps("kept").len()),
        _ if steps("undone").is_empty() => format!("{verb}: nothing to undo"),
        _ => {
            let undone: Vec<String> = steps("undone").iter().map(|step| text(&step["target"])).collect();
            format!("{verb}: undoes {}", undone.join(", "))
        }
    }
}

/// The limits that count anyone, and who waits, in order.
pub(super) fn queues(answer: &Value) -> String {
    let of = |name: &str| answer[name].as_array().cloned().unwrap_or_default();
    let limits: Vec<_> = of("limits")
        .iter()
        .map(|limit| ["what", "active", "max", "waiting"].map(|name| text(&limit[name])))
        .collect();
    let waiting: Vec<_> = of("waiting")
        .iter()
        .map(|row| {
            let step = if row["key"] == "~queue" { String::new() } else { text(&row["key"]) };
            [text(&row["what"]), text(&row["place"]), text(&row["instance"]), step, text(&row["principal"])]
        })
        .collect();
    if limits.is_empty() && waiting.is_empty() {
        return "nothing is under a limit\n".to_owned();
    }
    let mut out = table(["LIMIT", "ACTIVE", "MAX", "WAITING"], &limits);
    if !waiting.is_empty() {
        out.push('\n');
        out.push_str(&table(["WAITS FOR", "PLACE", "INSTANCE", "STEP", "FOR"], &waiting));
    }
    out
}

/// Undos that tools seem to have, as a part of a configuration.
pub(super) fn proposals(proposals: &Value) -> String {
    let proposals = proposals.as_array().map(Vec::as_slice).unwrap_or_default();
    if proposals.is_empty() {
        return "no tool without an undo seems to have one\n".to_owned();
    }
    let mut out = "# Proposals, guessed from names and schemas. Look at each before you write it into the configuration.\n\
                   flows:\n  tools:\n"
        .to_owned();
    for proposal in proposals {
        out.push_str(&format!("    # {}\n    {}\n", text(&proposal["why"]), text(&proposal["snippet"])));
    }
    plain_lines(&out)
}
