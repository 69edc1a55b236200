//! Tasks that steer: fork, for, switch, try, raise.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use trunkline_model::BoxFuture;

use super::scope::Scope;
use super::{Passed, Place, branches, duration, list, task};
use crate::entry::Key;
use crate::expression::Expression;
use crate::fault::Fault;
use crate::run::{Run, Step};
use crate::workflow::{Backoff, Case, Catch, Directive, ErrorRef, RetryPolicy, TaskList, Transform};

/// Branches at the same time: all of them, or the first.
pub(super) async fn fork(
    run: &Arc<Run>,
    tasks: &TaskList,
    compete: bool,
    at: &Place,
    scope: &Scope,
    input: Value,
) -> Result<Value, Fault> {
    let place = at.part("fork/branches");
    let mut all: Vec<BoxFuture<'_, Result<Value, Fault>>> = Vec::with_capacity(tasks.len());
    for (index, named) in tasks.iter().enumerate() {
        let at = place.task(index, &named.name, 1);
        let input = input.clone();
        all.push(Box::pin(async move {
            let done = task(run, &named.task, &named.name, &at, scope, input).await;
            done.map(|(output, _)| output).map_err(|fault| fault.at(&at.pointer))
        }));
    }
    if compete {
        return branches::first(all, run.quiet.fan()).await;
    }
    branches::all(all, run.bounds.concurrency, run.quiet.fan()).await.map(Value::Array)
}

/// A loop over a collection.
pub(super) struct Loop<'a> {
    pub(super) each: &'a Arc<str>,
    pub(super) index: &'a Arc<str>,
    pub(super) collection: &'a Transform,
    pub(super) while_: Option<&'a Expression>,
    pub(super) tasks: &'a TaskList,
}

/// One iteration after the other; the output of each is the input of the next.
pub(super) async fn iterate(
    run: &Arc<Run>,
    looped: Loop<'_>,
    at: &Place,
    scope: &Scope,
    input: Value,
) -> Result<Passed, Fault> {
    let items = match scope.evaluate(run, looped.collection, &input)? {
        Value::Array(items) => items,
        other => {
            let what = other.to_string().chars().take(80).collect::<String>();
            return Err(Fault::configuration(format!("`for.in` is to be an array, and it is {what}")));
        }
    };
    let place = at.part("for/do");
    let mut value = input;
    for (number, item) in items.into_iter().enumerate() {
        run.count()?;
        let scope = scope.with(looped.each, item).with(looped.index, Value::from(number));
        if let Some(condition) = looped.while_
            && !scope.holds(run, condition, &value)?
        {
            break;
        }
        let (output, next) = list(run, looped.tasks, place.iteration(number), scope, value).await?;
        value = output;
        if next == Directive::End {
            return Ok((value, next));
        }
    }
    Ok((value, Directive::Continue))
}

/// The first case that holds says where to go on; `otherwise` where none does.
pub(super) fn switch(
    run: &Run,
    cases: &[Case],
    otherwise: Option<&Directive>,
    scope: &Scope,
    input: Value,
) -> Result<Passed, Fault> {
    for case in cases {
        let holds = match &case.when {
            Some(condition) => scope.holds(run, condition, &input)?,
            None => true,
        };
        if holds {
            return Ok((input, case.then.clone()));
        }
    }
    Ok((input, otherwise.cloned().unwrap_or(Directive::Continue)))
}

/// Tasks whose errors are caught.
pub(super) async fn attempt(
    run: &Arc<Run>,
    tasks: &TaskList,
    catch: &Catch,
    at: &Place,
    scope: &Scope,
    input: Value,
) -> Result<Passed, Fault> {
    let start = run.journal.time();
    let policy = catch.retry.as_ref().and_then(|retry| run.workflow.retry_of(retry));
    let mut failures: u32 = 0;
    loop {
        let work = list(run, tasks, at.part("try"), scope.clone(), input.clone());
        let each = policy.and_then(|policy| policy.attempt_duration.as_ref());
        let done = match each {
            Some(limit) => {
                let limit = duration(run, limit, scope, &input)?;
                run.within(&format!("{}~attempt", at.key), limit, work).await
            }
            None => work.await,
        };
        let fault = match done {
            Ok(passed) => return Ok(passed),
            Err(fault) => fault,
        };
        let error = fault.to_value();
        let caught = scope.with(&catch.as_, error.clone());
        if !catches(run, catch, &caught, &error, &input)? {
            return Err(fault);
        }
        failures = failures.saturating_add(1);
        if let Some(policy) = policy
            && let Some(delay) = again(run, policy, failures, start, &caught, &input, &at.key)?
        {
            let key: Key = Arc::from(format!("{}~retry", at.key));
            run.pause(&key, delay, Some(fault)).await?;
            continue;
        }
        let (output, next) = match &catch.tasks {
            Some(tasks) => list(run, tasks, at.part("catch/do"), caught, input).await?,
            // Who only wants it tried again has not dealt with it.
            None if policy.is_some() => return Err(fault),
            None => (input, Directive::Continue),
        };
        let next = match next {
            Directive::Continue => catch.then.clone().unwrap_or(Directive::Continue),
            other => other,
        };
        return Ok((output, next));
    }
}

