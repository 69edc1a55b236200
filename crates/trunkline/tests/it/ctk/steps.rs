//! The words of the kit, and those of our own: what each step of a scenario does.

use gherkin::Step;
use serde_json::Value;
use trunkline_orchestrator::entry::{Finished, StepOutcome};
use trunkline_orchestrator::workflow::same_type;
use trunkline_orchestrator::{Ending, Entry};

use super::world::World;

type Done = Result<(), String>;

/// Takes every step of a scenario.
pub(super) async fn all(world: &mut World, steps: &[Step]) -> Done {
    for step in steps {
        let text = step.value.trim_end_matches(':').trim();
        let data = step.docstring.as_deref().map(body_of);
        let done = take(world, text, data).await;
        done.map_err(|why| format!("line {}: {text}: {why}", step.position.line))?;
    }
    Ok(())
}

/// The text below `"""yaml`.
fn body_of(docstring: &str) -> &str {
    docstring.split_once('\n').map_or("", |(_, body)| body)
}

fn yaml(text: Option<&str>) -> Result<Value, String> {
    serde_saphyr::from_str(text.ok_or("it needs a text below")?).map_err(|error| error.to_string())
}

async fn take(world: &mut World, text: &str, data: Option<&str>) -> Done {
    let needed = || data.ok_or_else(|| "it needs a text below".to_owned());
    match text {
        "a workflow with definition" => world.define(needed()?),
        "given the workflow input is" | "the workflow input is" => {
            world.input = yaml(data)?;
            Ok(())
        }
        "another workflow with definition" => world.define_other(needed()?, false),
        "the other workflow is replaced by" => world.define_other(needed()?, true),
        "the workflow is executed" => {
            world.start()?;
            world.finished().await.map(drop)
        }
        "the workflow is started" => world.start(),
        "the event is published" => world.publish(&yaml(data)?).await,
        "the run is interrupted and resumed" => world.interrupt_and_resume().await,
        "the run is cancelled" => world.cancel().await,
        "the workflow should cancel" => ended(world, Ending::Cancelled).await.map(drop),
        "the workflow should complete" => ended(world, Ending::Completed).await.map(drop),
        "the workflow should complete with output" => equal(&output(world).await?, &yaml(data)?),
        "the workflow should fault" => ended(world, Ending::Faulted).await.map(drop),
        "the workflow should fault with error" => {
            let finished = ended(world, Ending::Faulted).await?;
            is_error(&finished.fault.map(|fault| fault.to_value()).unwrap_or_default(), &yaml(data)?)
        }
        _ => take_with_names(world, text, data).await,
    }
}

/// Steps that name a task, a property or a path.
async fn take_with_names(world: &mut World, text: &str, data: Option<&str>) -> Done {
    if let Some(task) = text.strip_prefix("the run comes to ") {
        return world.comes_to(task).await;
    }
    if let Some(task) = text.strip_prefix("the run has passed ") {
        return world.has_passed(task).await;
    }
    if let Some(rest) = text.strip_prefix("the service should have been asked ") {
        return asked(world, rest);
    }
    if let Some(rest) = text.strip_prefix("the workflow output should have ") {
        return properties(&output(world).await?, rest, data);
    }
    let (task, rest) = text.split_once(" should ").ok_or("there is no such step")?;
    if task == "the workflow" {
        return Err("there is no such step".to_owned());
    }
    world.finished().await?;
    let order = world.passed().await;
    let place = |name: &str| {
        order.iter().position(|task| task == name).ok_or(format!("{name} did not run: {order:?}"))
    };
    let holds = |holds: bool| if holds { Ok(()) } else { Err(format!("the order was {order:?}")) };
    if let Some(other) = rest.strip_prefix("run before ") {
        return holds(place(task)? < place(other)?);
    }
    if let Some(other) = rest.strip_prefix("run after ") {
        return holds(place(task)? > place(other)?);
    }
    match rest {
        "run first" => holds(place(task)? == 0),
        "run last" => {
            place(task)?;
            holds(order.last().is_some_and(|last| last == task))
        }
        "complete" => completed(world, task).await.map(drop),
        "complete with output" => equal(&completed(world, task).await?.unwrap_or_default(), &yaml(data)?),
        // It neither came to its end nor failed.
        "cancel" => holds(!order.iter().any(|passed| passed == task)),
        "fault" => faulted(world, task).await.map(drop),
        "fault with error" => is_error(&faulted(world, task).await?, &yaml(data)?),
        _ => Err("there is no such step".to_owned()),
    }
}

