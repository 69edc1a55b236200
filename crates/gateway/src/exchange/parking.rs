//! Calls that wait for their caller to send the request again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use trunkline_model::CallId;

use super::Exchange;
use crate::{Error, Gateway};

/// The most calls that are parked at once.
const MAX_PARKED: usize = 10_000;

/// How long it is remembered that a call has ended: until the log has it, which may be written in batches.
const REMEMBERED: Duration = Duration::from_secs(5);

/// Calls that wait for their caller to send the request again.
#[derive(Default)]
pub(crate) struct Parking {
    spaces: Mutex<HashMap<CallId, Space>>,
}

enum Space {
    /// Waits for its caller.
    Parked { exchange: Box<Exchange>, until: Instant },
    /// A request has taken it and goes on with it.
    Taken,
    /// It has ended.
    Ended { until: Instant },
}

/// What a request finds that wants to go on with a call.
enum Found {
    /// The call, which is now this request's.
    Parked(Box<Exchange>),
    /// Another request goes on with it right now.
    Busy,
    /// It has ended.
    Ended,
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
    fn take(&self, call: CallId) -> Found {
        match self.spaces.lock().entry(call) {
            Entry::Vacant(place) => {
                place.insert(Space::Taken);
                Found::Nothing
            }
            Entry::Occupied(mut place) => match place.insert(Space::Taken) {
                Space::Parked { exchange, .. } => Found::Parked(exchange),
                Space::Taken => Found::Busy,
                Space::Ended { until } => {
                    place.insert(Space::Ended { until });
                    Found::Ended
                }
            },
        }
    }

    /// Gives up a place that was taken.
    fn leave(&self, call: CallId) {
        let mut spaces = self.spaces.lock();
        if matches!(spaces.get(&call), Some(Space::Taken)) {
            spaces.remove(&call);
        }
    }

    /// Notes that a call which had asked has ended.
    pub(crate) fn end(&self, call: CallId) {
        self.spaces.lock().insert(call, Space::Ended { until: Instant::now() + REMEMBERED });
    }

    /// Ends the calls whose time is over.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let over: Vec<Space> = {
            let mut spaces = self.spaces.lock();
            let late: Vec<CallId> = spaces
                .iter()
                .filter(|(_, space)| matches!(space, Space::Parked { until, .. } | Space::Ended { until } if *until <= now))
                .map(|(id, _)| *id)
                .collect();
            late.iter().filter_map(|id| spaces.remove(id)).collect()
        };
        // Dropped outside the lock: each one records its end.
        drop(over);
    }
}

/// A request's hold on a call that it goes on with. Given up with the request.
pub(crate) struct Place {
    gateway: Arc<Gateway>,
    call: CallId,
}

impl Place {
    /// Takes a call out of the gateway's parking. There is a place unless another request has it, or the call has
    /// ended.
    pub(super) fn take(gateway: &Arc<Gateway>, call: CallId) -> Result<(Self, Option<Exchange>), Error> {
        let exchange = match gateway.parking.take(call) {
            Found::Parked(exchange) => Some(*exchange),
            Found::Nothing => None,
            Found::Busy => return Err(Error::State("another request goes on with this call")),
            Found::Ended => return Err(Error::State("the call has ended")),
        };
        Ok((Self { gateway: gateway.clone(), call }, exchange))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gateway.parking.leave(self.call);
    }
}
