//! What is configured of limits.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Money is counted in millionths.
pub(super) const MILLIONTHS: u64 = 1_000_000;

/// The longest name that a header carries, in characters.
const MAX_NAME: usize = 64;

/// What a limit counts apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Each {
    /// Who calls.
    Principal,
    /// The service.
    Service,
    /// The tool, with its service.
    Tool,
    /// The conversation; all calls without one count together.
    Conversation,
}

/// So much in a while. Exactly one of `calls`, `tokens`, `bytes` and `money` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// What it is called to callers; made from what it counts where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Principals that it holds for, with `*` for any part. All where left out.
    #[serde(default = "any", skip_serializing_if = "is_any")]
    pub principal: String,
    /// Services that it holds for, with `*` for any part. All where left out.
    #[serde(default = "any", skip_serializing_if = "is_any")]
    pub service: String,
    /// The services' own names of tools that it holds for, with `*` for any part. All where left out.
    #[serde(default = "any", skip_serializing_if = "is_any")]
    pub tool: String,
    /// What is counted apart; all calls together where left out.
    #[serde(default)]
    pub each: Vec<Each>,
    /// Calls in the while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// Tokens of arguments and results in the while, estimated at four bytes each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Bytes of arguments and results in the while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Money in the while, as `prices` say what calls cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub money: Option<f64>,
    /// The while, in milliseconds.
    #[serde(default = "second")]
    pub every_ms: u64,
    /// What may be used at once after a time without any; as much as in the while where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<f64>,
}

/// What calls of tools cost. The first that fits a tool decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Services that it holds for, with `*` for any part. All where left out.
    #[serde(default = "any", skip_serializing_if = "is_any")]
    pub service: String,
    /// The services' own names of tools that it holds for, with `*` for any part. All where left out.
    #[serde(default = "any", skip_serializing_if = "is_any")]
    pub tool: String,
    /// What a call costs, in the currency that all prices and limits are in.
    #[serde(default)]
    pub call: f64,
    /// What a thousand tokens of arguments and results cost, estimated at four bytes each.
    #[serde(default)]
    pub thousand_tokens: f64,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    Calls,
    Tokens,
    Bytes,
    Money,
}

impl Measure {
    /// The quota unit of `RateLimit-Policy`: `requests` and `content-bytes` are registered by the draft.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::Calls => "requests",
            Self::Tokens => "tokens",
            Self::Bytes => "content-bytes",
            Self::Money => "money-micros",
        }
    }
}

impl Limit {
    /// How many of `calls`, `tokens`, `bytes` and `money` are given.
    #[must_use]
    pub fn measures(&self) -> usize {
        [self.calls.is_some(), self.tokens.is_some(), self.bytes.is_some(), self.money.is_some()]
            .into_iter()
            .filter(|given| *given)
            .count()
    }

    /// What is counted, and units in the while.
    pub(super) fn measure(&self) -> (Measure, u64) {
        match (self.calls, self.tokens, self.bytes, self.money) {
            (None, Some(tokens), _, _) => (Measure::Tokens, tokens),
            (None, None, Some(bytes), _) => (Measure::Bytes, bytes),
            (None, None, None, Some(money)) => (Measure::Money, millionths(money)),
            (calls, ..) => (Measure::Calls, calls.unwrap_or(0)),
        }
    }

    /// Units that may be used at once.
    pub(super) fn burst_units(&self, units: u64) -> u64 {
        match (self.burst, self.measure().0) {
            (None, _) => units,
            (Some(burst), Measure::Money) => millionths(burst),
            (Some(burst), _) => millionths(burst / 1e6),
        }
    }

    /// What callers are told of it as its name: what a structured field can carry as a string.
    pub(super) fn policy(&self, index: usize) -> String {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => format!("{}-{}", self.measure().0.unit(), index + 1),
        };
        let fits = |c: char| matches!(c, ' '..='~') && c != '"' && c != '\\';
        name.chars().map(|c| if fits(c) { c } else { '_' }).take(MAX_NAME).collect()
    }
}

/// Money in millionths.
pub(super) fn millionths(money: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float is cast to what it can be at most"
    )]
    let millionths = (money.max(0.0) * 1e6).round() as u64;
    millionths
}

fn any() -> String {
    "*".to_owned()
}

fn is_any(pattern: &String) -> bool {
    pattern == "*"
}

fn second() -> u64 {
    1_000
}
