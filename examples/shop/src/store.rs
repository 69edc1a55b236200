//! State in SQLite: one file a service, and changes that happen once for each idempotency key.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::http::header::LOCATION;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde::Serialize;
use serde_json::Value;

use crate::problem::{Problem, status};
use crate::request::Command;

/// Answers that are kept for repeated keys. Keys older than a day are dropped when the service starts.
const ANSWERS: &str = "
    CREATE TABLE IF NOT EXISTS answers (
        key TEXT PRIMARY KEY, operation TEXT NOT NULL, request TEXT NOT NULL,
        status INTEGER NOT NULL, location TEXT, body TEXT NOT NULL,
        at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
    ) STRICT;
    DELETE FROM answers WHERE at < datetime('now', '-1 day');";

/// The answer of a change.
pub(crate) struct Reply {
    status: StatusCode,
    location: Option<String>,
    body: Value,
    repeated: bool,
}

impl Reply {
    /// 200 with what there is now.
    pub(crate) fn ok(body: &impl Serialize) -> Self {
        Self { status: status::OK, location: None, body: to_json(body), repeated: false }
    }

    /// 201 with what was made and where it is.
    pub(crate) fn created(location: String, body: &impl Serialize) -> Self {
        Self { status: status::CREATED, location: Some(location), ..Self::ok(body) }
    }
}

fn to_json(body: &impl Serialize) -> Value {
    // The types that come here are plain data, which always serialises.
    serde_json::to_value(body).unwrap_or_default()
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        let headers = response.headers_mut();
        if let Some(location) = self.location.and_then(|location| HeaderValue::try_from(location).ok()) {
            headers.insert(LOCATION, location);
        }
        if self.repeated {
            headers.insert(HeaderName::from_static("idempotent-replayed"), HeaderValue::from_static("true"));
        }
        response
    }
}

/// The state of one service.
#[derive(Clone)]
pub(crate) struct Store(Arc<Mutex<Connection>>);

impl Store {
    /// Opens the file; where it is new, makes the tables and first rows of `schema`.
    pub(crate) fn open(path: &Path, schema: &str) -> rusqlite::Result<Self> {
        let mut connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(ANSWERS)?;
        if version == 0 {
            transaction.execute_batch(schema)?;
            transaction.pragma_update(None, "user_version", 1)?;
        }
        transaction.commit()?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Reads.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        self.with(|connection| work(connection)).await
    }

    /// Changes something in one transaction. A repeated idempotency key gets the first answer again, a key that
    /// stood for another request is refused. An error undoes everything and leaves the key unused.
    pub(crate) async fn change<I: Send + 'static>(
        &self,
        command: Command<I>,
        work: impl FnOnce(&Transaction<'_>, I) -> Result<Reply, Problem> + Send + 'static,
    ) -> Result<Reply, Problem> {
        self.with(move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let Command { key, operation, body, input } = command;
            if let Some(key) = &key
                && let Some(reply) = answered(&transaction, key, &operation, &body)?
            {
                return Ok(reply);
            }
            let reply = work(&transaction, input)?;
            if let Some(key) = &key {
                transaction.execute(
                    "INSERT INTO answers (key, operation, request, status, location, body) VALUES (?, ?, ?, ?, ?, ?)",
                    params![
                        key,
                        operation,
                        body.to_string(),
                        reply.status.as_u16(),
                        reply.location,
                        reply.body.to_string()
                    ],
                )?;
            }
            transaction.commit()?;
            Ok(reply)
        })
        .await
    }

    /// Runs work that may wait for the disk away from the threads that serve requests.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let connection = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || {
            work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
        })
        .await
        .unwrap_or_else(|_| {
            Err(Problem::new(
                status::INTERNAL_SERVER_ERROR,
                "bug",
                "A bug in the shop",
                "nothing was changed",
            ))
        })
    }
}

/// The answer that a key got before.
fn answered(
    transaction: &Transaction<'_>,
    key: &str,
    operation: &str,
    body: &Value,
) -> Result<Option<Reply>, Problem> {
    type Row = (String, String, u16, Option<String>, String);
    let found: Option<Row> = transaction
        .query_row(
            "SELECT operation, request, status, location, body FROM answers WHERE key = ?",
            [key],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)),
        )
        .optional()?;
    let Some((first_operation, first_body, code, location, answer)) = found else { return Ok(None) };
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    if first_operation != operation || parse(&first_body) != *body {
        return Err(Problem::new(
            status::UNPROCESSABLE_ENTITY,
            "idempotency-key-reused",
            "Idempotency key reused",
            format!("the key {key:?} stands for another request; use a new key for a new request"),
        ));
    }
    let status = StatusCode::from_u16(code).unwrap_or(status::OK);
    Ok(Some(Reply { status, location, body: parse(&answer), repeated: true }))
}
