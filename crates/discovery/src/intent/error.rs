//! Why an intent can't be learned.

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no room for more.
    #[error("there are 2,000 intents or 20,000 examples already: give fewer, or remove some")]
    Full,
}
