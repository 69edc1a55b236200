//! Following tasks of flows: what their journals say is told as it comes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use trunkline_event_log::{Error as LogError, Subscription};
use trunkline_model::{ClientFeatures, Json, Principal};
use uuid::Uuid;

use super::{detailed, status};
use crate::Gateway;
use crate::mcp::reply::{Era, Frame, notification};

/// The beginning of the type of every entry of a journal.
const JOURNAL: &str = "dev.trunkline.flow.";

/// Instances that are followed.
pub(in crate::mcp) struct Followed {
    subscription: Subscription,
    instances: HashSet<Uuid>,
}

/// Follows the tasks of these identities, as far as they are instances of flows.
pub(in crate::mcp) fn followed<'a>(gateway: &Gateway, ids: impl IntoIterator<Item = &'a str>) -> Followed {
    let instances = ids.into_iter().filter_map(|id| id.parse().ok()).collect();
    Followed { subscription: gateway.log.subscribe(gateway.log.head() + 1), instances }
}

impl Followed {
    /// The next instance that something happened to; none when the log is shut down.
    pub(in crate::mcp) async fn next(&mut self) -> Option<Uuid> {
        loop {
            match self.subscription.next().await {
                Ok(Some(recorded)) => {
                    let event = &recorded.event;
                    if self.instances.contains(&event.correlation) && event.kind.starts_with(JOURNAL) {
                        return Some(event.correlation);
                    }
                }
                // Retention was faster: what is kept goes on from here.
                Err(LogError::Dropped { .. }) => {}
                Ok(None) => return None,
                Err(error) => {
                    tracing::warn!(%error, "tasks can't be followed: the event log can't be read");
                    return None;
                }
            }
        }
    }
}

/// Notifications of the tasks of a listener: how each is now, and every change of that. `tag` is the `_meta` of each.
pub(in crate::mcp) fn changes(
    gateway: Arc<Gateway>,
    principal: Arc<Principal>,
    features: ClientFeatures,
    ids: &[String],
    tag: Json,
) -> BoxStream<'static, Frame> {
    let followed = followed(&gateway, ids.iter().map(String::as_str));
    let first: Vec<Uuid> = followed.instances.iter().copied().collect();
    let state = (followed, first, HashMap::new());
    let look = move |id: Uuid| {
        let (gateway, principal, tag) = (gateway.clone(), principal.clone(), tag.clone());
        async move {
            let id = id.to_string();
            let task = gateway.task(&id, &principal, features).await.ok()?;
            let told = (status(&task.state, Era::Modern), task.message.clone());
            let params = detailed(&task, &[("_meta", tag.to_value())]);
            Some((told, task.state.is_terminal(), notification("notifications/tasks", &params)))
        }
    };
    futures_util::stream::unfold((state, look), |((mut followed, mut first, mut told), look)| async move {
        loop {
            let id = match first.pop() {
                Some(id) => id,
                // What has ended changes no more; the listener may wait for other things.
                None if followed.instances.is_empty() => std::future::pending().await,
                None => followed.next().await?,
            };
            let Some((now, ended, data)) = look(id).await else { continue };
            if ended {
                followed.instances.remove(&id);
            }
            if told.get(&id) != Some(&now) {
                told.insert(id, now);
                return Some((Frame { id: None, data }, ((followed, first, told), look)));
            }
        }
    })
    .boxed()
}
