//! Which faults hit which exchange: chance from the seed, the number of the connection and that of the exchange on it, so
//! that it does not matter in which order things happen.

use std::time::Duration;

use super::script::{Fault, Kind};

/// A number generator (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number from 0 to just under 1.
    fn share(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let share = (self.roll() >> 11) as f64 / (1_u64 << 53) as f64;
        share
    }
}

/// What happens to one exchange.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Lot {
    /// Before the first byte of the answer.
    pub(super) latency: Duration,
    /// Bytes a second.
    pub(super) bandwidth: Option<u64>,
    /// After so many bytes of the answer.
    pub(super) cut: Option<(u64, Cut)>,
    pub(super) half_open: bool,
    /// An answer in place of the service's: the status and `Retry-After`.
    pub(super) error: Option<(u16, Option<u64>)>,
}

/// What happens in the midst of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Stall(Duration),
    Reset,
    Truncate,
}

/// Throws the dice for an exchange. Returns the kinds that hit, too.
pub(super) fn throw(seed: u64, connection: u64, exchange: u64, faults: &[Fault]) -> (Lot, Vec<Kind>) {
    let mut dice = Dice(seed);
    let start = dice.roll() ^ connection;
    let mut dice = Dice(start);
    let start = dice.roll() ^ exchange;
    let mut dice = Dice(start);
    let mut lot = Lot::default();
    let mut hits = Vec::new();
    for fault in faults {
        // Both are thrown in any case, so that one fault does not change what another does.
        let (hit, more) = (dice.share() < fault.share, dice.share());
        if !hit {
            continue;
        }
        hits.push(fault.kind);
        let cut = |cut| Some((fault.after_bytes, cut));
        match fault.kind {
            Kind::Latency => {
                let jitter = Duration::from_millis(fault.jitter_ms).mul_f64(more);
                lot.latency += Duration::from_millis(fault.ms) + jitter;
            }
            Kind::Stall => lot.cut = lot.cut.or(cut(Cut::Stall(Duration::from_millis(fault.ms)))),
            Kind::Reset => lot.cut = lot.cut.or(cut(Cut::Reset)),
            Kind::Truncate => lot.cut = lot.cut.or(cut(Cut::Truncate)),
            Kind::HalfOpen => lot.half_open = true,
            Kind::Bandwidth => {
                let rate = fault.kib_s << 10;
                lot.bandwidth = Some(lot.bandwidth.map_or(rate, |other| other.min(rate)));
            }
            Kind::Error => lot.error = lot.error.or(Some((fault.status, fault.retry_after_s))),
        }
    }
    (lot, hits)
}
