//! Instances that begin and end within one look at the log: their rows are written once, as they are in the end.

use std::collections::HashMap;

use trunkline_event_log::rusqlite::{self, Transaction, params};
use trunkline_event_log::{ProjectionResult, RecordedEvent};
use uuid::Uuid;

use super::{Applied, ended_as, ending};
use crate::entry::{Ended, Entry, Finished, Intended, Started};

/// The entries of instances that have begun in this look, and of which nothing is written yet.
type Begun<'a> = HashMap<Uuid, Vec<(Entry, &'a RecordedEvent)>>;

/// Takes in events: those of other instances one by one.
pub(super) fn apply(transaction: &Transaction<'_>, events: &[RecordedEvent]) -> ProjectionResult {
    let mut begun = Begun::new();
    for event in events {
        let Some(entry) = Entry::of_event(event)? else { continue };
        let id = event.event.correlation;
        if matches!(entry, Entry::Started(_)) {
            begun.insert(id, vec![(entry, event)]);
            continue;
        }
        let Some(entries) = begun.get_mut(&id) else {
            Applied::of(transaction, event).apply(entry, event)?;
            continue;
        };
        let (plain, ends) = (is_plain(&entry), matches!(entry, Entry::Finished(_)));
        entries.push((entry, event));
        if plain && !ends {
            continue;
        }
        let entries = begun.remove(&id).unwrap_or_default();
        if !(ends && write(transaction, &entries)?) {
            one_by_one(transaction, entries)?;
        }
    }
    begun.into_values().try_for_each(|entries| one_by_one(transaction, entries))?;
    Ok(())
}

/// What leaves nothing in any table that the end does not write anew.
fn is_plain(entry: &Entry) -> bool {
    match entry {
        Entry::Started(_)
        | Entry::Intended(_)
        | Entry::Ended(_)
        | Entry::Passed { .. }
        | Entry::Waiting { .. }
        | Entry::Decided { .. }
        | Entry::Compensating { .. }
        | Entry::Finished(_) => true,
        Entry::Queued { .. }
        | Entry::Unqueued { .. }
        | Entry::CancelRequested { .. }
        | Entry::Stuck { .. }
        | Entry::Resolved { .. }
        | Entry::PutAside { .. }
        | Entry::UndoRequested { .. }
        | Entry::Retried { .. } => false,
    }
}

fn one_by_one(transaction: &Transaction<'_>, entries: Vec<(Entry, &RecordedEvent)>) -> rusqlite::Result<()> {
    entries.into_iter().try_for_each(|(entry, event)| Applied::of(transaction, event).apply(entry, event))
}

/// A step, and what came of it.
struct Step<'a> {
    intended: (&'a Intended, i64),
    ended: Option<(&'a Ended, i64)>,
}

/// Writes an instance from its beginning to its end. Gives whether these entries are such.
fn write(transaction: &Transaction<'_>, entries: &[(Entry, &RecordedEvent)]) -> rusqlite::Result<bool> {
    let [(Entry::Started(started), first), middle @ .., (Entry::Finished(finished), last)] = entries else {
        return Ok(false);
    };
    let mut steps: Vec<Step<'_>> = Vec::new();
    for (entry, event) in middle {
        let now = event.event.time.as_millisecond();
        match entry {
            Entry::Intended(intended) => {
                // Another attempt takes the place of the one before.
                steps.retain(|step| step.intended.0.key != intended.key);
                steps.push(Step { intended: (intended, now), ended: None });
            }
            Entry::Ended(ended) => {
                let step = steps.iter_mut().find(|step| step.intended.0.key == ended.key);
                step.into_iter().for_each(|step| step.ended = Some((ended, now)));
            }
            _ => {}
        }
    }
    write_instance(transaction, (started, first), (finished, last))?;
    steps.iter().try_for_each(|step| write_step(transaction, first.event.correlation, step))?;
    Ok(true)
}

fn write_instance(
    transaction: &Transaction<'_>,
    (started, first): (&Started, &RecordedEvent),
    (finished, last): (&Finished, &RecordedEvent),
) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO flow_instance \
               (id, flow, version, hash, principal, started, position, retry_of, status, updated, ended, fault, output) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?11, ?12)";
    transaction.prepare_cached(sql)?.execute(params![
        first.event.correlation.as_bytes(),
        &*started.flow,
        &*started.version,
        &*started.hash,
        &*first.event.principal.id,
        first.event.time.as_millisecond(),
        i64::try_from(first.position).unwrap_or(i64::MAX),
        started.retry_of.as_ref().map(|of| of.instance.0.into_bytes()),
        ending(finished.status),
        last.event.time.as_millisecond(),
        finished.fault.as_ref().map(crate::fault::Fault::words),
        finished.output.as_ref().map(trunkline_model::Json::as_str),
    ])?;
    Ok(())
}

fn write_step(transaction: &Transaction<'_>, instance: Uuid, step: &Step<'_>) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO flow_step \
               (instance, key, tool, target, status, attempt, started, ended, duration_us, undoes, undoable, \
               idempotency_key, fault, pivot, undo) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
    let (intended, begun) = step.intended;
    let (status, fault) = step.ended.map_or(("running", None), |(ended, _)| ended_as(&ended.outcome));
    transaction.prepare_cached(sql)?.execute(params![
        instance.as_bytes(),
        &*intended.key,
        &*intended.tool,
        &*intended.target,
        status,
        intended.attempt,
        begun,
        step.ended.map(|(_, at)| at),
        step.ended.map(|(ended, _)| i64::try_from(ended.duration_us).unwrap_or(i64::MAX)),
        intended.undoes.as_deref(),
        intended.undo.is_some(),
        &*intended.idempotency_key,
        fault,
        intended.pivot,
        intended.undo.as_ref().map(|undo| &*undo.tool),
    ])?;
    Ok(())
}
