//! What a tool or service can do, as hierarchical terms.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A dotted term from general to special: `payments.refund`, `storage.file.read`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Capability(String);

impl Capability {
    /// A term as written.
    #[must_use]
    pub fn new(term: impl Into<String>) -> Self {
        Self(term.into())
    }

    /// The whole term.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this term is covered by `pattern`: an equal term, an ancestor (`payments` covers
    /// `payments.refund`), or a term with `*` for any one part.
    #[must_use]
    pub fn matches(&self, pattern: &str) -> bool {
        Self::matches_term(&self.0, pattern)
    }

    /// As [`matches`](Self::matches), for a term as text.
    #[must_use]
    pub fn matches_term(term: &str, pattern: &str) -> bool {
        let mut parts = term.split('.');
        pattern.split('.').all(|wanted| parts.next().is_some_and(|part| wanted == "*" || wanted == part))
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ancestor_covers_its_descendants() {
        let refund = Capability::new("payments.card.refund");
        assert!(refund.matches("payments"));
        assert!(refund.matches("payments.*.refund"));
        assert!(!refund.matches("payments.refund"));
        assert!(!refund.matches("payments.card.refund.partial"));
    }
}
