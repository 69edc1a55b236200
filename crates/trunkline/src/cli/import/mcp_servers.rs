//! Lists of MCP servers as clients keep them: Claude Code and Claude Desktop (`mcpServers`), VS Code (`servers`).

use serde_json::{Map, Value, json};

use super::hide::is_reference;
use super::{LeftOut, Proposal, service_name};

/// Members of an entry that are understood, or that mean nothing to the gateway.
const KNOWN: [&str; 12] = [
    "command",
    "args",
    "env",
    "cwd",
    "url",
    "serverUrl",
    "httpUrl",
    "headers",
    "type",
    "transport",
    "disabled",
    "description",
];

/// A service for each server, and the servers that can't be one.
pub(super) fn proposals(servers: &Map<String, Value>) -> (Vec<Proposal>, Vec<LeftOut>) {
    let (mut proposals, mut left_out) = (Vec::<Proposal>::new(), Vec::new());
    for (name, server) in servers {
        match proposal(name, server) {
            Ok(proposal) if proposals.iter().any(|other| other.name == proposal.name) => {
                left_out.push(LeftOut {
                    what: name.clone(),
                    reason: format!("another server becomes the service {}", proposal.name),
                })
            }
            Ok(proposal) => proposals.push(proposal),
            Err(reason) => left_out.push(LeftOut { what: name.clone(), reason }),
        }
    }
    (proposals, left_out)
}

fn proposal(name: &str, server: &Value) -> Result<Proposal, String> {
    let members = server.as_object().ok_or("it is not an object")?;
    let text = |key: &str| members.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let kind = text("type").or(text("transport")).unwrap_or_default();
    let url = ["url", "httpUrl", "serverUrl"].iter().find_map(|key| text(key));
    let mut remarks = Vec::new();
    let mut mcp = Map::new();
    match (text("command"), url) {
        _ if kind == "sse" => {
            return Err("it speaks the HTTP+SSE transport of 2024-11-05, which MCP has given up; give its Streamable \
                        HTTP URL if it has one"
                .to_owned());
        }
        _ if !matches!(
            kind,
            "" | "stdio" | "http" | "streamable-http" | "streamableHttp" | "streamable_http"
        ) =>
        {
            return Err(format!("its transport {kind:?} is not known"));
        }
        (Some(command), None) => {
            if command.rsplit('/').next() == Some("trunkline") {
                return Err("it is this gateway".to_owned());
            }
            let mut argv = vec![json!(translate(command, &mut remarks))];
            for argument in members.get("args").and_then(Value::as_array).into_iter().flatten() {
                let argument = argument.as_str().ok_or("an argument is not text")?;
                argv.push(json!(translate(argument, &mut remarks)));
            }
            mcp.insert("command".to_owned(), Value::Array(argv));
            if let Some(cwd) = text("cwd") {
                mcp.insert("cwd".to_owned(), json!(translate(cwd, &mut remarks)));
            }
            if let Some(env) = values(members, "env", &mut remarks)? {
                mcp.insert("env".to_owned(), env);
            }
        }
        (None, Some(url)) => {
            if name == "trunkline" && url.ends_with("/mcp") {
                return Err("it is this gateway".to_owned());
            }
            mcp.insert("url".to_owned(), json!(translate(url, &mut remarks)));
            if let Some(headers) = values(members, "headers", &mut remarks)? {
                mcp.insert("headers".to_owned(), headers);
            }
        }
        (Some(_), Some(_)) => return Err("it has both a command and a URL".to_owned()),
        (None, None) => return Err("it has neither a command nor a URL".to_owned()),
    }
    let left_out = members
        .keys()
        .filter(|key| !KNOWN.contains(&key.as_str()))
        .map(|key| LeftOut { what: key.clone(), reason: "it means nothing to the gateway".to_owned() })
        .collect();
    let mut entry = Map::new();
    if let Some(description) = text("description") {
        entry.insert("description".to_owned(), json!(description));
    }
    if members.get("disabled") == Some(&Value::Bool(true)) {
        entry.insert("enabled".to_owned(), json!(false));
    }
    entry.insert("mcp".to_owned(), Value::Object(mcp));
    remarks.dedup();
    let name = service_name(name);
    Ok(Proposal { name, entry: Value::Object(entry), tools: None, left_out, remarks })
}

