//! The files that the tests of the house read.

use std::fs;
use std::path::{Path, PathBuf};

/// The folders that hold Rust code.
const CODE: [&str; 4] = ["crates", "examples", "fixtures", "xtask"];

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the repository")
}

/// A file of the repository.
pub(crate) struct Source {
    /// Its path from the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    /// The text without a `#[cfg(test)] mod tests { … }` that ends the file.
    pub(crate) fn without_tests(&self) -> &str {
        match self.text.rfind("\n#[cfg(test)]\nmod tests {") {
            // The module is the last thing in the file if nothing else starts a line after its closing brace.
            Some(start) if self.text[start..].trim_end().ends_with("\n}") => &self.text[..=start],
            _ => &self.text,
        }
    }

    /// Whether the file as a whole is a test or a benchmark.
    pub(crate) fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.contains("/benches/") || self.path.ends_with("/tests.rs")
    }
}

/// Every file with Rust code, by path.
pub(crate) fn rust() -> Vec<Source> {
    let mut found = Vec::new();
    for folder in CODE {
        collect(&root().join(folder), "rs", &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 20, "the sources are not where they are looked for");
    found
}

/// Every file below a folder that ends in `.extension`; empty where there is no such folder.
pub(crate) fn below(folder: &str, extension: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root().join(folder), extension, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(folder: &Path, extension: &str, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.expect("a folder can be listed").path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" && name != "node_modules" {
                collect(&path, extension, found);
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(read(path));
        }
    }
}

fn read(path: PathBuf) -> Source {
    let text = fs::read_to_string(&path).expect("a source file can be read");
    let path = path.strip_prefix(root()).expect("it is below the root").to_string_lossy().replace('\\', "/");
    Source { path, text }
}

#[test]
fn only_a_test_module_that_ends_the_file_is_left_out() {
    let source = |text: &str| Source { path: String::new(), text: text.to_owned() };
    let ends = source("code\n\n#[cfg(test)]\nmod tests {\n    x\n}\n");
    assert_eq!(ends.without_tests(), "code\n\n");
    let goes_on =
        source("code\n#[cfg(test)]\nmod tests {\n    x\n}\n\nfn more() {\n    y\n}\nconst Z: u8 = 0;\n");
    assert_eq!(goes_on.without_tests(), goes_on.text);
}