/// Does a step, again and again as its own policy says.
pub(super) async fn retried(
    run: &Arc<Run>,
    policy: Option<&RetryPolicy>,
    at: &Place,
    scope: &Scope,
    input: &Value,
    step: &Step,
) -> Result<Value, Fault> {
    let start = run.journal.time();
    let mut failures: u32 = 0;
    loop {
        let fault = match run.step(step).await {
            Ok(value) => return Ok(value),
            Err(fault) => fault,
        };
        failures = failures.saturating_add(1);
        let scope = scope.with("error", fault.to_value());
        let Some(policy) = policy else { return Err(fault) };
        // What may have happened is not done again where that would be once more.
        if run.saga.is_unknown(&step.key) && !run.repeatable(step) {
            return Err(fault);
        }
        let Some(delay) = again(run, policy, failures, start, &scope, input, &at.key)? else {
            return Err(fault);
        };
        let key: Key = Arc::from(format!("{}~retry", at.key));
        run.pause(&key, delay, Some(fault)).await?;
    }
}

/// Whether an error is one that is caught.
fn catches(run: &Run, catch: &Catch, scope: &Scope, error: &Value, input: &Value) -> Result<bool, Fault> {
    if catch.errors.as_ref().is_some_and(|filter| !filter.fits(error)) {
        return Ok(false);
    }
    both(run, catch.when.as_ref(), catch.except_when.as_ref(), scope, input)
}

fn both(
    run: &Run,
    when: Option<&Expression>,
    except: Option<&Expression>,
    scope: &Scope,
    input: &Value,
) -> Result<bool, Fault> {
    if let Some(when) = when
        && !scope.holds(run, when, input)?
    {
        return Ok(false);
    }
    match except {
        Some(except) => Ok(!scope.holds(run, except, input)?),
        None => Ok(true),
    }
}

/// The pause before the next attempt; `None` where there is none.
fn again(
    run: &Run,
    policy: &RetryPolicy,
    failures: u32,
    start: jiff::Timestamp,
    scope: &Scope,
    input: &Value,
    key: &str,
) -> Result<Option<Duration>, Fault> {
    if policy.attempts.is_some_and(|attempts| u64::from(failures) > attempts)
        || !both(run, policy.when.as_ref(), policy.except_when.as_ref(), scope, input)?
    {
        return Ok(None);
    }
    if let Some(limit) = &policy.duration {
        let limit = duration(run, limit, scope, input)?;
        let spent = Duration::try_from(run.journal.time().duration_since(start)).unwrap_or_default();
        if spent >= limit {
            return Ok(None);
        }
    }
    let base = match &policy.delay {
        Some(delay) => duration(run, delay, scope, input)?,
        None => Duration::ZERO,
    };
    let delay = match &policy.backoff {
        Backoff::Constant => base,
        Backoff::Linear(step) => {
            let step = match step {
                Some(step) => duration(run, step, scope, input)?,
                None => base,
            };
            base.saturating_add(step.saturating_mul(failures - 1))
        }
        Backoff::Exponential => base.saturating_mul(1 << (failures - 1).min(20)),
    };
    let jitter = match &policy.jitter {
        Some((from, to)) => {
            let (from, to) = (duration(run, from, scope, input)?, duration(run, to, scope, input)?);
            from + to.saturating_sub(from).mul_f64(chance(run, key, failures))
        }
        None => Duration::ZERO,
    };
    Ok(Some(delay.saturating_add(jitter)))
}

/// A number from 0 up to 1 that is the same in every replay.
fn chance(run: &Run, key: &str, failures: u32) -> f64 {
    let text = format!("{}{key}{failures}", run.journal.instance);
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let bytes = digest.as_ref();
    f64::from(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])) / f64::from(u32::MAX)
}

/// The error of a `raise` task.
pub(super) fn raise(run: &Run, error: &ErrorRef, scope: &Scope, input: &Value) -> Result<Fault, Fault> {
    let Some(error) = run.workflow.error_of(error) else {
        return Err(Fault::configuration("the error that is raised is not defined in `use.errors`"));
    };
    let text = |transform: &Transform| {
        scope.evaluate(run, transform, input).map(|value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        })
    };
    let optional = |transform: &Option<Transform>| transform.as_ref().map(text).transpose();
    Ok(Fault {
        kind: text(&error.kind)?,
        status: error.status,
        title: optional(&error.title)?,
        detail: optional(&error.detail)?,
        instance: optional(&error.instance)?.map(Arc::from),
        code: None,
        transient: false,
        unknown: false,
    })
}
