//! Argument templates: how parameters become the arguments of a command. There is no shell.
//!
//! - `{name}` within an argument is replaced by that parameter. Where the parameter is absent, the whole argument is
//!   left out.
//! - An argument that is only `{name}` becomes one argument for each item of a list.
//! - An argument that is only `{name?text}` becomes `text` where the parameter is true, and none otherwise.
//! - Braces around anything that is not a name stay as they are: `HEAD@{1}`, `{{.ID}}`.
//!
//! A value can't become an option: an argument that begins with a parameter and would begin with `-` is refused. It is
//! taken where the template has `--` or `--end-of-options` before it, so that the program takes no options any more,
//! and where the parameter's schema lists it in `enum`.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::Error;

/// The most arguments that one call may make: below what systems take.
const MAX_ARGUMENTS: usize = 4096;

/// The most bytes of all arguments together; Linux takes 128 KiB in one and 2 MiB in all.
const MAX_BYTES: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Parameter(String),
}

/// An argument of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Argument {
    /// Text with parameters in it.
    Mixed(Vec<Piece>),
    /// One argument for each item.
    Each(String),
    /// A text that is there or not.
    Flag { parameter: String, text: String },
}

/// The arguments of a command, parameters left open.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) program: String,
    /// Each, and whether options have ended before it.
    arguments: Vec<(Argument, bool)>,
}

impl Template {
    /// Reads `argv`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn parse(argv: &[String]) -> Result<Self, String> {
        let (program, rest) = argv.split_first().ok_or("`argv` is empty")?;
        if program.is_empty() || !matches!(parse(program), Argument::Mixed(pieces) if is_text(&pieces)) {
            return Err("the program, the first of `argv`, can't depend on parameters".to_owned());
        }
        let mut ended = false;
        let mut arguments = Vec::with_capacity(rest.len());
        for text in rest {
            arguments.push((parse(text), ended));
            ended |= matches!(text.as_str(), "--" | "--end-of-options");
        }
        Ok(Self { program: program.clone(), arguments })
    }

    /// The parameters that the template names, each once.
    pub(super) fn parameters(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        let names = self.arguments.iter().flat_map(|(argument, _)| match argument {
            Argument::Mixed(pieces) => pieces
                .iter()
                .filter_map(|piece| match piece {
                    Piece::Parameter(name) => Some(name.as_str()),
                    Piece::Text(_) => None,
                })
                .collect(),
            Argument::Each(name) | Argument::Flag { parameter: name, .. } => vec![name.as_str()],
        });
        names.filter(|name| seen.insert(*name)).collect()
    }

    /// The schema of the parameters where the operator gives none: text, all required, but for flags.
    pub(super) fn default_schema(&self, stdin: Option<&str>) -> Value {
        let flags: HashSet<_> = self
            .arguments
            .iter()
            .filter_map(|(argument, _)| match argument {
                Argument::Flag { parameter, .. } => Some(parameter.as_str()),
                _ => None,
            })
            .collect();
        let mut properties = Map::new();
        let mut required = Vec::new();
        for name in self.parameters().into_iter().chain(stdin.filter(|name| *name != "*")) {
            let flag = flags.contains(name);
            properties.insert(name.to_owned(), json!({"type": if flag { "boolean" } else { "string" }}));
            if !flag && !required.contains(&Value::from(name)) {
                required.push(Value::from(name));
            }
        }
        let open = stdin == Some("*");
        let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": open});
        if !required.is_empty() {
            schema["required"] = Value::Array(required);
        }
        schema
    }

    /// The arguments after the program. `schema` is that of the parameters: its defaults stand in for what is absent.
    ///
    /// # Errors
    /// [`Error::ProcessArgument`] names the parameter that can't be given.
    pub(super) fn fill(&self, given: &Map<String, Value>, schema: &Value) -> Result<Vec<String>, Error> {
        let values = Values { given, properties: schema.get("properties") };
        let mut out = Vec::with_capacity(self.arguments.len());
        for (argument, ended) in &self.arguments {
            match argument {
                Argument::Flag { parameter, text } => match values.get(parameter) {
                    None | Some(Value::Bool(false)) => {}
                    Some(Value::Bool(true)) => out.push(text.clone()),
                    Some(_) => return Err(refused(parameter, "true or false is expected")),
                },
                Argument::Each(name) => match values.get(name) {
                    None => {}
                    Some(Value::Array(items)) => {
                        for item in items {
                            out.push(values.guarded(name, &scalar(name, item)?, *ended)?);
                        }
                    }
                    Some(one) => out.push(values.guarded(name, &scalar(name, one)?, *ended)?),
                },
                Argument::Mixed(pieces) => out.extend(values.mixed(pieces, *ended)?),
            }
        }
        if out.len() > MAX_ARGUMENTS || out.iter().map(String::len).sum::<usize>() > MAX_BYTES {
            return Err(refused("(all)", "there are more arguments than a command can be given"));
        }
        Ok(out)
    }
}

