//! How many instances there are.

use trunkline_event_log::EventLog;
use trunkline_event_log::rusqlite::params;

/// How many instances have this status: all of them, or those of a principal.
///
/// # Errors
/// Where the log can't be read.
pub async fn count(
    log: &EventLog,
    status: String,
    principal: Option<String>,
) -> trunkline_event_log::Result<u64> {
    log.query(move |connection| {
        let sql = "SELECT count(*) FROM flow_instance WHERE status = ?1 AND (?2 IS NULL OR principal = ?2)";
        connection.prepare_cached(sql)?.query_row(params![status, principal], |row| row.get(0))
    })
    .await
}
