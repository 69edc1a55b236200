//! A `server.json` of the MCP Registry (schema 2025-12-11 and those before it): a server by its URL, or by a package that a
//! program of this machine can run. What can't be run is said.

use serde_json::{Map, Value, json};

use super::{LeftOut, Proposal, service_name};

/// The most servers of one document.
const MAX_SERVERS: usize = 200;

/// The server, or the servers, that a document of the MCP Registry describes: a `server.json`, or an answer of its API, where it
/// stands in `server`, or several in `servers`.
pub(super) fn servers(document: &Value) -> Option<Vec<&Value>> {
    let one = |value: &'_ Value| -> bool {
        let named = value["name"].as_str().is_some_and(|name| name.contains('/'));
        let schema = value["$schema"].as_str().is_some_and(|schema| schema.ends_with("server.schema.json"));
        named && (schema || value["remotes"].is_array() || value["packages"].is_array())
    };
    let unwrapped = |value: &'_ Value| value["server"].is_object();
    if one(document) {
        return Some(vec![document]);
    }
    if unwrapped(document) && one(&document["server"]) {
        return Some(vec![&document["server"]]);
    }
    let list = document["servers"].as_array()?;
    let inner = list.iter().map(|entry| if unwrapped(entry) { &entry["server"] } else { entry });
    let found: Vec<_> = inner.filter(|server| one(server)).take(MAX_SERVERS).collect();
    (!found.is_empty()).then_some(found)
}

/// A service for each server, and the servers that can't be one.
pub(super) fn proposals(servers: &[&Value], name: Option<&str>) -> (Vec<Proposal>, Vec<LeftOut>) {
    let (mut proposals, mut left_out) = (Vec::<Proposal>::new(), Vec::new());
    for server in servers {
        let full = server["name"].as_str().unwrap_or_default();
        let short = full.rsplit('/').next().unwrap_or(full);
        let own = service_name(name.filter(|_| servers.len() == 1).unwrap_or(short));
        let refuse = |reason: String| LeftOut { what: full.to_owned(), reason };
        match proposal(&own, server) {
            Ok(proposal) if proposals.iter().any(|other| other.name == proposal.name) => {
                left_out.push(refuse(format!("another server becomes the service {}", proposal.name)));
            }
            Ok(proposal) => proposals.push(proposal),
            Err(reason) => left_out.push(refuse(reason)),
        }
    }
    (proposals, left_out)
}

fn proposal(name: &str, server: &Value) -> Result<Proposal, String> {
    let mut inputs = Inputs::default();
    let mut left_out = Vec::new();
    let mut chosen = None;
    let mut reasons = Vec::new();
    let ways = list(&server["remotes"])
        .map(|one| (one, true))
        .chain(list(&server["packages"]).map(|one| (one, false)));
    for (way, remote) in ways {
        let place = if remote { "url" } else { "identifier" };
        let what =
            format!("{} {}", if remote { "remote" } else { "package" }, text(way, place).unwrap_or("?"));
        if chosen.is_some() {
            left_out.push(LeftOut { what, reason: "another way to reach the server is taken".to_owned() });
            continue;
        }
        let mut tried = Inputs::default();
        match if remote { of_remote(way, &mut tried) } else { of_package(way, &mut tried) } {
            Ok(mcp) => (chosen, inputs) = (Some(mcp), tried),
            Err(reason) => {
                reasons.push(format!("{what}: {reason}"));
                left_out.push(LeftOut { what, reason });
            }
        }
    }
    let Some(mcp) = chosen else {
        return Err(match reasons.is_empty() {
            true => "it has neither remotes nor packages".to_owned(),
            false => reasons.join("; "),
        });
    };
    let mut entry = Map::new();
    if let Some(description) = text(server, "description") {
        entry.insert("description".to_owned(), json!(description));
    }
    if let Some(version) = text(server, "version") {
        entry.insert("version".to_owned(), json!(escaped(version)));
    }
    let known = text(server, "name").unwrap_or_default();
    entry.insert("metadata".to_owned(), json!({"mcp_registry_name": escaped(known)}));
    entry.insert("mcp".to_owned(), mcp);
    Ok(Proposal {
        name: name.to_owned(),
        entry: Value::Object(entry),
        tools: None,
        left_out,
        remarks: inputs.remarks,
    })
}

