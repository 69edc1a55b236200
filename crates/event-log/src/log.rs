//! The handle.

use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::oneshot;
use trunkline_model::{Event, Json};

use crate::projection::{Projection, ProjectionStatus};
use crate::queue::{Append, Command, NoRoom, Request, Task};
use crate::reader::{Filter, Page, Readers};
use crate::shared::Shared;
use crate::snapshot::{self, Snapshot};
use crate::{Appended, Error, Expected, RecordedEvent, Result, StreamId, Subscription};

/// The event log. Cloning is cheap. When the last clone is dropped the log shuts down.
#[derive(Clone)]
pub struct EventLog(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    readers: Readers,
}

impl EventLog {
    pub(crate) fn new(shared: Arc<Shared>, readers: Readers) -> Self {
        Self(Arc::new(Inner { shared, readers }))
    }

    /// Appends events to a stream, all or none, and returns when they are durable.
    ///
    /// Once begun it goes on when the future is dropped; only the answer is lost then.
    ///
    /// # Errors
    /// [`Error::Conflict`] where the stream is not at the expected version, [`Error::Size`], [`Error::Full`],
    /// [`Error::Io`], [`Error::Closed`]. After an error none of the events is in the log, but for [`Error::Io`] and
    /// [`Error::Full`], where a crash before the next commit may bring them back.
    pub async fn append(
        &self,
        stream: impl Into<StreamId>,
        expected: Expected,
        events: Vec<Event>,
    ) -> Result<Appended> {
        let (reply, answer) = oneshot::channel();
        self.push(Request::Append(Box::new(Append { stream: stream.into(), expected, events, reply })))
            .await?;
        answer.await.unwrap_or(Err(Error::Closed))
    }

    /// Leaves an event for the next batch, at the end of its stream. Waits only while the queue is full. A crash within
    /// [`Config::batch_interval`](crate::Config::batch_interval) may lose it.
    ///
    /// # Errors
    /// [`Error::Size`], [`Error::Closed`]; where the queue is full because batches fail, the error of the last one.
    pub async fn record(&self, stream: impl Into<StreamId>, event: Event) -> Result<()> {
        self.push(Request::Record(stream.into(), event)).await
    }

    /// As [`record`](Self::record), for places that can't wait, such as `drop`.
    ///
    /// # Errors
    /// As [`record`](Self::record), and [`Error::Busy`] where the queue is full: the event is not recorded.
    pub fn try_record(&self, stream: impl Into<StreamId>, event: Event) -> Result<()> {
        let request = Request::Record(stream.into(), event);
        let (events, bytes) = self.0.shared.measure(&request)?;
        match self.0.shared.queue.push(request, events, bytes)? {
            None => Ok(()),
            Some(_) => Err(Error::Busy),
        }
    }

    /// Reads a stream from a version on (1 is its first event), at most `limit` events and a few MiB.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Corrupt`].
    pub async fn read_stream(
        &self,
        stream: impl Into<StreamId>,
        from_version: u64,
        limit: usize,
    ) -> Result<Page> {
        self.0.readers.stream(stream.into(), from_version, limit).await
    }

    /// The newest events of a stream, the newest first: at most `limit` and a few MiB.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Corrupt`].
    pub async fn newest_of(&self, stream: impl Into<StreamId>, limit: usize) -> Result<Vec<RecordedEvent>> {
        self.0.readers.newest(stream.into(), limit).await
    }

