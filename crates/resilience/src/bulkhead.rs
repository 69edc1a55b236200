//! A bulkhead: so many calls of a service at a time, and so many that wait. One slow service does not take up everything.
//!
//! How many there may be at a time follows the service ([`crate::adaptive`]). Those that matter more go first
//! ([`crate::shed`]). While the queue stands, that is, has not been empty for a while, it is an overload rather than a
//! burst: then the newest of a class goes first, because the oldest has waited too long to be of use to anyone, and of
//! what comes, the least is refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::adaptive::{AdaptiveConfig, Vegas};
use crate::guard::Chance;
use crate::shed::{Arrivals, CLASSES, Class, Priority};

/// How long a queue is not empty before it stands.
const STANDS: Duration = Duration::from_millis(500);

/// The share of the limit that is kept for critical calls, where any have come lately.
const RESERVE: f64 = 0.1;

/// How long after the last critical call something is kept for the next.
const RESERVED: Duration = Duration::from_secs(600);

/// So many calls at a time, and so many that wait.
pub struct Bulkhead {
    concurrent: usize,
    queued: usize,
    chance: Chance,
    inner: Mutex<Inner>,
}

struct Inner {
    /// None where there are always as many as `concurrent`.
    vegas: Option<Vegas>,
    running: usize,
    arrivals: Arrivals,
    /// By class, in the order of arrival.
    waiting: [BTreeMap<u64, Waiter>; CLASSES],
    queued: usize,
    next: u64,
    /// Since when the queue has not been empty.
    standing: Option<Instant>,
    critical: Option<Instant>,
}

struct Waiter {
    priority: Priority,
    tell: oneshot::Sender<Result<Place, Full>>,
}

/// Why a call did not get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// As many wait already as may.
    Queue,
    /// It has waited as long as it could.
    Waited,
    /// The service is overloaded, and others matter more.
    Shed,
}

/// A place in the bulkhead, given back when it is dropped.
pub struct Place {
    bulkhead: Arc<Bulkhead>,
    /// How many were running with it.
    among: usize,
    full: bool,
    took: Option<Duration>,
    pushed_back: bool,
}

/// How a bulkhead is, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Load {
    /// Calls that there may be at a time, now.
    pub limit: usize,
    /// Calls that run.
    pub running: usize,
    /// Calls that wait.
    pub waiting: usize,
}

impl Bulkhead {
    /// At most `concurrent` calls at a time and `queued` that wait.
    #[must_use]
    pub fn new(concurrent: usize, queued: usize, adaptive: &AdaptiveConfig, chance: Chance) -> Arc<Self> {
        let concurrent = concurrent.max(1);
        let now = Instant::now().into_std();
        Arc::new(Self {
            concurrent,
            queued,
            chance,
            inner: Mutex::new(Inner {
                vegas: adaptive.enabled.then(|| Vegas::new(adaptive, concurrent, now)),
                running: 0,
                arrivals: Arrivals::new(),
                waiting: Default::default(),
                queued: 0,
                next: 0,
                standing: None,
                critical: None,
            }),
        })
    }

    /// Waits for a place until `deadline` at the latest.
    ///
    /// # Errors
    /// [`Full`].
    pub async fn enter(self: &Arc<Self>, priority: Priority, deadline: Instant) -> Result<Place, Full> {
        let (mut waiting, told) = {
            let now = Instant::now();
            let mut inner = self.inner.lock();
            inner.arrivals.count(priority);
            if priority.class() == Class::Critical {
                inner.critical = Some(now);
            }
            if self.room(&inner, priority.class(), now) {
                return Ok(self.place(&mut inner));
            }
            let refused = self.refused(&mut inner, priority, now);
            let (number, told) = match refused {
                Ok(evicted) => {
                    let (tell, told) = oneshot::channel();
                    let number = inner.push(Waiter { priority, tell }, now);
                    drop(inner);
                    if let Some(waiter) = evicted {
                        // It may have gone away meanwhile.
                        let _ = waiter.tell.send(Err(Full::Shed));
                    }
                    (number, told)
                }
                Err(full) => return Err(full),
            };
            (Waiting { bulkhead: self, class: priority.class(), number: Some(number) }, told)
        };
        match timeout_at(deadline, told).await {
            Ok(Ok(answer)) => {
                waiting.number = None;
                answer
            }
            Ok(Err(_)) | Err(_) => Err(Full::Waited),
        }
    }

