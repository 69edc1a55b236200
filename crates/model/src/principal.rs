//! Who a call is made for.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// How a principal proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// Someone on this machine: the loopback listener or the stdio door, without a key.
    Local,
    /// The holder of an API key.
    ApiKey,
    /// The holder of an API key who operates the gateway.
    Operator,
    /// A client of whom a pinned proxy of the service mesh says who it is.
    Mesh,
    /// Trunkline itself (timers, health checks).
    System,
}

/// Who a call is made for. Shared by every call of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Principal {
    /// The name that policy, limits and the record use. Never a secret.
    pub id: Arc<str>,
    /// How it proved who it is.
    pub kind: PrincipalKind,
}

impl Principal {
    /// Whether it sees only what is its own: it has shown who it is, and others do so, too.
    #[must_use]
    pub fn is_confined(&self) -> bool {
        matches!(self.kind, PrincipalKind::ApiKey | PrincipalKind::Mesh)
    }

    /// Someone on this machine.
    #[must_use]
    pub fn local() -> Self {
        Self { id: Arc::from("local"), kind: PrincipalKind::Local }
    }

    /// The holder of the API key named `id`.
    #[must_use]
    pub fn api_key(id: &str) -> Self {
        Self { id: Arc::from(id), kind: PrincipalKind::ApiKey }
    }

    /// The holder of the API key named `id`, who operates the gateway.
    #[must_use]
    pub fn operator(id: &str) -> Self {
        Self { id: Arc::from(id), kind: PrincipalKind::Operator }
    }

    /// Trunkline itself.
    #[must_use]
    pub fn system() -> Self {
        Self { id: Arc::from("trunkline"), kind: PrincipalKind::System }
    }
}
