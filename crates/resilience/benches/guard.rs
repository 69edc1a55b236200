//! What the guard of a tool costs a call: a tool that does nothing, straight and through its guard, in turn, in one run.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkline_model::{BoxFuture, Failure, Json, Outcome, ToolResult};
use trunkline_resilience::guard::HedgeConfig;
use trunkline_resilience::shed::Priority;
use trunkline_resilience::{Care, Guard, GuardConfig, ServiceGuard};

/// Calls of a batch: a batch is timed as a whole.
const BATCH: u32 = 1_000;

/// Batches of a leg.
const BATCHES: usize = 500;

/// The bar, in nanoseconds a call at the median.
const BAR: f64 = 2_000.0;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let Ok(runtime) = runtime else { return };
    let config = GuardConfig { hedge: HedgeConfig { after: 0.95 }, ..GuardConfig::default() };
    let guard = Guard::new(ServiceGuard::new(config, Arc::new(|| 0.5)));
    let answer = Outcome::from(ToolResult::raw(Json::empty_object(), false));
    let make = || -> BoxFuture<'static, Result<Outcome, Failure>> {
        let answer = answer.clone();
        Box::pin(async move { Ok(answer) })
    };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(3_600);
    let (mut straight, mut once, mut read) = (Vec::new(), Vec::new(), Vec::new());
    runtime.block_on(async {
        for _ in 0..BATCHES {
            let start = Instant::now();
            for _ in 0..BATCH {
                let _ = black_box(make().await);
            }
            straight.push(start.elapsed() / BATCH);
            for (care, times) in [(Care::Once, &mut once), (Care::ReadOnly, &mut read)] {
                let start = Instant::now();
                for _ in 0..BATCH {
                    let _ = black_box(
                        guard.call("s/t", care, Priority::default(), deadline, || Duration::ZERO, make).await,
                    );
                }
                times.push(start.elapsed() / BATCH);
            }
        }
    });
    let figures = [("straight", straight), ("guarded, made once", once), ("guarded, read only", read)]
        .map(|(name, times)| (name, quantile(times, 0.5)));
    println!("{:<22} {:>10}", "a call that", "ns, median");
    for (name, median) in &figures {
        println!("{name:<22} {median:>10.0}");
    }
    let cost = figures[2].1 - figures[0].1;
    println!(
        "the guard costs {cost:.0} ns a call; the bar is {BAR:.0}: {}",
        if cost <= BAR { "met" } else { "MISSED" }
    );
    println!(
        "{{\"bench\":\"resilience\",\"guard_ns\":{cost:.0},\"bar_ns\":{BAR:.0},\"bars_met\":{}}}",
        cost <= BAR
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
