//! A scenario brought back from every place where a crash could have left it: it ends as it did without.

use serde_json::Value;
use trunkline_orchestrator::Entry;
use trunkline_orchestrator::entry::Finished;

use super::world::World;

/// Resumes the run of a scenario from every beginning of its journal. Gives how many.
pub(super) async fn from_everywhere(world: &mut World) -> Result<usize, String> {
    let Ok(finished) = world.finished().await else { return Ok(0) };
    let journal = world.journal().await;
    let mut resumed = 0;
    for length in 1..journal.len() {
        // A step that was under way is one of unknown outcome: what comes then is another story.
        if !is_settled(&journal[..length]) {
            continue;
        }
        let again = world.resumed_after(length).await?;
        let (again, before) = (comparable(&again), comparable(&finished));
        if again != before {
            return Err(format!(
                "resumed after {length} entries it ended with {again}, without with {before}"
            ));
        }
        resumed += 1;
    }
    Ok(resumed)
}

fn is_settled(entries: &[Entry]) -> bool {
    let mut open = Vec::new();
    for entry in entries {
        match entry {
            Entry::Intended(intended) if !intended.effects.repeatable() => open.push(&intended.key),
            Entry::Ended(ended) => open.retain(|key| **key != ended.key),
            _ => {}
        }
    }
    open.is_empty()
}

/// What must be the same: how it ended, its error, and its output but for times of day (of an event, of an answer).
fn comparable(finished: &Finished) -> Value {
    let mut value = serde_json::to_value(finished).unwrap();
    if let Some(output) = value["output"].as_object_mut() {
        output.remove("time");
        if let Some(headers) = output.get_mut("headers").and_then(Value::as_object_mut) {
            headers.remove("date");
        }
    }
    value["fault"]["detail"] = Value::Null;
    value
}
