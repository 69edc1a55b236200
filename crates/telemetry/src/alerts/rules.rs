//! Rule files in the form of Prometheus are read, and their alerts followed from pending to firing to resolved.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::evaluate::{Value, evaluate};
use super::history::History;
use super::parse::{duration, parse};
use super::promql::Expr;
use super::template::fill;
use super::{Alert, Board, Labels, Shown, State};
use crate::Error;
use crate::exposition::Family;

/// The rules that come with Trunkline.
pub const SHIPPED: &str = include_str!("../../rules/trunkline.rules.yaml");

/// The largest file.
const MAX_FILE: u64 = 1 << 20;

/// The most rules, and alerts of one.
const MAX_RULES: usize = 500;
const MAX_ALERTS: usize = 500;

/// How long a resolved alert is shown.
const SHOWN: Duration = Duration::from_secs(900);

/// How far back is kept at least: what a rule sees without a range.
const LEAST_BACK: Duration = Duration::from_secs(300);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    alert: String,
    expr: String,
    #[serde(default, rename = "for")]
    wait: Option<String>,
    #[serde(default)]
    keep_firing_for: Option<String>,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    annotations: Labels,
}

/// A rule.
struct Rule {
    name: String,
    group: String,
    text: String,
    expr: Expr,
    wait: Duration,
    keep: Duration,
    labels: Labels,
    annotations: Labels,
    active: BTreeMap<Labels, Active>,
    error: Option<String>,
}

struct Active {
    alert: Alert,
    /// When it was last so.
    seen: Timestamp,
}

/// All rules, with what they look at.
pub struct Rules {
    rules: Vec<Rule>,
    history: History,
}

impl Rules {
    /// Those that are shipped, where they are wanted, and those of files.
    ///
    /// # Errors
    /// [`Error::Rules`] names the file and what is wrong with it.
    pub fn load(shipped: bool, files: &[std::path::PathBuf]) -> Result<Self, Error> {
        let mut rules = Vec::new();
        if shipped {
            read(SHIPPED, &mut rules).map_err(|cause| failed(Path::new("the shipped rules"), cause))?;
        }
        for file in files {
            let size = std::fs::metadata(file).map_err(|error| failed(file, error.to_string()))?.len();
            if size > MAX_FILE {
                return Err(failed(file, format!("it is larger than {MAX_FILE} bytes")));
            }
            let text = std::fs::read_to_string(file).map_err(|error| failed(file, error.to_string()))?;
            read(&text, &mut rules).map_err(|cause| failed(file, cause))?;
        }
        if rules.len() > MAX_RULES {
            return Err(Error::Setting(format!("there are more than {MAX_RULES} rules")));
        }
        let (mut names, mut back) = (Vec::new(), LEAST_BACK);
        rules.iter().for_each(|rule: &Rule| rule.expr.asks(&mut names, &mut back));
        Ok(Self { rules, history: History::new(names, back) })
    }

    /// Evaluates all over what is counted now. Gives the alerts that fire now and did not, or do no more.
    pub fn evaluate(&mut self, families: &[Family], now: Timestamp) -> Vec<Alert> {
        self.history.take(families, now.as_millisecond());
        let mut changed = Vec::new();
        for rule in &mut self.rules {
            match evaluate(&rule.expr, &self.history) {
                Ok(value) => {
                    rule.error = None;
                    rule.follow(value, now, &mut changed);
                }
                Err(error) => rule.error = Some(error),
            }
        }
        changed
    }

    /// All of it as it is now.
    #[must_use]
    pub fn board(&self, now: Timestamp) -> Board {
        let mut alerts: Vec<Alert> = self
            .rules
            .iter()
            .flat_map(|rule| rule.active.values().map(|active| active.alert.clone()))
            .collect();
        alerts.sort_by(|a, b| (a.state, &a.name, &a.labels).cmp(&(b.state, &b.name, &b.labels)));
        let shown = |rule: &Rule| Shown {
            name: rule.name.clone(),
            group: rule.group.clone(),
            expr: rule.text.split_whitespace().collect::<Vec<_>>().join(" "),
            for_s: rule.wait.as_secs_f64(),
            error: rule.error.clone(),
        };
        Board { alerts, rules: self.rules.iter().map(shown).collect(), evaluated_at: Some(now) }
    }
}

fn failed(path: &Path, cause: String) -> Error {
    Error::Rules { path: path.to_owned(), cause }
}

fn read(text: &str, rules: &mut Vec<Rule>) -> Result<(), String> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    for group in file.groups {
        for rule in group.rules {
            let at =
                |cause: String| format!("the rule {:?} of the group {:?}: {cause}", rule.alert, group.name);
            let time = |text: &Option<String>| text.as_deref().map_or(Ok(Duration::ZERO), duration);
            let built = Rule {
                expr: parse(&rule.expr).map_err(at)?,
                wait: time(&rule.wait).map_err(at)?,
                keep: time(&rule.keep_firing_for).map_err(at)?,
                name: rule.alert.clone(),
                group: group.name.clone(),
                text: rule.expr.clone(),
                labels: rule.labels.clone(),
                annotations: rule.annotations.clone(),
                active: BTreeMap::new(),
                error: None,
            };
            for text in rule.annotations.values().chain(rule.labels.values()) {
                fill(text, &Labels::new(), 0.0).map_err(at)?;
            }
            rules.push(built);
        }
    }
    Ok(())
}

