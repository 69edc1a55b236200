//! Tasks that tell and hear of events.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::scope::Scope;
use super::{Passed, Place, export, given_out, list};
use crate::Error;
use crate::entry::{Entry, Key};
use crate::expression::Template;
use crate::fault::Fault;
use crate::published::{self, By, Followed};
use crate::run::Run;
use crate::workflow::{
    Consumption, Correlation, Directive, EventFilter, ForEach, ListenTask, ReadAs, Transform, Until,
};

/// The most events that one `listen` task may take.
const MAX_EVENTS: usize = 10_000;

/// Publishes an event. Its identity is that of the task in the run: publishing it again after a crash is seen to be a
/// repetition.
pub(super) async fn emit(
    run: &Arc<Run>,
    template: &Template,
    at: &Place,
    scope: &Scope,
    input: &Value,
) -> Result<Value, Fault> {
    if let Some(event) = run.journal.decided(&at.key).await {
        return Ok(event);
    }
    run.journal.live().await;
    let mut event = scope.evaluate(run, &Transform::Template(template.clone()), input)?;
    let Some(members) = event.as_object_mut() else {
        return Err(Fault::configuration("an event is to be an object"));
    };
    let mut default = |name: &str, value: Value| {
        members.entry(name).or_insert(value);
    };
    default("id", json!(identity(run, &at.key)));
    default("specversion", json!("1.0"));
    default("time", json!(run.journal.now().to_string()));
    default("source", json!(format!("/flows/{}", run.journal.flow)));
    let by = By {
        principal: run.journal.principal.clone(),
        correlation: run.journal.instance.0,
        cause: run.journal.cause(),
    };
    published::publish(run.journal.log(), run.journal.sources(), &event, by).await.map_err(|error| {
        match &error {
            Error::NotAnEvent(_) => Fault::configuration(error.to_string()),
            _ => Fault::runtime(error.to_string()),
        }
    })?;
    run.journal.note(Entry::Decided { key: at.key.clone(), value: event.clone() });
    Ok(event)
}

/// A UUID that a task of a run has in every replay (UUIDv8, made of a SHA-256).
fn identity(run: &Run, key: &str) -> Uuid {
    let text = format!("{}{key}", run.journal.instance);
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.as_ref()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Fits every event.
static EVERYTHING: EventFilter = EventFilter { with: Vec::new(), correlate: Vec::new() };

/// What a consumption still waits for.
struct Open<'a> {
    filters: Vec<&'a EventFilter>,
    /// Each filter is fulfilled by one event, and all have to be.
    all: bool,
}

impl<'a> Open<'a> {
    fn new(consumption: &'a Consumption) -> Self {
        match consumption {
            Consumption::All(filters) => Self { filters: filters.iter().collect(), all: true },
            Consumption::Any { filters, .. } if filters.is_empty() => {
                Self { filters: vec![&EVERYTHING], all: false }
            }
            Consumption::Any { filters, .. } => Self { filters: filters.iter().collect(), all: false },
            Consumption::One(filter) => Self { filters: vec![filter], all: false },
        }
    }

    /// Takes an event that fits a filter. Gives whether nothing is waited for any more.
    fn fulfil(&mut self, which: usize) -> bool {
        if self.all {
            self.filters.remove(which);
        }
        !self.all || self.filters.is_empty()
    }
}

/// Waits for events and takes them one after the other.
pub(super) async fn listen(
    run: &Arc<Run>,
    listen: &ListenTask,
    at: &Place,
    scope: &Scope,
    input: Value,
) -> Result<Passed, Fault> {
    let mut ear = Ear::new(run, at, scope, &input).await?;
    let mut open = Open::new(&listen.to);
    let until = match &listen.to {
        Consumption::Any { until, .. } => until.as_ref(),
        _ => None,
    };
    let mut ends = match until {
        Some(Until::Consumed(consumption)) => Open::new(consumption),
        _ => Open { filters: Vec::new(), all: false },
    };
    let (mut taken, mut outputs) = (Vec::new(), Vec::new());
    while !open.filters.is_empty() {
        let (event, which) = ear.hear(&open.filters, &ends.filters).await?;
        if let Some(end) = which.checked_sub(open.filters.len()) {
            if ends.fulfil(end) {
                break;
            }
            continue;
        }
        let read = read_as(&event, listen.read);
        taken.push(read.clone());
        if let Some(each) = &listen.foreach {
            let (output, next) = item(run, each, (read, taken.len() - 1), at, scope, &input).await?;
            outputs.push(output);
            if next == Directive::End {
                return Ok((Value::Array(outputs), next));
            }
        }
        let over = match until {
            None => open.fulfil(which),
            Some(Until::Condition(condition)) => scope.holds(run, condition, &Value::Array(taken.clone()))?,
            Some(Until::Consumed(_)) => false,
        };
        if over {
            break;
        }
        if taken.len() >= MAX_EVENTS {
            return Err(Fault::runtime(format!("a task listened to more than {MAX_EVENTS} events")));
        }
    }
    let output = if listen.foreach.is_some() { outputs } else { taken };
    Ok((Value::Array(output), Directive::Continue))
}

