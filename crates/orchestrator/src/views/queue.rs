//! The view of what waits for its turn.

use serde::Serialize;
use trunkline_event_log::EventLog;
use trunkline_event_log::rusqlite::params;
use uuid::Uuid;

use crate::entry::InstanceId;

/// An instance or a step that waits for its turn.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QueuedRow {
    /// What it waits for: the limit, with the value of its key.
    pub what: String,
    /// Its place, from 1.
    pub place: u64,
    /// The instance.
    pub instance: InstanceId,
    /// The step; `~queue` where it is the instance itself.
    pub key: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: i64,
    /// What it is an instance of.
    pub flow: String,
    /// For whom it runs.
    pub principal: String,
}

const SQL: &str = "
SELECT * FROM (
  SELECT q.what, row_number() OVER (PARTITION BY q.what ORDER BY q.since, q.instance, q.key), q.instance, q.key, q.since,
    i.flow, i.principal AS principal
  FROM flow_queue q JOIN flow_instance i ON i.id = q.instance
) WHERE (?1 IS NULL OR instance = ?1) AND (?2 IS NULL OR principal = ?2) ORDER BY 1, 2 LIMIT 10000";

/// What waits, by what it waits for, in order: of one instance or all, of one principal or all.
///
/// # Errors
/// Where the log can't be read.
pub async fn queued(
    log: &EventLog,
    instance: Option<InstanceId>,
    principal: Option<String>,
) -> trunkline_event_log::Result<Vec<QueuedRow>> {
    log.query(move |connection| {
        let mut statement = connection.prepare_cached(SQL)?;
        let instance = instance.map(|id| id.0.into_bytes());
        let rows = statement.query_map(params![instance, principal], |row| {
            Ok(QueuedRow {
                what: row.get(0)?,
                place: row.get(1)?,
                instance: InstanceId(Uuid::from_bytes(row.get(2)?)),
                key: row.get(3)?,
                since_ms: row.get(4)?,
                flow: row.get(5)?,
                principal: row.get(6)?,
            })
        })?;
        rows.collect()
    })
    .await
}
