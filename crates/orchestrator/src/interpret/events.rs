//! Tasks that tell and hear of events.

use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::scope::Scope;
use super::{Passed, Place, list};
use crate::entry::{Entry, Key};
use crate::expression::Template;
use crate::fault::Fault;
use crate::published;
use crate::run::Run;
use crate::workflow::{Consumption, Directive, EventFilter, ListenTask, ReadAs, Transform, Until};

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
    published::publish(&run.journal, &event).await?;
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

/// Waits for events and takes them one after the other.
pub(super) async fn listen(
    run: &Arc<Run>,
    listen: &ListenTask,
    at: &Place,
    scope: &Scope,
    input: Value,
) -> Result<Passed, Fault> {
    let mut ear = Ear { run, at, scope, input: &input, next: start(run, at).await?, count: 0 };
    let mut taken = Vec::new();
    let mut value = input.clone();
    let mut open: Vec<&EventFilter> = match &listen.to {
        Consumption::All(filters) | Consumption::Any { filters, .. } => filters.iter().collect(),
        Consumption::One(filter) => vec![filter],
    };
    let until = match &listen.to {
        Consumption::Any { until, .. } => until.as_ref(),
        _ => None,
    };
    let ends: Vec<&EventFilter> = match until {
        Some(Until::Consumed(consumption)) => match &**consumption {
            Consumption::All(filters) | Consumption::Any { filters, .. } => filters.iter().collect(),
            Consumption::One(filter) => vec![filter],
        },
        _ => Vec::new(),
    };
    loop {
        let (event, which) = ear.hear(&open, &ends).await?;
        if which >= open.len() {
            break;
        }
        let read = read_as(&event, listen.read);
        taken.push(read.clone());
        if let Some(each) = &listen.foreach {
            let number = taken.len() - 1;
            let scope = scope.with(&each.item, read).with(&each.at, Value::from(number));
            let place = at.part("foreach/do").iteration(number);
            let (output, next) = list(run, &each.tasks, place, scope, value).await?;
            value = output;
            if next == Directive::End {
                return Ok((value, next));
            }
        }
        let over = match (&listen.to, until) {
            (Consumption::All(_), _) => {
                open.remove(which);
                open.is_empty()
            }
            (Consumption::One(_), _) | (Consumption::Any { .. }, None) => true,
            (_, Some(Until::Condition(condition))) => {
                scope.holds(run, condition, &Value::Array(taken.clone()))?
            }
            (_, Some(Until::Consumed(_))) => false,
        };
        if over {
            break;
        }
        if taken.len() >= MAX_EVENTS {
            return Err(Fault::runtime(format!("a task listened to more than {MAX_EVENTS} events")));
        }
    }
    let output = if listen.foreach.is_some() { value } else { Value::Array(taken) };
    Ok((output, Directive::Continue))
}

/// Where in the log a task begins to listen: at what comes after it has begun.
async fn start(run: &Arc<Run>, at: &Place) -> Result<u64, Fault> {
    let key: Key = Arc::from(format!("{}~from", at.key));
    if let Some(position) = run.journal.decided(&key).await {
        return position.as_u64().ok_or_else(|| Fault::runtime("the journal has no position to listen from"));
    }
    run.journal.live().await;
    let position = run.journal.head() + 1;
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
}

impl Ear<'_> {
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
        Ok((heard["event"].clone(), which))
    }

    async fn wait(&self, open: &[&EventFilter], ends: &[&EventFilter]) -> Result<Value, Fault> {
        let mut events = self.run.journal.events_from(self.next);
        while let Some((position, event)) = events.next().await? {
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
                let holds = self.scope.evaluate(self.run, wanted, &event["data"])?;
                !matches!(holds, Value::Null | Value::Bool(false))
            } else {
                self.scope.evaluate(self.run, wanted, self.input)? == event[&**name]
            };
            if !fits {
                return Ok(false);
            }
        }
        for correlation in &filter.correlate {
            let from = Transform::Expression(correlation.from.clone());
            let value = self.scope.evaluate(self.run, &from, event)?;
            if let Some(expect) = &correlation.expect
                && self.scope.evaluate(self.run, expect, self.input)? != value
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn read_as(event: &Value, read: ReadAs) -> Value {
    match read {
        ReadAs::Data | ReadAs::Raw => event["data"].clone(),
        ReadAs::Envelope => event.clone(),
    }
}
