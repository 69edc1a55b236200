//! A bulkhead: so many calls of a service at a time, and so many that wait. One slow service does not take up everything.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

/// So many calls at a time, and so many that wait.
#[derive(Debug)]
pub struct Bulkhead {
    permits: Semaphore,
    /// Calls that wait or run.
    present: Semaphore,
    concurrent: usize,
    queued: usize,
}

/// Why a call did not get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// As many wait already as may.
    Queue,
    /// It has waited as long as it could.
    Waited,
}

/// A place in the bulkhead, given back when it is dropped.
#[derive(Debug)]
pub struct Place<'a> {
    _running: SemaphorePermit<'a>,
    _present: SemaphorePermit<'a>,
}

impl Bulkhead {
    /// `concurrent` calls at a time and `queued` that wait.
    #[must_use]
    pub fn new(concurrent: usize, queued: usize) -> Self {
        let concurrent = concurrent.clamp(1, Semaphore::MAX_PERMITS / 2);
        let queued = queued.min(Semaphore::MAX_PERMITS / 2);
        Self {
            permits: Semaphore::new(concurrent),
            present: Semaphore::new(concurrent + queued),
            concurrent,
            queued,
        }
    }

    /// Waits for a place, in the order of arrival, until `deadline` at the latest.
    ///
    /// # Errors
    /// [`Full`].
    pub async fn enter(&self, deadline: Instant) -> Result<Place<'_>, Full> {
        let present = self.present.try_acquire().map_err(|_| Full::Queue)?;
        let running = match self.permits.try_acquire() {
            Ok(running) => running,
            Err(_) => match timeout_at(deadline, self.permits.acquire()).await {
                Ok(Ok(running)) => running,
                Ok(Err(_)) | Err(_) => return Err(Full::Waited),
            },
        };
        Ok(Place { _running: running, _present: present })
    }

    /// How many calls run and wait now.
    #[must_use]
    pub fn occupied(&self) -> (usize, usize) {
        let running = self.concurrent - self.permits.available_permits();
        let present = self.concurrent + self.queued - self.present.available_permits();
        (running, present.saturating_sub(running))
    }

    /// A guess at when there is room again: the time of a call for each round of those that wait.
    #[must_use]
    pub fn room_in(&self, usual: Duration) -> Duration {
        let (_, waiting) = self.occupied();
        let rounds = u32::try_from(waiting / self.concurrent + 1).unwrap_or(u32::MAX);
        usual.saturating_mul(rounds).min(Duration::from_secs(60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_run_so_many_wait_and_the_rest_is_refused() {
        let bulkhead = Bulkhead::new(1, 1);
        let soon = || Instant::now() + Duration::from_secs(1);
        let first = bulkhead.enter(soon()).await.unwrap();
        let mut second = Box::pin(bulkhead.enter(soon()));
        let moment = tokio::time::timeout(Duration::ZERO, &mut second).await;
        assert!(moment.is_err(), "it waits");
        assert_eq!(bulkhead.occupied(), (1, 1));
        assert_eq!(bulkhead.enter(soon()).await.err(), Some(Full::Queue));
        assert_eq!(second.await.err(), Some(Full::Waited));
        drop(first);
        assert_eq!(bulkhead.occupied(), (0, 0));
        drop(bulkhead.enter(soon()).await.unwrap());
    }
}
