//! What can go wrong with a registry or a name server.

use trunkline_model::{EffectState, Failure, Fault, Retry};

/// What can go wrong with a source of instances. Whatever it is, the instances that were known last stay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It can't be reached, or does not answer.
    #[error("{source_name} can't be asked: {cause}")]
    Unreachable {
        /// Which.
        source_name: String,
        /// Why.
        cause: String,
    },
    /// It refuses.
    #[error("{source_name} refuses: {cause}")]
    Refused {
        /// Which.
        source_name: String,
        /// What it says.
        cause: String,
    },
    /// It answers what can't be used.
    #[error("{source_name} answers what can't be used: {cause}")]
    Unusable {
        /// Which.
        source_name: String,
        /// What is wrong with it.
        cause: String,
    },
    /// What is configured of it can't be used.
    #[error("{source_name}: {cause}")]
    Config {
        /// Which.
        source_name: String,
        /// What is wrong.
        cause: String,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        let none = EffectState::None;
        match error {
            Error::Unreachable { .. } => Self::service(
                "TL9010",
                "Registry not reachable",
                detail,
                none,
                "The instances that were known last are used; it is asked again. See that it runs.",
            ),
            Error::Refused { .. } => Self::service(
                "TL9011",
                "Registry refuses",
                detail,
                none,
                "Give a token that may read the service and its node, under registry.consul.token.",
            )
            .fault(Fault::Operator),
            Error::Unusable { .. } => Self::service(
                "TL9012",
                "Answer of the registry can't be used",
                detail,
                none,
                "The instances that were known last are used; it is asked again. See what answers at its address.",
            ),
            Error::Config { .. } => Self::caller(
                "TL9013",
                "Registry wrongly configured",
                detail,
                "Correct the section registry, or discover of the service.",
            )
            .fault(Fault::Operator)
            .retry(Retry::No),
        }
    }
}
