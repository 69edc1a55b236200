//! What the whole way of a call through resilience costs: a tool that does nothing, straight, through its guard, and through
//! limits, the search for loops, the priority and its guard, in turn, in one run.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkline_model::{BoxFuture, Failure, Json, Outcome, ToolResult};
use trunkline_resilience::guard::HedgeConfig;
use trunkline_resilience::rate::{Limits, Rate};
use trunkline_resilience::repetition::{LoopsConfig, Repetitions};
use trunkline_resilience::shed::{Class, Priority};
use trunkline_resilience::{Care, Guard, GuardConfig, ServiceGuard};

/// Calls of a batch: a batch is timed as a whole.
const BATCH: u32 = 1_000;

/// Batches of a leg.
const BATCHES: usize = 500;

/// The bar, in nanoseconds a call at the median.
const BAR: f64 = 2_000.0;

type Called = Result<Outcome, Failure>;

/// What stands before the tool.
struct Stack {
    guard: Guard,
    /// A limit on calls, and one on tokens, which is debited after the call.
    limits: [Limits; 2],
    loops: Repetitions<(Arc<str>, Option<Arc<str>>), u32>,
    who: (Arc<str>, Option<Arc<str>>),
    begun: Instant,
    deadline: tokio::time::Instant,
}

impl Stack {
    fn new() -> Self {
        let now = Instant::now();
        let config = GuardConfig { hedge: HedgeConfig { after: 0.95 }, ..GuardConfig::default() };
        let rate = Rate { units: 1 << 40, every: Duration::from_secs(1), burst: 1 << 40 };
        Self {
            guard: Guard::new(ServiceGuard::new(config, Arc::new(|| 0.5)), "t"),
            limits: std::array::from_fn(|_| Limits::new(rate, 100_000, now)),
            loops: Repetitions::new(LoopsConfig { calls: u32::MAX, ..LoopsConfig::default() }),
            who: ("ada".into(), Some("conversation".into())),
            begun: now,
            deadline: tokio::time::Instant::now() + Duration::from_secs(3_600),
        }
    }

    async fn guarded<'a>(
        &self,
        care: Care,
        priority: Priority,
        make: impl Fn() -> BoxFuture<'a, Called>,
    ) -> Called {
        self.guard.call("s/t", care, priority, self.deadline, || Duration::ZERO, make).await
    }

    async fn whole<'a>(&self, make: impl Fn() -> BoxFuture<'a, Called>) -> Called {
        let now = Instant::now();
        let times = self.loops.begins(&self.who, now, |last| *last == 7, || 7);
        for limit in &self.limits {
            let _ = black_box(limit.take("ada\n", 1, now));
        }
        let priority = Priority::new(Class::Normal, "ada", now - self.begun);
        let outcome = self.guarded(Care::ReadOnly, priority, make).await;
        self.limits[1].debit("ada\n", 20, Instant::now());
        self.loops.answered(&self.who, times.unwrap_or(0), || 1);
        outcome
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let Ok(runtime) = runtime else { return };
    let answer = Outcome::from(ToolResult::raw(Json::empty_object(), false));
    let make = || -> BoxFuture<'static, Called> {
        let answer = answer.clone();
        Box::pin(async move { Ok(answer) })
    };
    let mut times: [Vec<Duration>; 4] = Default::default();
    runtime.block_on(async {
        let stack = Stack::new();
        for _ in 0..BATCHES {
            for (leg, times) in times.iter_mut().enumerate() {
                let start = Instant::now();
                for _ in 0..BATCH {
                    let _ = black_box(match leg {
                        0 => make().await,
                        1 => stack.guarded(Care::Once, Priority::default(), make).await,
                        2 => stack.guarded(Care::ReadOnly, Priority::default(), make).await,
                        _ => stack.whole(make).await,
                    });
                }
                times.push(start.elapsed() / BATCH);
            }
        }
    });
    let medians = times.map(|times| quantile(times, 0.5));
    println!("{:<42} {:>10}", "a call that is", "ns, median");
    let names = [
        "made straight",
        "guarded, made once",
        "guarded, read only",
        "limited, watched for loops and guarded",
    ];
    for (name, median) in names.iter().zip(medians) {
        println!("{name:<42} {median:>10.0}");
    }
    let (guard, whole) = (medians[2] - medians[0], medians[3] - medians[0]);
    let met = whole <= BAR;
    println!(
        "all of it costs {whole:.0} ns a call; the bar is {BAR:.0}: {}",
        if met { "met" } else { "MISSED" }
    );
    println!(
        "{{\"bench\":\"resilience\",\"guard_ns\":{guard:.0},\"whole_ns\":{whole:.0},\"bar_ns\":{BAR:.0},\"bars_met\":{met}}}"
    );
}

fn quantile(mut times: Vec<Duration>, share: f64) -> f64 {
    times.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "an index into a short list"
    )]
    let index = ((times.len() - 1) as f64 * share) as usize;
    times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e9)
}
