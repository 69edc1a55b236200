//! How source files look: an opening line, a size, a name.

use crate::sources::{Source, below, rust};

/// Lines of a file without the tests at its end.
const MAX_LINES: usize = 500;

/// Lines of a file that is a test or benchmark as a whole.
const MAX_TEST_LINES: usize = 1000;

/// Names that say nothing about what is in a module.
const EMPTY_NAMES: [&str; 6] = ["common", "helper", "helpers", "misc", "util", "utils"];

/// Files that may be longer, each with the reason.
const LONGER: [(&str, &str); 0] = [];

/// What is wrong with a file.
fn faults(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    if !source.text.starts_with("//! ") {
        faults.push("does not open with `//!` and what lives here".to_owned());
    }
    let (lines, most) = if source.is_test() {
        (source.text.lines().count(), MAX_TEST_LINES)
    } else {
        (source.without_tests().lines().count(), MAX_LINES)
    };
    if lines > most && !LONGER.iter().any(|(path, _)| *path == source.path) {
        faults.push(format!("has {lines} lines, {most} are allowed"));
    }
    let stem = source.path.trim_end_matches(".rs");
    if stem.ends_with("/mod") {
        faults.push("is a mod.rs; use a file with the name of the folder beside it".to_owned());
    }
    faults.extend(
        stem.split('/')
            .filter(|part| EMPTY_NAMES.contains(part))
            .map(|part| format!("has the empty name {part:?}")),
    );
    faults
}

#[test]
fn every_file_is_tidy() {
    let faults: Vec<_> = rust()
        .iter()
        .flat_map(|source| faults(source).into_iter().map(|fault| format!("{} {fault}", source.path)))
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_exception_is_needed() {
    let sources = rust();
    for (path, reason) in LONGER {
        let source = sources.iter().find(|source| source.path == path);
        let source = source.unwrap_or_else(|| panic!("{path} is gone; remove its exception"));
        let long = source.without_tests().lines().count() > MAX_LINES;
        assert!(long && !reason.is_empty(), "{path} needs no exception, or the exception has no reason");
    }
}

#[test]
fn every_package_takes_the_lints_of_the_workspace() {
    let mut seen = 0;
    for folder in ["crates", "examples", "fixtures", "xtask"] {
        for manifest in below(folder, "toml").iter().filter(|source| source.path.ends_with("/Cargo.toml")) {
            seen += 1;
            assert!(
                manifest.text.contains("[lints]\nworkspace = true\n"),
                "{} does not take the lints of the workspace",
                manifest.path
            );
        }
    }
    assert!(seen >= 14, "only {seen} packages were found");
}

#[test]
fn each_fault_is_found() {
    let found = |path: &str, text: String| faults(&Source { path: path.to_owned(), text }).len();
    let good = format!("//! What.\n{}", "fn a() {}\n".repeat(MAX_LINES - 1));
    assert_eq!(found("crates/a/src/b.rs", good.clone()), 0);
    assert_eq!(found("crates/a/src/b.rs", format!("{good}fn b() {{}}\n")), 1);
    assert_eq!(found("crates/a/tests/b.rs", format!("{good}fn b() {{}}\n")), 0);
    assert_eq!(found("crates/a/src/b.rs", "fn a() {}\n".to_owned()), 1);
    assert_eq!(found("crates/a/src/utils/b.rs", good.clone()), 1);
    assert_eq!(found("crates/a/src/b/mod.rs", good), 1);
}
