//! Where traces are kept: a SQLite file of their own, written by the collector alone.
//!
//! It may be lost: it is written without waiting for the disk, and is no part of the record.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Serialize;
use trunkline_model::TraceId;

use crate::Error;
use crate::clock::{millis, timestamp};
use crate::config::Traces;
use crate::span::Span;

/// The most spans of a trace that are kept.
const MAX_SPANS: u64 = 20_000;

/// How many traces are removed at once.
const SWEEP: usize = 500;

const SCHEMA: &str = "
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
CREATE TABLE IF NOT EXISTS traces (
  trace BLOB PRIMARY KEY, start INTEGER NOT NULL, end INTEGER NOT NULL, name TEXT NOT NULL, error TEXT,
  why INTEGER NOT NULL, spans INTEGER NOT NULL, bytes INTEGER NOT NULL, services TEXT NOT NULL, targets TEXT NOT NULL,
  principals TEXT NOT NULL, doors TEXT NOT NULL, instances TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS traces_by_start ON traces (start);
CREATE INDEX IF NOT EXISTS traces_to_remove ON traces (why, start);
CREATE TABLE IF NOT EXISTS chunks (id INTEGER PRIMARY KEY, trace BLOB NOT NULL, spans TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS chunks_by_trace ON chunks (trace);
";

const COLUMNS: &str =
    "trace, start, end, name, error, why, spans, bytes, services, targets, principals, doors, instances";

/// Why a trace is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// There was room.
    #[default]
    Ordinary,
    /// It was slow.
    Slow,
    /// Something in it failed.
    Error,
}

/// What is known of a trace without its spans.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) name: String,
    pub(crate) error: Option<String>,
    pub(crate) why: Why,
    pub(crate) spans: u64,
    pub(crate) bytes: u64,
    pub(crate) services: BTreeSet<String>,
    pub(crate) targets: BTreeSet<String>,
    pub(crate) principals: BTreeSet<String>,
    pub(crate) doors: BTreeSet<String>,
    pub(crate) instances: BTreeSet<String>,
}

/// A trace in a list.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The trace.
    pub trace_id: TraceId,
    /// When it began.
    pub start: jiff::Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
    /// What its first span does.
    pub name: String,
    /// `ok` or `error`.
    pub status: &'static str,
    /// What went wrong first.
    pub error: Option<String>,
    /// Why it is kept.
    pub kept_for: Why,
    /// How many spans it has.
    pub spans: u64,
    /// The services that took part.
    pub services: Vec<String>,
    /// The tools that were called, as `service/tool`.
    pub targets: Vec<String>,
    /// For whom.
    pub principals: Vec<String>,
    /// By which doors.
    pub doors: Vec<String>,
    /// The instances of flows that took part.
    pub instances: Vec<String>,
    /// Where the next page begins after it.
    pub cursor: u64,
}

/// Which traces are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only with (or without) errors.
    pub error: Option<bool>,
    /// Only with this service.
    pub service: Option<String>,
    /// Only with a call of this tool, as `service/tool`.
    pub target: Option<String>,
    /// Only with this flow's instance.
    pub instance: Option<String>,
    /// Only those that took at least this, in nanoseconds.
    pub least: u64,
    /// Only those that have this text in their names, tools or errors.
    pub text: Option<String>,
    /// Only those of this principal and nobody else.
    pub principal: Option<String>,
    /// Only those that began before this, in nanoseconds since 1970.
    pub before: Option<u64>,
    /// The most traces.
    pub limit: usize,
}

/// The store, as readers see it.
pub struct Store {
    file: PathBuf,
}