struct Values<'a> {
    given: &'a Map<String, Value>,
    properties: Option<&'a Value>,
}

impl<'a> Values<'a> {
    fn schema(&self, name: &str) -> Option<&'a Value> {
        self.properties?.get(name)
    }

    /// A parameter's value; `null` is as good as none.
    fn get(&self, name: &str) -> Option<&'a Value> {
        let given = self.given.get(name).filter(|value| !value.is_null());
        given.or_else(|| self.schema(name)?.get("default"))
    }

    /// An argument with parameters in it, or nothing where one of them is absent.
    fn mixed(&self, pieces: &[Piece], ended: bool) -> Result<Option<String>, Error> {
        let mut out = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Parameter(name) => match self.get(name) {
                    None => return Ok(None),
                    Some(value) => out.push_str(&scalar(name, value)?),
                },
            }
        }
        match pieces.first() {
            Some(Piece::Parameter(name)) => self.guarded(name, &out, ended).map(Some),
            _ => Ok(Some(out)),
        }
    }

    /// `text`, unless the program could take it for an option that the operator did not name.
    fn guarded(&self, name: &str, text: &str, ended: bool) -> Result<String, Error> {
        let named = || {
            let values = self.schema(name)?.get("enum")?.as_array()?;
            Some(values.iter().any(|value| value.as_str() == Some(text)))
        };
        if text.starts_with('-') && !ended && named() != Some(true) {
            return Err(refused(
                name,
                "it must not begin with `-`, or the command would take it for an option",
            ));
        }
        Ok(text.to_owned())
    }
}

fn refused(argument: &str, cause: &str) -> Error {
    Error::ProcessArgument { argument: argument.to_owned(), cause: cause.to_owned() }
}

fn scalar(name: &str, value: &Value) -> Result<String, Error> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        _ => return Err(refused(name, "text, a number or true/false is expected")),
    };
    if text.contains('\0') {
        return Err(refused(name, "it holds a zero byte, which no argument can"));
    }
    Ok(text)
}

