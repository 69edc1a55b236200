//! A configuration, read in each of the four languages.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use trunkline::config::{Flags, Format, Level, load_text};

fuzz_target!(|text: &str| {
    // `${file:…}` would make the outcome depend on the machine.
    if text.contains("file:") {
        return;
    }
    let env = |name: &str| (name == "SET").then(|| "value".to_owned());
    for format in [Format::Yaml, Format::Toml, Format::Json, Format::Xml] {
        match load_text(text, format, Path::new("/nowhere"), &env, &Flags::default()) {
            Ok(loaded) => {
                let _ = loaded.show();
                let _ = loaded.settings();
                assert!(loaded.remarks.iter().all(|finding| finding.level != Level::Error));
            }
            Err(findings) => {
                assert!(findings.iter().any(|finding| finding.level == Level::Error));
                assert!(findings.iter().all(|finding| !finding.to_string().is_empty()));
            }
        }
    }
});
