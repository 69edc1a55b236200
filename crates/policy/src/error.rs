//! What goes wrong in this crate.

use trunkline_model::{Failure, Fault};

/// A refusal, or a configuration that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Keys are configured and the request has none, or it came from another machine and no keys are configured.
    #[error("the request carries no API key")]
    NoCredential {
        /// Whether there is any key to send.
        keys_configured: bool,
    },
    /// The proxy of the service mesh does not say who calls.
    #[error("the identity that the proxy of the service mesh passes on can't be used: {0}")]
    MeshIdentity(&'static str),
    /// The request's key is not one of those configured.
    #[error("the request's API key is not known")]
    UnknownKey,
    /// A rule, or the default, denies the operation.
    #[error("{principal:?} may not use {name:?} of the service {service:?}: {reason}")]
    Denied {
        /// Who asked.
        principal: String,
        /// The service that was asked.
        service: String,
        /// The service's own name of the tool or prompt, or the resource's URI.
        name: String,
        /// Which rule it was.
        reason: String,
    },
    /// The configuration of keys can't be used.
    #[error("API key {id:?}: {reason}")]
    Key {
        /// The key's name.
        id: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let detail = format!("{error}.");
        match error {
            Error::NoCredential { keys_configured: true } => Self::caller(
                "TL2001",
                "Not authenticated",
                detail,
                "Send a key as \"Authorization: Bearer KEY\" or \"X-Api-Key: KEY\". The operator hands out keys (auth.api_keys).",
            ),
            Error::NoCredential { keys_configured: false } => Self::caller(
                "TL2001",
                "Not authenticated",
                "the request comes from another machine and no API keys are configured.",
                "Configure a key under auth.api_keys, or call from the gateway's own machine.",
            )
            .fault(Fault::Operator),
            Error::MeshIdentity(_) => Self::caller(
                "TL8042",
                "No identity of the mesh",
                detail,
                "Call by a client with a certificate of the mesh, or send an API key.",
            ),
            Error::UnknownKey => Self::caller(
                "TL2002",
                "Unknown API key",
                detail,
                "Check that the whole key is sent, without quotes. The operator sees the known key ids under auth.api_keys.",
            ),
            Error::Denied { .. } => Self::caller(
                "TL2003",
                "Not allowed",
                detail,
                "Use another tool, or ask the operator: whoever maintains the gateway's configuration can change policy.rules.",
            ),
            Error::Key { .. } => Self::caller(
                "TL2004",
                "API keys can't be used",
                detail,
                "Give each entry of auth.api_keys its own id and exactly one of key and sha256.",
            )
            .fault(Fault::Operator),
        }
    }
}
