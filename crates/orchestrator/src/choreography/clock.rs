//! Flows that begin by the clock: `every`, `cron` and `after` of a workflow's `schedule`.
//!
//! What begins has an identity that follows from the flow and the time (with `after`: the instance before it). So it
//! begins once, whether or not a crash comes between. Times at which nobody ran are not made up for.

use std::sync::Arc;
use std::time::Duration;

use cronexpr::{Crontab, MakeTimestamp};
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trunkline_event_log::Result;
use trunkline_model::{Json, Principal, PrincipalKind};

use super::Choreography;
use super::dispatcher::{AGAIN, passes};
use crate::engine::Start;
use crate::entry::InstanceId;
use crate::views::{self, InstanceFilter};
use crate::workflow::{Schedule, Workflow};
use crate::{Engine, identity};

/// The longest sleep at once, so that a clock that is set is seen.
const LOOK: Duration = Duration::from_secs(30);

/// How long it takes until the views show what has happened, about.
const SHOWN: Duration = Duration::from_millis(100);

/// When the instances of a flow begin.
#[derive(Clone)]
enum Times {
    /// At the multiples of a span, counted from 1970.
    Every(Duration),
    Cron(Arc<Crontab>),
}

impl Times {
    /// The first one after `now`; `None` where none comes.
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(span) => {
                let span = i64::try_from(span.as_millis()).ok()?;
                let next = now.as_millisecond().div_euclid(span).checked_add(1)?.checked_mul(span)?;
                Timestamp::from_millisecond(next).ok()
            }
            Self::Cron(crontab) => Some(crontab.find_next(MakeTimestamp(now)).ok()?.timestamp()),
        }
    }
}

/// A flow that begins by the clock.
#[derive(Clone)]
struct Timed {
    engine: Engine,
    workflow: Arc<Workflow>,
    flow: Arc<str>,
    principal: Arc<Principal>,
}

impl Choreography {
    /// Has flows begin at their times, until `closing`.
    pub(super) async fn keep_time(&self, closing: &CancellationToken) {
        while !closing.is_cancelled() {
            let (mut kept, stop) = (JoinSet::new(), closing.child_token());
            for workflow in self.0.library.newest() {
                let flow = workflow.full_name();
                let id = Arc::from(format!("schedule:{flow}"));
                let principal = Arc::new(Principal { id, kind: PrincipalKind::System });
                let timed = Timed { engine: self.0.engine.clone(), workflow, flow, principal };
                match timed.workflow.schedule.clone() {
                    Some(Schedule::Every(span)) => kept.spawn(timed.at(Times::Every(span), stop.clone())),
                    Some(Schedule::Cron(crontab)) => kept.spawn(timed.at(Times::Cron(crontab), stop.clone())),
                    Some(Schedule::After(pause)) => kept.spawn(timed.after(pause, stop.clone())),
                    Some(Schedule::On(..)) | None => continue,
                };
            }
            closing.run_until_cancelled(self.0.set.notified()).await;
            // None is given up in the middle of a start: it would be in the record, and not run.
            stop.cancel();
            while kept.join_next().await.is_some() {}
        }
    }
}

impl Timed {
    /// Begins an instance at each of these times.
    async fn at(self, times: Times, stop: CancellationToken) {
        while let Some(due) = times.next(self.engine.now()) {
            if !self.wait(due, &stop).await {
                return;
            }
            self.begin(InstanceId(identity::at(due, &["schedule", &self.flow])), &stop).await;
        }
    }

