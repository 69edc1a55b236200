//! Interprets a workflow: one task after the other, with the data flow of the Open Workflow Specification.
//!
//! The interpreter is run from the beginning after a crash, too. So nothing here may look at the clock, at chance or at
//! the world but through the journal, and branches are polled in the order of their definition.

mod branches;
mod call;
mod control;
mod events;
mod scope;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_model::BoxFuture;

use crate::entry::{Entry, Key};
use crate::fault::Fault;
use crate::run::Run;
use crate::workflow::{
    Directive, DurationOf, ExportFlow, InputFlow, Kind, NamedTask, OutputFlow, SchemaRef, Task, TaskList,
    Transform,
};
use scope::Scope;

pub(crate) use scope::again;

/// Where a task stands.
#[derive(Clone, Debug)]
struct Place {
    /// In the definition: a JSON Pointer.
    pointer: Arc<str>,
    /// In the run.
    key: Key,
}

impl Place {
    fn root() -> Self {
        Self { pointer: Arc::from("/do"), key: Arc::from("/do") }
    }

    /// A part of a task, such as `for/do`.
    fn part(&self, name: &str) -> Self {
        Self {
            pointer: Arc::from(format!("{}/{name}", self.pointer)),
            key: Arc::from(format!("{}/{name}", self.key)),
        }
    }

    /// One iteration of a loop.
    fn iteration(&self, number: usize) -> Self {
        Self { pointer: self.pointer.clone(), key: Arc::from(format!("{}[{number}]", self.key)) }
    }

    /// A task of a list, when it is come to for the `visit`th time.
    fn task(&self, index: usize, name: &str, visit: u32) -> Self {
        let again = if visit > 1 { format!(":{visit}") } else { String::new() };
        let escaped = name.replace('~', "~0").replace('/', "~1");
        Self {
            pointer: Arc::from(format!("{}/{index}/{escaped}", self.pointer)),
            key: Arc::from(format!("{}/{index}/{escaped}{again}", self.key)),
        }
    }
}

/// What a task gives to the next, and which one that is.
type Passed = (Value, Directive);

/// Interprets the whole workflow of a run. Gives its output.
pub(crate) async fn workflow(run: &Arc<Run>) -> Result<Value, Fault> {
    let definition = run.workflow.clone();
    let scope = Scope::root(run);
    let work = async {
        let input = taken_in(run, definition.input.as_ref(), &scope, run.input.clone())?;
        let scope = scope.with("input", input.clone());
        let (output, _) = list(run, &definition.tasks, Place::root(), scope.clone(), input).await?;
        given_out(run, definition.output.as_ref(), &scope, output)
    };
    let limit = definition.timeout.as_ref().and_then(|timeout| definition.timeout_of(timeout));
    let work = async {
        match limit {
            Some(limit) => {
                let limit = duration(run, limit, &scope, &run.input)?;
                run.within("", limit, work).await
            }
            None => work.await,
        }
    };
    let key: Key = Arc::from("~cancel");
    let cancelled = async {
        if run.journal.decided(&key).await.is_none() {
            run.journal.live().await;
            run.cancel.cancelled().await;
            // Past the pivot there is no way back, and whether a pivot under way is done decides that.
            run.saga.before_pivot().await;
            run.journal.note(Entry::Decided { key: key.clone(), value: Value::Null });
        }
    };
    tokio::select! {
        biased;
        // First, so that a replay comes to all that was begun before the run was cancelled.
        done = work => done,
        () = cancelled => Err(Fault::cancelled("the run was cancelled")),
    }
}

/// Interprets a list of tasks.
fn list<'a>(
    run: &'a Arc<Run>,
    tasks: &'a TaskList,
    place: Place,
    scope: Scope,
    input: Value,
) -> BoxFuture<'a, Result<Passed, Fault>> {
    Box::pin(async move {
        let mut visits: HashMap<usize, u32> = HashMap::new();
        let (mut index, mut value) = (0, input);
        while let Some(NamedTask { name, task: definition }) = tasks.get(index) {
            let visit = visits.entry(index).or_default();
            *visit += 1;
            let at = place.task(index, name, *visit);
            let (output, next) = task(run, definition, name, &at, &scope, value)
                .await
                .map_err(|fault| fault.at(&at.pointer))?;
            value = output;
            match next {
                Directive::Continue => index += 1,
                Directive::Exit => return Ok((value, Directive::Continue)),
                Directive::End => return Ok((value, Directive::End)),
                Directive::Goto(to) => {
                    index = tasks.iter().position(|task| task.name == to).ok_or_else(|| {
                        Fault::configuration(format!("there is no task {to:?} in this list")).at(&at.pointer)
                    })?;
                }
            }
        }
        Ok((value, Directive::Continue))
    })
}

