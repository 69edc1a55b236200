//! `trunkline tools`: what can be called.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::{Client, ServerArgs};
use super::output::{print_data, short, table};
use super::stop::Stop;
use super::{OutputArgs, block_on};

/// The most pages that are read.
const MAX_PAGES: usize = 1000;

/// The most tools that a request finds.
const MOST: &str = "20";

/// List the tools of the running gateway, or find those that fit a request in plain words.
#[derive(Debug, clap::Args)]
pub(super) struct Tools {
    /// What is to be done, in plain words: the tools that fit, the best first.
    query: Vec<String>,
    /// Those that can do this and can be called now: a dotted term, `*` for any one part.
    #[arg(long, value_name = "TERM", conflicts_with = "query")]
    capability: Option<String>,
    /// With --capability: not those of which that is only guessed from their names.
    #[arg(long, requires = "capability")]
    configured: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Deserialize)]
struct Page {
    tools: Vec<Value>,
    #[serde(default)]
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct Listing {
    tools: Vec<Value>,
}

impl Tools {
    pub(super) fn run(self) -> Result<(), Stop> {
        let client = self.server.client()?;
        if let Some(capability) = &self.capability {
            let query = json!({"capability": capability, "configured": self.configured, "limit": 100});
            let found: Value = block_on(client.post(&["v1", "discover"], query.to_string()))?;
            return Ok(print_data(self.output.output, &found, can)?);
        }
        let tools = match self.query.join(" ") {
            words if words.trim().is_empty() => block_on(all(&client))?,
            words => {
                block_on(client.get::<Page>(&["v1", "search"], &[("q", &words), ("limit", MOST)]))?.tools
            }
        };
        Ok(print_data(self.output.output, &Listing { tools }, |listing| to_table(&listing.tools))?)
    }
}

/// Every tool of the gateway.
pub(super) async fn all(client: &Client) -> Result<Vec<Value>, Stop> {
    let (mut tools, mut cursor) = (Vec::new(), None::<String>);
    for _ in 0..MAX_PAGES {
        let query: Vec<_> = cursor.iter().map(|cursor| ("cursor", cursor.as_str())).collect();
        let page: Page = client.get(&["v1", "tools"], &query).await?;
        tools.extend(page.tools);
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => return Ok(tools),
        }
    }
    Err(client.answer(format!("the list of tools has no end after {MAX_PAGES} pages")).into())
}

fn to_table(tools: &[Value]) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows: Vec<_> = tools
        .iter()
        .map(|tool| {
            let description = tool["description"].as_str().or(tool["title"].as_str()).unwrap_or_default();
            [text(&tool["name"]), text(&tool["service"]), effects(&tool["effects"]), short(description, 70)]
        })
        .collect();
    table(["NAME", "SERVICE", "EFFECTS", "DESCRIPTION"], &rows)
}

/// The tools that can do something.
fn can(found: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let row = |tool: &Value| {
        let from = if tool["inferred"] == true { "inferred" } else { "configured" };
        let latency = tool["latency_ms"].as_f64().map(|ms| format!("{ms:.1}")).unwrap_or_default();
        [text(&tool["tool"]), text(&tool["capability"]), from.to_owned(), text(&tool["version"]), latency]
    };
    let rows: Vec<_> = found["tools"].as_array().into_iter().flatten().map(row).collect();
    table(["NAME", "CAPABILITY", "FROM", "VERSION", "MS"], &rows)
}

/// What a tool does to the world, in a word.
fn effects(effects: &Value) -> String {
    let is = |key: &str| effects[key] == true;
    let word = if is("read_only") {
        "reads"
    } else if is("destructive") {
        "destroys"
    } else {
        "changes"
    };
    word.to_owned()
}
