//! What a call of one tool passes through on its way out: breaker, bulkhead, timeout, retry, hedge.
//!
//! A call that may change something and is not keyed is made once, whatever happens: it is not tried again and not hedged. What counts as a failure of the service is that it could not be asked or did not answer, or that it
//! asked for less (429). A tool's own error is an answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use trunkline_model::{EffectState, Failure, Fault, Outcome, Retry};

use crate::adaptive::AdaptiveConfig;
use crate::breaker::{Breaker, BreakerConfig, BreakerState};
use crate::budget::Budget;
use crate::bulkhead::{Bulkhead, Full, Load, Place};
use crate::error::Error;
use crate::latency::Latency;
use crate::shed::Priority;
use crate::strategy::{self, Change, Choice, StrategyConfig};

/// Calls there have to be before a timeout or a hedge goes by how long they took.
const LEAST: u64 = 50;

/// How long calls are remembered: one to two times this.
const REMEMBERED: Duration = Duration::from_secs(60);

/// The longest pause that a service may ask for before another attempt.
const MAX_WISH: Duration = Duration::from_secs(60);

/// How calls of a service are guarded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GuardConfig {
    /// When calls are not made for a while.
    pub breaker: BreakerConfig,
    /// How failed calls are made again: those only that read, are idempotent, or carry a key that the tool recognises.
    pub retry: RetryConfig,
    /// How long an attempt may take.
    pub timeout: TimeoutConfig,
    /// How slow calls that only read are made a second time meanwhile.
    pub hedge: HedgeConfig,
    /// How many calls there may be at a time.
    pub bulkhead: BulkheadConfig,
    /// How further attempts and hedges follow what is seen of the service.
    pub strategy: StrategyConfig,
    /// How that follows what the service can take.
    pub adaptive: AdaptiveConfig,
}

/// How failed calls are made again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryConfig {
    /// Attempts at a call, the first one included.
    pub attempts: u32,
    /// The pause before the second attempt is chance between nothing and this, in milliseconds; it doubles.
    pub base_ms: u64,
    /// The longest pause, in milliseconds.
    pub max_ms: u64,
    /// Further attempts as a share of the calls of the last ten seconds, from 0 to 1.
    pub budget: f64,
    /// Further attempts that there always may be in ten seconds.
    pub budget_min: u32,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { attempts: 3, base_ms: 100, max_ms: 5_000, budget: 0.2, budget_min: 3 }
    }
}

/// How long an attempt may take that may be made again: some times what nearly all calls of the tool took lately, within
/// bounds. A call that may be made once has its caller's deadline alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TimeoutConfig {
    /// The shortest, in milliseconds.
    pub min_ms: u64,
    /// The longest, in milliseconds, and what holds before there are calls to go by.
    pub max_ms: u64,
    /// How many times the 99th percentile.
    pub factor: f64,
}

impl Default for TimeoutConfig {
    fn default() -> Self {
        Self { min_ms: 10_000, max_ms: 120_000, factor: 4.0 }
    }
}

/// How slow calls that only read are made a second time meanwhile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HedgeConfig {
    /// The share of calls that have ended when a second one is made (0.95: the slowest twentieth is hedged). 0: never.
    pub after: f64,
}

impl Default for HedgeConfig {
    fn default() -> Self {
        Self { after: 0.0 }
    }
}

/// How many calls there may be at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BulkheadConfig {
    /// Calls of the service at a time.
    pub concurrent: usize,
    /// Calls that wait for others.
    pub queued: usize,
    /// What holds for each tool by itself as well; the service's bounds alone where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_tool: Option<ToolBulkheadConfig>,
    /// What holds for single tools in place of `per_tool`, by the tool's own name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, ToolBulkheadConfig>,
}

impl Default for BulkheadConfig {
    fn default() -> Self {
        Self { concurrent: 256, queued: 1_024, per_tool: None, tools: BTreeMap::new() }
    }
}

impl BulkheadConfig {
    /// What holds for one tool by itself.
    fn of_tool(&self, tool: &str) -> Option<&ToolBulkheadConfig> {
        self.tools.get(tool).or(self.per_tool.as_ref())
    }
}

