//! Streams of changes: `subscriptions/listen` of the modern era, and the GET stream of the legacy one.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use trunkline_model::{Failure, Json, Principal};

use super::message::keys;
use super::reply::{Frame, notification, result_message, with_members};
use super::session::Session;
use super::severity_of;
use crate::observer::Notice;
use crate::{Error, Gateway};

/// The most resources that one listener may name.
const MAX_RESOURCES: usize = 1_000;

/// What a modern listener wants to hear of.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tools_list_changed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    prompts_list_changed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    resources_list_changed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resource_subscriptions: Vec<String>,
}

/// Holds subscriptions to resources, and ends them when the listener goes.
struct Subscribed {
    gateway: Arc<Gateway>,
    principal: Arc<Principal>,
    uris: Vec<String>,
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        let (gateway, uris) = (self.gateway.clone(), std::mem::take(&mut self.uris));
        let principal = self.principal.clone();
        if uris.is_empty() {
            return;
        }
        self.gateway.tasks.spawn(async move {
            for uri in uris {
                // The service may be gone; then there is nothing to end.
                let _ = gateway.want(&principal, &uri, false).await;
            }
        });
    }
}

/// The stream of `subscriptions/listen`: an acknowledgement, then what was asked for, each tagged with the request's
/// id, and the result when the gateway ends.
pub(super) fn modern(
    gateway: &Arc<Gateway>,
    principal: &Arc<Principal>,
    id: &Json,
    filter: Option<&RawValue>,
) -> Result<BoxStream<'static, Frame>, Failure> {
    let filter: Filter = match filter {
        None => Filter::default(),
        Some(raw) => serde_json::from_str(raw.get())
            .map_err(|error| Error::Params(format!("params.notifications: {error}")))?,
    };
    if filter.resource_subscriptions.len() > MAX_RESOURCES {
        return Err(Error::TooMany("resources of one listener").into());
    }
    let notices = gateway.hub.listen();
    let tag = Json::from(json!({ keys::SUBSCRIPTION: id.to_value() }));
    let accepted = Json::from(json!({ "notifications": filter }));
    let acknowledged = notification(
        "notifications/subscriptions/acknowledged",
        &with_members(&accepted, &[("_meta", &tag)]),
    );
    let first = futures_util::stream::once(std::future::ready(Frame { id: None, data: acknowledged }));
    let closing = gateway.closing.clone();
    let last = result_message(
        id,
        json!({ "resultType": "complete", "_meta": tag.to_value() }).to_string().as_bytes(),
    );
    let last = futures_util::stream::once(std::future::ready(Frame { id: None, data: last }));
    let (gateway, principal) = (gateway.clone(), principal.clone());
    let rest = futures_util::stream::once(async move {
        let mut subscribed =
            Subscribed { gateway: gateway.clone(), principal: principal.clone(), uris: Vec::new() };
        for uri in &filter.resource_subscriptions {
            match gateway.want(&principal, uri, true).await {
                Ok(()) => subscribed.uris.push(uri.clone()),
                Err(failure) => tracing::warn!(%uri, %failure, "a resource can't be subscribed to"),
            }
        }
        changes(notices, move |notice| {
            let _held = &subscribed;
            modern_message(notice, &filter)
                .map(|(method, params)| notification(method, &with_members(&params, &[("_meta", &tag)])))
        })
    })
    .flatten();
    Ok(first.chain(rest).take_until(closing.cancelled_owned()).chain(last).boxed())
}

fn modern_message(notice: &Notice, filter: &Filter) -> Option<(&'static str, Json)> {
    let (wanted, message) = match notice {
        Notice::Tools => (filter.tools_list_changed, list_changed(notice)),
        Notice::Prompts => (filter.prompts_list_changed, list_changed(notice)),
        Notice::Resources => (filter.resources_list_changed, list_changed(notice)),
        Notice::Updated(uri) => {
            (filter.resource_subscriptions.iter().any(|wanted| **wanted == **uri), list_changed(notice))
        }
        Notice::Log(_) => (false, None),
    };
    message.filter(|_| wanted)
}

/// The stream of a legacy session outside any request.
pub(super) fn legacy(gateway: &Arc<Gateway>, session: &Arc<Session>) -> BoxStream<'static, Frame> {
    let session = session.clone();
    changes(gateway.hub.listen(), move |notice| {
        let (method, params) = match notice {
            Notice::Updated(uri) if !session.subscribed(uri) => return None,
            Notice::Log(params) => {
                let wanted = severity_of(params).is_none_or(|level| level <= session.log_level());
                ("notifications/message", wanted.then(|| params.clone())?)
            }
            other => list_changed(other)?,
        };
        Some(notification(method, &params))
    })
    .take_until(gateway.closing.clone().cancelled_owned())
    .boxed()
}

fn list_changed(notice: &Notice) -> Option<(&'static str, Json)> {
    Some(match notice {
        Notice::Tools => ("notifications/tools/list_changed", Json::empty_object()),
        Notice::Prompts => ("notifications/prompts/list_changed", Json::empty_object()),
        Notice::Resources => ("notifications/resources/list_changed", Json::empty_object()),
        Notice::Updated(uri) => ("notifications/resources/updated", Json::from(json!({ "uri": &**uri }))),
        Notice::Log(_) => return None,
    })
}

/// Notices as messages, for as long as somebody listens. One who has fallen behind is told that all lists changed.
fn changes(
    notices: broadcast::Receiver<Notice>,
    message: impl Fn(&Notice) -> Option<Bytes> + Send + 'static,
) -> impl futures_util::Stream<Item = Frame> + Send + 'static {
    let state = (notices, message, Vec::<Notice>::new());
    futures_util::stream::unfold(state, |(mut notices, message, mut missed)| async move {
        loop {
            let notice = match missed.pop() {
                Some(notice) => notice,
                None => match notices.recv().await {
                    Ok(notice) => notice,
                    Err(RecvError::Lagged(_)) => {
                        missed = vec![Notice::Tools, Notice::Prompts, Notice::Resources];
                        continue;
                    }
                    Err(RecvError::Closed) => return None,
                },
            };
            if let Some(data) = message(&notice) {
                return Some((Frame { id: None, data }, (notices, message, missed)));
            }
        }
    })
}
