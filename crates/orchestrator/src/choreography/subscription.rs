//! Subscriptions: which events, and what is done with each.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_model::{Glob, Json, Principal, PrincipalKind};

use super::Cause;
use crate::Error;
use crate::engine::Start;
use crate::expression::{Expression, Limits, Template, expression_in};
use crate::run::Definitions;
use crate::service::Library;
use crate::workflow::{Consumption, EventFilter, ReadAs, Schedule, Transform, Workflow};

/// How many deliveries of a flow that schedules itself run at the same time.
const SCHEDULED_AT_ONCE: usize = 32;

/// The namespace of the workflows that deliveries to tools are.
const NAMESPACE: &str = "subscriptions";

/// What a subscription does with an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// It calls a tool.
    Tool(String),
    /// It starts a flow: its name, or `namespace/name`.
    Flow(String),
    /// It sends the event to the webhook of the subscription's name.
    Webhook,
}

/// What a subscription is made of.
#[derive(Clone, Debug)]
pub struct Order {
    /// Its name: letters, digits and inner hyphens.
    pub name: String,
    /// The types of events, with `*` for any text.
    pub types: Vec<String>,
    /// Their source, with `*` for any text.
    pub source: Option<String>,
    /// jq that holds of the event.
    pub filter: Option<String>,
    /// What is done.
    pub target: Target,
    /// The arguments of the tool (none where left out), the input of the flow or what is sent (the event where left out):
    /// a template over the event.
    pub args: Option<Value>,
    /// The type of the event that tells what a tool or webhook came to.
    pub emit: Option<String>,
    /// Of the members of a group, one has each event.
    pub group: Option<String>,
    /// How many deliveries run at the same time.
    pub concurrency: usize,
    /// How often a tool or webhook is tried.
    pub attempts: u32,
    /// The pause before the second attempt; it doubles with every further one.
    pub backoff: Duration,
    /// How long one attempt may take.
    pub timeout: Duration,
}

/// A subscription, ready to be asked.
#[derive(Debug)]
pub struct Subscription {
    /// Its name.
    pub name: Arc<str>,
    /// Its group.
    pub group: Arc<str>,
    /// How many deliveries run at the same time.
    pub concurrency: usize,
    /// For whom they act.
    pub principal: Arc<Principal>,
    wanted: Wanted,
    action: Action,
}

/// Which events.
#[derive(Debug)]
enum Wanted {
    Configured { types: Vec<Glob>, source: Option<Glob>, filter: Option<Expression> },
    Scheduled(Vec<EventFilter>),
}

/// What is done with them.
#[derive(Debug)]
enum Action {
    /// A workflow of one step whose input is the event.
    Step(Arc<Workflow>),
    /// A flow, by name.
    Flow { name: String, args: Option<Template> },
    /// A flow that schedules itself: its full name, and what of the event it takes.
    Scheduled(String, ReadAs),
}

/// The jq of a text that may have `${` and `}` around it.
fn jq(text: &str) -> Expression {
    Expression::new(expression_in(text).unwrap_or(text))
}

/// The workflow of one step that a delivery to a tool is; `None` for a flow.
#[must_use]
pub fn workflow_of(order: &Order) -> Option<Value> {
    let tool = match &order.target {
        Target::Tool(tool) => tool.clone(),
        Target::Webhook => format!("{}{}", super::webhook::TOOL, order.name),
        Target::Flow(_) => return None,
    };
    let with = match (&order.target, order.args.clone()) {
        (Target::Webhook, args) => json!({"event": args.unwrap_or_else(|| json!("${ . }"))}),
        (_, args) => args.unwrap_or_else(|| json!({})),
    };
    let milliseconds =
        |time: Duration| json!({"milliseconds": u64::try_from(time.as_millis()).unwrap_or(u64::MAX)});
    let call = json!({"call": tool, "with": with, "timeout": {"after": milliseconds(order.timeout)}});
    // A tool that says no is not asked again, nor is one that may have done it and would do it twice.
    let never = "${ $error | .unknown == true or (.transient != true and .status != 408 and .status != 429 and .status < 500) }";
    let retry = json!({
        "exceptWhen": never,
        "delay": milliseconds(order.backoff),
        "backoff": {"exponential": {}},
        "limit": {"attempt": {"count": order.attempts.saturating_sub(1)}},
    });
    let task = json!({"try": [{"call": call}], "catch": {"as": "error", "retry": retry}});
    let mut tasks = vec![json!({"deliver": task})];
    if let Some(kind) = &order.emit {
        tasks.push(json!({"tell": {"emit": {"event": {"with": {"type": kind, "data": "${ . }"}}}}}));
    }
    Some(json!({
        "document": {"dsl": "1.0.3", "namespace": NAMESPACE, "name": order.name, "version": "1.0.0"},
        "do": tasks,
    }))
}

