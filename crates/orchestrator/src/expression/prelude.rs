//! The functions that every expression may use and that are written in jq.

use std::sync::OnceLock;

use super::parser;
use super::scope::Scope;
use super::syntax::Table;

/// Parsed definitions.
#[derive(Debug, Default)]
pub(super) struct Prelude {
    pub(super) table: Table,
    pub(super) scope: Scope,
}

impl Prelude {
    /// The definitions, which are parsed once in a process.
    pub(super) fn get() -> &'static Self {
        static PRELUDE: OnceLock<Prelude> = OnceLock::new();
        PRELUDE.get_or_init(|| match parser::definitions(include_str!("prelude.jq")) {
            Ok((table, scope)) => Self { table, scope },
            // A test parses it.
            Err(_) => Self::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prelude_parses() {
        let parsed = parser::definitions(include_str!("prelude.jq"));
        assert!(parsed.is_ok(), "{:?}", parsed.err());
    }
}
