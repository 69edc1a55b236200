//! What is there already: the tools of the running gateway, else those of the documents that the configuration names.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use trunkline_discovery::capabilities::inferred;
use trunkline_discovery::search::{Document, SearchIndex};
use trunkline_model::ToolSpec;

use super::super::openapi;
use super::{Duplicate, learn};
use crate::cli::client::Client;
use crate::cli::stop::Stop;
use crate::cli::tools;
use crate::config::{Flags, load};

/// How near a tool is to another one that does the same.
const SAME: f32 = 0.85;

/// And where their names say the same already.
const SAME_BY_NAME: f32 = 0.45;

/// The tools that are there, in an index.
pub(super) struct There {
    index: SearchIndex,
    /// Names as they are called by, and own names.
    tools: Vec<(Arc<str>, String)>,
    note: Option<String>,
}

impl There {
    /// Looks at what is there.
    pub(super) async fn look(client: Client, target: &Path) -> Result<Self, Stop> {
        let mut there = Self { index: SearchIndex::default(), tools: Vec::new(), note: None };
        match tools::all(&client).await {
            Ok(tools) => {
                for tool in &tools {
                    let text = |member: &str| tool[member].as_str().unwrap_or_default();
                    let own = text("name").rsplit("__").next().unwrap_or_default().to_owned();
                    there.add(text("name"), own, text("description"), parameters(tool));
                }
            }
            Err(Stop::Problem(problem)) => return Err(Stop::Problem(problem)),
            Err(_) => {
                there.note = Some(
                    "no gateway runs: compared with the OpenAPI documents of the configuration only"
                        .to_owned(),
                );
                there.documents(target).await;
            }
        }
        Ok(there)
    }

    /// What the configuration's documents say.
    async fn documents(&mut self, target: &Path) {
        let Ok(loaded) = load(target, &crate::cli::env, &Flags::default()) else { return };
        for (name, service) in &loaded.config.services {
            let Some(config) = &service.openapi else { continue };
            let Ok(known) = openapi::proposal(&config.document, Some(name), &loaded.base).await else {
                continue;
            };
            for tool in known.tools.iter().flatten() {
                let spec = learn::spec(name, tool);
                let called = format!("{name}__{}", spec.name);
                let names = named(spec.input.document());
                self.add(&called, spec.name.to_string(), &spec.description, names);
            }
        }
    }

    fn add(&mut self, called: &str, own: String, description: &str, parameters: Vec<String>) {
        let key: Arc<str> = Arc::from(called);
        let parameters = parameters.iter().map(String::as_str).collect();
        self.index.insert(&key, &Document { name: &own, description, parameters, ..Document::default() });
        self.tools.push((key, own));
    }

    /// What there is to say of how it was looked.
    pub(super) fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// The tool that does what this one seems to do, where there is one.
    pub(super) fn like(&self, spec: &ToolSpec) -> Option<Duplicate> {
        let mut words = String::new();
        for letter in spec.name.chars() {
            if letter.is_uppercase() || !letter.is_alphanumeric() {
                words.push(' ');
            }
            words.extend(letter.is_alphanumeric().then(|| letter.to_ascii_lowercase()));
        }
        let about = spec.description.split(['.', '\n']).next().unwrap_or_default();
        let asked = format!("{words}. {about}");
        let hits = self.index.search(&asked, 3, |_| true);
        let own = |key: &str| self.tools.iter().find(|(name, _)| **name == *key).map(|(_, own)| own.as_str());
        let found: Vec<(&str, &str)> =
            hits.iter().filter_map(|hit| Some((&*hit.key, own(&hit.key)?))).collect();
        let near = self.index.nearness(&asked, &found);
        let best = found.iter().zip(near).map(|((key, _), near)| (key, near.sure()));
        let fits = |(key, alike): &(&&str, f32)| {
            let can = inferred(&spec.name);
            let same = can.is_some() && can == own(key).and_then(inferred);
            *alike >= if same { SAME_BY_NAME } else { SAME }
        };
        let (key, alike) = best.max_by(|a, b| a.1.total_cmp(&b.1)).filter(fits)?;
        Some(Duplicate { tool: spec.name.to_string(), of: (*key).to_owned(), alike })
    }
}

fn parameters(tool: &Value) -> Vec<String> {
    ["input_schema", "inputSchema"].iter().flat_map(|member| named(&tool[*member])).collect()
}

/// The parameters that a schema names.
fn named(schema: &Value) -> Vec<String> {
    schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
}