/// How many calls of one tool there may be at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolBulkheadConfig {
    /// Calls of the tool at a time.
    pub concurrent: usize,
    /// Calls that wait for others of the tool; none where left out.
    #[serde(default)]
    pub queued: usize,
}

/// What may be done with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// It changes nothing: it may be made twice at a time.
    ReadOnly,
    /// Making it again changes nothing more.
    Repeatable,
    /// It is made once.
    Once,
}

/// A random number from 0 to 1.
pub type Chance = Arc<dyn Fn() -> f64 + Send + Sync>;

/// What the tools of a service share.
pub struct ServiceGuard {
    config: GuardConfig,
    bulkhead: Arc<Bulkhead>,
    budget: Budget,
    strategy: strategy::Strategy,
    chance: Chance,
}

/// What stands before one tool.
pub struct Guard {
    service: Arc<ServiceGuard>,
    breaker: Breaker,
    latency: Latency,
    /// Where the tool has bounds of its own.
    own: Option<Arc<Bulkhead>>,
}

/// How the guard of a tool is, for people.
#[derive(Clone, Debug, Serialize)]
pub struct GuardState {
    /// The breaker.
    pub breaker: BreakerState,
    /// The time within which 99 of 100 calls ended lately, in milliseconds.
    pub p99_ms: Option<f64>,
    /// The longest that an attempt may take now, in milliseconds.
    pub timeout_ms: u64,
    /// How many calls run and wait, and may run, where the tool has bounds of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
}

impl ServiceGuard {
    /// What the tools of a service share.
    #[must_use]
    pub fn new(config: GuardConfig, chance: Chance) -> Arc<Self> {
        let now = Instant::now().into_std();
        Arc::new(Self {
            bulkhead: Bulkhead::new(
                config.bulkhead.concurrent,
                config.bulkhead.queued,
                &config.adaptive,
                chance.clone(),
            ),
            budget: Budget::new(config.retry.budget, config.retry.budget_min, now),
            strategy: strategy::Strategy::new(config.strategy.clone(), config.retry.attempts, now),
            config,
            chance,
        })
    }

    /// How it was configured.
    #[must_use]
    pub fn config(&self) -> &GuardConfig {
        &self.config
    }

    /// What is chosen for it from what was seen.
    #[must_use]
    pub fn choice(&self) -> Choice {
        self.strategy.choice()
    }

    /// Chooses anew, where it is time. Gives what has changed.
    pub fn adapt(&self) -> Option<Change> {
        self.strategy.adapt(Instant::now().into_std())
    }

    /// How many calls run and wait now, and may run.
    #[must_use]
    pub fn load(&self) -> Load {
        self.bulkhead.load()
    }
}

/// What came of an attempt, as far as the service is judged by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The service has answered, if only to refuse.
    Good,
    /// It could not be asked, did not answer, or asked for less, and wants to be left alone for this long.
    Bad(Option<Duration>),
}

impl Guard {
    /// The guard of one tool, by its own name.
    #[must_use]
    pub fn new(service: Arc<ServiceGuard>, tool: &str) -> Self {
        let now = Instant::now().into_std();
        let breaker = Breaker::new(service.config.breaker.clone(), now);
        let fixed = AdaptiveConfig { enabled: false, ..AdaptiveConfig::default() };
        let own = service
            .config
            .bulkhead
            .of_tool(tool)
            .map(|own| Bulkhead::new(own.concurrent, own.queued, &fixed, service.chance.clone()));
        Self { service, breaker, latency: Latency::new(REMEMBERED, now), own }
    }

    /// The service says that it is back: the next call may find out.
    pub fn back(&self) {
        self.breaker.probe_now(Instant::now().into_std());
    }

    /// How it is.
    #[must_use]
    pub fn state(&self) -> GuardState {
        let now = Instant::now().into_std();
        let p99 = self.latency.quantile(now, 0.99, 1);
        GuardState {
            breaker: self.breaker.state(now),
            p99_ms: p99.map(|time| time.as_secs_f64() * 1e3),
            timeout_ms: u64::try_from(self.timeout().as_millis()).unwrap_or(u64::MAX),
            load: self.own.as_ref().map(|own| own.load()),
        }
    }