impl Subscription {
    /// Makes a subscription ready.
    ///
    /// # Errors
    /// What is wrong with it, in words, with the member that it is about.
    pub fn new(order: Order) -> Result<Self, (&'static str, String)> {
        let filter = order.filter.as_deref().map(jq);
        if let Some(filter) = &filter {
            filter.check(&[]).map_err(|error| ("filter", error.to_string()))?;
        }
        let args = order.args.clone().map(Template::new);
        for (at, expression) in args.iter().flat_map(|args| args.expressions()) {
            expression.check(&[]).map_err(|error| ("args", format!("{at}: {error}")))?;
        }
        let action = match (workflow_of(&order), &order.target) {
            (None, Target::Flow(name)) => Action::Flow { name: name.clone(), args },
            (source, _) => {
                let source = source.unwrap_or_default();
                let workflow = Workflow::from_source(Arc::new(source));
                Action::Step(Arc::new(workflow.map_err(|invalid| ("name", invalid.to_string()))?))
            }
        };
        let name: Arc<str> = Arc::from(order.name);
        Ok(Self {
            group: order.group.map_or_else(|| name.clone(), Arc::from),
            concurrency: order.concurrency.max(1),
            principal: principal(&name),
            wanted: Wanted::Configured {
                types: order.types.iter().map(|pattern| Glob::new(pattern)).collect(),
                source: order.source.as_deref().map(Glob::new),
                filter,
            },
            action,
            name,
        })
    }

    /// The subscription that a flow's own `schedule.on` is; `None` where it has none.
    ///
    /// # Errors
    /// Why it can't be one, in words.
    #[must_use]
    pub fn scheduled(workflow: &Workflow) -> Option<Result<Self, &'static str>> {
        let Some(Schedule::On(consumption, read)) = &workflow.schedule else { return None };
        let filters = match consumption {
            Consumption::One(filter) => vec![filter.clone()],
            Consumption::Any { filters, until: None } => filters.clone(),
            Consumption::All(filters) if filters.len() == 1 => filters.clone(),
            _ => return Some(Err("schedule.on starts a flow for one event; let it listen for more")),
        };
        if filters.iter().any(|filter| !filter.correlate.is_empty()) {
            return Some(Err("schedule.on can't correlate: there is no instance yet to correlate with"));
        }
        let name = workflow.full_name();
        Some(Ok(Self {
            group: name.clone(),
            concurrency: SCHEDULED_AT_ONCE,
            principal: principal(&name),
            wanted: Wanted::Scheduled(filters),
            action: Action::Scheduled(name.to_string(), *read),
            name,
        }))
    }

    /// Whether an event is one of those that it wants.
    ///
    /// # Errors
    /// [`Error::Unevaluated`].
    pub(crate) fn wants(&self, event: &Value, limits: Limits) -> Result<bool, Error> {
        match &self.wanted {
            Wanted::Configured { types, source, filter } => {
                let text = |name: &str| event[name].as_str().unwrap_or_default();
                if !types.iter().any(|pattern| pattern.matches(text("type")))
                    || source.as_ref().is_some_and(|pattern| !pattern.matches(text("source")))
                {
                    return Ok(false);
                }
                let Some(filter) = filter else { return Ok(true) };
                let held = filter.holds(event, &[], limits);
                held.map_err(|error| Error::Unevaluated { part: "filter", why: error.to_string() })
            }
            // As for `listen`: what an expression can't look into does not fit it.
            Wanted::Scheduled(filters) => Ok(filters.is_empty()
                || filters.iter().any(|filter| {
                    filter.with.iter().all(|(name, wanted)| fits(event, name, wanted, limits))
                })),
        }
    }

    /// Whether it may want events of this type, whatever else they are.
    pub(crate) fn may_want(&self, kind: &str) -> bool {
        match &self.wanted {
            Wanted::Configured { types, .. } => types.iter().any(|pattern| pattern.matches(kind)),
            Wanted::Scheduled(filters) => {
                let of = |filter: &EventFilter| {
                    let named = filter.with.iter().find(|(name, _)| &**name == "type");
                    named.is_none_or(|(_, wanted)| match wanted {
                        Transform::Template(template) => template.source() == kind,
                        Transform::Expression(_) => true,
                    })
                };
                filters.is_empty() || filters.iter().any(of)
            }
        }
    }

    /// The workflow that it starts.
    pub(crate) fn workflow<'a>(&'a self, flows: &'a [Arc<Workflow>]) -> Option<&'a Arc<Workflow>> {
        let name = match &self.action {
            Action::Flow { name, .. } | Action::Scheduled(name, _) => name,
            Action::Step(workflow) => return Some(workflow),
        };
        flows.iter().find(|workflow| *workflow.full_name() == **name || *workflow.document.name == **name)
    }

    /// What is started for an event.
    ///
    /// # Errors
    /// [`Error::NoTarget`], [`Error::Unevaluated`].
    pub(crate) fn start(
        &self,
        event: &Value,
        library: &Library,
        limits: Limits,
        cause: &mut Cause,
    ) -> Result<Start, Error> {
        let flow = |name: &str| {
            let found = match name.split_once('/') {
                Some((namespace, own)) => library.find(namespace, own, "latest"),
                None => library.newest().into_iter().find(|workflow| *workflow.document.name == *name),
            };
            found.ok_or_else(|| Error::NoTarget { what: "flow", name: name.to_owned() })
        };
        let (workflow, input) = match &self.action {
            Action::Step(workflow) => (workflow.clone(), None),
            Action::Flow { name, args: None } => (flow(name)?, None),
            Action::Flow { name, args: Some(args) } => {
                let input = args.evaluate(event, &[], limits);
                let why = |error: crate::expression::ExpressionError| error.to_string();
                (
                    flow(name)?,
                    Some(input.map_err(|error| Error::Unevaluated { part: "args", why: why(error) })?),
                )
            }
            Action::Scheduled(name, read) => {
                let read = match read {
                    ReadAs::Envelope => event.clone(),
                    ReadAs::Data | ReadAs::Raw => event["data"].clone(),
                };
                (flow(name)?, Some(json!([read])))
            }
        };
        if input.is_some() {
            cause.envelope = Some(Json::from_value(event));
        }
        let input = Json::from_value(input.as_ref().unwrap_or(event));
        Ok(Start { workflow, input, principal: self.principal.clone() })
    }
}