fn of_remote(remote: &Value, inputs: &mut Inputs) -> Result<Value, String> {
    match text(remote, "type").or(text(remote, "transport_type")) {
        Some("streamable-http" | "streamable") => {}
        Some("sse") => return Err("it speaks the HTTP+SSE transport, which MCP has given up".to_owned()),
        other => return Err(format!("its transport {:?} is not known", other.unwrap_or_default())),
    }
    let url = text(remote, "url").ok_or("it has no URL")?;
    let url = inputs.filled(url, &remote["variables"]);
    let mut mcp = json!({"url": url});
    if let Some(headers) = inputs.pairs(&remote["headers"]) {
        mcp["headers"] = headers;
    }
    Ok(mcp)
}

fn of_package(package: &Value, inputs: &mut Inputs) -> Result<Value, String> {
    let kind = text(package, "registryType").or(text(package, "registry_type")).unwrap_or_default();
    let identifier = text(package, "identifier").ok_or("it has no identifier")?;
    let version = text(package, "version");
    let transport = package["transport"]["type"].as_str().unwrap_or("stdio");
    if transport != "stdio" {
        return Err(format!("it serves {transport} once it runs: start it (`children`), and add its URL"));
    }
    if package["fileSha256"].is_string() {
        return Err(
            "its file has to be checked against a SHA-256, which the program that runs it does not do"
                .to_owned(),
        );
    }
    if identifier.starts_with('-') || identifier.contains(char::is_whitespace) {
        return Err("its identifier is no name of a package".to_owned());
    }
    let usual = [
        "https://registry.npmjs.org",
        "https://pypi.org",
        "https://docker.io",
        "https://api.nuget.org/v3/index.json",
    ];
    if let Some(base) = text(package, "registryBaseUrl")
        && !usual.contains(&base.trim_end_matches('/'))
    {
        return Err(format!("it comes from {base}, which the program that runs it does not ask"));
    }
    let (program, own, what) = program_of(kind, identifier, version)?;
    let hint = text(package, "runtimeHint").unwrap_or(program);
    if hint != program {
        return Err(format!("it is to be run by {hint:?}, which is not known for packages of {kind}"));
    }
    let mut command = vec![program.to_owned()];
    command.extend(own);
    for argument in inputs.arguments(&package["runtimeArguments"])? {
        if !command.contains(&argument) {
            command.push(argument);
        }
    }
    let environment = inputs.pairs(&package["environmentVariables"]);
    if program == "docker" {
        for name in environment.iter().filter_map(Value::as_object).flat_map(Map::keys) {
            command.extend(["-e".to_owned(), name.clone()]);
        }
    }
    command.push(what);
    if program == "dnx" && !list(&package["packageArguments"]).collect::<Vec<_>>().is_empty() {
        command.push("--".to_owned());
    }
    command.extend(inputs.arguments(&package["packageArguments"])?);
    let mut mcp = json!({"command": command});
    if let Some(environment) = environment {
        mcp["env"] = environment;
    }
    inputs.remarks.push(format!("{program} downloads and runs the package when the gateway starts"));
    Ok(mcp)
}

/// The program that runs packages of this kind, its first arguments, and the package as it names it.
fn program_of(
    kind: &str,
    identifier: &str,
    version: Option<&str>,
) -> Result<(&'static str, Vec<String>, String), String> {
    let at = version.map(|version| format!("@{version}")).unwrap_or_default();
    let named = escaped(&format!("{identifier}{at}"));
    Ok(match kind {
        "npm" => ("npx", vec!["-y".to_owned()], named),
        "pypi" => ("uvx", Vec::new(), named),
        "nuget" => ("dnx", vec!["--yes".to_owned()], named),
        "oci" => {
            let tagged = identifier.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
            let image = match version.filter(|_| !tagged) {
                Some(version) => format!("{identifier}:{version}"),
                None => identifier.to_owned(),
            };
            ("docker", vec!["run".to_owned(), "-i".to_owned(), "--rm".to_owned()], escaped(&image))
        }
        "mcpb" => return Err("it is a bundle to be installed by hand".to_owned()),
        other => return Err(format!("packages of {other:?} can't be run without being installed")),
    })
}

