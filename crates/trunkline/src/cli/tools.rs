//! `trunkline tools`: what can be called.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client::{Client, ServerArgs};
use super::output::{print_data, short, table};
use super::stop::Stop;
use super::{OutputArgs, block_on};

/// The most pages that are read.
const MAX_PAGES: usize = 1000;

/// List the tools of the running gateway.
#[derive(Debug, clap::Args)]
pub(super) struct Tools {
    /// Only tools with all these words in their name, title, description or service.
    query: Vec<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Deserialize)]
struct Page {
    tools: Vec<Value>,
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct Listing {
    tools: Vec<Value>,
}

impl Tools {
    pub(super) fn run(self) -> Result<(), Stop> {
        let client = self.server.client()?;
        let mut tools = block_on(all(&client))?;
        let words: Vec<_> =
            self.query.iter().flat_map(|q| q.split_whitespace()).map(str::to_lowercase).collect();
        tools.retain(|tool| fits(tool, &words));
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

fn fits(tool: &Value, words: &[String]) -> bool {
    let text = ["name", "title", "description", "service"].map(|key| tool[key].as_str().unwrap_or_default());
    let text = text.join("\n").to_lowercase();
    words.iter().all(|word| text.contains(word))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_words_are_looked_for_everywhere() {
        let tool = json!({"name": "git__log", "description": "Shows commits", "service": "git"});
        assert!(fits(&tool, &["commits".into(), "git".into()]));
        assert!(!fits(&tool, &["commits".into(), "orders".into()]));
        assert!(fits(&tool, &[]));
    }
}
