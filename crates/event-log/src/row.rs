//! Events as rows. JSON text goes in and out as it is.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Type, ValueRef};
use rusqlite::{Error as SqlError, Result as SqlResult, Row, Statement};
use trunkline_model::{Event, EventData, Json, Principal, PrincipalKind};
use uuid::Uuid;

use crate::stream::Name;
use crate::{RecordedEvent, StreamId};

/// What an event takes beside its text: ids, numbers, and its share of the index.
const FIXED_BYTES: usize = 128;

pub(crate) const INSERT: &str =
    "INSERT INTO event (position, version, recorded, size, stream, type, target, principal,
    principal_kind, id, time, source, action, correlation, causation, traceparent, parameters, context)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";

/// The columns that [`read`] reads, in its order.
pub(crate) const COLUMNS: &str =
    "position, version, stream, type, target, principal, principal_kind, id, time, source,
    action, correlation, causation, traceparent, parameters, context";

/// The bytes that an event counts for in every limit.
pub(crate) fn size(event: &Event) -> usize {
    FIXED_BYTES
        + event.kind.len()
        + event.target.len()
        + event.principal.id.len()
        + event.source.len()
        + event.data.action.len()
        + event.traceparent.as_ref().map_or(0, |header| header.len())
        + event.data.parameters.len()
        + event.data.context.len()
}

/// Where and when an event is put.
pub(crate) struct Place<'a> {
    pub(crate) position: u64,
    pub(crate) stream: &'a StreamId,
    pub(crate) version: u64,
    /// Milliseconds since 1970.
    pub(crate) recorded: i64,
    /// The sum of the sizes of this and all earlier events.
    pub(crate) size: u64,
}

/// Runs the prepared [`INSERT`].
pub(crate) fn insert(statement: &mut Statement<'_>, place: &Place<'_>, event: &Event) -> SqlResult<()> {
    let own_stream = matches!(&place.stream.0, Name::Id(id) if *id == event.correlation);
    statement.raw_bind_parameter(1, place.position)?;
    statement.raw_bind_parameter(2, place.version)?;
    statement.raw_bind_parameter(3, place.recorded)?;
    statement.raw_bind_parameter(4, place.size)?;
    statement.raw_bind_parameter(5, place.stream)?;
    statement.raw_bind_parameter(6, &*event.kind)?;
    statement.raw_bind_parameter(7, &*event.target)?;
    statement.raw_bind_parameter(8, &*event.principal.id)?;
    statement.raw_bind_parameter(9, kind_number(event.principal.kind))?;
    statement.raw_bind_parameter(10, event.id.as_bytes().as_slice())?;
    match i64::try_from(event.time.as_nanosecond()) {
        Ok(nanoseconds) => statement.raw_bind_parameter(11, nanoseconds)?,
        Err(_) => statement.raw_bind_parameter(11, event.time.to_string())?,
    }
    statement.raw_bind_parameter(12, &*event.source)?;
    statement.raw_bind_parameter(13, &*event.data.action)?;
    statement.raw_bind_parameter(14, (!own_stream).then_some(event.correlation.as_bytes().as_slice()))?;
    statement.raw_bind_parameter(15, event.causation.as_ref().map(|id| id.as_bytes().as_slice()))?;
    statement.raw_bind_parameter(16, event.traceparent.as_deref())?;
    statement.raw_bind_parameter(17, event.data.parameters.as_str())?;
    statement.raw_bind_parameter(18, event.data.context.as_str())?;
    statement.raw_execute()?;
    Ok(())
}

/// Reads a row of [`COLUMNS`].
pub(crate) fn read(row: &Row<'_>) -> SqlResult<RecordedEvent> {
    let stream: StreamId = row.get(2)?;
    let correlation = match (row.get_ref(11)?, &stream.0) {
        (ValueRef::Null, Name::Id(id)) => *id,
        _ => uuid(row, 11)?,
    };
    let causation = match row.get_ref(12)? {
        ValueRef::Null => None,
        _ => Some(uuid(row, 12)?),
    };
    let event = Event {
        id: uuid(row, 7)?,
        kind: Cow::Owned(row.get(3)?),
        time: time(row.get_ref(8)?).ok_or_else(|| invalid(8, "not a time"))?,
        source: shared(row, 9)?,
        target: shared(row, 4)?,
        data: EventData {
            action: Cow::Owned(row.get(10)?),
            parameters: json(row, 14)?,
            context: json(row, 15)?,
        },
        correlation,
        causation,
        traceparent: match row.get_ref(13)? {
            ValueRef::Null => None,
            _ => Some(shared(row, 13)?),
        },
        principal: Arc::new(Principal {
            id: shared(row, 5)?,
            kind: kind_of(row.get(6)?).ok_or_else(|| invalid(6, "not a kind of principal"))?,
        }),
    };
    Ok(RecordedEvent { position: row.get(0)?, stream, version: row.get(1)?, event })
}

impl ToSql for StreamId {
    fn to_sql(&self) -> SqlResult<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match &self.0 {
            Name::Text(name) => ValueRef::Text(name.as_bytes()),
            Name::Id(id) => ValueRef::Blob(id.as_bytes()),
        }))
    }
}

impl FromSql for StreamId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        stream(value).ok_or(FromSqlError::InvalidType)
    }
}

fn stream(value: ValueRef<'_>) -> Option<StreamId> {
    match value {
        ValueRef::Blob(bytes) => Some(StreamId(Name::Id(Uuid::from_slice(bytes).ok()?))),
        ValueRef::Text(text) => Some(StreamId(Name::Text(Arc::from(std::str::from_utf8(text).ok()?)))),
        _ => None,
    }
}

fn time(value: ValueRef<'_>) -> Option<Timestamp> {
    match value {
        ValueRef::Integer(nanoseconds) => Timestamp::from_nanosecond(i128::from(nanoseconds)).ok(),
        ValueRef::Text(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

fn uuid(row: &Row<'_>, column: usize) -> SqlResult<Uuid> {
    let ValueRef::Blob(bytes) = row.get_ref(column)? else { return Err(invalid(column, "not an id")) };
    Uuid::from_slice(bytes).map_err(|_| invalid(column, "not an id"))
}

fn shared(row: &Row<'_>, column: usize) -> SqlResult<Arc<str>> {
    Ok(Arc::from(row.get_ref(column)?.as_str()?))
}

fn json(row: &Row<'_>, column: usize) -> SqlResult<Json> {
    let text = row.get_ref(column)?.as_str()?;
    Json::parse(text.to_owned()).map_err(|_| invalid(column, "not JSON"))
}

fn kind_number(kind: PrincipalKind) -> i64 {
    match kind {
        PrincipalKind::Local => 0,
        PrincipalKind::ApiKey => 1,
        PrincipalKind::System => 2,
        PrincipalKind::Mesh => 3,
        PrincipalKind::Operator => 4,
    }
}

fn kind_of(number: i64) -> Option<PrincipalKind> {
    match number {
        0 => Some(PrincipalKind::Local),
        1 => Some(PrincipalKind::ApiKey),
        2 => Some(PrincipalKind::System),
        3 => Some(PrincipalKind::Mesh),
        4 => Some(PrincipalKind::Operator),
        _ => None,
    }
}

fn invalid(column: usize, what: &'static str) -> SqlError {
    SqlError::FromSqlConversionFailure(column, Type::Null, what.into())
}
