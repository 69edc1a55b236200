//! Why an intent can't be learned.

use trunkline_model::Failure;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no room for more.
    #[error("there are 2,000 intents or 5,000 examples already")]
    Full,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let next = "Give fewer examples of each intent (20 are enough), or remove intents that are not used.";
        Self::caller("TL8200", "Too many intents", error.to_string(), next)
    }
}