/// What a person has to fill in becomes a variable of the environment.
#[derive(Default)]
struct Inputs {
    remarks: Vec<String>,
}

impl Inputs {
    /// Text in which `{name}` stands for an input of `variables`; other braces stay.
    fn filled(&mut self, template: &str, variables: &Value) -> String {
        let mut out = String::with_capacity(template.len());
        let mut rest = template;
        while let Some(start) = rest.find('{') {
            out.push_str(&escaped(&rest[..start]));
            let inner = &rest[start + 1..];
            let known = inner.find('}').map(|end| (&inner[..end], &inner[end + 1..]));
            match known.filter(|(name, _)| variables[*name].is_object()) {
                Some((name, after)) => {
                    out.push_str(&self.input(name, &variables[name]));
                    rest = after;
                }
                None => {
                    out.push_str(if out.ends_with('$') { "${" } else { "{" });
                    rest = inner;
                }
            }
        }
        out.push_str(&escaped(rest));
        out
    }

    /// A value that is fixed, filled in from others, or to be given.
    fn value(&mut self, name: &str, input: &Value) -> String {
        match text(input, "value") {
            Some(value) => self.filled(value, &input["variables"]),
            None => self.input(name, input),
        }
    }

    fn input(&mut self, name: &str, input: &Value) -> String {
        let variable: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
            .collect();
        let about = text(input, "description").map(|about| format!(": {about}")).unwrap_or_default();
        match text(input, "default").filter(|default| !default.contains(['}', '$'])) {
            Some(default) => {
                self.remarks.push(format!("{variable} may be set{about}"));
                format!("${{{variable}:-{default}}}")
            }
            None => {
                self.remarks.push(format!("set the variable {variable}{about}"));
                format!("${{{variable}}}")
            }
        }
    }

    /// Headers or variables of the environment. Those that nobody needs and nobody has given a value are left out.
    fn pairs(&mut self, inputs: &Value) -> Option<Value> {
        let mut out = Map::new();
        for input in list(inputs) {
            let Some(name) = text(input, "name") else { continue };
            let needed = input["isRequired"] == true;
            if !needed && text(input, "value").is_none() && text(input, "default").is_none() {
                self.remarks.push(format!("{name} may be given, too"));
                continue;
            }
            let value = self.value(name, input);
            out.insert(name.to_owned(), json!(value));
        }
        (!out.is_empty()).then_some(Value::Object(out))
    }

    fn arguments(&mut self, arguments: &Value) -> Result<Vec<String>, String> {
        let mut out = Vec::new();
        for argument in list(arguments) {
            let fixed = text(argument, "value").is_some() || text(argument, "default").is_some();
            if text(argument, "type") == Some("named") {
                let name = text(argument, "name").ok_or("an argument has no name")?;
                if !fixed && argument["isRequired"] != true {
                    // A flag of its own, where it has no value at all.
                    if argument["format"] == "boolean" || argument.get("valueHint").is_none() {
                        self.remarks.push(format!("the argument {name} may be given, too"));
                    }
                    continue;
                }
                let value = self.value(name.trim_start_matches('-'), argument);
                if name.starts_with("--") {
                    out.push(format!("{}={value}", escaped(name)));
                } else {
                    out.extend([escaped(name), value]);
                }
                continue;
            }
            let name = text(argument, "valueHint").unwrap_or("argument");
            if !fixed && argument["isRequired"] != true {
                self.remarks.push(format!("the argument {name} may be given, too"));
                continue;
            }
            out.push(self.value(name, argument));
        }
        Ok(out)
    }
}

