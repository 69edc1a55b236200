//! The map as Mermaid text, which models and most viewers of Markdown read.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::{NodeKind, Picture};

/// The longest name that is drawn, in characters.
const MAX_NAME: usize = 60;

/// The map as a flowchart of Mermaid.
#[must_use]
pub fn mermaid(picture: &Picture) -> String {
    let mut out = String::from("flowchart LR\n");
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    for (number, node) in picture.nodes.iter().enumerate() {
        numbers.insert(&node.id, number);
        let (open, close) = match node.kind {
            NodeKind::Agent | NodeKind::Principal => ("([\"", "\"])"),
            NodeKind::Door => ("{{\"", "\"}}"),
            NodeKind::Flows => ("[[\"", "\"]]"),
            NodeKind::Service => ("[\"", "\"]"),
            NodeKind::Beyond => ("[(\"", "\")]"),
            NodeKind::Group => ("[/\"", "\"/]"),
        };
        let mut text = escaped(&node.name);
        if let Some(state) = node.state.as_deref().filter(|state| *state != "up") {
            let _ = write!(text, ", {}", escaped(state));
        }
        if !node.breakers.is_empty() {
            text.push_str(", breaker open");
        }
        // Writing to a String can't fail.
        let _ = writeln!(out, "  n{number}{open}{text}{close}");
        if node.health == "bad" {
            let _ = writeln!(out, "  class n{number} bad");
        }
    }
    for edge in &picture.edges {
        let (Some(from), Some(to)) = (numbers.get(&*edge.from), numbers.get(&*edge.to)) else { continue };
        let seen = &edge.seen;
        let _ = write!(out, "  n{from} -->|{:.2}/s, {:.1} ms", seen.rate, seen.mean_ms);
        if seen.errors > 0 {
            let _ = write!(out, ", {:.0}% errors", seen.error_share * 100.0);
        }
        let _ = writeln!(out, "| n{to}");
    }
    out.push_str("  classDef bad stroke:#c00,stroke-width:3px\n");
    out
}

/// A name that can't end its quotes or be markup.
fn escaped(name: &str) -> String {
    let mut text = String::new();
    for character in name.chars().take(MAX_NAME) {
        if character.is_alphanumeric() || " -_./:()*@+,".contains(character) {
            text.push(character);
        } else {
            // Writing to a String can't fail.
            let _ = write!(text, "#{};", u32::from(character));
        }
    }
    text
}
