//! What can go wrong with a model.

use trunkline_model::{EffectState, Failure, Fault, Retry};

/// What can go wrong with a model.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// What is configured can't be used.
    #[error("the model can't be used: {0}")]
    Config(String),
    /// There is no answer.
    #[error("{host} can't be reached or did not answer in time: {cause}")]
    Unreachable {
        /// Whom was asked, without path and query.
        host: String,
        /// Why.
        cause: String,
    },
    /// It answered that it will not.
    #[error("{host} answered HTTP {status}{said}")]
    Refused {
        /// Whom was asked.
        host: String,
        /// The status.
        status: u16,
        /// What it said for itself, after ": ", shortened; empty where it said nothing.
        said: String,
    },
    /// What it answered is not what was asked for.
    #[error("{host} answered what can't be used: {cause}")]
    Unusable {
        /// Whom was asked.
        host: String,
        /// What is wrong with it.
        cause: String,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        let service = |code, title, next| {
            Self::service(code, title, detail.clone(), EffectState::None, next).retry(Retry::Soon)
        };
        match &error {
            Error::Config(_) => Self::caller(
                "TL8110",
                "Model misconfigured",
                detail,
                "Correct the named setting of `model` or `search` in the configuration.",
            )
            .fault(Fault::Operator)
            .status(502),
            Error::Unreachable { .. } => service(
                "TL8111",
                "Model not reached in time",
                "Check `url` and that the endpoint runs; raise `timeout_ms` where it is only slow.",
            ),
            Error::Refused { .. } => {
                service("TL8112", "Model refused", "Check `key` and `model`, and what the endpoint said.")
                    .fault(Fault::Operator)
            }
            Error::Unusable { .. } => service(
                "TL8113",
                "Model answered what can't be used",
                "Check that `url` leads to an endpoint of that kind, or take another model.",
            ),
        }
    }
}