/// Does what is to be done with one event. Its output is that of the tasks, or the event where there are none.
async fn item(
    run: &Arc<Run>,
    each: &ForEach,
    (event, number): (Value, usize),
    at: &Place,
    scope: &Scope,
    input: &Value,
) -> Result<Passed, Fault> {
    let scope = scope.with(&each.item, event.clone()).with(&each.at, Value::from(number));
    let place = at.part("foreach/do").iteration(number);
    let (output, next) = match &*each.tasks {
        [] => (event, Directive::Continue),
        _ => list(run, &each.tasks, place, scope.clone(), input.clone()).await?,
    };
    let output = given_out(run, each.output.as_ref(), &scope, output)?;
    export(run, each.export.as_ref(), &scope, &output)?;
    Ok((output, next))
}

/// Where in the log a task begins to listen: at what comes after it has begun.
async fn start(run: &Arc<Run>, at: &Place) -> Result<u64, Fault> {
    let key: Key = Arc::from(format!("{}~from", at.key));
    if let Some(position) = run.journal.decided(&key).await {
        return position.as_u64().ok_or_else(|| Fault::runtime("the journal has no position to listen from"));
    }
    run.journal.live().await;
    let position = run.journal.log().head() + 1;
    run.journal.note(Entry::Decided { key, value: json!(position) });
    run.flush().await?;
    Ok(position)
}

/// Listens for the events of one task.
struct Ear<'a> {
    run: &'a Arc<Run>,
    at: &'a Place,
    scope: &'a Scope,
    input: &'a Value,
    next: u64,
    count: usize,
    /// What events have to have in common, by its name: the first that has it says what it is.
    common: HashMap<Arc<str>, Value>,
    /// The events that were taken.
    heard: HashSet<(String, String)>,
}

impl<'a> Ear<'a> {
    async fn new(
        run: &'a Arc<Run>,
        at: &'a Place,
        scope: &'a Scope,
        input: &'a Value,
    ) -> Result<Self, Fault> {
        let next = start(run, at).await?;
        Ok(Self { run, at, scope, input, next, count: 0, common: HashMap::new(), heard: HashSet::new() })
    }

    /// The next event that fits one of the filters, and which: those of `ends` are numbered after those of `open`.
    async fn hear(&mut self, open: &[&EventFilter], ends: &[&EventFilter]) -> Result<(Value, usize), Fault> {
        let key: Key = Arc::from(format!("{}~event[{}]", self.at.key, self.count));
        self.count += 1;
        let heard = match self.run.journal.decided(&key).await {
            Some(heard) => heard,
            None => {
                self.run.journal.live().await;
                let heard = self.wait(open, ends).await?;
                self.run.journal.note(Entry::Decided { key, value: heard.clone() });
                heard
            }
        };
        self.next = heard["position"].as_u64().unwrap_or(self.next) + 1;
        let which = heard["filter"].as_u64().and_then(|which| usize::try_from(which).ok()).unwrap_or(0);
        let event = heard["event"].clone();
        self.heard.insert(known_by(&event));
        if let Some(filter) = open.iter().chain(ends).nth(which) {
            for correlation in filter.correlate.iter().filter(|correlation| correlation.expect.is_none()) {
                let value = self.correlated(correlation, &event)?;
                self.common.entry(correlation.name.clone()).or_insert(value);
            }
        }
        Ok((event, which))
    }

    /// The value of an event that ties it to others.
    fn correlated(&self, correlation: &Correlation, event: &Value) -> Result<Value, Fault> {
        self.scope.evaluate(self.run, &Transform::Expression(correlation.from.clone()), event)
    }

    async fn wait(&self, open: &[&EventFilter], ends: &[&EventFilter]) -> Result<Value, Fault> {
        let mut events = Followed(self.run.journal.log().subscribe(self.next));
        while let Some((position, event)) = events.next().await? {
            // Published again, after a crash: source and id are what an event is known by.
            if self.heard.contains(&known_by(&event)) {
                continue;
            }
            for (which, filter) in ends.iter().enumerate() {
                if self.fits(filter, &event)? {
                    return Ok(json!({"position": position, "filter": open.len() + which, "event": event}));
                }
            }
            for (which, filter) in open.iter().enumerate() {
                if self.fits(filter, &event)? {
                    return Ok(json!({"position": position, "filter": which, "event": event}));
                }
            }
        }
        // The log is shut down with the process. The next one listens on.
        std::future::pending().await
    }

    fn fits(&self, filter: &EventFilter, event: &Value) -> Result<bool, Fault> {
        for (name, wanted) in &filter.with {
            let fits = if &**name == "data" && matches!(wanted, Transform::Expression(_)) {
                // Whoever publishes an event that the expression can't look into must not end those who listen.
                let holds = self.scope.evaluate(self.run, wanted, &event["data"]);
                holds.is_ok_and(|holds| !matches!(holds, Value::Null | Value::Bool(false)))
            } else {
                self.scope.evaluate(self.run, wanted, self.input)? == event[&**name]
            };
            if !fits {
                return Ok(false);
            }
        }
        for correlation in &filter.correlate {
            let Ok(value) = self.correlated(correlation, event) else { return Ok(false) };
            let fits = match &correlation.expect {
                Some(expect) => self.scope.evaluate(self.run, expect, self.input)? == value,
                None => {
                    !value.is_null() && self.common.get(&correlation.name).is_none_or(|known| *known == value)
                }
            };
            if !fits {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn known_by(event: &Value) -> (String, String) {
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    (text("source"), text("id"))
}

fn read_as(event: &Value, read: ReadAs) -> Value {
    match read {
        ReadAs::Data | ReadAs::Raw => event["data"].clone(),
        ReadAs::Envelope => event.clone(),
    }
}