fn is_text(pieces: &[Piece]) -> bool {
    pieces.iter().all(|piece| matches!(piece, Piece::Text(_)))
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn parse(text: &str) -> Argument {
    if let Some(inner) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        if is_name(inner) {
            return Argument::Each(inner.to_owned());
        }
        if let Some((name, flag)) = inner.split_once('?')
            && is_name(name)
        {
            return Argument::Flag { parameter: name.to_owned(), text: flag.to_owned() };
        }
    }
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let (before, after) = rest.split_at(open);
        literal.push_str(before);
        match after[1..].split_once('}').filter(|(name, _)| is_name(name)) {
            Some((name, behind)) => {
                if !literal.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut literal)));
                }
                pieces.push(Piece::Parameter(name.to_owned()));
                rest = behind;
            }
            None => {
                literal.push('{');
                rest = &after[1..];
            }
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Argument::Mixed(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(argv: &[&str], given: Value, schema: &Value) -> Result<Vec<String>, String> {
        let argv: Vec<_> = argv.iter().map(|text| (*text).to_owned()).collect();
        let template = Template::parse(&argv)?;
        let given: Map<String, Value> = serde_json::from_value(given).unwrap();
        template.fill(&given, schema).map_err(|error| error.to_string())
    }

    #[test]
    fn parameters_find_their_places() {
        let argv = ["p", "--max={n}", "{v?--verbose}", "--x={a}/{b}", "HEAD@{1}", "{{.ID}}", "{}", "{paths}"];
        let schema = json!({"properties": {"n": {"default": 20}}});
        let given = json!({"v": true, "a": "1 2", "b": true, "paths": ["x y", "$HOME", ";rm"]});
        assert_eq!(
            fill(&argv, given, &schema).unwrap(),
            ["--max=20", "--verbose", "--x=1 2/true", "HEAD@{1}", "{{.ID}}", "{}", "x y", "$HOME", ";rm"]
        );
        // What is absent takes its whole argument with it.
        assert_eq!(
            fill(&argv, json!({"v": false, "a": "x", "b": null}), &json!({})).unwrap(),
            ["HEAD@{1}", "{{.ID}}", "{}"]
        );
    }

    #[test]
    fn a_value_can_not_become_an_option() {
        let error = fill(&["p", "{a}"], json!({"a": "--exec=sh"}), &json!({})).unwrap_err();
        assert!(error.contains("option"), "{error}");
        assert!(fill(&["p", "{a}"], json!({"a": ["x", "-y"]}), &json!({})).is_err());
        assert!(fill(&["p", "{a}"], json!({"a": -5}), &json!({})).is_err());
        assert!(fill(&["p", "{a}{b}"], json!({"a": "", "b": "-y"}), &json!({})).is_err());
        // Within an argument of the operator's it is a value of that option.
        assert_eq!(fill(&["p", "--a={a}"], json!({"a": "-y"}), &json!({})).unwrap(), ["--a=-y"]);
        for end in ["--", "--end-of-options"] {
            assert_eq!(fill(&["p", end, "{a}"], json!({"a": "-y"}), &json!({})).unwrap(), [end, "-y"]);
        }
        let schema = json!({"properties": {"a": {"enum": ["-l", "-a"]}}});
        assert_eq!(fill(&["p", "{a}"], json!({"a": "-l"}), &schema).unwrap(), ["-l"]);
        assert!(fill(&["p", "{a}"], json!({"a": "-x"}), &schema).is_err());
    }

    #[test]
    fn what_no_command_can_be_given_is_refused() {
        assert!(fill(&["p", "{a}"], json!({"a": {"b": 1}}), &json!({})).is_err());
        assert!(fill(&["p", "--x={a}"], json!({"a": ["1"]}), &json!({})).is_err());
        assert!(fill(&["p", "{a}"], json!({"a": "x\0y"}), &json!({})).is_err());
        assert!(fill(&["p", "{a}"], json!({"a": vec!["x"; 5000]}), &json!({})).is_err());
        assert!(fill(&["{a}"], json!({"a": "sh"}), &json!({})).is_err());
        assert!(fill(&[], json!({}), &json!({})).is_err());
    }

    #[test]
    fn placeholders_make_a_schema() {
        let argv = ["p", "{a}", "{v?-v}", "--b={b}{a}"].map(str::to_owned);
        assert_eq!(
            Template::parse(&argv).unwrap().default_schema(Some("input")),
            json!({
                "type": "object",
                "properties": {
                    "a": {"type": "string"}, "v": {"type": "boolean"}, "b": {"type": "string"},
                    "input": {"type": "string"},
                },
                "additionalProperties": false,
                "required": ["a", "b", "input"],
            })
        );
    }
}
