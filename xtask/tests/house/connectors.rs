//! Every connector has the same set of files, so that who knows one knows all.

use crate::sources::{below, root};

/// The connectors, each a folder of its name.
const FOLDER: &str = "crates/connectors/src";

/// What each connector has: what is configured of it, how it speaks, how it is a service, how it has tools.
const FILES: [&str; 4] = ["client.rs", "config.rs", "service.rs", "tool.rs"];

#[test]
fn every_connector_has_the_same_set_of_files() {
    let sources = below(FOLDER, "rs");
    let connectors: Vec<_> = ["mcp", "openapi", "process"]
        .into_iter()
        .map(|name| format!("{FOLDER}/{name}"))
        .filter(|folder| root().join(folder).is_dir())
        .collect();
    let missing: Vec<_> = connectors
        .iter()
        .flat_map(|folder| FILES.map(|file| format!("{folder}/{file}")))
        .filter(|path| !sources.iter().any(|source| source.path == *path))
        .collect();
    assert!(missing.is_empty(), "missing: {}", missing.join(", "));
}