/// For whom the deliveries of a subscription act.
fn principal(name: &str) -> Arc<Principal> {
    Arc::new(Principal { id: Arc::from(format!("subscription:{name}")), kind: PrincipalKind::System })
}

/// Whether an attribute of an event is as wanted.
fn fits(event: &Value, name: &str, wanted: &Transform, limits: Limits) -> bool {
    let attribute = &event[name];
    match wanted {
        Transform::Expression(expression) => expression.holds(attribute, &[], limits).unwrap_or(false),
        Transform::Template(template) => {
            template.evaluate(event, &[], limits).is_ok_and(|wanted| wanted == *attribute)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(types: &[&str], filter: Option<&str>) -> Order {
        Order {
            name: "ship".to_owned(),
            types: types.iter().map(|&kind| kind.to_owned()).collect(),
            source: Some("/shop/*".to_owned()),
            filter: filter.map(str::to_owned),
            target: Target::Tool("create".to_owned()),
            args: Some(json!({"order": "${ .data.order }"})),
            emit: None,
            group: None,
            concurrency: 4,
            attempts: 3,
            backoff: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
        }
    }

    #[test]
    fn type_source_and_filter_all_have_to_fit() {
        let subscription =
            Subscription::new(order(&["paid.*", "shop.paid"], Some("${ .data.amount > 5 }"))).unwrap();
        let event =
            |kind: &str, source: &str, data: Value| json!({"type": kind, "source": source, "data": data});
        let wants = |event: &Value| subscription.wants(event, Limits::default());
        assert!(wants(&event("shop.paid", "/shop/a", json!({"amount": 6}))).unwrap());
        assert!(wants(&event("paid.x", "/shop/", json!({"amount": 6}))).unwrap());
        assert!(!wants(&event("shop.paid", "/else", json!({"amount": 6}))).unwrap());
        assert!(!wants(&event("paid", "/shop/a", json!({"amount": 6}))).unwrap());
        assert!(!wants(&event("shop.paid", "/shop/a", json!({"amount": 5}))).unwrap());
        let error = wants(&event("shop.paid", "/shop/a", json!([1]))).unwrap_err();
        assert!(matches!(error, Error::Unevaluated { part: "filter", .. }), "{error}");
    }

    #[test]
    fn a_filter_without_end_is_stopped() {
        let subscription = Subscription::new(order(&["*"], Some("last(repeat(1))"))).unwrap();
        let limits = Limits { time: Duration::from_millis(20), ..Limits::default() };
        let error = subscription.wants(&json!({"type": "a", "source": "/shop/a"}), limits).unwrap_err();
        assert!(error.to_string().contains("stopped"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_member() {
        assert_eq!(Subscription::new(order(&["*"], Some(".a ["))).unwrap_err().0, "filter");
        let args = Some(json!({"a": ["${ $b }"]}));
        let (member, why) = Subscription::new(Order { args, ..order(&["*"], None) }).unwrap_err();
        assert_eq!(member, "args");
        assert!(why.starts_with("/a/0"), "{why}");
    }
}
