//! What one evaluation has left of its time and memory.
//!
//! Nothing in the evaluator recurses natively without a bound, so time and memory are all that has to be counted. Time
//! is the processor time of the thread, so that a busy machine does not change what an expression may do; it is read
//! once in a few thousand units of work, and never for a small expression.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::Limits;
use super::value::Val;

/// Levels of arrays and objects that a value may have. `serde_json` reads back no more than 127, and a result is kept
/// inside an event.
pub(super) const MAX_DEPTH: usize = 100;

/// Units of work between two readings of the clock: some 50 µs.
const CLOCK_EVERY: u32 = 2048;

/// Bytes that an allocation costs besides its content.
const OVERHEAD: usize = 48;

/// A bound was met, and which; nothing in the expression can catch this.
#[derive(Clone, Debug)]
pub(super) struct Stop(pub(super) String);

impl Stop {
    /// A value that would have too many levels.
    pub(super) fn too_deep() -> Self {
        Self(format!("a value may be nested at most {MAX_DEPTH} levels deep"))
    }
}

/// Why a function has no value.
#[derive(Clone, Debug)]
pub(super) enum Fault<'a> {
    /// jq's `error`; `try` can catch it.
    Raise(Val<'a>),
    Stop(Stop),
}

impl From<Stop> for Fault<'_> {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl Fault<'_> {
    /// An error with this message.
    pub(super) fn raise(message: impl Into<String>) -> Self {
        Self::Raise(Val::message(message.into()))
    }
}

/// The bytes that are alive, and how many may be.
#[derive(Debug)]
struct Meter {
    live: Cell<usize>,
    limit: usize,
}

/// Bytes that are counted as alive until this is dropped.
#[derive(Debug, Default)]
pub(super) struct Held {
    meter: Option<Rc<Meter>>,
    bytes: usize,
}

impl Held {
    /// Counts `bytes` more.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Stop> {
        if let Some(meter) = &self.meter {
            meter.take(bytes)?;
            self.bytes += bytes;
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(meter) = &self.meter {
            meter.live.set(meter.live.get().saturating_sub(self.bytes));
        }
    }
}

impl Meter {
    fn take(&self, bytes: usize) -> Result<(), Stop> {
        let live = self.live.get().saturating_add(bytes);
        if live > self.limit {
            return Err(Stop(format!("it needs more than {} of memory", size(self.limit))));
        }
        self.live.set(live);
        Ok(())
    }
}

fn size(bytes: usize) -> String {
    match bytes {
        0..0x400 => format!("{bytes} bytes"),
        0x400..0x10_0000 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// The budget of one evaluation.
#[derive(Debug)]
pub(super) struct Budget {
    meter: Rc<Meter>,
    ticks: Cell<u32>,
    started: Cell<Option<Duration>>,
    time: Duration,
}

impl Budget {
    /// All of `limits`.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            meter: Rc::new(Meter { live: Cell::new(0), limit: limits.memory }),
            ticks: Cell::new(0),
            started: Cell::new(None),
            time: limits.time,
        }
    }

    /// One step of the evaluator.
    #[inline]
    pub(super) fn step(&self) -> Result<(), Stop> {
        self.work(1)
    }

    /// `units` of work, each about as much as a step: some 20 ns.
    #[inline]
    pub(super) fn work(&self, units: usize) -> Result<(), Stop> {
        let ticks = self.ticks.get().saturating_add(u32::try_from(units).unwrap_or(u32::MAX));
        if ticks < CLOCK_EVERY {
            self.ticks.set(ticks);
            return Ok(());
        }
        self.ticks.set(0);
        self.look_at_clock()
    }

    /// The work of going once through `bytes` of text.
    pub(super) fn scan(&self, bytes: usize) -> Result<(), Stop> {
        self.work(1 + bytes / 16)
    }

    #[cold]
    fn look_at_clock(&self) -> Result<(), Stop> {
        let clock = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let now = Duration::new(clock.tv_sec.unsigned_abs(), u32::try_from(clock.tv_nsec).unwrap_or(0));
        match self.started.get() {
            None => self.started.set(Some(now)),
            Some(started) if now.saturating_sub(started) > self.time => {
                return Err(Stop(format!("it ran longer than {} ms", self.time.as_millis())));
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Counts `bytes` for as long as the result lives.
    pub(super) fn hold(&self, bytes: usize) -> Result<Held, Stop> {
        let bytes = bytes.saturating_add(OVERHEAD);
        self.meter.take(bytes)?;
        Ok(Held { meter: Some(self.meter.clone()), bytes })
    }

    /// Nothing yet, to grow.
    pub(super) fn nothing(&self) -> Held {
        Held { meter: Some(self.meter.clone()), bytes: 0 }
    }

    /// Whether `bytes` more could be taken: to be asked before they are allocated.
    pub(super) fn room(&self, bytes: usize) -> Result<(), Stop> {
        self.hold(bytes).map(drop)
    }

    /// Counts `bytes` until the end of the evaluation: those of its result.
    pub(super) fn spend(&self, bytes: usize) -> Result<(), Stop> {
        self.meter.take(bytes)
    }
}
