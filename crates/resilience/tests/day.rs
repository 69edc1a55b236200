//! A day of random faults in virtual time, and random schedules of calls that change something: nothing leaks, no breaker stays
//! open, and what may be made once is made once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use trunkline_model::{EffectState, Failure, Instance, Json, Outcome, Retry, ToolResult};
use trunkline_resilience::balance::{BalanceConfig, Balancer, Endpoint};
use trunkline_resilience::breaker::BreakerState;
use trunkline_resilience::guard::{BulkheadConfig, Chance, HedgeConfig, Verdict};
use trunkline_resilience::outlier::Outliers;
use trunkline_resilience::shed::Priority;
use trunkline_resilience::{Care, Guard, GuardConfig, ServiceGuard, verdict};

/// Chance with a seed (splitmix64).
fn chance(seed: u64) -> Chance {
    let state = AtomicU64::new(seed);
    Arc::new(move || {
        let mut z = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        #[expect(clippy::cast_precision_loss, reason = "a number from 0 to 1")]
        let uniform = ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
        uniform
    })
}

fn good() -> Outcome {
    ToolResult::raw(Json::empty_object(), false).into()
}

fn down(effect: EffectState) -> Failure {
    Failure::service("TL4005", "Down", "no answer", effect, "Wait.")
}

/// How an instance is for a while.
#[derive(Clone, Copy, Debug)]
enum Weather {
    Fine,
    Slow,
    Refusing,
    Losing,
    Hanging,
    Busy,
}

impl Weather {
    fn drawn(chance: &Chance) -> Self {
        match chance() {
            x if x < 0.6 => Self::Fine,
            x if x < 0.7 => Self::Slow,
            x if x < 0.8 => Self::Refusing,
            x if x < 0.87 => Self::Losing,
            x if x < 0.93 => Self::Hanging,
            _ => Self::Busy,
        }
    }

    async fn answer(self, chance: &Chance) -> Result<Outcome, Failure> {
        sleep(Duration::from_secs_f64(0.005 + 0.03 * chance())).await;
        match self {
            Self::Fine => Ok(good()),
            Self::Slow => {
                sleep(Duration::from_secs_f64(20.0 * chance())).await;
                Ok(good())
            }
            Self::Refusing => Err(down(EffectState::None)),
            Self::Losing => Err(down(EffectState::Unknown)),
            Self::Hanging => std::future::pending().await,
            // Once in a while somebody asks to be left alone for a year.
            Self::Busy => Err(Failure {
                status: 429,
                retry: Retry::After(Duration::from_secs(if chance() < 0.01 { 31_536_000 } else { 2 })),
                ..down(EffectState::None)
            }),
        }
    }
}

/// A service of three instances behind the guards of two tools.
struct World {
    chance: Chance,
    guards: [Guard; 2],
    service: Arc<ServiceGuard>,
    balancer: Balancer,
    outliers: Outliers,
    instances: Vec<Arc<Endpoint>>,
    weather: [AtomicU64; 3],
    calm: AtomicBool,
    made_twice: AtomicU32,
    good: AtomicU32,
    calls: AtomicU32,
}

impl World {
    fn new(seed: u64) -> Arc<Self> {
        let (now, chance) = (Instant::now().into_std(), chance(seed));
        let config = GuardConfig {
            hedge: HedgeConfig { after: 0.95 },
            bulkhead: BulkheadConfig { concurrent: 20, queued: 20, ..BulkheadConfig::default() },
            ..GuardConfig::default()
        };
        let service = ServiceGuard::new(config, chance.clone());
        let balance = BalanceConfig { slow_start_ms: 10_000, ..BalanceConfig::default() };
        Arc::new(Self {
            guards: [Guard::new(service.clone(), "a"), Guard::new(service.clone(), "b")],
            service,
            outliers: Outliers::new(balance.outliers.clone(), now),
            balancer: Balancer::new(balance, chance.clone()),
            instances: (0..3).map(|n| Endpoint::new(Instance::at(&format!("http://{n}/")), now)).collect(),
            weather: Default::default(),
            calm: AtomicBool::new(false),
            made_twice: AtomicU32::new(0),
            good: AtomicU32::new(0),
            calls: AtomicU32::new(0),
            chance,
        })
    }

    fn weather_at(&self, index: usize) -> Weather {
        if self.calm.load(Ordering::Relaxed) {
            return Weather::Fine;
        }
        // It changes every few minutes, at each instance by itself.
        Weather::drawn(&chance(self.weather[index].load(Ordering::Relaxed)))
    }

    async fn at_an_instance(&self) -> Result<Outcome, Failure> {
        let now = Instant::now().into_std();
        let picked = self.balancer.pick(&self.instances, &[], "", now);
        let Some(index) = picked else { return Err(down(EffectState::None)) };
        let endpoint = &self.instances[index];
        let flight = endpoint.begin(now);
        let outcome = self.weather_at(index).answer(&self.chance).await;
        let now = Instant::now().into_std();
        let well = match verdict(&outcome) {
            Verdict::Good => {
                flight.answered(now);
                true
            }
            Verdict::Bad(wish) => {
                flight.failed(now, wish);
                false
            }
        };
        self.outliers.saw(&self.instances, endpoint, well, now);
        outcome
    }

