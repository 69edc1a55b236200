//! What telemetry asks of those around it when someone looks: nothing of this costs a call anything.

use serde::Serialize;

use crate::exposition::Family;

/// How a service is.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceFacts {
    /// Its name.
    pub id: String,
    /// The protocol and its revision.
    pub protocol: String,
    /// `starting`, `up` or `down`.
    pub state: String,
    /// What is wrong, where it is not up.
    pub cause: Option<String>,
    /// Its tools whose breakers are not closed: the tool, and `open` or `probing`.
    pub breakers: Vec<(String, String)>,
    /// Calls that run and wait now, and that may run.
    pub load: Option<(usize, usize, usize)>,
}

/// What telemetry asks of those around it.
pub trait Surroundings: Send + Sync {
    /// What they count themselves.
    fn families(&self) -> Vec<Family>;

    /// The services.
    fn services(&self) -> Vec<ServiceFacts>;

    /// The protocol of a service.
    fn protocol(&self, service: &str) -> Option<String>;
}