impl Rule {
    fn follow(&mut self, value: Value, now: Timestamp, changed: &mut Vec<Alert>) {
        let is = match value {
            Value::Vector(all) => all,
            // A number is no series: nothing is said of anything.
            Value::Scalar(_) => Vec::new(),
        };
        let long_enough = |since: Timestamp, wait: Duration| now.duration_since(since).unsigned_abs() >= wait;
        for (labels, value) in is.into_iter().take(MAX_ALERTS) {
            let known = self.active.get_mut(&labels).filter(|active| active.alert.state != State::Resolved);
            let active = match known {
                Some(active) => active,
                None => {
                    let alert = self.begun(&labels, value, now);
                    self.active.insert(labels.clone(), Active { alert, seen: now });
                    let Some(active) = self.active.get_mut(&labels) else { continue };
                    active
                }
            };
            (active.seen, active.alert.value) = (now, value);
            if active.alert.state == State::Pending && long_enough(active.alert.active_at, self.wait) {
                active.alert.state = State::Firing;
                active.alert.fired_at = Some(now);
                active.alert.annotations = filled(&self.annotations, &labels, value);
                changed.push(active.alert.clone());
            }
        }
        self.active.retain(|_, active| {
            let alert = &mut active.alert;
            match alert.state {
                State::Pending => active.seen == now,
                State::Firing if active.seen == now || !long_enough(active.seen, self.keep) => true,
                State::Firing => {
                    alert.state = State::Resolved;
                    alert.resolved_at = Some(now);
                    changed.push(alert.clone());
                    true
                }
                State::Resolved => !alert.resolved_at.is_some_and(|since| long_enough(since, SHOWN)),
            }
        });
    }

    fn begun(&self, labels: &Labels, value: f64, now: Timestamp) -> Alert {
        let mut all = labels.clone();
        all.extend(filled(&self.labels, labels, value));
        all.insert("alertname".to_owned(), self.name.clone());
        Alert {
            name: self.name.clone(),
            state: State::Pending,
            labels: all,
            annotations: filled(&self.annotations, labels, value),
            value,
            active_at: now,
            fired_at: None,
            resolved_at: None,
        }
    }
}

fn filled(templates: &Labels, labels: &Labels, value: f64) -> Labels {
    let one = |(name, text): (&String, &String)| {
        (name.clone(), fill(text, labels, value).unwrap_or_else(|error| error))
    };
    templates.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::exposition::Kind;

    fn up(value: f64) -> Vec<Family> {
        let mut family = Family::new("trunkline_service_up", Kind::Gauge, "Up.");
        family.put(vec![("service", Arc::from("orders"))], value);
        vec![family]
    }

    #[test]
    fn an_alert_is_pending_then_fires_then_is_resolved() {
        let mut rules = Rules::load(true, &[]).unwrap();
        let mut step = |seconds: i64, value: f64| {
            let now = Timestamp::from_second(1_000_000 + seconds).unwrap();
            let changed = rules.evaluate(&up(value), now);
            let board = rules.board(now);
            let state = board
                .alerts
                .iter()
                .find(|alert| alert.name == "TrunklineServiceDown")
                .map(|alert| alert.state);
            (changed, state)
        };
        assert_eq!(step(0, 1.0).1, None);
        assert_eq!(step(15, 0.0).1, Some(State::Pending));
        assert_eq!(step(30, 1.0).1, None, "what is pending and is so no more is forgotten");
        assert_eq!(step(45, 0.0).1, Some(State::Pending));
        let (changed, state) = step(105, 0.0);
        assert_eq!((changed.len(), state), (1, Some(State::Firing)));
        assert_eq!(changed[0].annotations["summary"], "The service orders can't be called.");
        assert_eq!(changed[0].labels["severity"], "critical");
        assert!(step(120, 0.0).0.is_empty(), "it is told once");
        let (changed, state) = step(135, 1.0);
        assert_eq!((changed[0].state, state), (State::Resolved, Some(State::Resolved)));
        assert_eq!(step(1_100, 1.0).1, None);
    }

    #[test]
    fn a_file_that_can_not_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for (text, part) in [
            ("groups: [{name: g, rules: [{record: r, expr: x}]}]", "record"),
            ("groups: [{name: g, rules: [{alert: a, expr: 'x offset 5m'}]}]", "offset"),
            ("groups: [{name: g, rules: [{alert: a, expr: x, for: soon}]}]", "soon"),
            (
                "groups: [{name: g, rules: [{alert: a, expr: x, annotations: {s: '{{ query \"x\" }}'}}]}]",
                "query",
            ),
        ] {
            let file = folder.path().join("rules.yaml");
            std::fs::write(&file, text).unwrap();
            let Err(error) = Rules::load(false, &[file]) else { panic!("{text}") };
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
