//! Group commit: many requests, one transaction, one sync.

use std::iter::Peekable;
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension};
use trunkline_model::Event;

use crate::queue::{Append, Request};
use crate::row::Place;
use crate::shared::Shared;
use crate::writer::recent::Recent;
use crate::writer::versions::{VERSION_OF, Versions};
use crate::{Appended, Clock, Error, RecordedEvent, Result, StreamId, row};

/// The most events in a commit, but for an append that is larger by itself.
const MAX_EVENTS: usize = 512;

/// Knows the end of the log and of its streams, and puts events there.
pub(super) struct Committer {
    shared: Arc<Shared>,
    end: End,
    versions: Versions,
    failure: Option<Error>,
}

/// The end of the log.
#[derive(Clone, Copy)]
struct End {
    position: u64,
    size: u64,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let end = End { position: 0, size: 0 };
        Self { shared, end, versions: Versions::default(), failure: None }
    }

    /// Reads where the log ends.
    pub(super) fn start(&mut self, connection: &Connection) -> Result<()> {
        let end = connection
            .query_row("SELECT position, size FROM event ORDER BY position DESC LIMIT 1", [], |row| {
                Ok(End { position: row.get(0)?, size: row.get(1)? })
            })
            .optional()?;
        self.end = end.unwrap_or(self.end);
        self.versions.start(connection)
    }

    /// The version of a stream.
    pub(super) fn version(&mut self, connection: &Connection, stream: &StreamId) -> Result<u64> {
        Ok(self.versions.get(stream, &mut connection.prepare_cached(VERSION_OF)?)?)
    }

    /// Why the last commit failed, where it did.
    pub(super) fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// Forgets what is known of streams: some of their events are gone.
    pub(super) fn forget_versions(&mut self) {
        self.versions.forget();
    }

    /// Takes requests up to the next command or a full batch and commits them together. Where that fails, those who wait
    /// are told, and recorded events go back to the queue, with all that comes after them.
    pub(super) fn commit(
        &mut self,
        connection: &mut Connection,
        clock: &Clock,
        requests: &mut Peekable<impl Iterator<Item = Request>>,
        mut recent: Option<&mut Recent>,
    ) {
        let mut batch = Vec::new();
        let mut events = 0;
        while events < MAX_EVENTS
            && let Some(request) = requests.next_if(|request| !matches!(request, Request::Command(_)))
        {
            events += match &request {
                Request::Append(append) => append.events.len(),
                _ => 1,
            };
            batch.push(request);
        }
        match self.write(connection, clock, &batch) {
            Ok(Written { end, answers, places }) => {
                self.end = end;
                self.shared.head.send_if_modified(|head| {
                    std::mem::replace(&mut head.position, end.position) != end.position
                });
                if self.failure.take().is_some() {
                    self.shared.queue.recovered();
                }
                let (mut answers, mut places) = (answers.into_iter(), places.into_iter());
                let mut keep = |stream: StreamId, event: Event| {
                    if let (Some(recent), Some((position, version))) = (recent.as_deref_mut(), places.next())
                    {
                        recent.push(RecordedEvent { position, stream, version, event });
                    }
                };
                for request in batch {
                    match request {
                        Request::Record(stream, event) => keep(stream, event),
                        Request::Append(append) => {
                            let Some(answer) = answers.next() else { continue };
                            let stored = answer.is_ok();
                            // Whoever asked may have gone.
                            let _ = append.reply.send(answer);
                            if stored {
                                append
                                    .events
                                    .into_iter()
                                    .for_each(|event| keep(append.stream.clone(), event));
                            }
                        }
                        Request::Command(_) => {}
                    }
                }
            }
            Err(error) => {
                tracing::error!(%error, "a batch of events could not be committed");
                self.versions.forget();
                self.fail(batch.into_iter().chain(requests), &error);
                self.failure = Some(error);
            }
        }
    }

    fn write(&mut self, connection: &mut Connection, clock: &Clock, batch: &[Request]) -> Result<Written> {
        let transaction = connection.transaction()?;
        let mut answers = Vec::new();
        let mut pen = Pen {
            insert: transaction.prepare_cached(row::INSERT)?,
            version_of: transaction.prepare_cached(VERSION_OF)?,
            versions: &mut self.versions,
            recorded: clock().as_millisecond(),
            end: self.end,
            places: Vec::new(),
        };
        for request in batch {
            match request {
                Request::Record(stream, event) => {
                    pen.put(stream, std::slice::from_ref(event))?;
                }
                Request::Append(append) => answers.push(pen.append(append)?),
                Request::Command(_) => {}
            }
        }
        let (end, places) = (pen.end, std::mem::take(&mut pen.places));
        drop(pen);
        transaction.commit()?;
        Ok(Written { end, answers, places })
    }

    fn fail(&self, requests: impl Iterator<Item = Request>, error: &Error) {
        let (mut kept, mut events, mut bytes) = (Vec::new(), 0, 0);
        for request in requests {
            match request {
                Request::Record(_, ref event) => {
                    events += 1;
                    bytes += row::size(event);
                    kept.push(request);
                }
                Request::Append(append) => drop(append.reply.send(Err(error.clone()))),
                Request::Command(command) => drop(command.reply.send(Err(error.clone()))),
            }
        }
        self.shared.queue.put_back(kept, events, bytes, error.clone());
    }
}

/// What a commit wrote.
struct Written {
    end: End,
    /// To each append.
    answers: Vec<Result<Appended>>,
    /// The position and version of each event.
    places: Vec<(u64, u64)>,
}

/// Writes within one transaction.
struct Pen<'a> {
    insert: CachedStatement<'a>,
    version_of: CachedStatement<'a>,
    versions: &'a mut Versions,
    recorded: i64,
    end: End,
    places: Vec<(u64, u64)>,
}

impl Pen<'_> {
    fn append(&mut self, append: &Append) -> rusqlite::Result<Result<Appended>> {
        let Append { stream, expected, events, .. } = append;
        let actual = self.versions.get(stream, &mut self.version_of)?;
        if !expected.holds(actual) {
            return Ok(Err(Error::Conflict { stream: stream.clone(), expected: *expected, actual }));
        }
        let first_position = self.end.position + 1;
        let version = self.put(stream, events)?;
        Ok(Ok(Appended { first_position, last_position: self.end.position, version }))
    }

    /// Puts events at the end of the log and of their stream. Returns the stream's new version.
    fn put(&mut self, stream: &StreamId, events: &[Event]) -> rusqlite::Result<u64> {
        let mut version = self.versions.get(stream, &mut self.version_of)?;
        for event in events {
            version += 1;
            self.end.position += 1;
            self.end.size += row::size(event) as u64;
            let End { position, size } = self.end;
            row::insert(
                &mut self.insert,
                &Place { position, stream, version, recorded: self.recorded, size },
                event,
            )?;
            self.places.push((position, version));
        }
        self.versions.set(stream, version);
        Ok(version)
    }
}