/// Interprets one task.
async fn task(
    run: &Arc<Run>,
    task: &Task,
    name: &str,
    at: &Place,
    scope: &Scope,
    raw: Value,
) -> Result<Passed, Fault> {
    run.count()?;
    let scope = scope.with(
        "task",
        json!({"name": name, "reference": &*at.pointer, "startedAt": run.journal.time().to_string()}),
    );
    if let Some(condition) = &task.condition
        && !scope.holds(run, condition, &raw)?
    {
        return Ok((raw, Directive::Continue));
    }
    let input = taken_in(run, task.input.as_ref(), &scope, raw)?;
    let scope = scope.with("input", input.clone());
    let work = kind(run, task, at, &scope, input.clone());
    let limit = task.timeout.as_ref().and_then(|timeout| run.workflow.timeout_of(timeout));
    let (output, next) = match limit {
        Some(limit) => {
            let limit = duration(run, limit, &scope, &input)?;
            run.within(&at.key, limit, work).await?
        }
        None => work.await?,
    };
    let output = given_out(run, task.output.as_ref(), &scope, output)?;
    export(run, task.export.as_ref(), &scope, &output)?;
    if !matches!(task.kind, Kind::Call(_)) {
        run.journal.note(Entry::Passed { key: at.key.clone() });
    }
    let next = match (&task.kind, next) {
        // What a case says counts, also where it says to go on.
        (Kind::Switch(_), next) => next,
        (_, Directive::Continue) => task.then.clone().unwrap_or(Directive::Continue),
        (_, other) => other,
    };
    Ok((output, next))
}

/// Does what a task is there for.
fn kind<'a>(
    run: &'a Arc<Run>,
    task: &'a Task,
    at: &'a Place,
    scope: &'a Scope,
    input: Value,
) -> BoxFuture<'a, Result<Passed, Fault>> {
    let on = |value: Value| (value, Directive::Continue);
    Box::pin(async move {
        match &task.kind {
            Kind::Call(call) => call::call(run, call, task.saga.as_deref(), at, scope, &input).await.map(on),
            Kind::Do(tasks) => list(run, tasks, at.part("do"), scope.clone(), input).await,
            Kind::Fork { branches, compete } => {
                control::fork(run, branches, *compete, at, scope, input).await.map(on)
            }
            Kind::For { each, collection, at: index, while_, tasks } => {
                let looped = control::Loop { each, index, collection, while_: while_.as_ref(), tasks };
                control::iterate(run, looped, at, scope, input).await
            }
            Kind::Switch(cases) => control::switch(run, cases, task.then.as_ref(), scope, input),
            Kind::Try { tasks, catch } => control::attempt(run, tasks, catch, at, scope, input).await,
            Kind::Wait(length) => {
                let length = duration(run, length, scope, &input)?;
                run.pause(&at.key, length, None).await?;
                Ok(on(input))
            }
            Kind::Listen(listen) => events::listen(run, listen, at, scope, input).await,
            Kind::Emit(event) => events::emit(run, event, at, scope, &input).await.map(on),
            Kind::Raise(error) => Err(control::raise(run, error, scope, &input)?),
            Kind::Run(what) => call::run(run, what, at, scope, input).await.map(on),
            Kind::Set(values) => scope.evaluate(run, values, &input).map(on),
        }
    })
}

/// Data on its way into a task or workflow.
fn taken_in(run: &Run, flow: Option<&InputFlow>, scope: &Scope, raw: Value) -> Result<Value, Fault> {
    let Some(flow) = flow else { return Ok(raw) };
    fits(flow.schema.as_ref(), &raw, "the input")?;
    match &flow.from {
        Some(transform) => scope.evaluate(run, transform, &raw),
        None => Ok(raw),
    }
}

/// Data on its way out of a task or workflow.
fn given_out(run: &Run, flow: Option<&OutputFlow>, scope: &Scope, raw: Value) -> Result<Value, Fault> {
    let Some(flow) = flow else { return Ok(raw) };
    let output = match &flow.as_ {
        Some(transform) => scope.with("output", raw.clone()).evaluate(run, transform, &raw)?,
        None => raw,
    };
    fits(flow.schema.as_ref(), &output, "the output")?;
    Ok(output)
}

/// Puts what a task exports in place of the context.
fn export(run: &Run, flow: Option<&ExportFlow>, scope: &Scope, output: &Value) -> Result<(), Fault> {
    let Some(ExportFlow { schema, as_: Some(transform) }) = flow else { return Ok(()) };
    let context = scope.with("output", output.clone()).evaluate(run, transform, output)?;
    fits(schema.as_ref(), &context, "the exported context")?;
    run.set_context(context);
    Ok(())
}

/// Checks data against its schema.
fn fits(schema: Option<&SchemaRef>, value: &Value, what: &str) -> Result<(), Fault> {
    let Some(SchemaRef::Inline(schema)) = schema else { return Ok(()) };
    let json = trunkline_model::Json::from_value(value);
    schema.validate(&json).map_err(|violations| {
        let words: Vec<String> = violations
            .iter()
            .take(8)
            .map(|violation| {
                format!("{}: expected {}, found {}", violation.path, violation.expected, violation.found)
            })
            .collect();
        Fault::validation(format!("{what} does not fit its schema: {}", words.join("; ")))
    })
}

/// The length of a time that may be an expression.
fn duration(run: &Run, length: &DurationOf, scope: &Scope, input: &Value) -> Result<Duration, Fault> {
    match length {
        DurationOf::Fixed(length) => Ok(*length),
        DurationOf::Expression(expression) => {
            let transform = Transform::Expression(expression.clone());
            let value = scope.evaluate(run, &transform, input)?;
            crate::workflow::parse_duration(&value)
                .ok_or_else(|| Fault::configuration(format!("{value} is no duration, such as \"PT5S\"")))
        }
    }
}
