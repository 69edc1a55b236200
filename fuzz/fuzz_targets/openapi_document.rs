//! An OpenAPI document from a server, and what becomes of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use trunkline_connectors::openapi::{Config, Document, preview};
use url::Url;

fuzz_target!(|text: &[u8]| {
    let url = Url::parse("https://api.example/v1/openapi.json").expect("it is a URL");
    let Ok(document) = Document::parse(text, url) else { return };
    let preview = preview(&document, &Config::default());
    let mut names: Vec<_> = preview.tools.iter().map(|tool| &tool.name).collect();
    names.sort();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "two tools have the same name");
    serde_json::to_string(&preview).expect("it can be written");
});