    /// Makes a call, as often as it may be made and has to be. `target` names the tool in errors. `waited` tells how long the
    /// call has waited for people's answers, which counts against no limit.
    ///
    /// # Errors
    /// [`Failure`] of the last attempt, or that no attempt was made: the breaker is open, or too many calls wait.
    pub async fn call<F: Future<Output = Result<Outcome, Failure>>>(
        &self,
        target: &str,
        care: Care,
        priority: Priority,
        deadline: Instant,
        waited: impl Fn() -> Duration,
        make: impl Fn() -> F,
    ) -> Result<Outcome, Failure> {
        let service = &*self.service;
        // The tool's own first: who waits for that takes no place from the other tools.
        let _own = match &self.own {
            Some(own) => Some(self.enter(own, target, priority, deadline).await?),
            None => None,
        };
        let mut place = self.enter(&service.bulkhead, target, priority, deadline).await?;
        service.budget.call(Instant::now().into_std());
        let mut attempt = 1;
        loop {
            let (now, before) = (Instant::now(), waited());
            // A change that may have happened already is not what finds out whether the service is back.
            let probe = attempt == 1 || care == Care::ReadOnly;
            let pass = match self.breaker.admit(now.into_std(), probe) {
                Ok(pass) => pass,
                Err(refused) => {
                    return Err(Error::Open { target: target.to_owned(), after: refused.after }.into());
                }
            };
            let outcome = self.attempt(target, care, deadline, &waited, &make).await;
            let ended = Instant::now();
            let good = verdict(&outcome) == Verdict::Good;
            service.strategy.saw(good, ended - now, ended.into_std());
            let wish = match verdict(&outcome) {
                Verdict::Good => {
                    let time = ended - now;
                    self.latency.took(ended.into_std(), time);
                    place.took(time.saturating_sub(waited().saturating_sub(before)));
                    pass.succeeded(ended.into_std());
                    return outcome;
                }
                Verdict::Bad(wish) => {
                    let too_many = wish.is_some() || asks_for_less(&outcome);
                    pass.failed(ended.into_std(), wish, (service.chance)());
                    if too_many {
                        place.pushed_back();
                    }
                    wish
                }
            };
            let may =
                care != Care::Once && attempt < service.strategy.choice().attempts && asks_again(&outcome);
            let pause = self.pause(attempt, wish);
            if !may || ended + pause >= deadline || !service.budget.take(ended.into_std()) {
                return outcome;
            }
            attempt += 1;
            sleep(pause).await;
        }
    }

    /// A place among the calls of the service, or of the tool.
    async fn enter(
        &self,
        bulkhead: &Arc<Bulkhead>,
        target: &str,
        priority: Priority,
        deadline: Instant,
    ) -> Result<Place, Failure> {
        let full = match bulkhead.enter(priority, deadline).await {
            Ok(place) => return Ok(place),
            Err(full) => full,
        };
        let (target, after) = (target.to_owned(), bulkhead.room_in(self.usual()));
        Err(match full {
            Full::Shed => Error::Shed { target, class: priority.class(), after },
            Full::Queue | Full::Waited => Error::Full { target, waited: full == Full::Waited, after },
        }
        .into())
    }

    /// One attempt, hedged where that is wanted.
    async fn attempt<F: Future<Output = Result<Outcome, Failure>>>(
        &self,
        target: &str,
        care: Care,
        deadline: Instant,
        waited: &impl Fn() -> Duration,
        make: &impl Fn() -> F,
    ) -> Result<Outcome, Failure> {
        if care == Care::Once {
            return make().await;
        }
        let limit = self.timeout();
        let (start, before) = (Instant::now(), waited());
        let hedged = async {
            let mut first = std::pin::pin!(make());
            let Some(after) = self.hedge_after(care) else { return first.await };
            tokio::select! {
                biased;
                outcome = &mut first => return outcome,
                () = sleep_until(Instant::now() + after) => {}
            }
            if !self.service.budget.take(Instant::now().into_std()) {
                return first.await;
            }
            let mut second = std::pin::pin!(make());
            tokio::select! {
                biased;
                outcome = &mut first => if outcome.is_ok() { outcome } else { second.await },
                outcome = &mut second => if outcome.is_ok() { outcome } else { first.await },
            }
        };
        let mut hedged = std::pin::pin!(hedged);
        loop {
            let until = deadline.min(start + limit + waited().saturating_sub(before));
            if let Ok(outcome) = timeout_at(until, &mut hedged).await {
                return outcome;
            }
            if Instant::now() >= deadline.min(start + limit + waited().saturating_sub(before)) {
                return Err(Error::Slow { target: target.to_owned(), limit }.into());
            }
        }
    }

