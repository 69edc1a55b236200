//! Alerts: Prometheus rule files, evaluated inside over what is counted here.

mod evaluate;
mod history;
pub mod notify;
mod parse;
pub mod promql;
mod rules;
mod template;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

pub use notify::run;
pub use rules::{Rules, SHIPPED};

/// The labels of an alert or a sample.
pub type Labels = BTreeMap<String, String>;

/// How an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is so, and has been for long enough.
    Firing,
    /// It is so, but not for long enough yet.
    Pending,
    /// It was so.
    Resolved,
}

/// An alert.
#[derive(Clone, Debug, Serialize)]
pub struct Alert {
    /// The name of its rule.
    pub name: String,
    /// How it is.
    pub state: State,
    /// What it is about, with `alertname`.
    pub labels: Labels,
    /// What is said of it.
    pub annotations: Labels,
    /// The value of its rule's expression when it was last so.
    pub value: f64,
    /// Since when it is so.
    pub active_at: Timestamp,
    /// Since when it fires.
    pub fired_at: Option<Timestamp>,
    /// Since when it is so no more.
    pub resolved_at: Option<Timestamp>,
}

/// A rule as it is looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// Its name.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Its expression.
    pub expr: String,
    /// For how long it has to be so, in seconds.
    pub for_s: f64,
    /// Why it could not be evaluated.
    pub error: Option<String>,
}

/// All alerts and rules as they are now.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Board {
    /// The alerts: those that fire first.
    pub alerts: Vec<Alert>,
    /// The rules.
    pub rules: Vec<Shown>,
    /// When they were last evaluated.
    pub evaluated_at: Option<Timestamp>,
}
