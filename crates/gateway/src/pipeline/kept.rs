//! Execute, for a call whose answer may be one that was kept, or may be kept.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};
use trunkline_model::{Call, Failure, Outcome, ServedState};
use trunkline_resilience::shed::{Class, Priority};
use trunkline_telemetry::call::{About, CallTrace, Phase};

use super::target::Target;
use super::{Running, overdue};
use crate::cache::{Found, Joined, Kept, Landed, Lead, Lookup};
use crate::record::Subject;
use crate::recovery::instead;

impl Running<'_> {
    /// Answers the call from what is kept, or makes it and keeps its answer. Of equal calls at the same time one is made.
    pub(super) async fn kept(&mut self, lookup: Lookup, target: Target) -> Result<Outcome, Failure> {
        let gateway = self.gateway;
        let lead = match lookup.find(self.context, Instant::now()) {
            Found::Fresh(kept) => return Ok(kept.result(ServedState::Hit, Instant::now()).into()),
            Found::Refresh(kept) => {
                if let Joined::Lead(lead) = gateway.cache.join(&lookup, self.context) {
                    self.refresh(lookup, lead, kept.clone(), target);
                }
                return Ok(kept.result(ServedState::Stale, Instant::now()).into());
            }
            Found::Ask(_) if lookup.passes() => match gateway.cache.join(&lookup, self.context) {
                Joined::Lead(lead) => lead,
                Joined::Follow(_) => return self.execute(target).await,
            },
            Found::Ask(kept) => match self.lead(&lookup, kept.as_deref()).await? {
                Turn::Lead(lead) => lead,
                Turn::Answered(outcome) => return Ok(outcome),
                Turn::Alone => return self.execute(target).await,
            },
        };
        // Another call may have brought an answer since it was looked.
        let kept = match lookup.find(self.context, Instant::now()) {
            Found::Fresh(kept) | Found::Refresh(kept) => {
                lead.land(Landed::Kept(kept.clone()));
                return Ok(kept.result(ServedState::Hit, Instant::now()).into());
            }
            Found::Ask(kept) => kept,
        };
        self.ask(&lookup, lead, kept, target).await
    }

    /// Waits for an equal call that is under way, or becomes the one that others wait for.
    async fn lead(&self, lookup: &Lookup, kept: Option<&Kept>) -> Result<Turn, Failure> {
        let deadline = Instant::from_std(self.context.deadline);
        loop {
            let mut flight = match self.gateway.cache.join(lookup, self.context) {
                Joined::Lead(lead) => return Ok(Turn::Lead(lead)),
                Joined::Follow(flight) => flight,
            };
            let landed = match timeout_at(deadline, flight.wait_for(Option::is_some)).await {
                Ok(Ok(landed)) => landed.clone(),
                // It was given up: it is somebody else's turn.
                Ok(Err(_)) => continue,
                Err(_) => return Err(overdue(&self.subject, self.start)),
            };
            let now = Instant::now();
            return match landed {
                Some(Landed::Kept(kept)) => Ok(Turn::Answered(kept.result(ServedState::Shared, now).into())),
                Some(Landed::Failed(failure)) => match kept {
                    Some(kept) if lookup.instead(kept, &failure, now) => {
                        let stale = kept.result(ServedState::StaleIfError, now);
                        Ok(Turn::Answered(instead(stale, &failure)))
                    }
                    _ => Err(*failure),
                },
                Some(Landed::Alone) | None => Ok(Turn::Alone),
            };
        }
    }

    /// Makes the call, for all that wait for it, and keeps its answer where that may be.
    async fn ask(
        &mut self,
        lookup: &Lookup,
        lead: Lead,
        kept: Option<Arc<Kept>>,
        target: Target,
    ) -> Result<Outcome, Failure> {
        self.call.known = kept.as_ref().and_then(|kept| kept.known_by());
        let before = self.context.client.waited();
        let outcome = self.execute(target).await;
        let now = Instant::now();
        match outcome {
            Ok(Outcome::Complete(result)) => {
                let said = result.freshness.as_deref().filter(|said| said.not_modified);
                if let (Some(said), Some(kept)) = (said, &kept) {
                    let kept = lookup.keep_on(&lead, kept, said, now);
                    lead.land(Landed::Kept(kept.clone()));
                    return Ok(kept.result(ServedState::Revalidated, now).into());
                }
                // What its caller was asked on the way is not a part of what it asked.
                let asked = self.context.client.waited() > before;
                let kept = if asked { None } else { lookup.keep(&lead, &result, now) };
                lead.land(kept.map_or(Landed::Alone, Landed::Kept));
                Ok(Outcome::Complete(result))
            }
            Ok(other) => {
                lead.land(Landed::Alone);
                Ok(other)
            }
            Err(failure) => {
                // That this caller did not wait longer is nothing to the others: it is another's turn then.
                if failure.code != "TL1007" {
                    lead.land(Landed::Failed(Box::new(failure.clone())));
                }
                match kept {
                    Some(kept) if lookup.instead(&kept, &failure, now) => {
                        Ok(instead(kept.result(ServedState::StaleIfError, now), &failure))
                    }
                    _ => Err(failure),
                }
            }
        }
    }

    /// Fetches a new answer while the old one is given. It is a call of its own in the record.
    fn refresh(&self, lookup: Lookup, lead: Lead, kept: Arc<Kept>, target: Target) {
        let gateway = self.gateway.clone();
        let mut context = gateway.context(self.context.principal.clone());
        context.conversation.clone_from(&self.context.conversation);
        context.trace = self.context.trace.clone();
        let call = Call { id: gateway.new_call(), ..self.call.clone() };
        let subject = Subject { door: "", ..self.subject.clone() };
        let (name, method) = (&subject.target, call.operation.method());
        let about = About { call: call.id.0, door: "", method, name };
        let mut seen = CallTrace::begin(&gateway.telemetry, about, &mut context);
        seen.aims_at(name);
        let priority = Priority::new(Class::Background, &context.principal.id, gateway.running());
        self.gateway.spawn(async move {
            let mut running = Running {
                gateway: &gateway,
                call,
                context: &context,
                subject,
                priority,
                start: Instant::now(),
                seen,
                ended: false,
            };
            let outcome = running.ask(&lookup, lead, Some(kept), target).await;
            running.seen.mark(Phase::Execute);
            let id = running.call.id;
            if let Err(error) = running.ended(&outcome).await {
                tracing::error!(call = %id, %error, "a call of the cache is not in the record");
            }
        });
    }
}

/// Whose turn it is.
enum Turn {
    /// This call's; others wait for it.
    Lead(Lead),
    /// This call's, for itself alone.
    Alone,
    /// It was another's, and this is its answer.
    Answered(Outcome),
}