    /// Begins an instance so long after the one before has ended; the first one at once.
    async fn after(self, pause: Duration, stop: CancellationToken) {
        loop {
            let id = match self.newest().await {
                Ok(None) => identity::at(Timestamp::UNIX_EPOCH, &["schedule", &self.flow]),
                Ok(Some((id, Some(ended)))) => {
                    let Ok(due) = ended.checked_add(pause) else { return };
                    if !self.wait(due, &stop).await {
                        return;
                    }
                    identity::at(due, &["schedule", &self.flow, &id.to_string()])
                }
                Ok(Some((id, None))) => {
                    if let Some(instance) = self.engine.attach(id) {
                        stop.run_until_cancelled(instance.finished()).await;
                    }
                    if stop.run_until_cancelled(tokio::time::sleep(SHOWN)).await.is_none() {
                        return;
                    }
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, flow = %self.flow, "when a flow ended last can't be read; trying again");
                    if stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await.is_none() {
                        return;
                    }
                    continue;
                }
            };
            self.begin(InstanceId(id), &stop).await;
            if stop.run_until_cancelled(tokio::time::sleep(SHOWN)).await.is_none() {
                return;
            }
        }
    }

    /// The newest instance that the clock began, and when it ended.
    async fn newest(&self) -> Result<Option<(InstanceId, Option<Timestamp>)>> {
        let filter = InstanceFilter {
            flow: Some(self.flow.to_string()),
            principal: Some(self.principal.id.to_string()),
            limit: 1,
            ..InstanceFilter::default()
        };
        let newest = views::instances(self.engine.log(), filter).await?.into_iter().next();
        let ended = |ms| Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
        Ok(newest.map(|row| (row.id, row.ended_ms.map(ended))))
    }

    /// Waits until it is `due`. Whether that has come.
    async fn wait(&self, due: Timestamp, stop: &CancellationToken) -> bool {
        loop {
            let left = Duration::try_from(due.duration_since(self.engine.now())).unwrap_or_default();
            if left.is_zero() {
                return !stop.is_cancelled();
            }
            if stop.run_until_cancelled(tokio::time::sleep(left.min(LOOK))).await.is_none() {
                return false;
            }
        }
    }

    /// Begins an instance, once.
    async fn begin(&self, id: InstanceId, stop: &CancellationToken) {
        if stop.run_until_cancelled(self.engine.room()).await.is_none() {
            return;
        }
        loop {
            let (workflow, principal) = (self.workflow.clone(), self.principal.clone());
            let start = Start { workflow, input: Json::empty_object(), principal };
            let Err(error) = self.engine.occur(id, start).await else { return };
            tracing::warn!(%error, flow = %self.flow, "a flow can't begin at its time");
            if !passes(&error) || stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await.is_none() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(schedule: &str) -> Times {
        let text = format!(
            "document: {{dsl: 1.0.3, namespace: a, name: b, version: 1.0.0}}\nschedule: {schedule}\ndo: [{{a: {{set: {{b: 1}}}}}}]"
        );
        match Workflow::read(&text).unwrap().schedule {
            Some(Schedule::Every(span)) => Times::Every(span),
            Some(Schedule::Cron(crontab)) => Times::Cron(crontab),
            other => panic!("{other:?}"),
        }
    }

    fn next(schedule: &str, now: &str) -> String {
        times(schedule).next(now.parse().unwrap()).unwrap().to_string()
    }

    #[test]
    fn spans_are_counted_from_1970() {
        assert_eq!(next("{every: PT15M}", "2026-11-22T10:07:00Z"), "2026-11-22T10:15:00Z");
        assert_eq!(next("{every: PT15M}", "2026-11-22T10:15:00Z"), "2026-11-22T10:30:00Z");
        assert_eq!(next("{every: {days: 1}}", "2026-11-22T10:15:00Z"), "2026-11-23T00:00:00Z");
    }

    #[test]
    fn cron_is_read_in_its_zone() {
        assert_eq!(next("{cron: '0 0 * * *'}", "2026-11-22T10:15:00Z"), "2026-11-23T00:00:00Z");
        assert_eq!(next("{cron: '30 6 * * 1-5'}", "2026-11-20T06:30:00Z"), "2026-11-23T06:30:00Z");
        let berlin = "{cron: '30 6 * * * Europe/Berlin'}";
        assert_eq!(next(berlin, "2026-07-01T00:00:00Z"), "2026-07-01T04:30:00Z");
        assert_eq!(next(berlin, "2026-12-01T00:00:00Z"), "2026-12-01T05:30:00Z");
    }

    #[test]
    fn what_never_comes_or_comes_too_often_is_a_fault() {
        for (schedule, path) in [
            ("{cron: '0 0 30 2 *'}", "/schedule/cron"),
            ("{cron: '61 0 * * *'}", "/schedule/cron"),
            ("{cron: every day}", "/schedule/cron"),
            ("{every: PT0.1S}", "/schedule/every"),
            ("{after: '${ .pause }'}", "/schedule/after"),
        ] {
            let text = format!(
                "document: {{dsl: 1.0.3, namespace: a, name: b, version: 1.0.0}}\nschedule: {schedule}\ndo: [{{a: {{set: {{b: 1}}}}}}]"
            );
            let findings = Workflow::read(&text).unwrap_err().findings;
            assert_eq!(findings.len(), 1, "{schedule}: {findings:?}");
            assert_eq!(findings[0].path, path, "{schedule}");
        }
    }
}