impl Store {
    /// Opens the store, and makes it where there is none. One that can't be read is put aside.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn open(file: &Path) -> Result<Self, Error> {
        let prepare = || -> rusqlite::Result<()> {
            Connection::open(file)?.execute_batch(SCHEMA)?;
            Ok(())
        };
        if let Err(error) = prepare() {
            tracing::warn!(%error, "the kept traces can't be read; they are put aside and kept anew");
            let _ = std::fs::rename(file, file.with_extension("unreadable"));
            prepare().map_err(failed)?;
        }
        Ok(Self { file: file.to_owned() })
    }

    fn reader(&self) -> Result<Connection, Error> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.file, flags).map_err(failed)?;
        connection.busy_timeout(std::time::Duration::from_secs(2)).map_err(failed)?;
        Ok(connection)
    }

    /// Traces, the newest first. To be called where waiting is allowed.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn list(&self, wanted: &Wanted) -> Result<Vec<Summary>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM traces WHERE start < ?1 AND end - start >= ?2
               AND (?3 IS NULL OR (why = 2) = ?3)
               AND (?4 IS NULL OR instr(services, ?4) > 0) AND (?5 IS NULL OR instr(targets, ?5) > 0)
               AND (?6 IS NULL OR principals = ?6) AND (?7 IS NULL OR instr(instances, ?7) > 0)
               AND (?8 IS NULL OR instr(lower(name || ' ' || targets || ' ' || coalesce(error, '')), ?8) > 0)
             ORDER BY start DESC LIMIT ?9"
        );
        let one = |name: &Option<String>| name.as_ref().map(|name| joined(&BTreeSet::from([name.clone()])));
        let reader = self.reader()?;
        let mut statement = reader.prepare(&sql).map_err(failed)?;
        let rows = statement.query_map(
            params![
                bounded(wanted.before.unwrap_or(u64::MAX)),
                bounded(wanted.least),
                wanted.error,
                one(&wanted.service),
                one(&wanted.target),
                one(&wanted.principal),
                one(&wanted.instance),
                wanted.text.as_ref().map(|text| text.to_lowercase()),
                i64::try_from(wanted.limit).unwrap_or(i64::MAX),
            ],
            |row| read(row).map(|(trace, kept)| kept.summary(trace)),
        );
        rows.and_then(Iterator::collect).map_err(failed)
    }

    /// A trace and its spans. To be called where waiting is allowed.
    ///
    /// # Errors
    /// [`Error::UnknownTrace`], [`Error::Store`].
    pub fn get(&self, trace: TraceId) -> Result<(Summary, Vec<Span>), Error> {
        let reader = self.reader()?;
        let kept = known(&reader, trace).map_err(failed)?;
        let kept = kept.ok_or_else(|| Error::UnknownTrace(trace.to_string()))?;
        let mut statement =
            reader.prepare("SELECT spans FROM chunks WHERE trace = ?1 ORDER BY id").map_err(failed)?;
        let mut rows = statement.query([trace.bytes()]).map_err(failed)?;
        let mut spans = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            let chunk = row.get_ref(0).and_then(|text| Ok(text.as_str()?)).map_err(failed)?;
            let chunk: Vec<Span> =
                serde_json::from_str(chunk).map_err(|error| Error::Store(error.to_string()))?;
            spans.extend(chunk);
        }
        Ok((kept.summary(trace), spans))
    }
}

/// What writes to the store.
pub(crate) struct Writer {
    connection: Connection,
}

impl Writer {
    pub(crate) fn new(store: &Store) -> Result<Self, Error> {
        let connection = Connection::open(&store.file).map_err(failed)?;
        connection
            .execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_size_limit = 16777216;")
            .map_err(failed)?;
        connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(failed)?;
        Ok(Self { connection })
    }

    /// What is known of a trace that was kept earlier.
    pub(crate) fn known(&self, trace: TraceId) -> Option<Kept> {
        known(&self.connection, trace).ok().flatten()
    }

    pub(crate) fn write(
        &mut self,
        batch: HashMap<TraceId, Vec<Span>>,
        kept: &mut HashMap<TraceId, Kept>,
    ) -> Result<(), Error> {
        let transaction = self.connection.transaction().map_err(failed)?;
        for (trace, spans) in batch {
            let Some(kept) = kept.get_mut(&trace) else { continue };
            if kept.spans.saturating_sub(spans.len() as u64) >= MAX_SPANS {
                continue;
            }
            let text = serde_json::to_string(&spans).map_err(|error| Error::Store(error.to_string()))?;
            kept.bytes += text.len() as u64;
            let sql = "INSERT INTO chunks (trace, spans) VALUES (?1, ?2)";
            let mut statement = transaction.prepare_cached(sql).map_err(failed)?;
            statement.execute(params![trace.bytes(), text]).map_err(failed)?;
            put(&transaction, trace, kept).map_err(failed)?;
        }
        transaction.commit().map_err(failed)
    }