/// `3 times at /path`, `3 times at /path with one key`.
fn asked(world: &World, rest: &str) -> Done {
    let (times, path) = rest.split_once(" times at ").ok_or("there is no such step")?;
    let (path, one_key) = match path.strip_suffix(" with one key") {
        Some(path) => (path, true),
        None => (path, false),
    };
    let keys = world.stub.asked(path);
    let is_one = keys.iter().all(|key| !key.is_empty() && *key == keys[0]);
    if times == keys.len().to_string() && (!one_key || is_one) {
        return Ok(());
    }
    Err(format!("it was asked {} times, under the keys {keys:?}", keys.len()))
}

async fn ended(world: &mut World, ending: Ending) -> Result<Finished, String> {
    let finished = world.finished().await?;
    if finished.status == ending { Ok(finished) } else { Err(format!("it ended otherwise: {finished:?}")) }
}

async fn output(world: &mut World) -> Result<Value, String> {
    let finished = ended(world, Ending::Completed).await?;
    Ok(finished.output.map(|output| output.to_value()).unwrap_or_default())
}

/// The result of a task that came to its end, where the journal has it.
async fn completed(world: &World, task: &str) -> Result<Option<Value>, String> {
    for entry in world.journal().await {
        match entry {
            Entry::Passed { key } if super::world::task_of(&key) == task => return Ok(None),
            Entry::Ended(ended) if super::world::task_of(&ended.key) == task => {
                if let StepOutcome::Succeeded(result) = ended.outcome {
                    return Ok(Some(result.to_value()));
                }
            }
            _ => {}
        }
    }
    Err("it did not complete".to_owned())
}

/// The error of a task that failed.
async fn faulted(world: &mut World, task: &str) -> Result<Value, String> {
    for entry in world.journal().await {
        if let Entry::Ended(ended) = entry
            && super::world::task_of(&ended.key) == task
            && let StepOutcome::Refused(fault) | StepOutcome::Unknown(fault) = ended.outcome
        {
            return Ok(fault.to_value());
        }
    }
    let fault = world.finished().await?.fault;
    let of_task = |instance: &str| super::world::task_of(instance) == task;
    match fault {
        Some(fault) if fault.instance.as_deref().is_some_and(of_task) => Ok(fault.to_value()),
        other => Err(format!("it did not fail; the workflow ended with {other:?}")),
    }
}

/// `properties 'a', 'b.c'`, `a 'a' property with value`, `a 'a' property containing 3 items`.
fn properties(output: &Value, rest: &str, data: Option<&str>) -> Done {
    let found = |path: &str| {
        let value = path.split('.').try_fold(output, |value, name| value.get(name));
        value.ok_or_else(|| format!("there is no {path} in {output}"))
    };
    let quoted: Vec<&str> = rest.split('\'').skip(1).step_by(2).collect();
    if rest.starts_with("properties ") {
        return quoted.iter().try_for_each(|path| found(path).map(drop));
    }
    let [path] = *quoted else { return Err("there is no such step".to_owned()) };
    let value = found(path)?;
    if rest.ends_with(" property with value") {
        return equal(value, &yaml(data)?);
    }
    let count = rest.split_once(" property containing ").and_then(|(_, rest)| rest.strip_suffix(" items"));
    let count = count.ok_or("there is no such step")?;
    let items = value.as_array().map(Vec::len);
    if items.is_some_and(|items| items.to_string() == count) { Ok(()) } else { Err(format!("it is {value}")) }
}

fn equal(found: &Value, expected: &Value) -> Done {
    if found == expected { Ok(()) } else { Err(format!("expected {expected}, found {found}")) }
}

/// Whether an error has the members that are expected, its type with whichever base.
fn is_error(found: &Value, expected: &Value) -> Done {
    let members = expected.as_object().ok_or("an error is an object")?;
    let fits = members.iter().all(|(name, expected)| match (name.as_str(), expected, &found[name]) {
        ("type", Value::String(expected), Value::String(found)) => same_type(expected, found),
        (_, expected, found) => expected == found,
    });
    if fits { Ok(()) } else { Err(format!("expected {expected}, found {found}")) }
}
