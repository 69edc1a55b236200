//! Undos that tools seem to have, guessed from their names and schemas: `createOrder` with `cancelOrder`, `reserve` with
//! `release`, POST with DELETE. They are shown as what could be written into the configuration, and never used before
//! somebody has done that.

use serde::Serialize;
use serde_json::{Value, json};
use trunkline_model::{Principal, ToolSpec};

use crate::engine::Engine;

/// What takes back what: the first word of a pair does, each of the others undoes. The more certain ones first.
const PAIRS: [(&str, &[&str]); 24] = [
    ("reserve", &["release", "unreserve", "cancel"]),
    ("hold", &["release", "unhold"]),
    ("charge", &["refund", "void", "reverse"]),
    ("pay", &["refund", "void"]),
    ("capture", &["refund", "void"]),
    ("book", &["cancel", "unbook"]),
    ("create", &["delete", "cancel", "remove", "destroy", "void"]),
    ("post", &["delete"]),
    ("add", &["remove", "delete"]),
    ("insert", &["delete", "remove"]),
    ("open", &["close", "cancel"]),
    ("start", &["stop", "cancel"]),
    ("register", &["unregister", "deregister", "delete"]),
    ("subscribe", &["unsubscribe"]),
    ("enable", &["disable"]),
    ("attach", &["detach"]),
    ("grant", &["revoke"]),
    ("lock", &["unlock"]),
    ("allocate", &["release", "deallocate", "free"]),
    ("acquire", &["release"]),
    ("assign", &["unassign"]),
    ("upload", &["delete", "remove"]),
    ("submit", &["cancel", "withdraw"]),
    ("place", &["cancel"]),
];

/// An undo that a tool seems to have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Proposal {
    /// The tool.
    pub tool: String,
    /// The tool that seems to undo it.
    pub undo: String,
    /// The arguments of that.
    pub args: Value,
    /// Why it seems so.
    pub why: String,
    /// What to write into the configuration, under `flows.tools`, to accept it.
    pub snippet: String,
}

impl Engine {
    /// Undos that tools seem to have, of those that change something and have none declared. `tools` are the tools that the
    /// principal may use, by the names they are called by.
    #[must_use]
    pub fn proposals(&self, principal: &Principal, tools: &[(String, ToolSpec)]) -> Vec<Proposal> {
        let open = |name: &str| {
            let contract = self.tools().contract(principal, name);
            contract.is_ok_and(|contract| contract.undo.is_none() && !contract.effects.read_only)
        };
        tools.iter().filter(|(name, _)| open(name)).filter_map(|tool| propose(tool, tools)).collect()
    }
}

/// Undos that tools seem to have among themselves, of those that change something.
#[must_use]
pub fn undos(tools: &[(String, ToolSpec)]) -> Vec<Proposal> {
    let open = |(_, spec): &&(String, ToolSpec)| !spec.effects.read_only;
    tools.iter().filter(open).filter_map(|tool| propose(tool, tools)).collect()
}

fn propose((name, spec): &(String, ToolSpec), tools: &[(String, ToolSpec)]) -> Option<Proposal> {
    let words = words(&spec.name);
    let (verb, undoing) = PAIRS.iter().find(|(verb, _)| words.iter().any(|word| word == verb))?;
    let noun = noun(&words, verb);
    let beside = |(other, candidate): &&(String, ToolSpec)| {
        other != name && candidate.service == spec.service && !candidate.effects.read_only
    };
    undoing.iter().find_map(|undo| {
        tools.iter().filter(beside).find_map(|(other, candidate)| {
            let words = self::words(&candidate.name);
            let fits = words.iter().any(|word| word == undo) && self::noun(&words, undo) == noun;
            let args = if fits { arguments(spec, candidate)? } else { return None };
            let why = format!("{verb} and {undo} of the same: {}", noun.join(" "));
            Some(Proposal {
                tool: name.clone(),
                undo: other.clone(),
                snippet: snippet(name, other, &args),
                args,
                why,
            })
        })
    })
}

/// The words of a name, in small letters: `createOrder`, `create_order` and `create-order` have the same.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        let begins = c.is_uppercase() && !before.is_uppercase();
        if (begins || !c.is_alphanumeric()) && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What a tool is about: its name without the verb, and without what only says which one is meant. In the singular.
