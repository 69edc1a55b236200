//! Why a table of embeddings can't be read.

/// What is wrong with a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTable {
    /// It ends too soon, or goes on after its end.
    #[error("the table of embeddings is not whole")]
    Cut,
    /// It is something else.
    #[error("this is no table of embeddings with 256 numbers a token")]
    Other,
}
