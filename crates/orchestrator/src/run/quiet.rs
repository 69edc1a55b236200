//! Whether all of a run waits for a time. It can be put aside then, as its journal says all there is to know.
//!
//! What is counted are the branches that are at the same time and those of them that pause: only where every branch
//! pauses does nothing else go on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;

use jiff::Timestamp;
use parking_lot::Mutex;

use super::Run;

/// The branches and the times of a run.
#[derive(Default)]
pub(crate) struct Quiet(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    /// Branches beyond the first.
    more: usize,
    pausing: usize,
    /// Until when pauses and time limits last.
    times: BTreeMap<Timestamp, usize>,
    /// How many want the run to stay in memory.
    held: usize,
    /// Told when nobody does any more.
    waker: Option<Waker>,
}

impl Quiet {
    /// The earliest time at which something happens, where all branches pause. Where that is only kept from being so
    /// because somebody holds the run, `waker` is woken when nobody does any more.
    pub(crate) fn until(&self, waker: &Waker) -> Option<Timestamp> {
        let mut counts = self.0.lock();
        if counts.pausing <= counts.more {
            return None;
        }
        if counts.held > 0 {
            counts.waker = Some(waker.clone());
            return None;
        }
        counts.times.first_key_value().map(|(time, _)| *time)
    }

    /// A branch pauses until a time, as long as the guard lives.
    pub(crate) fn pause(&self, until: Timestamp) -> Timed<'_> {
        self.timed(until, 1)
    }

    /// Something is over at a time, beside what its branch does.
    pub(crate) fn limit(&self, until: Timestamp) -> Timed<'_> {
        self.timed(until, 0)
    }

    fn timed(&self, until: Timestamp, pausing: usize) -> Timed<'_> {
        let mut counts = self.0.lock();
        counts.pausing += pausing;
        *counts.times.entry(until).or_default() += 1;
        Timed { quiet: self, until, pausing }
    }

    /// Several branches at the same time in place of one.
    pub(crate) fn fan(&self) -> Fan<'_> {
        Fan { quiet: self, more: 0 }
    }
}

/// A run that stays in memory as long as this lives.
pub(crate) struct Held(pub(crate) Arc<Run>);

impl Held {
    pub(crate) fn new(run: Arc<Run>) -> Self {
        run.quiet.0.lock().held += 1;
        Self(run)
    }
}

impl std::ops::Deref for Held {
    type Target = Arc<Run>;

    fn deref(&self) -> &Arc<Run> {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut counts = self.0.quiet.0.lock();
        counts.held -= 1;
        if counts.held == 0
            && let Some(waker) = counts.waker.take()
        {
            waker.wake();
        }
    }
}

/// A pause or a limit.
pub(crate) struct Timed<'a> {
    quiet: &'a Quiet,
    until: Timestamp,
    pausing: usize,
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        let mut counts = self.quiet.0.lock();
        counts.pausing -= self.pausing;
        if let Some(count) = counts.times.get_mut(&self.until) {
            *count -= 1;
            if *count == 0 {
                counts.times.remove(&self.until);
            }
        }
    }
}

/// Branches at the same time.
pub(crate) struct Fan<'a> {
    quiet: &'a Quiet,
    more: usize,
}

impl Fan<'_> {
    /// There are so many now.
    pub(crate) fn are(&mut self, branches: usize) {
        let more = branches.saturating_sub(1);
        if more != self.more {
            let mut counts = self.quiet.0.lock();
            counts.more = counts.more + more - self.more;
            self.more = more;
        }
    }
}

impl Drop for Fan<'_> {
    fn drop(&mut self) {
        self.quiet.0.lock().more -= self.more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_quiet_where_every_branch_pauses() {
        let time = |second| Timestamp::from_second(second).unwrap();
        let quiet = Quiet::default();
        assert_eq!(quiet.until(Waker::noop()), None);
        let limit = quiet.limit(time(50));
        assert_eq!(quiet.until(Waker::noop()), None, "a limit is no pause");
        let mut fan = quiet.fan();
        fan.are(2);
        let one = quiet.pause(time(100));
        assert_eq!(quiet.until(Waker::noop()), None, "the other branch does something");
        let other = quiet.pause(time(70));
        assert_eq!(quiet.until(Waker::noop()), Some(time(50)));
        drop(limit);
        assert_eq!(quiet.until(Waker::noop()), Some(time(70)));
        drop(other);
        fan.are(1);
        assert_eq!(quiet.until(Waker::noop()), Some(time(100)));
        drop((one, fan));
        assert_eq!(quiet.until(Waker::noop()), None);
    }
}