    /// The longest that an attempt may take now.
    fn timeout(&self) -> Duration {
        let config = &self.service.config.timeout;
        let (min, max) = (Duration::from_millis(config.min_ms), Duration::from_millis(config.max_ms));
        let p99 = self.latency.quantile(Instant::now().into_std(), 0.99, LEAST);
        p99.map_or(max, |time| time.mul_f64(config.factor.clamp(1.0, 1e3)).clamp(min.min(max), max))
    }

    fn hedge_after(&self, care: Care) -> Option<Duration> {
        let configured = self.service.config.hedge.after;
        let after = self.service.strategy.hedge_after().filter(|_| configured <= 0.0).unwrap_or(configured);
        if care != Care::ReadOnly || after <= 0.0 {
            return None;
        }
        self.latency.quantile(Instant::now().into_std(), after, LEAST)
    }

    /// How long a call takes, for those that wait.
    fn usual(&self) -> Duration {
        let median = self.latency.quantile(Instant::now().into_std(), 0.5, 1);
        median.unwrap_or(Duration::from_secs(1))
    }

    /// The pause before another attempt: chance, at least what the service asked for.
    fn pause(&self, attempt: u32, wish: Option<Duration>) -> Duration {
        let retry = &self.service.config.retry;
        let most =
            Duration::from_millis(retry.base_ms).saturating_mul(1 << attempt.saturating_sub(1).min(16));
        let most = most.min(Duration::from_millis(retry.max_ms));
        let pause = most.mul_f64((self.service.chance)().clamp(0.0, 1.0));
        pause.max(wish.unwrap_or_default().min(MAX_WISH))
    }
}

/// Whether the service failed.
#[must_use]
pub fn verdict(outcome: &Result<Outcome, Failure>) -> Verdict {
    match outcome {
        Ok(Outcome::Complete(result)) if result.is_error && throttled(result) => Verdict::Bad(None),
        Ok(_) => Verdict::Good,
        Err(failure) => match (failure.fault, failure.retry) {
            // The service has answered.
            (Fault::Caller, _) if failure.status != 429 => Verdict::Good,
            _ if failure.rpc.is_some() => Verdict::Good,
            (_, Retry::After(wish)) => Verdict::Bad(Some(wish)),
            _ => Verdict::Bad(None),
        },
    }
}

/// Whether another attempt may come to something else.
fn asks_again(outcome: &Result<Outcome, Failure>) -> bool {
    match outcome {
        Ok(_) => true,
        Err(failure) => failure.retry != Retry::No || failure.effect == EffectState::Unknown,
    }
}

/// Whether the service says that there are too many calls.
fn asks_for_less(outcome: &Result<Outcome, Failure>) -> bool {
    match outcome {
        Ok(_) => true,
        Err(failure) => failure.status == 429,
    }
}