    /// Removes what is too old, and the oldest where there is too much.
    pub(crate) fn clean(&mut self, now: u64, config: &Traces) -> Result<(), Error> {
        let clean = |connection: &mut Connection| -> rusqlite::Result<()> {
            let age = u64::from(config.retention_days).saturating_mul(86_400_000_000_000);
            let oldest = bounded(now.saturating_sub(age));
            let of_age = "SELECT trace FROM traces WHERE start < ?1 LIMIT ?2";
            while config.retention_days > 0 && remove(connection, of_age, params![oldest, SWEEP])? == SWEEP {}
            let most = config.max_mb.max(1) << 20;
            let worst = "SELECT trace FROM traces ORDER BY why, start LIMIT ?1";
            loop {
                let sql = "SELECT coalesce(sum(bytes), 0), count(*) FROM traces";
                let (bytes, count): (u64, u64) =
                    connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
                // A trace takes about this much beside its spans.
                if bytes + count * 512 <= most || remove(connection, worst, params![SWEEP])? == 0 {
                    break;
                }
            }
            connection.execute_batch("PRAGMA incremental_vacuum(4096)")
        };
        clean(&mut self.connection).map_err(failed)
    }
}

fn remove(
    connection: &mut Connection,
    which: &str,
    parameters: &[&dyn rusqlite::ToSql],
) -> rusqlite::Result<usize> {
    let transaction = connection.transaction()?;
    let traces: Vec<Vec<u8>> = {
        let mut statement = transaction.prepare_cached(which)?;
        let rows = statement.query_map(parameters, |row| row.get(0))?;
        rows.collect::<rusqlite::Result<_>>()?
    };
    for trace in &traces {
        transaction.prepare_cached("DELETE FROM chunks WHERE trace = ?1")?.execute([trace])?;
        transaction.prepare_cached("DELETE FROM traces WHERE trace = ?1")?.execute([trace])?;
    }
    transaction.commit()?;
    Ok(traces.len())
}

fn known(connection: &Connection, trace: TraceId) -> rusqlite::Result<Option<Kept>> {
    let sql = format!("SELECT {COLUMNS} FROM traces WHERE trace = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement.query_row([trace.bytes()], read).optional()?.map(|(_, kept)| kept))
}

fn put(connection: &Connection, trace: TraceId, kept: &Kept) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT OR REPLACE INTO traces ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
    );
    connection.prepare_cached(&sql)?.execute(params![
        trace.bytes(),
        bounded(kept.start),
        bounded(kept.end),
        kept.name,
        kept.error,
        kept.why as u8,
        bounded(kept.spans),
        bounded(kept.bytes),
        joined(&kept.services),
        joined(&kept.targets),
        joined(&kept.principals),
        joined(&kept.doors),
        joined(&kept.instances),
    ])?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<(TraceId, Kept)> {
    let trace: [u8; 16] = row.get(0)?;
    let set = |index: usize| -> rusqlite::Result<BTreeSet<String>> {
        let text: String = row.get(index)?;
        Ok(text.split('\u{1f}').filter(|part| !part.is_empty()).map(str::to_owned).collect())
    };
    let why: u8 = row.get(5)?;
    let kept = Kept {
        start: row.get(1)?,
        end: row.get(2)?,
        name: row.get(3)?,
        error: row.get(4)?,
        why: [Why::Ordinary, Why::Slow, Why::Error].get(usize::from(why)).copied().unwrap_or_default(),
        spans: row.get(6)?,
        bytes: row.get(7)?,
        services: set(8)?,
        targets: set(9)?,
        principals: set(10)?,
        doors: set(11)?,
        instances: set(12)?,
    };
    let trace = TraceId::new(trace).ok_or(rusqlite::Error::InvalidQuery)?;
    Ok((trace, kept))
}

/// Names as one text, each between separators, so that one can be looked for.
fn joined(names: &BTreeSet<String>) -> String {
    let mut text = String::from("\u{1f}");
    for name in names {
        text.extend(name.chars().filter(|c| *c != '\u{1f}'));
        text.push('\u{1f}');
    }
    text
}

impl Kept {
    pub(crate) fn summary(self, trace_id: TraceId) -> Summary {
        let list = |set: BTreeSet<String>| set.into_iter().collect();
        Summary {
            trace_id,
            start: timestamp(self.start),
            duration_ms: millis(self.end.saturating_sub(self.start)),
            name: self.name,
            status: if self.why == Why::Error { "error" } else { "ok" },
            error: self.error,
            kept_for: self.why,
            spans: self.spans,
            services: list(self.services),
            targets: list(self.targets),
            principals: list(self.principals),
            doors: list(self.doors),
            instances: list(self.instances),
            cursor: self.start,
        }
    }
}

/// A number as SQLite has them.
fn bounded(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Store(error.to_string())
}