fn noun(words: &[String], verb: &str) -> Vec<String> {
    let one = |word: &String| word.strip_suffix('s').unwrap_or(word).to_owned();
    let about = words.iter().filter(|word| *word != verb).map(one);
    about.filter(|word| !matches!(&**word, "id" | "by" | "a" | "an" | "the" | "new")).collect()
}

/// Where the arguments of the undo come from; `None` where one that it needs is not to be had.
fn arguments(of: &ToolSpec, undo: &ToolSpec) -> Option<Value> {
    let needed = undo.input.document()["required"].as_array().cloned().unwrap_or_default();
    let has = |schema: &Value, name: &str| schema["properties"].get(name).is_some();
    let output = of.output.as_ref().map(|schema| schema.document().clone());
    let mut args = json!({});
    let mut found = false;
    for name in needed.iter().filter_map(Value::as_str) {
        let last = words(name);
        let is_id = last.last().is_some_and(|word| word == "id");
        let gives = |name: &str| output.as_ref().is_some_and(|output| has(output, name));
        let from = if gives(name) {
            format!(".result.{name}")
        } else if is_id && !found && (output.is_none() || gives("id")) {
            ".result.id".to_owned()
        } else if has(of.input.document(), name) {
            format!(".args.{name}")
        } else {
            return None;
        };
        found |= from.starts_with(".result");
        args[name] = json!(format!("${{ {from} }}"));
    }
    // Without anything that says what is meant, it would undo something else.
    args.as_object().is_some_and(|args| !args.is_empty()).then_some(args)
}

/// A line of YAML. `$${` keeps the configuration from reading a variable.
fn snippet(tool: &str, undo: &str, args: &Value) -> String {
    let members = args.as_object().into_iter().flatten();
    let args: Vec<String> =
        members.map(|(name, value)| format!("{name}: \"${}\"", value.as_str().unwrap_or_default())).collect();
    format!("{tool}: {{ undo: {{ tool: {undo}, args: {{ {} }} }} }}", args.join(", "))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trunkline_model::{Effects, Schema, ServiceId};

    use super::*;

    fn tool(name: &str, needs: &[&str], gives: &[&str]) -> (String, ToolSpec) {
        let properties = |names: &[&str]| {
            let members = names.iter().map(|name| ((*name).to_owned(), json!({})));
            json!({"type": "object", "properties": members.collect::<serde_json::Map<_, _>>(), "required": names})
        };
        let spec = ToolSpec {
            service: ServiceId::new("shop"),
            name: Arc::from(name),
            version: Arc::from("1"),
            title: None,
            description: String::new(),
            capabilities: Vec::new(),
            dependencies: Vec::new(),
            input: Schema::new(properties(needs)),
            output: (!gives.is_empty()).then(|| Schema::new(properties(gives))),
            effects: Effects::default(),
            raw: None,
        };
        (format!("shop__{name}"), spec)
    }

    #[test]
    fn tools_that_take_each_other_back_are_found_by_their_names() {
        let tools = [
            tool("createOrder", &["body"], &["id"]),
            tool("cancelOrder", &["order_id"], &["id"]),
            tool("cancelShipment", &["shipment_id"], &["id"]),
            tool("reserve_stock", &["sku"], &["reservation_id"]),
            tool("release_stock", &["reservation_id"], &[]),
            tool("post_things", &["body"], &[]),
            tool("delete_things_by_id", &["id"], &[]),
            tool("grantRole", &["user", "role"], &["ok"]),
            tool("revokeRole", &["user", "role"], &["ok"]),
            tool("openDoor", &["door"], &["ok"]),
            tool("closeDoor", &["key"], &["ok"]),
        ];
        let found: Vec<String> =
            tools.iter().filter_map(|tool| propose(tool, &tools)).map(|found| found.snippet).collect();
        let undo = |tool: &str, undo: &str, args: &str| {
            format!("shop__{tool}: {{ undo: {{ tool: shop__{undo}, args: {{ {args} }} }} }}")
        };
        assert_eq!(
            found,
            [
                undo("createOrder", "cancelOrder", "order_id: \"$${ .result.id }\""),
                undo("reserve_stock", "release_stock", "reservation_id: \"$${ .result.reservation_id }\""),
                undo("post_things", "delete_things_by_id", "id: \"$${ .result.id }\""),
                undo("grantRole", "revokeRole", "user: \"$${ .args.user }\", role: \"$${ .args.role }\""),
            ]
        );
    }
}
