//! Every error code has a page in docs/errors, and every page a code.

use std::collections::{BTreeMap, BTreeSet};

use crate::sources::{below, rust};

/// Where the pages are.
const FOLDER: &str = "docs/errors";

/// The most lines of a page: it is read by someone who wants to go on.
const MAX_LINES: usize = 25;

/// The codes that stand as string literals in a text.
fn codes(text: &str) -> BTreeSet<&str> {
    text.split('"').filter(|part| is_code(part)).collect()
}

fn is_code(text: &str) -> bool {
    text.strip_prefix("TL")
        .is_some_and(|digits| digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let sources = rust();
    let mut used: BTreeMap<&str, &str> = BTreeMap::new();
    for source in sources.iter().filter(|source| source.path.starts_with("crates/") && !source.is_test()) {
        for code in codes(source.without_tests()) {
            used.entry(code).or_insert(&source.path);
        }
    }
    let pages = below(FOLDER, "md");
    let described: BTreeSet<_> = pages
        .iter()
        .filter_map(|page| page.path.rsplit('/').next()?.strip_suffix(".md"))
        .filter(|name| *name != "README")
        .collect();
    let mut wrong: Vec<_> = used
        .iter()
        .filter(|(code, _)| !described.contains(*code))
        .map(|(code, path)| format!("{code} of {path} has no page {FOLDER}/{code}.md"))
        .collect();
    wrong.extend(
        described
            .iter()
            .filter(|code| !used.contains_key(*code))
            .map(|code| format!("{FOLDER}/{code}.md describes a code that no crate uses")),
    );
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_page_has_its_title_and_is_short() {
    let mut wrong = Vec::new();
    for page in below(FOLDER, "md") {
        let name = page.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".md");
        if name == "README" {
            continue;
        }
        let title = page.text.lines().next().unwrap_or_default();
        if title.strip_prefix(&format!("# {name} ")).is_none_or(|title| title.trim().is_empty()) {
            wrong.push(format!("{} does not open with `# {name} Title`", page.path));
        }
        for part in ["What happened", "Why", "What to do"] {
            if !page.text.contains(part) {
                wrong.push(format!("{} does not say {part:?}", page.path));
            }
        }
        if page.text.lines().count() > MAX_LINES {
            wrong.push(format!("{} has more than {MAX_LINES} lines", page.path));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn no_two_crates_use_the_same_code() {
    let mut owner: BTreeMap<String, String> = BTreeMap::new();
    for source in rust().iter().filter(|source| source.path.ends_with("/src/error.rs")) {
        for code in codes(source.without_tests()) {
            let first = owner.entry(code.to_owned()).or_insert_with(|| source.path.clone());
            assert_eq!(*first, source.path, "{code} is defined twice");
        }
    }
}

#[test]
fn only_whole_literals_are_codes() {
    let text = r#"code: "TL4003", see `TL4004`, "TL40031", "TLabcd", "TL1000""#;
    assert_eq!(codes(text), BTreeSet::from(["TL1000", "TL4003"]));
}
