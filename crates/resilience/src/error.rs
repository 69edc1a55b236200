//! Why a call was not made, or not waited for.

use std::time::Duration;

use trunkline_model::{EffectState, Failure, Fault, Retry};

use crate::shed::Class;

/// Why a call was not made, or not waited for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The breaker is open.
    #[error("{target} has failed too often lately and is not asked for another {after:.1?}")]
    Open {
        /// The tool.
        target: String,
        /// When to come back.
        after: Duration,
    },
    /// As many calls of the service run and wait as may.
    #[error("{}", if *.waited {
        format!("{target} had no room for the call before its deadline")
    } else {
        format!("as many calls of the service of {target} wait as may")
    })]
    Full {
        /// The tool.
        target: String,
        /// The call has waited.
        waited: bool,
        /// When to come back.
        after: Duration,
    },
    /// The service is overloaded, and other calls matter more.
    #[error(
        "the service of {target} has more calls than it can take, and there are others that matter more than this one, \
         whose priority is {}",
        class.name()
    )]
    Shed {
        /// The tool.
        target: String,
        /// How much the call matters.
        class: Class,
        /// When to come back.
        after: Duration,
    },
    /// An attempt took longer than calls of this tool do.
    #[error("{target} did not answer within {limit:.1?}, which nearly all of its calls do")]
    Slow {
        /// The tool.
        target: String,
        /// The limit.
        limit: Duration,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::Open { after, .. } => Self {
                fault: Fault::Service,
                ..Self::gateway(
                    "TL8001",
                    "Service not asked for a while",
                    detail,
                    "Nothing was done. Call again after that time, or use another tool.",
                )
            }
            .retry(Retry::After(after))
            .status(503),
            Error::Full { after, .. } => Self {
                fault: Fault::Service,
                ..Self::gateway(
                    "TL8002",
                    "Too many calls of a service",
                    detail,
                    "Nothing was done. Call again later, or make fewer calls at a time.",
                )
            }
            .retry(Retry::After(after))
            .status(503),
            Error::Shed { after, .. } => Self {
                fault: Fault::Service,
                ..Self::gateway(
                    "TL8031",
                    "Overloaded",
                    detail,
                    "Nothing was done. Call again after that time, and make fewer calls until then.",
                )
            }
            .retry(Retry::After(after))
            .status(503),
            Error::Slow { .. } => Self::service(
                "TL8003",
                "Slower than usual",
                detail,
                EffectState::Unknown,
                "The tool can be called again without harm. Where it is slow by nature, raise resilience.timeout.",
            )
            .status(504),
        }
    }
}