/// The values of `env` or `headers`.
fn values(
    members: &Map<String, Value>,
    key: &str,
    remarks: &mut Vec<String>,
) -> Result<Option<Value>, String> {
    let Some(values) = members.get(key).filter(|values| !values.is_null()) else { return Ok(None) };
    let values = values.as_object().ok_or_else(|| format!("{key} is not an object"))?;
    let mut out = Map::new();
    for (name, value) in values {
        let text = match value {
            Value::String(text) => translate(text, remarks),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            _ => return Err(format!("{key}.{name} is not text")),
        };
        if !is_reference(&text) && !text.contains("${") {
            remarks.push(format!(
                "{key}.{name} is copied as it is; if it is a secret, write ${{{name}}} instead"
            ));
        }
        out.insert(name.clone(), json!(text));
    }
    Ok((!out.is_empty()).then_some(Value::Object(out)))
}

/// The references of other programs in our form: `${env:NAME}` and `${input:name}` of VS Code. `${NAME}` and
/// `${NAME:-default}` of Claude Code are ours as well.
fn translate(text: &str, remarks: &mut Vec<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        out.push_str(&rest[..start]);
        let inner = &rest[start + 2..];
        let Some(end) = inner.find('}') else {
            // Not a reference; a $ more makes it literal.
            out.push_str("$${");
            rest = inner;
            continue;
        };
        let reference = &inner[..end];
        let name = if let Some(name) = reference.strip_prefix("env:") {
            name.to_owned()
        } else if let Some(input) = reference.strip_prefix("input:") {
            let name = input.to_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
            remarks.push(format!("it asks for input {input:?}: set the variable {name}"));
            name
        } else {
            if matches!(reference, "workspaceFolder" | "userHome" | "CLAUDE_PLUGIN_ROOT") {
                remarks.push(format!("set the variable {reference}, or write the path in its place"));
            }
            reference.to_owned()
        };
        out.push_str(&format!("${{{name}}}"));
        rest = &inner[end + 1..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_becomes_a_service_or_has_a_reason() {
        let list = json!({
            "files": {"command": "npx", "args": ["-y", "server", "${HOME}"], "env": {"KEY": "plain"}, "alwaysAllow": []},
            "web": {"type": "http", "url": "https://h/mcp", "headers": {"Authorization": "Bearer ${env:T}"}},
            "old": {"type": "sse", "url": "https://h/sse"},
            "trunkline": {"type": "http", "url": "http://127.0.0.1:7400/mcp"},
            "both": {"command": "a", "url": "http://b"},
            "off one": {"command": "a", "disabled": true, "env": {"K": "${input:my-key}"}},
            "off-one": {"command": "b"},
            "bad": 1,
        });
        let (proposals, left_out) = proposals(list.as_object().unwrap());
        let entries: Vec<_> = proposals.iter().map(|p| (p.name.as_str(), p.entry.clone())).collect();
        assert_eq!(
            entries,
            [
                (
                    "files",
                    json!({"mcp": {"command": ["npx", "-y", "server", "${HOME}"], "env": {"KEY": "plain"}}})
                ),
                (
                    "web",
                    json!({"mcp": {"url": "https://h/mcp", "headers": {"Authorization": "Bearer ${T}"}}})
                ),
                ("off-one", json!({"enabled": false, "mcp": {"command": ["a"], "env": {"K": "${MY_KEY}"}}})),
            ]
        );
        assert_eq!(proposals[0].left_out[0].what, "alwaysAllow");
        assert!(proposals[0].remarks[0].contains("env.KEY") && !proposals[0].remarks[0].contains("plain"));
        let names: Vec<_> = left_out.iter().map(|left| left.what.as_str()).collect();
        assert_eq!(names, ["old", "trunkline", "both", "off-one", "bad"]);
    }
}