    /// How many calls run and wait now, and may run.
    #[must_use]
    pub fn load(&self) -> Load {
        let inner = self.inner.lock();
        Load { limit: self.limit(&inner), running: inner.running, waiting: inner.queued }
    }

    /// A guess at when there is room again: the time of a call for each round of those that wait.
    #[must_use]
    pub fn room_in(&self, usual: Duration) -> Duration {
        let Load { limit, waiting, .. } = self.load();
        let rounds = u32::try_from(waiting / limit.max(1) + 1).unwrap_or(u32::MAX);
        usual.saturating_mul(rounds).min(Duration::from_secs(60))
    }

    fn limit(&self, inner: &Inner) -> usize {
        inner.vegas.as_ref().map_or(self.concurrent, Vegas::limit)
    }

    /// Whether one more of a class may run.
    fn room(&self, inner: &Inner, class: Class, now: Instant) -> bool {
        let limit = self.limit(inner);
        let kept = class != Class::Critical
            && inner.critical.is_some_and(|last| now.saturating_duration_since(last) < RESERVED);
        let kept = if kept { share(limit, RESERVE) } else { 0 };
        inner.running < limit - kept
    }

    /// Whether a call that has to wait is refused, and which one goes to make room for it.
    fn refused(&self, inner: &mut Inner, priority: Priority, now: Instant) -> Result<Option<Waiter>, Full> {
        if inner.stands(now) {
            // Where twice the limit would go first some are refused, at three times the limit all (failsafe-go).
            let limit = self.limit(inner);
            let over = inner.ahead(priority.class()).saturating_sub(limit * 2).min(limit);
            if over > 0 {
                let share = f64::from(u32::try_from(over).unwrap_or(u32::MAX))
                    / f64::from(u32::try_from(limit).unwrap_or(u32::MAX));
                if inner.arrivals.goes(priority, share, (self.chance)()) {
                    return Err(Full::Shed);
                }
            }
        }
        if inner.queued < self.queued {
            return Ok(None);
        }
        match inner.least() {
            Some((class, number, least)) if least < priority => Ok(inner.take(class, number)),
            _ => Err(Full::Queue),
        }
    }

    /// Takes a place; there is room.
    fn place(self: &Arc<Self>, inner: &mut Inner) -> Place {
        inner.running += 1;
        Place {
            bulkhead: self.clone(),
            among: inner.running,
            full: inner.running >= self.limit(inner) || inner.queued > 0,
            took: None,
            pushed_back: false,
        }
    }

    /// Gives places to those that wait, as far as there is room.
    fn serve(self: &Arc<Self>) {
        loop {
            let (waiter, place) = {
                let now = Instant::now();
                let mut inner = self.inner.lock();
                let Some(waiter) = self.following(&mut inner, now) else { return };
                let place = self.place(&mut inner);
                (waiter, place)
            };
            // Who has gone away meanwhile gives the place back here.
            let _ = waiter.tell.send(Ok(place));
        }
    }

    /// Takes the next that may run out of the queue.
    fn following(&self, inner: &mut Inner, now: Instant) -> Option<Waiter> {
        let newest = inner.stands(now);
        for class in [Class::Critical, Class::High, Class::Normal, Class::Low, Class::Background] {
            let waiting = &inner.waiting[class.index()];
            let number = if newest { waiting.last_key_value() } else { waiting.first_key_value() };
            let Some((&number, _)) = number else { continue };
            if !self.room(inner, class, now) {
                return None;
            }
            return inner.take(class, number);
        }
        None
    }
}

impl Inner {
    fn stands(&self, now: Instant) -> bool {
        self.standing.is_some_and(|since| now.saturating_duration_since(since) >= STANDS)
    }