    /// Reads the log from a position on, at most `limit` events and a few MiB. With a filter it also stops after having
    /// looked at many events; go on from [`Page::next`] until [`Page::end`].
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Corrupt`].
    pub async fn read_all(&self, from_position: u64, limit: usize, filter: Option<Filter>) -> Result<Page> {
        self.0.readers.all(&self.0.shared, from_position, limit, filter.unwrap_or_default()).await
    }

    /// The newest durable position; 0 in a log that never had an event.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.0.shared.head.borrow().position
    }

    /// The oldest position that is kept; 1 in a log that never had an event.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.0.shared.oldest()
    }

    /// Follows the log from a position on: 0 or 1 is the oldest event that is kept, `head() + 1` only what comes.
    #[must_use]
    pub fn subscribe(&self, from_position: u64) -> Subscription {
        Subscription::new(Arc::clone(&self.0.shared), self.0.readers.clone(), from_position)
    }

    /// Keeps the state of a stream at a version, in place of an older one, so that it can be had without its events.
    ///
    /// # Errors
    /// [`Error::Conflict`] where the stream has not come to that version; otherwise as [`append`](Self::append).
    pub async fn save_snapshot(&self, stream: impl Into<StreamId>, version: u64, state: Json) -> Result<()> {
        self.command(Task::SaveSnapshot(Snapshot { stream: stream.into(), version, state })).await
    }

    /// The latest snapshot of a stream.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Corrupt`].
    pub async fn load_snapshot(&self, stream: impl Into<StreamId>) -> Result<Option<Snapshot>> {
        let stream = stream.into();
        self.0.readers.run(move |connection| snapshot::load(connection, &stream)).await
    }

    /// Keeps retention from dropping events at or after a position, under a name, until [`release`](Self::release). A
    /// later hold of that name takes the place of the former. It is durable.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub async fn hold(&self, name: &str, from_position: u64) -> Result<()> {
        self.command(Task::Hold(name.to_owned(), from_position)).await
    }

    /// Ends a [`hold`](Self::hold).
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub async fn release(&self, name: &str) -> Result<()> {
        self.command(Task::Release(name.to_owned())).await
    }

    /// Drops now what retention does not keep, instead of in small steps later.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub async fn enforce_retention(&self) -> Result<()> {
        self.command(Task::Retain).await
    }

    /// Starts a projection. It goes on where it was when it last ran, or from the oldest event where it is new or has
    /// another version than then.
    ///
    /// # Errors
    /// [`Error::Projection`] where one of this name runs already or its setup fails.
    pub async fn project(&self, projection: Box<dyn Projection>) -> Result<()> {
        self.command(Task::Project(projection)).await
    }

    /// Empties a running projection and starts it again from the oldest event.
    ///
    /// # Errors
    /// [`Error::Projection`] where none of this name runs, or its reset fails.
    pub async fn rebuild_projection(&self, name: &str) -> Result<()> {
        self.command(Task::Rebuild(name.to_owned())).await
    }

    /// Ends a projection, empties it and forgets how far it was, so that it no longer holds retention back. One that
    /// does not run is only forgotten.
    ///
    /// # Errors
    /// [`Error::Projection`] where its reset fails.
    pub async fn forget_projection(&self, name: &str) -> Result<()> {
        self.command(Task::Forget(name.to_owned())).await
    }

    /// The projections that run, and how far they are.
    #[must_use]
    pub fn projections(&self) -> Vec<ProjectionStatus> {
        self.0.shared.projections.borrow().clone()
    }

    /// Waits until a projection has seen the event at a position.
    ///
    /// # Errors
    /// [`Error::Projection`] where it has failed or none of this name runs.
    pub async fn projected(&self, name: &str, position: u64) -> Result<()> {
        let mut projections = self.0.shared.projections.subscribe();
        let mut answer = Ok(());
        let reached = projections.wait_for(|all| {
            let status = all.iter().find(|status| status.name == name);
            let detail = match status {
                Some(ProjectionStatus { error: Some(error), .. }) => error.clone(),
                Some(status) => return status.position >= position,
                None => "it does not run".to_owned(),
            };
            answer = Err(Error::Projection { name: name.to_owned(), detail });
            true
        });
        reached.await.map_err(|_| Error::Closed).map(drop)?;
        answer
    }

    /// Reads with SQL on a connection that can't write: the tables of projections.
    ///
    /// # Errors
    /// Those of `read`, as [`Error::Io`] or [`Error::Corrupt`].
    pub async fn query<T, F>(&self, read: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.0.readers.run(move |connection| Ok(read(connection)?)).await
    }

    /// Shuts the log down: takes nothing more, commits what is queued, ends subscriptions and [`Writer::run`].
    ///
    /// [`Writer::run`]: crate::Writer::run
    pub fn close(&self) {
        self.0.shared.queue.close();
    }

    async fn command(&self, task: Task) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.push(Request::Command(Box::new(Command { task, reply }))).await?;
        answer.await.unwrap_or(Err(Error::Closed))
    }

    async fn push(&self, mut request: Request) -> Result<()> {
        let (events, bytes) = self.0.shared.measure(&request)?;
        while let Some(NoRoom { request: back, space }) = self.0.shared.queue.push(request, events, bytes)? {
            request = back;
            space.await;
        }
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

impl std::fmt::Debug for EventLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventLog").field("oldest", &self.oldest()).field("head", &self.head()).finish()
    }
}
