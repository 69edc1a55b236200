//! Errors that a workflow defines, raises and filters, and the URIs that name their types.

use std::sync::Arc;

use serde_json::Value;

use super::flow::Transform;
use super::node::{Node, marked};

/// An error to raise, written where it is raised or in `use.errors`; [`super::Workflow::error_of`] finds it.
#[derive(Clone, Debug)]
pub enum ErrorRef {
    /// Written here.
    Inline(Arc<ErrorDefinition>),
    /// An entry of `use.errors`.
    Named(Arc<str>),
}

/// An error as RFC 9457 (problem details) describes one.
#[derive(Clone, Debug)]
pub struct ErrorDefinition {
    /// The URI of its type.
    pub kind: Transform,
    /// Its status, as of HTTP.
    pub status: u16,
    /// The JSON Pointer of what raised it; the task that raises it unless given.
    pub instance: Option<Transform>,
    /// A short title.
    pub title: Option<Transform>,
    /// What happened this time.
    pub detail: Option<Transform>,
}

/// Which errors to catch: those that fit every member that is there.
#[derive(Clone, Debug, Default)]
pub struct ErrorFilter {
    /// The type's URI, as written; compare with [`same_type`].
    pub kind: Option<Arc<str>>,
    /// The status.
    pub status: Option<u16>,
    /// Where it was raised.
    pub instance: Option<Arc<str>>,
    /// The title.
    pub title: Option<Arc<str>>,
    /// The detail.
    pub detail: Option<Arc<str>>,
}

/// The bases that the specification's own error types have had: it was renamed, and its kit uses all of them.
const BASES: [&str; 8] = [
    "https://open-workflow-specification.org/errors/types/",
    "https://open-workflow-specification.org/dsl/errors/types/",
    "https://open-workflow-specification.org/spec/1.0.0/errors/",
    "https://open-workflow-specification.org/errors/",
    "https://serverlessworkflow.io/errors/types/",
    "https://serverlessworkflow.io/dsl/errors/types/",
    "https://serverlessworkflow.io/spec/1.0.0/errors/",
    "https://serverlessworkflow.io/errors/",
];

/// The kind of error that a type's URI names, without the base where it is one of the specification's
/// (`communication`); any other URI as it is.
#[must_use]
pub fn normal_type(uri: &str) -> &str {
    BASES.iter().find_map(|base| uri.strip_prefix(base)).unwrap_or(uri)
}

/// Whether two URIs name the same type of error.
#[must_use]
pub fn same_type(one: &str, other: &str) -> bool {
    normal_type(one) == normal_type(other)
}

pub(super) fn reference(node: Node<'_>) -> Option<ErrorRef> {
    if node.value().is_string() {
        return node.component("errors").map(ErrorRef::Named);
    }
    definition(node).map(|error| ErrorRef::Inline(Arc::new(error)))
}

pub(super) fn definition(node: Node<'_>) -> Option<ErrorDefinition> {
    let members = node.object()?;
    let kind = members.required("type", "the URI of the type of error", text);
    let status = members.required("status", "the status, as of HTTP", status);
    let instance = members.optional("instance", |node| match node.text()? {
        text if text.is_empty() || text.starts_with('/') || marked(text).is_some() => {
            Some(Transform::of(node.value()))
        }
        _ => node.unexpected("a JSON Pointer, or an expression in ${ }"),
    });
    let (title, detail) = (members.optional("title", text), members.optional("detail", text));
    members.finish();
    Some(ErrorDefinition { kind: kind?, status: status?, instance, title, detail })
}

fn text(node: Node<'_>) -> Option<Transform> {
    node.text().map(|_| Transform::of(node.value()))
}

fn status(node: Node<'_>) -> Option<u16> {
    let status = node.value().as_u64().and_then(|status| u16::try_from(status).ok());
    status.filter(|status| *status < 1000).or_else(|| node.unexpected("a status, such as 503"))
}

pub(super) fn filter(node: Node<'_>) -> Option<ErrorFilter> {
    let members = node.object()?;
    let text = |name| members.optional(name, |node: Node<'_>| node.text().map(Arc::from));
    let filter = ErrorFilter {
        kind: text("type"),
        status: members.optional("status", status),
        instance: text("instance"),
        title: text("title"),
        // The reference of 1.0.0 wrote it with an s.
        detail: text("detail").or_else(|| text("details")),
    };
    members.finish();
    if node.value().as_object().is_some_and(serde_json::Map::is_empty) {
        return node.unexpected("at least one of type, status, instance, title, detail");
    }
    Some(filter)
}

impl ErrorFilter {
    /// Whether an error (problem details, as JSON) fits.
    #[must_use]
    pub fn fits(&self, error: &Value) -> bool {
        let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
        let same =
            |wanted: &Option<Arc<str>>, name| wanted.as_deref().is_none_or(|wanted| wanted == text(name));
        self.kind.as_deref().is_none_or(|kind| same_type(kind, text("type")))
            && self.status.is_none_or(|status| error.get("status") == Some(&Value::from(status)))
            && same(&self.instance, "instance")
            && same(&self.title, "title")
            && same(&self.detail, "detail")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_every_base_are_the_same() {
        for base in BASES {
            assert_eq!(normal_type(&format!("{base}communication")), "communication");
        }
        assert!(same_type(
            "https://serverlessworkflow.io/spec/1.0.0/errors/timeout",
            "https://open-workflow-specification.org/dsl/errors/types/timeout"
        ));
        assert!(!same_type("https://example.com/errors/types/timeout", "timeout"));
    }

    #[test]
    fn a_filter_fits_by_what_it_names() {
        let error =
            serde_json::json!({"type": "https://serverlessworkflow.io/errors/types/timeout", "status": 408});
        let filter = ErrorFilter {
            kind: Some("https://open-workflow-specification.org/errors/types/timeout".into()),
            ..ErrorFilter::default()
        };
        assert!(filter.fits(&error));
        assert!(!ErrorFilter { status: Some(500), ..filter }.fits(&error));
    }
}