    fn push(&mut self, waiter: Waiter, now: Instant) -> u64 {
        let number = self.next;
        self.next += 1;
        self.queued += 1;
        self.standing.get_or_insert(now);
        self.waiting[waiter.priority.class().index()].insert(number, waiter);
        number
    }

    fn take(&mut self, class: Class, number: u64) -> Option<Waiter> {
        let waiter = self.waiting[class.index()].remove(&number)?;
        self.queued -= 1;
        if self.queued == 0 {
            self.standing = None;
        }
        Some(waiter)
    }

    /// How many wait that a call of this class would not go before, but for the newest.
    fn ahead(&self, class: Class) -> usize {
        self.waiting.iter().skip(class.index()).map(BTreeMap::len).sum()
    }

    /// The one that matters least of those that wait, the oldest of equal ones.
    fn least(&self) -> Option<(Class, u64, Priority)> {
        let class = self.waiting.iter().find(|waiting| !waiting.is_empty())?;
        let (number, waiter) = class.iter().min_by_key(|(_, waiter)| waiter.priority)?;
        Some((waiter.priority.class(), *number, waiter.priority))
    }
}

impl Place {
    /// The call was answered after this time.
    pub fn took(&mut self, time: Duration) {
        self.took = Some(time);
    }

    /// The service says that there are too many calls.
    pub fn pushed_back(&mut self) {
        self.pushed_back = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let waiting = {
            let mut inner = self.bulkhead.inner.lock();
            inner.running -= 1;
            let queued = inner.queued;
            if let Some(vegas) = &mut inner.vegas {
                if self.pushed_back {
                    vegas.pushed_back();
                } else if let Some(time) = self.took {
                    vegas.ended(Instant::now().into_std(), time, self.among, self.full || queued > 0);
                }
            }
            queued > 0
        };
        if waiting {
            self.bulkhead.serve();
        }
    }
}

/// A call that waits. Where it no longer does, it is no longer in the queue.
struct Waiting<'a> {
    bulkhead: &'a Bulkhead,
    class: Class,
    number: Option<u64>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waiter = self.bulkhead.inner.lock().take(self.class, number);
            drop(waiter);
        }
    }
}

