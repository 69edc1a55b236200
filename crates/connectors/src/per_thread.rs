//! One of a kind for each thread, so that threads do not share what they need not.
//!
//! The doors serve connections on threads of their own, each with its own event loop. A connection to a service is best
//! kept by the thread that made it: its event loop hears of its data, and no other thread has to be woken.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads beyond this many share with others. That costs speed, nothing else.
const SLOTS: usize = 16;

thread_local! {
    static SLOT: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % SLOTS
    };
}

/// One `T` for each thread.
#[derive(Debug)]
pub(crate) struct PerThread<T>([T; SLOTS]);

impl<T> PerThread<T> {
    /// Makes one for each thread.
    pub(crate) fn new(make: impl Fn() -> T) -> Self {
        Self(std::array::from_fn(|_| make()))
    }

    /// This thread's.
    pub(crate) fn here(&self) -> &T {
        &self.0[SLOT.with(|slot| *slot)]
    }

    /// Every thread's.
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}
