//! Calls that wait for their caller to send the request again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use trunkline_model::CallId;

use super::Exchange;
use crate::Error;

/// The most calls that are parked at once.
const MAX_PARKED: usize = 10_000;

/// How long a request may hold a call that it has taken.
const MAX_TAKEN: Duration = Duration::from_secs(3_600);

/// Calls that wait for their caller to send the request again.
#[derive(Default)]
pub(crate) struct Parking {
    spaces: Mutex<HashMap<CallId, Space>>,
}

enum Space {
    /// Waits for its caller.
    Parked { exchange: Box<Exchange>, until: Instant },
    /// A request has taken it and goes on with it. One that goes away without a word loses it after a while.
    Taken { until: Instant },
}

/// What a request finds that wants to go on with a call.
pub(crate) enum Found {
    /// The call, which is now this request's.
    Parked(Box<Exchange>),
    /// Another request goes on with it right now.
    Busy,
    /// Nothing: it may have been parked by an earlier process. The place is now this request's.
    Nothing,
}

impl Parking {
    /// Parks a call for at most `time`.
    pub(crate) fn park(&self, exchange: Exchange, time: Duration) -> Result<(), Error> {
        let mut spaces = self.spaces.lock();
        if spaces.len() >= MAX_PARKED {
            return Err(Error::TooMany("unanswered questions"));
        }
        let id = exchange.id;
        spaces.insert(id, Space::Parked { until: Instant::now() + time, exchange: Box::new(exchange) });
        Ok(())
    }

    /// Takes a call out. The place stays reserved until the call is parked again or [`leave`](Self::leave) is called.
    pub(crate) fn take(&self, call: CallId) -> Found {
        let taken = Space::Taken { until: Instant::now() + MAX_TAKEN };
        match self.spaces.lock().entry(call) {
            Entry::Vacant(place) => {
                place.insert(taken);
                Found::Nothing
            }
            Entry::Occupied(mut place) => match place.insert(taken) {
                Space::Parked { exchange, .. } => Found::Parked(exchange),
                Space::Taken { .. } => Found::Busy,
            },
        }
    }

    /// Gives up a place that was taken.
    pub(crate) fn leave(&self, call: CallId) {
        let mut spaces = self.spaces.lock();
        if matches!(spaces.get(&call), Some(Space::Taken { .. })) {
            spaces.remove(&call);
        }
    }

    /// Ends the calls whose time is over.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let over: Vec<Space> = {
            let mut spaces = self.spaces.lock();
            let late: Vec<CallId> = spaces
                .iter()
                .filter(|(_, space)| matches!(space, Space::Parked { until, .. } | Space::Taken { until } if *until <= now))
                .map(|(id, _)| *id)
                .collect();
            late.iter().filter_map(|id| spaces.remove(id)).collect()
        };
        // Dropped outside the lock: each one records its end.
        drop(over);
    }
}
