//! Dropping old events, a few at a time.

use jiff::Timestamp;
use rusqlite::Connection;

use crate::{Result, Retention};

/// The most events that one step drops: it takes a few milliseconds.
const STEP: u64 = 500;

/// Drops at most [`STEP`] of the oldest events that need not be kept. Returns the new oldest position, or none where
/// there is nothing to drop.
pub(crate) fn step(connection: &Connection, retention: &Retention, now: Timestamp) -> Result<Option<u64>> {
    let mut bounds = connection.prepare_cached(
        "SELECT first.position, last.position, last.size FROM event first, event last
         WHERE first.position = (SELECT min(position) FROM event)
         AND last.position = (SELECT max(position) FROM event)",
    )?;
    let mut rows = bounds.query([])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let (oldest, newest, total): (u64, u64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    // The newest event always stays: the next position is counted from it.
    let limit = protected(connection)?.unwrap_or(newest).min(newest).min(oldest + STEP);
    let cutoff = retention.max_age.map_or(i64::MIN, |age| {
        now.as_millisecond().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
    });
    let excess = retention.max_bytes.map_or(i64::MIN, |max| total.saturating_sub_unsigned(max));
    let mut first_kept = connection.prepare_cached(
        "SELECT coalesce((SELECT position FROM event WHERE position >= ?1 AND position < ?2
         AND recorded >= ?3 AND size > ?4 ORDER BY position LIMIT 1), ?2)",
    )?;
    let keep_from: u64 = first_kept.query_row((oldest, limit, cutoff, excess), |row| row.get(0))?;
    if keep_from <= oldest {
        return Ok(None);
    }
    connection.prepare_cached("DELETE FROM event WHERE position < ?1")?.execute([keep_from])?;
    Ok(Some(keep_from))
}

/// The oldest position that a projection has not seen or a hold protects.
fn protected(connection: &Connection) -> Result<Option<u64>> {
    let mut statement = connection.prepare_cached(
        "SELECT min(position) FROM (SELECT position + 1 AS position FROM projection UNION ALL SELECT position FROM hold)",
    )?;
    Ok(statement.query_row([], |row| row.get(0))?)
}