/// A share of a count, rounded down.
fn share(count: usize, share: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a share of calls at a time"
    )]
    let share = (count as f64 * share) as usize;
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulkhead(concurrent: usize, queued: usize) -> Arc<Bulkhead> {
        let adaptive = AdaptiveConfig { enabled: false, ..AdaptiveConfig::default() };
        Bulkhead::new(concurrent, queued, &adaptive, Arc::new(|| 0.5))
    }

    fn of(class: Class) -> Priority {
        Priority::new(class, "ada", Duration::ZERO)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn state(bulkhead: &Bulkhead) -> (usize, usize) {
        let load = bulkhead.load();
        (load.running, load.waiting)
    }

    /// Who got in or was refused, in order.
    type Told = Arc<Mutex<Vec<(u32, Option<Full>)>>>;

    /// Has a call wait, and says under which number when it gets in or is refused.
    fn wait(
        bulkhead: &Arc<Bulkhead>,
        class: Class,
        number: u32,
        told: &Told,
    ) -> tokio::task::JoinHandle<Option<Place>> {
        let (bulkhead, told) = (bulkhead.clone(), told.clone());
        tokio::spawn(async move {
            let entered = bulkhead.enter(of(class), soon()).await;
            told.lock().push((number, entered.as_ref().err().copied()));
            entered.ok()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_run_so_many_wait_and_the_rest_is_refused() {
        let bulkhead = bulkhead(1, 1);
        let first = bulkhead.enter(of(Class::Normal), soon()).await.unwrap();
        let mut second = Box::pin(bulkhead.enter(of(Class::Normal), soon()));
        let moment = tokio::time::timeout(Duration::ZERO, &mut second).await;
        assert!(moment.is_err(), "it waits");
        assert_eq!(state(&bulkhead), (1, 1));
        assert_eq!(bulkhead.enter(of(Class::Normal), soon()).await.err(), Some(Full::Queue));
        assert_eq!(second.await.err(), Some(Full::Waited));
        drop(first);
        assert_eq!(state(&bulkhead), (0, 0));
        drop(bulkhead.enter(of(Class::Normal), soon()).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn what_matters_more_goes_first_and_in_an_overload_the_newest() {
        let (bulkhead, told) = (bulkhead(1, 8), Told::default());
        let mut place = Some(bulkhead.enter(of(Class::Normal), soon()).await.unwrap());
        let mut calls = Vec::new();
        for (number, class) in [(1, Class::Normal), (2, Class::Low), (3, Class::High), (4, Class::Normal)] {
            calls.push(wait(&bulkhead, class, number, &told));
            tokio::task::yield_now().await;
        }
        place.take();
        for call in [2, 0] {
            drop((&mut calls[call]).await.unwrap());
        }
        for call in [3, 1] {
            drop((&mut calls[call]).await.unwrap());
        }
        assert_eq!(*told.lock(), [(3, None), (1, None), (4, None), (2, None)]);

        told.lock().clear();
        let place = bulkhead.enter(of(Class::Normal), soon()).await.unwrap();
        let old = wait(&bulkhead, Class::Normal, 1, &told);
        tokio::time::sleep(STANDS).await;
        let new = wait(&bulkhead, Class::Normal, 2, &told);
        tokio::task::yield_now().await;
        drop(place);
        drop(new.await.unwrap());
        drop(old.await.unwrap());
        assert_eq!(*told.lock(), [(2, None), (1, None)]);
        assert_eq!(state(&bulkhead), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_makes_room_for_what_matters_more() {
        let (bulkhead, told) = (bulkhead(1, 1), Told::default());
        let place = bulkhead.enter(of(Class::Normal), soon()).await.unwrap();
        let low = wait(&bulkhead, Class::Low, 1, &told);
        tokio::task::yield_now().await;
        let high = wait(&bulkhead, Class::High, 2, &told);
        assert!(low.await.unwrap().is_none());
        drop(place);
        drop(high.await.unwrap());
        assert_eq!(*told.lock(), [(1, Some(Full::Shed)), (2, None)]);
        assert_eq!(state(&bulkhead), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_stands_refuses_the_least_that_comes() {
        let (bulkhead, told) = (bulkhead(2, 100), Told::default());
        let places =
            [bulkhead.enter(of(Class::Low), soon()).await, bulkhead.enter(of(Class::High), soon()).await];
        let waiting: Vec<_> = (0..6).map(|number| wait(&bulkhead, Class::Low, number, &told)).collect();
        tokio::task::yield_now().await;
        assert_eq!(bulkhead.load().waiting, 6, "a burst is taken");
        tokio::time::sleep(STANDS).await;
        assert_eq!(bulkhead.enter(of(Class::Low), soon()).await.err(), Some(Full::Shed));
        let high = wait(&bulkhead, Class::High, 9, &told);
        tokio::task::yield_now().await;
        drop(places);
        drop(high.await.unwrap());
        for call in waiting {
            drop(call.await.unwrap());
        }
        assert_eq!(told.lock()[0], (9, None));
        assert_eq!(state(&bulkhead), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn critical_calls_have_a_reserve_once_there_are_any() {
        let bulkhead = bulkhead(10, 0);
        let mut places = Vec::new();
        for _ in 0..10 {
            places.push(bulkhead.enter(of(Class::High), soon()).await.unwrap());
        }
        places.clear();
        drop(bulkhead.enter(of(Class::Critical), soon()).await.unwrap());
        for _ in 0..9 {
            places.push(bulkhead.enter(of(Class::High), soon()).await.unwrap());
        }
        assert_eq!(bulkhead.enter(of(Class::High), soon()).await.err(), Some(Full::Queue));
        places.push(bulkhead.enter(of(Class::Critical), soon()).await.unwrap());
        assert_eq!(bulkhead.enter(of(Class::Critical), soon()).await.err(), Some(Full::Queue));
    }
}