/// Text that stands for itself in the configuration.
fn escaped(text: &str) -> String {
    text.replace("${", "$${")
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(server: &Value) -> (Vec<Proposal>, Vec<LeftOut>) {
        proposals(&servers(server).unwrap(), None)
    }

    #[test]
    fn a_remote_server_is_taken_with_its_headers_and_variables() {
        let (proposals, _) = one(&json!({
            "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
            "name": "com.example/acme-analytics", "description": "Reports.", "version": "2.0.0",
            "remotes": [
                {"type": "sse", "url": "https://a.example/sse"},
                {"type": "streamable-http", "url": "https://{region}.example/mcp/{left}",
                    "variables": {"region": {"default": "eu"}},
                    "headers": [
                        {"name": "Authorization", "value": "Bearer {token}", "variables": {"token": {"isSecret": true}}},
                        {"name": "X-Api-Key", "isRequired": true, "isSecret": true, "description": "Your key"},
                        {"name": "X-Other"},
                    ]},
            ],
            "packages": [{"registryType": "npm", "identifier": "x", "transport": {"type": "stdio"}}],
        }));
        let proposal = &proposals[0];
        assert_eq!(proposal.name, "acme-analytics");
        assert_eq!(
            proposal.entry,
            json!({
                "description": "Reports.", "version": "2.0.0", "metadata": {"mcp_registry_name": "com.example/acme-analytics"},
                "mcp": {"url": "https://${REGION:-eu}.example/mcp/{left}",
                    "headers": {"Authorization": "Bearer ${TOKEN}", "X-Api-Key": "${X_API_KEY}"}},
            })
        );
        assert!(proposal.remarks.contains(&"set the variable X_API_KEY: Your key".to_owned()));
        assert_eq!(proposal.left_out.len(), 2, "{:?}", proposal.left_out);
    }

    #[test]
    fn packages_that_a_program_can_run_become_commands_and_the_others_are_said() {
        let package = |more: Value| {
            let mut package =
                json!({"identifier": "pkg", "version": "1.2.3", "transport": {"type": "stdio"}});
            package.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let (proposals, left_out) = one(&json!({"name": "a.b/c", "packages": [package]}));
            match proposals.first() {
                Some(proposal) => Ok(proposal.entry["mcp"].clone()),
                None => Err(left_out[0].reason.clone()),
            }
        };
        assert_eq!(
            package(json!({"registryType": "npm"})).unwrap(),
            json!({"command": ["npx", "-y", "pkg@1.2.3"]})
        );
        let arguments = json!([{"type": "named", "name": "--port", "value": "80"},
            {"type": "positional", "valueHint": "folder", "isRequired": true}]);
        let env = json!([{"name": "KEY", "isRequired": true}]);
        assert_eq!(
            package(json!({"registryType": "pypi", "runtimeHint": "uvx", "packageArguments": arguments, "environmentVariables": env}))
                .unwrap(),
            json!({"command": ["uvx", "pkg@1.2.3", "--port=80", "${FOLDER}"], "env": {"KEY": "${KEY}"}})
        );
        assert_eq!(
            package(
                json!({"registryType": "oci", "identifier": "ghcr.io/a/b:2", "environmentVariables": env})
            )
            .unwrap(),
            json!({"command": ["docker", "run", "-i", "--rm", "-e", "KEY", "ghcr.io/a/b:2"], "env": {"KEY": "${KEY}"}})
        );
        for (more, reason) in [
            (json!({"registryType": "mcpb"}), "by hand"),
            (json!({"registryType": "cargo"}), "without being installed"),
            (json!({"registryType": "npm", "transport": {"type": "sse"}}), "serves sse"),
            (json!({"registryType": "npm", "registryBaseUrl": "https://npm.evil.example"}), "comes from"),
            (json!({"registryType": "npm", "runtimeHint": "sh"}), "to be run by"),
            (json!({"registryType": "npm", "fileSha256": "0"}), "SHA-256"),
            (json!({"registryType": "npm", "identifier": "--eval=x"}), "no name of a package"),
        ] {
            let said = package(more.clone()).unwrap_err();
            assert!(said.contains(reason), "{more}: {said}");
        }
    }

    #[test]
    fn answers_of_the_registry_are_unwrapped_and_other_lists_left_alone() {
        let server = json!({"name": "a.b/c", "remotes": []});
        assert_eq!(servers(&json!({"server": server, "_meta": {}})).unwrap().len(), 1);
        assert_eq!(servers(&json!({"servers": [{"server": server}, {"x": 1}]})).unwrap().len(), 1);
        assert!(servers(&json!({"servers": {"a": {"command": "b"}}})).is_none());
        assert!(servers(&json!({"openapi": "3.1.0"})).is_none());
        let (none, left_out) = one(&server);
        assert!(none.is_empty() && left_out[0].reason.contains("neither remotes nor packages"));
    }
}