    async fn call(self: Arc<Self>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let (tool, care) = match (self.chance)() {
            x if x < 0.6 => (0, Care::ReadOnly),
            x if x < 0.8 => (1, Care::Repeatable),
            _ => (1, Care::Once),
        };
        let made = AtomicU32::new(0);
        let deadline = Instant::now() + Duration::from_secs(30);
        let call = self.guards[tool].call(
            "s/t",
            care,
            Priority::default(),
            deadline,
            || Duration::ZERO,
            || {
                if made.fetch_add(1, Ordering::Relaxed) > 0 && care == Care::Once {
                    self.made_twice.fetch_add(1, Ordering::Relaxed);
                }
                Box::pin(self.at_an_instance())
            },
        );
        // Callers go away, too: some before the end, all at their deadline.
        let patience =
            if (self.chance)() < 0.05 { Instant::now() + Duration::from_secs(1) } else { deadline };
        tokio::select! {
            outcome = call => drop(self.good.fetch_add(u32::from(outcome.is_ok()), Ordering::Relaxed)),
            () = sleep_until(patience) => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_day_of_faults_leaks_nothing_and_leaves_nothing_stuck() {
    let world = World::new(20_261_123);
    let mut calls = JoinSet::new();
    let end = Instant::now() + Duration::from_secs(24 * 3_600);
    let mut change = Instant::now();
    while Instant::now() < end {
        if Instant::now() >= change {
            for weather in &world.weather {
                if (world.chance)() < 0.5 {
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a seed")]
                    weather.store(((world.chance)() * 1e9) as u64, Ordering::Relaxed);
                }
            }
            change += Duration::from_secs(180);
        }
        calls.spawn(world.clone().call());
        while calls.try_join_next().is_some() {}
        // Bursts: now and then more come than may run.
        let pause = if (world.chance)() < 0.01 { 0.0 } else { 2.0 * (world.chance)() };
        sleep(Duration::from_secs_f64(pause)).await;
    }
    while calls.join_next().await.is_some() {}
    assert_eq!(world.made_twice.load(Ordering::Relaxed), 0);
    let load = world.service.load();
    assert_eq!((load.running, load.waiting), (0, 0), "a permit was lost");
    assert!(world.instances.iter().all(|one| one.status(Instant::now().into_std()).pending == 0));
    let (good, all) = (world.good.load(Ordering::Relaxed), world.calls.load(Ordering::Relaxed));
    assert!(all > 80_000 && good * 10 > all * 6, "{good} of {all}");
    // All is well again: within some minutes everything is used as if nothing had been.
    world.calm.store(true, Ordering::Relaxed);
    for _ in 0..400 {
        world.clone().call().await;
        sleep(Duration::from_secs(1)).await;
    }
    let now = Instant::now().into_std();
    assert!(world.instances.iter().all(|one| one.is_usable(now)));
    for guard in &world.guards {
        assert_eq!(guard.state().breaker, BreakerState::Closed);
    }
    let before = world.good.load(Ordering::Relaxed);
    for _ in 0..100 {
        world.clone().call().await;
    }
    assert!(world.good.load(Ordering::Relaxed) - before >= 99);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever a service does, and whenever: a change is sent once by retries, probes and hedges together, and what is sent more
    /// than once is only what may be.
    #[test]
    fn a_change_is_sent_once(seed in any::<u64>(), hedge in 0.0..1.0_f64, pauses in prop::collection::vec(0_u64..3_000, 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let most = runtime.block_on(async {
            let random = chance(seed);
            let config = GuardConfig { hedge: HedgeConfig { after: hedge }, ..GuardConfig::default() };
            let guard = Arc::new(Guard::new(ServiceGuard::new(config, random.clone()), "t"));
            let mut calls = JoinSet::new();
            for pause in pauses {
                sleep(Duration::from_millis(pause)).await;
                if random() < 0.1 {
                    guard.back();
                }
                let care = if random() < 0.5 { Care::Once } else { Care::ReadOnly };
                let (guard, random) = (guard.clone(), random.clone());
                calls.spawn(async move {
                    let sent = AtomicU32::new(0);
                    let deadline = Instant::now() + Duration::from_secs(20);
                    let call = guard.call("s/t", care, Priority::default(), deadline, || Duration::ZERO, || {
                        sent.fetch_add(1, Ordering::Relaxed);
                        let random = random.clone();
                        Box::pin(async move { Weather::drawn(&random).answer(&random).await })
                    });
                    let _ = tokio::time::timeout_at(deadline, call).await;
                    (care, sent.into_inner())
                });
            }
            let mut most = 0;
            while let Some(call) = calls.join_next().await {
                let (care, sent) = call.unwrap();
                if care == Care::Once {
                    most = most.max(sent);
                }
            }
            most
        });
        prop_assert!(most <= 1, "a change was sent {} times", most);
    }
}
