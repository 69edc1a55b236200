//! Media types: which of those that an operation takes is sent, and in what form a model gives it.

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// JSON text.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `multipart/form-data` and its kin.
    Multipart,
    /// Text as it is: plain, XML, CSV, YAML, lines of JSON.
    Text,
    /// Bytes, which a model gives in base64.
    Binary,
}

/// The media type without its parameters, in lower case.
pub(super) fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The form of a media type.
pub(super) fn kind(media_type: &str) -> Kind {
    let essence = essence(media_type);
    match essence.as_str() {
        "application/json" | "text/json" | "*/*" | "application/*" => Kind::Json,
        "application/x-www-form-urlencoded" => Kind::Form,
        json if json.ends_with("+json") => Kind::Json,
        parts if parts.starts_with("multipart/") => Kind::Multipart,
        other if is_text(other) => Kind::Text,
        _ => Kind::Binary,
    }
}

fn is_text(essence: &str) -> bool {
    essence.starts_with("text/")
        || essence.ends_with("+xml")
        || essence.ends_with("+yaml")
        || matches!(
            essence,
            "application/xml"
                | "application/yaml"
                | "application/x-yaml"
                | "application/graphql"
                | "application/javascript"
                | "application/jsonl"
                | "application/jsonlines"
                | "application/json-seq"
                | "application/ndjson"
                | "application/x-ndjson"
                | "application/sql"
        )
}

/// Which media type to send where an operation takes several: the smaller, the better.
pub(super) fn rank(media_type: &str) -> u8 {
    match kind(media_type) {
        Kind::Json if essence(media_type) == "application/json" => 0,
        Kind::Json if media_type.contains('*') => 5,
        Kind::Json => 1,
        Kind::Multipart => 2,
        Kind::Form => 3,
        Kind::Text => 4,
        Kind::Binary => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_case_do_not_matter() {
        assert_eq!(kind("Application/JSON; charset=utf-8"), Kind::Json);
        assert_eq!(kind("application/vnd.api+json"), Kind::Json);
        assert_eq!(kind("multipart/form-data"), Kind::Multipart);
        assert_eq!(kind("application/soap+xml"), Kind::Text);
        assert_eq!(kind("image/png"), Kind::Binary);
        assert!(rank("application/json") < rank("application/x-www-form-urlencoded"));
    }
}