/// Whether a tool's own error says that it is asked too often.
fn throttled(result: &trunkline_model::ToolResult) -> bool {
    // Looked for in the text first: nearly no error is one of these.
    result.body.as_str().contains("429") && result.body.to_value()["structuredContent"]["status"] == 429
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use parking_lot::Mutex;
    use proptest::prelude::*;
    use trunkline_model::{BoxFuture, Json, ToolResult};

    use super::*;

    fn guard(config: GuardConfig) -> Guard {
        Guard::new(ServiceGuard::new(config, Arc::new(|| 0.5)), "t")
    }

    fn down(effect: EffectState) -> Failure {
        Failure::service("TL4005", "Down", "no answer", effect, "Wait.")
    }

    fn answer(status: u64) -> Outcome {
        let error = status >= 400;
        let body = format!(r#"{{"content":[],"structuredContent":{{"status":{status}}},"isError":{error}}}"#);
        Outcome::Complete(ToolResult::raw(Json::parse(body).unwrap(), error))
    }

    fn usual() -> Priority {
        Priority::default()
    }

    /// Nobody was asked anything.
    fn never() -> Duration {
        Duration::ZERO
    }

    fn in_a_minute() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test(start_paused = true)]
    async fn a_tool_with_bounds_of_its_own_leaves_room_for_the_others() {
        let one = ToolBulkheadConfig { concurrent: 1, queued: 1 };
        let bulkhead = BulkheadConfig {
            concurrent: 3,
            queued: 0,
            per_tool: None,
            tools: BTreeMap::from([("slow".to_owned(), one)]),
        };
        let adaptive = AdaptiveConfig { enabled: false, ..AdaptiveConfig::default() };
        let config = GuardConfig { bulkhead, adaptive, ..GuardConfig::default() };
        let service = ServiceGuard::new(config, Arc::new(|| 0.5));
        let slow = Arc::new(Guard::new(service.clone(), "slow"));
        let other = Guard::new(service.clone(), "other");
        let called = |guard: Arc<Guard>| {
            tokio::spawn(async move {
                let make = || async {
                    sleep(Duration::from_secs(10)).await;
                    Ok(answer(200))
                };
                guard.call("slow", Care::Once, usual(), in_a_minute(), never, make).await
            })
        };
        let (first, second) = (called(slow.clone()), called(slow.clone()));
        tokio::task::yield_now().await;
        // The second waits for the first, and takes no place of the service; the third is refused.
        let load = slow.state().load.unwrap();
        assert_eq!((load.limit, load.running, load.waiting), (1, 1, 1));
        assert_eq!(service.load().running, 1);
        let third =
            slow.call("slow", Care::Once, usual(), in_a_minute(), never, || async { Ok(answer(200)) });
        assert_eq!(third.await.unwrap_err().code, "TL8002");
        let quick =
            other.call("other", Care::Once, usual(), in_a_minute(), never, || async { Ok(answer(200)) });
        assert!(quick.await.is_ok());
        assert!(other.state().load.is_none());
        assert!(first.await.unwrap().is_ok() && second.await.unwrap().is_ok());
        assert_eq!(slow.state().load.unwrap().running, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_reads_is_made_again_and_one_that_changes_is_not() {
        for (care, expected) in [(Care::ReadOnly, 3), (Care::Repeatable, 3), (Care::Once, 1)] {
            let guard = guard(GuardConfig::default());
            let made = AtomicU32::new(0);
            let outcome = guard
                .call("s/t", care, usual(), in_a_minute(), never, || {
                    let number = made.fetch_add(1, Ordering::Relaxed);
                    Box::pin(async move {
                        if number < 2 { Err(down(EffectState::Unknown)) } else { Ok(answer(200)) }
                    })
                })
                .await;
            assert_eq!(made.load(Ordering::Relaxed), expected, "{care:?}");
            assert_eq!(outcome.is_ok(), care != Care::Once, "{care:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_no_failure_but_too_many_requests_is() {
        let guard = guard(GuardConfig::default());
        for _ in 0..50 {
            guard
                .call("s/t", Care::Once, usual(), in_a_minute(), never, || {
                    Box::pin(async { Ok(answer(404)) })
                })
                .await
                .unwrap();
        }
        assert_eq!(guard.state().breaker, BreakerState::Closed);
        for _ in 0..5 {
            guard
                .call("s/t", Care::Once, usual(), in_a_minute(), never, || {
                    Box::pin(async { Ok(answer(429)) })
                })
                .await
                .unwrap();
        }
        assert_eq!(guard.state().breaker, BreakerState::Open);
        let refused = guard
            .call("s/t", Care::Once, usual(), in_a_minute(), never, || Box::pin(async { Ok(answer(200)) }))
            .await;
        assert_eq!(refused.unwrap_err().code, "TL8001");
        guard.back();
        guard
            .call("s/t", Care::Once, usual(), in_a_minute(), never, || Box::pin(async { Ok(answer(200)) }))
            .await
            .unwrap();
        assert_eq!(guard.state().breaker, BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn in_an_outage_further_attempts_stay_under_a_fifth_of_the_calls() {
        let config = GuardConfig {
            // The breaker alone would hide what the budget does.
            breaker: BreakerConfig { consecutive: u32::MAX, min_calls: u32::MAX, ..BreakerConfig::default() },
            ..GuardConfig::default()
        };
        let (guard, made) = (guard(config), AtomicU32::new(0));
        for _ in 0..2_000 {
            let _ = guard
                .call("s/t", Care::ReadOnly, usual(), in_a_minute(), never, || {
                    made.fetch_add(1, Ordering::Relaxed);
                    Box::pin(async { Err(down(EffectState::None)) })
                })
                .await;
            sleep(Duration::from_millis(10)).await;
        }
        let further = made.load(Ordering::Relaxed) - 2_000;
        assert!(further <= 2_000 / 5 && further > 100, "{further}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_read_is_hedged_and_the_limit_follows_what_calls_take() {
        let config = GuardConfig { hedge: HedgeConfig { after: 0.9 }, ..GuardConfig::default() };
        let guard = guard(config);
        let take = |ms: u64| -> BoxFuture<'static, Result<Outcome, Failure>> {
            Box::pin(async move {
                sleep(Duration::from_millis(ms)).await;
                Ok(answer(200))
            })
        };
        for _ in 0..100 {
            guard.call("s/t", Care::ReadOnly, usual(), in_a_minute(), never, || take(10)).await.unwrap();
        }
        assert_eq!(guard.state().timeout_ms, 10_000);
        let made = AtomicU32::new(0);
        let begun = Instant::now();
        guard
            .call("s/t", Care::ReadOnly, usual(), in_a_minute(), never, || {
                take(if made.fetch_add(1, Ordering::Relaxed) == 0 { 900 } else { 10 })
            })
            .await
            .unwrap();
        assert_eq!(made.load(Ordering::Relaxed), 2);
        assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
    }

    /// What a service does with a call.
    #[derive(Clone, Copy, Debug)]
    enum Does {
        Answers(u64),
        Refuses,
        /// It does it, and nobody hears of it.
        Loses,
        Hangs,
    }

    fn does() -> impl Strategy<Value = Does> {
        prop_oneof![
            (0..5_000_u64).prop_map(Does::Answers),
            Just(Does::Refuses),
            Just(Does::Loses),
            Just(Does::Hangs),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn no_change_is_ever_sent_twice(
            calls in proptest::collection::vec((0..3_000_u64, does(), does(), 0..3_u8), 1..60),
            hedge in prop_oneof![Just(0.0), Just(0.5)],
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let config = GuardConfig {
                    hedge: HedgeConfig { after: hedge },
                    bulkhead: BulkheadConfig { concurrent: 4, queued: 8, ..BulkheadConfig::default() },
                    ..GuardConfig::default()
                };
                let guard = guard(config);
                let sent = Mutex::new(vec![0_u32; calls.len()]);
                let run = |number: usize| {
                    let (guard, sent) = (&guard, &sent);
                    let (start, first, later, care) = calls[number];
                    async move {
                        sleep(Duration::from_millis(start)).await;
                        let care = [Care::ReadOnly, Care::Repeatable, Care::Once][usize::from(care)];
                        let deadline = Instant::now() + Duration::from_secs(4);
                        let call = guard.call("s/t", care, usual(), deadline, never, || {
                            let mut sent = sent.lock();
                            sent[number] += 1;
                            let does = if sent[number] == 1 { first } else { later };
                            Box::pin(async move {
                                match does {
                                    Does::Answers(ms) => {
                                        sleep(Duration::from_millis(ms)).await;
                                        Ok(answer(200))
                                    }
                                    Does::Refuses => Err(down(EffectState::None)),
                                    Does::Loses => Err(down(EffectState::Unknown)),
                                    Does::Hangs => std::future::pending().await,
                                }
                            })
                        });
                        let _ = timeout_at(deadline, call).await;
                        care
                    }
                };
                let cares = futures_util::future::join_all((0..calls.len()).map(run)).await;
                for (number, care) in cares.into_iter().enumerate() {
                    let sent = sent.lock()[number];
                    prop_assert!(care != Care::Once || sent <= 1, "call {number} was sent {sent} times");
                }
                let Load { running, waiting, .. } = guard.service.load();
                prop_assert_eq!((running, waiting), (0, 0), "a place was lost");
                Ok(())
            })?;
        }
    }
}
