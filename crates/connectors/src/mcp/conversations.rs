//! Sessions that belong to one conversation each (`session: per_conversation`): made when they are first used, ended
//! when nobody has used them for a while.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::error::Error;
use super::link::Link;

/// The most conversations that have a session of their own at a time.
const MAX_CONVERSATIONS: usize = 256;

/// How long a session is kept that nobody uses.
pub(super) const IDLE: Duration = Duration::from_secs(600);

/// The sessions by conversation.
pub(super) struct Conversations {
    links: Mutex<HashMap<Arc<str>, Arc<Link>>>,
    begun: mpsc::Sender<Begun>,
}

/// A conversation that needs a session from now on.
pub(super) struct Begun {
    pub(super) conversation: Arc<str>,
    pub(super) link: Arc<Link>,
}

impl Conversations {
    /// No sessions yet; whoever holds the receiver is to keep those that begin.
    pub(super) fn new() -> (Self, mpsc::Receiver<Begun>) {
        let (begun, beginning) = mpsc::channel(MAX_CONVERSATIONS);
        (Self { links: Mutex::default(), begun }, beginning)
    }

    /// The session of a conversation.
    pub(super) fn link(&self, conversation: &Arc<str>) -> Result<Arc<Link>, Error> {
        let mut links = self.links.lock();
        if let Some(link) = links.get(conversation) {
            link.touch();
            return Ok(Arc::clone(link));
        }
        if links.len() >= MAX_CONVERSATIONS {
            return Err(Error::TooManySessions(links.len()));
        }
        let link = Arc::new(Link::default());
        let begun = Begun { conversation: Arc::clone(conversation), link: Arc::clone(&link) };
        self.begun.try_send(begun).map_err(|_| Error::TooManySessions(links.len()))?;
        links.insert(Arc::clone(conversation), Arc::clone(&link));
        Ok(link)
    }

    /// Forgets the session of a conversation.
    pub(super) fn end(&self, conversation: &Arc<str>) {
        self.links.lock().remove(conversation);
    }
}
