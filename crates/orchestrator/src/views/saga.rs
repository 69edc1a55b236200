//! The view of an instance's saga: what can be undone, what was, and what is stuck.

use serde::Serialize;
use trunkline_event_log::EventLog;
use trunkline_event_log::rusqlite::params;

use crate::entry::InstanceId;

/// The saga of an instance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SagaRow {
    /// A step after which there is no way back is done.
    pub past_pivot: bool,
    /// The steps that are or were to be undone, in the order of their completion.
    pub steps: Vec<SagaStep>,
    /// What waits for a person.
    pub stuck: Vec<StuckRow>,
}

/// A step of a saga.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SagaStep {
    /// The step.
    pub key: String,
    /// `service/tool`.
    pub target: String,
    /// The tool that undoes it.
    pub by: Option<String>,
    /// `possible`, `undone`, `under way`, `stuck`, `skipped` (a person left it), or `unknown` (whether there is anything to
    /// undo has to be found out).
    pub undo: String,
}

/// A step about which a person is asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StuckRow {
    /// The step or its undo, as `resolve` takes it.
    pub key: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: i64,
    /// Its outcome is unknown; otherwise it keeps failing.
    pub unknown: bool,
    /// What keeps it.
    pub fault: String,
}

const STEPS: &str = "
SELECT s.key, s.target, s.undo,
  CASE
    WHEN q.key IS NOT NULL THEN 'stuck'
    WHEN u.status = 'completed' THEN 'undone'
    WHEN i.status = 'undone' THEN CASE WHEN s.status = 'unknown' OR u.key IS NULL THEN 'nothing to undo' ELSE 'skipped' END
    WHEN u.status IS NOT NULL THEN 'under way'
    WHEN s.status = 'unknown' THEN 'unknown'
    ELSE 'possible'
  END
FROM flow_step s
JOIN flow_instance i ON i.id = s.instance
LEFT JOIN flow_step u ON u.instance = s.instance AND u.undoes = s.key AND u.key = s.key || '~undo'
LEFT JOIN flow_stuck q ON q.instance = s.instance AND q.key IN (s.key, s.key || '~undo')
WHERE s.instance = ?1 AND s.undoes IS NULL AND s.status IN ('completed', 'unknown') AND s.undo IS NOT NULL
ORDER BY s.ended, s.key";

/// The saga of an instance.
///
/// # Errors
/// Where the log can't be read.
pub async fn saga(log: &EventLog, id: InstanceId) -> trunkline_event_log::Result<SagaRow> {
    log.query(move |connection| {
        let sql =
            "SELECT EXISTS (SELECT 1 FROM flow_step WHERE instance = ?1 AND pivot AND status = 'completed')";
        let past_pivot =
            connection.prepare_cached(sql)?.query_row(params![id.0.as_bytes()], |row| row.get(0))?;
        let mut statement = connection.prepare_cached(STEPS)?;
        let steps = statement.query_map(params![id.0.as_bytes()], |row| {
            Ok(SagaStep { key: row.get(0)?, target: row.get(1)?, by: row.get(2)?, undo: row.get(3)? })
        })?;
        let steps = steps.collect::<Result<_, _>>()?;
        let sql = "SELECT key, since, unknown, fault FROM flow_stuck WHERE instance = ?1 ORDER BY since, key";
        let mut statement = connection.prepare_cached(sql)?;
        let stuck = statement.query_map(params![id.0.as_bytes()], |row| {
            Ok(StuckRow { key: row.get(0)?, since_ms: row.get(1)?, unknown: row.get(2)?, fault: row.get(3)? })
        })?;
        Ok(SagaRow { past_pivot, steps, stuck: stuck.collect::<Result<_, _>>()? })
    })
    .await
}
