//! What can go wrong with telemetry.

use std::path::PathBuf;

use trunkline_model::{Failure, Fault, Retry};

/// What can go wrong with telemetry. Each has a page in `docs/errors/`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store of traces can't be opened or read.
    #[error("the traces can't be read: {0}")]
    Store(String),
    /// There is no trace of this identity.
    #[error("there is no trace {0}")]
    UnknownTrace(String),
    /// What was received is not OTLP.
    #[error("the spans can't be read: {0}")]
    NotOtlp(String),
    /// A file of rules can't be used.
    #[error("{path}: {cause}")]
    Rules {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A setting can't be used.
    #[error("{0}")]
    Setting(String),
    /// Telemetry is off.
    #[error("telemetry is off")]
    Off,
    /// There is too much under way.
    #[error("more spans come than can be taken")]
    Busy,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::Store(_) => Self::gateway(
                "TL9100",
                "Traces can't be read",
                detail,
                "Look at traces.db in the data directory; it may be removed while the gateway is stopped.",
            ),
            Error::UnknownTrace(_) => Self::caller(
                "TL9101",
                "Unknown trace",
                detail,
                "Look at /v1/traces: it may not have been kept, or be older than telemetry.traces.retention_days.",
            )
            .status(404),
            Error::NotOtlp(_) => Self::caller(
                "TL9102",
                "Not OTLP",
                detail,
                "Send an ExportTraceServiceRequest as application/x-protobuf or application/json.",
            )
            .status(400),
            Error::Rules { .. } => Self::caller(
                "TL9103",
                "Unusable rules",
                detail,
                "Correct the file; docs/observability.md says which part of PromQL is known.",
            )
            .fault(Fault::Operator)
            .status(500),
            Error::Setting(_) => Self::caller(
                "TL9104",
                "Unusable telemetry setting",
                detail,
                "Correct the section telemetry of the configuration, or the variable OTEL_* that is named.",
            )
            .fault(Fault::Operator)
            .status(500),
            Error::Off => Self::caller(
                "TL9105",
                "Telemetry is off",
                detail,
                "Set telemetry.enabled, and start the gateway again.",
            )
            .status(404),
            Error::Busy => {
                Self::gateway("TL9106", "Too many spans", detail, "Send them again after a second.")
                    .status(503)
                    .retry(Retry::After(std::time::Duration::from_secs(1)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_says_what_to_do_and_has_a_page() {
        let text = || "words".to_owned();
        let errors = [
            Error::Store(text()),
            Error::UnknownTrace(text()),
            Error::NotOtlp(text()),
            Error::Rules { path: PathBuf::from("rules.yaml"), cause: text() },
            Error::Setting(text()),
            Error::Off,
            Error::Busy,
        ];
        let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
        for error in errors {
            let failure = Failure::from(error);
            let page = std::fs::read_to_string(docs.join(format!("{}.md", failure.code))).unwrap();
            assert_eq!(page.lines().next(), Some(&*format!("# {} {}", failure.code, failure.title)));
        }
    }
}
