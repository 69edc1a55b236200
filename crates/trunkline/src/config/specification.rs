//! The specification's own XML form, `<integration_config>`: what each element becomes here. Elements of our own form
//! may stand beside its three sections.

use serde_json::Number;

use super::finding::{Finding, Level};
use super::format::Element;
use super::near::nearest;
use super::node::{ConfigPath, Kind, Member, Node, Position};
use crate::Error;

/// The name of the outermost element.
pub(super) const ROOT: &str = "integration_config";

/// What an element of the specification becomes.
enum Becomes {
    /// A number of milliseconds at this place of the configuration.
    Milliseconds([&'static str; 2]),
    /// Nothing yet: the capability that brings it, and the values it can have (none: a whole number).
    Later { topic: &'static str, brings: &'static str, values: &'static [&'static str] },
}

/// Section, element, meaning.
const ELEMENTS: [(&str, &str, Becomes); 9] = [
    (
        "tool_coordination",
        "pattern",
        Becomes::Later {
            topic: "orchestration",
            brings: "plans of several tools run in the order their dependencies ask for",
            values: &["orchestration", "choreography", "hybrid"],
        },
    ),
    ("tool_coordination", "timeout", Becomes::Milliseconds(["doors", "call_timeout_ms"])),
    (
        "tool_coordination",
        "retry_strategy",
        Becomes::Later {
            topic: "resilience",
            brings: "failed calls that are safe to repeat are tried again",
            values: &["none", "fixed", "linear", "exponential_backoff", "adaptive"],
        },
    ),
    (
        "api_gateway",
        "rate_limiting",
        Becomes::Later {
            topic: "resilience",
            brings: "callers and services have limits",
            values: &["disabled", "fixed", "adaptive"],
        },
    ),
    ("api_gateway", "request_timeout", Becomes::Milliseconds(["service_timeout_ms", ""])),
    (
        "api_gateway",
        "response_caching",
        Becomes::Later {
            topic: "cache",
            brings: "answers of read-only tools are kept",
            values: &["enabled", "disabled"],
        },
    ),
    (
        "service_discovery",
        "registry_type",
        Becomes::Later {
            topic: "registry",
            brings: "services are found in a registry",
            values: &["static", "consul", "etcd", "kubernetes", "dns"],
        },
    ),
    (
        "service_discovery",
        "health_check_interval",
        Becomes::Later {
            topic: "health",
            brings: "services are probed at this interval, in seconds",
            values: &[],
        },
    ),
    (
        "service_discovery",
        "circuit_breaker_threshold",
        Becomes::Later {
            topic: "resilience",
            brings: "a breaker opens after this many failures",
            values: &[],
        },
    ),
];

/// A value to put in the configuration.
pub(super) type Placed = (ConfigPath, Node, Position);

/// Takes the specification's sections out of the root element and says what becomes of each element.
pub(super) fn take(root: &mut Element, findings: &mut Vec<Finding>) -> Vec<Placed> {
    let mut placed = Vec::new();
    for section in root.children.extract_if(.., |child| ELEMENTS.iter().any(|(name, ..)| *name == child.name))
    {
        for element in &section.children {
            let path = ConfigPath::new([&section.name, &element.name]);
            let meaning = ELEMENTS.iter().find(|(s, e, _)| *s == section.name && *e == element.name);
            let result = match meaning {
                Some((_, _, becomes)) => interpret(element, becomes, &path),
                None => Err(unknown(&section.name, &element.name)),
            };
            match result {
                Ok(Interpreted::Placed(value)) => placed.push(value),
                Ok(Interpreted::Later(note)) => findings.push(note.at(Some(element.at))),
                Err(error) => findings.push(Finding::error(error, &path).at(Some(element.at))),
            }
        }
    }
    placed
}

enum Interpreted {
    Placed(Placed),
    Later(Finding),
}

fn interpret(element: &Element, becomes: &Becomes, path: &ConfigPath) -> Result<Interpreted, Error> {
    let text = element.text.trim();
    let whole = || {
        let found = if element.children.is_empty() { "other text" } else { "elements" };
        text.parse::<u64>().ok().filter(|_| element.children.is_empty()).ok_or_else(|| Error::WrongType {
            expected: "a whole number".to_owned(),
            found: found.to_owned(),
        })
    };
    match becomes {
        Becomes::Milliseconds(parts) => {
            let target = parts
                .iter()
                .filter(|part| !part.is_empty())
                .fold(ConfigPath::default(), |path, part| path.join(*part));
            let value = Node::new(Kind::Number(Number::from(whole()?)), Some(element.at));
            Ok(Interpreted::Placed((target, value, element.at)))
        }
        Becomes::Later { topic, brings, values } => {
            if values.is_empty() {
                whole()?;
            } else if !values.contains(&text) {
                let found = match nearest(text, values.iter().copied()) {
                    Some(near) => format!("other text (did you mean {near}?)"),
                    None => "other text".to_owned(),
                };
                return Err(Error::WrongType { expected: format!("one of {}", values.join(", ")), found });
            }
            let message = format!("{text}: has no effect yet; the {topic} capability brings it ({brings})");
            Ok(Interpreted::Later(Finding::remark(Level::Note, message, "", path)))
        }
    }
}

fn unknown(section: &str, element: &str) -> Error {
    let known: Vec<_> =
        ELEMENTS.iter().filter(|(s, ..)| *s == section).map(|(_, e, _)| (*e).to_owned()).collect();
    let near = nearest(element, known.iter().map(String::as_str)).map(str::to_owned);
    Error::UnknownField { name: element.to_owned(), nearest: near, known }
}

/// Puts a value in its place, unless the file gives it in our own form as well.
pub(super) fn put(node: &mut Node, path: &ConfigPath, value: Node, at: Position) {
    let mut here = node;
    let Some((last, sections)) = path.parts().split_last() else { return };
    for part in sections {
        let Kind::Map(members) = &mut here.kind else { return };
        let index = members.iter().position(|m| m.key == *part).unwrap_or_else(|| {
            members.push(Member { key: part.clone(), at: Some(at), node: Node::empty_map() });
            members.len() - 1
        });
        here = &mut members[index].node;
    }
    if let Kind::Map(members) = &mut here.kind
        && !members.iter().any(|m| m.key == *last)
    {
        members.push(Member { key: last.clone(), at: Some(at), node: value });
    }
}
