//! Branches that go on at the same time.

use std::task::Poll;

use trunkline_model::BoxFuture;

use crate::fault::Fault;
use crate::run::Fan;

/// Polls branches in the order of their definition, at most `limit` at a time, and gives all their values in that order.
/// The first fault ends it: the others are dropped.
///
/// The order is fixed, so that a replay takes the same turns.
pub(super) async fn all<T>(
    mut branches: Vec<BoxFuture<'_, Result<T, Fault>>>,
    limit: usize,
    mut fan: Fan<'_>,
) -> Result<Vec<T>, Fault> {
    let mut done: Vec<Option<T>> = Vec::new();
    done.resize_with(branches.len(), || None);
    std::future::poll_fn(|context| {
        let mut active = 0;
        let mut left = false;
        fan.are(branches.len());
        for (branch, done) in branches.iter_mut().zip(&mut done) {
            if done.is_some() {
                continue;
            }
            left = true;
            if active == limit {
                break;
            }
            match branch.as_mut().poll(context) {
                Poll::Ready(Ok(value)) => *done = Some(value),
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                Poll::Pending => active += 1,
            }
        }
        fan.are(active);
        if !left || done.iter().all(Option::is_some) { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await?;
    Ok(done.into_iter().flatten().collect())
}

/// Polls branches and gives the value of the first that ends; the others are dropped.
pub(super) async fn first<T>(
    mut branches: Vec<BoxFuture<'_, Result<T, Fault>>>,
    mut fan: Fan<'_>,
) -> Result<T, Fault> {
    fan.are(branches.len());
    std::future::poll_fn(|context| {
        for branch in &mut branches {
            if let Poll::Ready(done) = branch.as_mut().poll(context) {
                return Poll::Ready(done);
            }
        }
        Poll::Pending
    })
    .await
}