#[cfg(test)]
mod tests {
    use trunkline_model::SpanId;

    use super::*;
    use crate::span::attribute;

    fn trace(number: u32) -> TraceId {
        TraceId::new((u128::from(number) + 1).to_be_bytes()).unwrap()
    }

    /// Writes traces of one span, the first begun at second 1 and each a second later; every tenth has an error.
    fn filled(folder: &Path, count: u32, text: &str) -> (Store, Writer) {
        let store = Store::open(&folder.join("traces.db")).unwrap();
        let mut writer = Writer::new(&store).unwrap();
        let (mut batch, mut kept) = (HashMap::new(), HashMap::new());
        for number in 0..count {
            let start = (u64::from(number) + 1) * 1_000_000_000;
            let id = SpanId::derived(&[&number.to_be_bytes()]);
            let mut span =
                Span::ours(trace(number), id, None, format!("call {number}"), start, start + 5_000_000);
            span.attributes.push(attribute("trunkline.service", format!("s{}", number % 3)));
            span.attributes.push(attribute("text", text));
            let why = if number % 10 == 0 { Why::Error } else { Why::Ordinary };
            let service = BTreeSet::from([format!("s{}", number % 3)]);
            let principals = BTreeSet::from(["ada".to_owned()]);
            let summary = Kept {
                start,
                end: span.end,
                name: span.name.clone(),
                why,
                services: service,
                principals,
                ..Kept::default()
            };
            kept.insert(trace(number), summary);
            batch.insert(trace(number), vec![span]);
        }
        writer.write(batch, &mut kept).unwrap();
        (store, writer)
    }

    #[test]
    fn traces_are_found_by_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _writer) = filled(folder.path(), 30, "");
        let found = |wanted: Wanted| -> Vec<String> {
            store
                .list(&Wanted { limit: 100, ..wanted })
                .unwrap()
                .into_iter()
                .map(|trace| trace.name)
                .collect()
        };
        assert_eq!(
            found(Wanted { error: Some(true), ..Wanted::default() }),
            ["call 20", "call 10", "call 0"]
        );
        assert_eq!(found(Wanted { service: Some("s1".to_owned()), ..Wanted::default() }).len(), 10);
        assert!(found(Wanted { service: Some("s".to_owned()), ..Wanted::default() }).is_empty());
        assert!(found(Wanted { principal: Some("bob".to_owned()), ..Wanted::default() }).is_empty());
        assert_eq!(found(Wanted { text: Some("CALL 7".to_owned()), ..Wanted::default() }), ["call 7"]);
        assert!(found(Wanted { least: 6_000_000, ..Wanted::default() }).is_empty());
        let before = store.list(&Wanted { limit: 2, ..Wanted::default() }).unwrap()[1].cursor;
        assert_eq!(found(Wanted { before: Some(before), ..Wanted::default() })[0], "call 27");
        let (summary, spans) = store.get(trace(7)).unwrap();
        assert_eq!((summary.services, spans.len()), (vec!["s1".to_owned()], 1));
        assert!(matches!(store.get(trace(99)), Err(Error::UnknownTrace(_))));
    }

    #[test]
    fn what_is_too_old_goes_and_of_too_much_ordinary_traces_first() {
        let folder = tempfile::tempdir().unwrap();
        let (store, mut writer) = filled(folder.path(), 2_000, &"x".repeat(1_000));
        let names = || store.list(&Wanted { limit: 5_000, ..Wanted::default() }).unwrap();
        let config = Traces { retention_days: 0, max_mb: 1, ..Traces::default() };
        writer.clean(2_000_000_000_000, &config).unwrap();
        let left = names();
        assert!(left.len() < 1_000 && left.len() > 300, "{}", left.len());
        assert_eq!(left.iter().filter(|trace| trace.kept_for == Why::Error).count(), 200, "errors stay");
        let day = 86_400_000_000_000;
        writer.clean(day + 1_900_000_000_000, &Traces { retention_days: 1, ..Traces::default() }).unwrap();
        assert!(names().iter().all(|trace| trace.cursor >= 1_900_000_000_000));
    }

    #[test]
    fn a_file_that_is_no_store_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("traces.db");
        std::fs::write(
            &file,
            "not a database, but long enough to be taken for one by its length ".repeat(50),
        )
        .unwrap();
        Store::open(&file).unwrap();
        assert!(file.with_extension("unreadable").exists());
    }
}
