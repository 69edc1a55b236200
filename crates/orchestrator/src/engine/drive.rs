//! Drives a run: polls it, writes what must not wait, and takes it to its end or puts it aside.

use std::sync::Arc;
use std::task::Poll;

use jiff::{SignedDuration, Timestamp};
use trunkline_model::{BoxFuture, Json};

use crate::entry::{Ending, Entry, Finished};
use crate::fault::Fault;
use crate::limits::{Entered, Pass};
use crate::run::Run;
use crate::{interpret, transaction};

/// What is stuck where a run fails past its pivot: nothing is undone, and not all is done.
const PAST_PIVOT: &str = "~pivot";

/// What waits for longer is put aside.
const PUT_ASIDE: SignedDuration = SignedDuration::from_secs(10);

/// Why a run is no longer driven.
pub(super) enum End {
    Over(Finished),
    /// It is to go on at a time.
    Aside(Timestamp),
    /// The log takes nothing any more.
    Broken,
}

/// Runs an instance to its end, or until nothing happens for long.
pub(super) async fn drive(run: Arc<Run>, entered: Entered) -> End {
    let finished = match watched(&run, to_end(run.clone(), entered)).await {
        Ok(End::Over(finished)) => finished,
        Ok(end) => return end,
        Err(fault) => {
            tracing::error!(instance = %run.journal.instance, %fault, "an instance stops where it is");
            return End::Broken;
        }
    };
    run.journal.note(Entry::Finished(finished.clone()));
    match run.journal.flush().await {
        Ok(()) => End::Over(finished),
        Err(error) => {
            tracing::error!(instance = %run.journal.instance, %error, "the end of an instance is not in the log");
            End::Broken
        }
    }
}

/// Polls a run, and writes what must not wait until the run has more to write. One that only waits for a time far away is
/// put aside. A replay that waits for what never comes has lost its way: the definition or this program is another than it
/// was. It stops there, and says so.
async fn watched(run: &Run, work: impl Future<Output = Result<Finished, Fault>>) -> Result<End, Fault> {
    let mut work = std::pin::pin!(work);
    let mut writing: Option<BoxFuture<'_, Result<(), Fault>>> = None;
    std::future::poll_fn(|context| {
        loop {
            let taken = run.journal.taken();
            match work.as_mut().poll(context) {
                Poll::Pending if run.journal.is_live() => break,
                // Whoever waits for the next turn is polled again.
                Poll::Pending if run.journal.taken() > taken => {}
                Poll::Pending => {
                    return Poll::Ready(Err(Fault::runtime(
                        "the journal can't be followed: it is that of another run",
                    )));
                }
                Poll::Ready(finished) => return Poll::Ready(finished.map(End::Over)),
            }
        }
        loop {
            let wake = run
                .quiet_until(context.waker())
                .filter(|wake| wake.duration_since(run.journal.now()) > PUT_ASIDE);
            match (&writing, wake, run.journal.is_written()) {
                (None, Some(wake), true) => return Poll::Ready(Ok(End::Aside(wake))),
                (None, Some(_), false) => writing = Some(Box::pin(run.flush())),
                (None, None, _) if run.journal.is_urgent() => writing = Some(Box::pin(run.flush())),
                _ => {}
            }
            let Some(flush) = &mut writing else { return Poll::Pending };
            match flush.as_mut().poll(context) {
                Poll::Ready(Ok(())) => writing = None,
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// Interprets the workflow, and undoes what it did where it fails.
async fn to_end(run: Arc<Run>, entered: Entered) -> Result<Finished, Fault> {
    let pass = run.begin(entered).await?;
    let mut place = run.quiet.fan();
    if pass.as_ref().is_some_and(Pass::counts) {
        // It keeps its place among the instances, so it is not put aside.
        place.are(2);
    }
    let outcome = match &run.transaction {
        Some(transaction) => transaction::until_end(&run, transaction).await,
        None => interpret::workflow(&run).await,
    };
    // Nothing is undone while a step is still under way.
    run.orphans.close();
    if !run.orphans.is_empty() {
        // What is known is written before the wait, which may be long.
        run.flush().await?;
    }
    run.orphans.wait().await;
    let undo = run.journal.take_undo();
    let fault = match (outcome, undo) {
        (outcome, Some(undo)) => {
            run.saga.give_away(&undo.except);
            if run.compensate(&undo.fault).await? {
                return Ok(Finished { status: Ending::Undone, output: None, fault: Some(undo.fault) });
            }
            let output = outcome.ok().map(|output| Json::from_value(&output));
            return Ok(Finished { status: Ending::Completed, output, fault: None });
        }
        (Ok(output), None) => {
            let output = Some(Json::from_value(&output));
            return Ok(Finished { status: Ending::Completed, output, fault: None });
        }
        (Err(fault), None) => fault,
    };
    let cancelled = run.cancel.is_cancelled();
    run.learn_orphans(true);
    let undone = !run.saga.is_past_pivot() && run.compensate(&fault).await?;
    if run.saga.is_past_pivot() {
        // Neither done nor undone: a person has to know.
        run.intervene(&Arc::from(PAST_PIVOT), fault.clone(), false, None).await?;
    }
    let status = match (undone, cancelled) {
        (true, _) => Ending::Undone,
        (false, true) => Ending::Cancelled,
        (false, false) => Ending::Faulted,
    };
    Ok(Finished { status, output: None, fault: Some(fault) })
}
