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

use super::message::{Meta, features, follows_tasks, keys};
use super::reply::{Frame, notification, result_message, with_members};
use super::session::Session;
use super::{severity_of, tasks};
use crate::observer::{MAX_SUBSCRIPTIONS, Notice, Subscription};
use crate::{Error, Gateway};

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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    task_ids: Vec<String>,
}

/// The stream of `subscriptions/listen`: an acknowledgement, then what was asked for, each tagged with the request's
/// id, and the result when the gateway ends.
pub(super) async fn modern(
    gateway: &Arc<Gateway>,
    principal: &Arc<Principal>,
    id: &Json,
    filter: Option<&RawValue>,
    meta: &Meta<'_>,
) -> Result<BoxStream<'static, Frame>, Failure> {
    let mut filter: Filter = match filter {
        None => Filter::default(),
        Some(raw) => serde_json::from_str(raw.get())
            .map_err(|error| Error::Params(format!("params.notifications: {error}")))?,
    };
    if filter.resource_subscriptions.len() > MAX_SUBSCRIPTIONS {
        return Err(Error::TooMany("resources of one listener").into());
    }
    if filter.task_ids.len() > MAX_SUBSCRIPTIONS {
        return Err(Error::TooMany("tasks of one listener").into());
    }
    if !filter.task_ids.is_empty() && !follows_tasks(meta.capabilities) {
        return Err(Error::TasksNotDeclared.into());
    }
    // What is not there for this principal is not acknowledged.
    filter.task_ids = tasks::own(gateway, principal, filter.task_ids).await;
    filter.resource_subscriptions.retain(|uri| gateway.reader(uri, principal).is_ok());
    let notices = gateway.hub.listen();
    let features = features(meta.capabilities);
    let tag = Json::from(json!({ keys::SUBSCRIPTION: id.to_value() }));
    let accepted = Json::from(json!({ "notifications": filter }));
    let acknowledged = notification(
        "notifications/subscriptions/acknowledged",
        &with_members(&accepted, &[("_meta", &tag)]),
    );
    let first = futures_util::stream::once(std::future::ready(Frame { id: None, data: acknowledged }));
    let closing = gateway.closing().clone();
    let last = result_message(
        id,
        json!({ "resultType": "complete", "_meta": tag.to_value() }).to_string().as_bytes(),
    );
    let last = futures_util::stream::once(std::future::ready(Frame { id: None, data: last }));
    let (gateway, principal) = (gateway.clone(), principal.clone());
    let told = tasks::changes(gateway.clone(), principal.clone(), features, &filter.task_ids, tag.clone());
    let rest = futures_util::stream::once(async move {
        let mut held: Vec<Subscription> = Vec::with_capacity(filter.resource_subscriptions.len());
        for uri in &filter.resource_subscriptions {
            match gateway.subscribe(uri, &principal).await {
                Ok(subscription) => held.push(subscription),
                Err(failure) => tracing::warn!(%uri, %failure, "a resource can't be subscribed to"),
            }
        }
        changes(notices, move |notice| {
            let _held = &held;
            modern_message(&gateway, &principal, notice, &filter)
                .map(|(method, params)| notification(method, &with_members(&params, &[("_meta", &tag)])))
        })
    })
    .flatten();
    let rest = futures_util::stream::select(rest, told);
    Ok(first.chain(rest).take_until(closing.cancelled_owned()).chain(last).boxed())
}

fn modern_message(
    gateway: &Gateway,
    principal: &Principal,
    notice: &Notice,
    filter: &Filter,
) -> Option<(&'static str, Json)> {
    let wanted = match notice {
        Notice::Tools => filter.tools_list_changed,
        Notice::Prompts => filter.prompts_list_changed,
        Notice::Resources => filter.resources_list_changed,
        Notice::Updated { service, own, uri } => {
            filter.resource_subscriptions.iter().any(|wanted| **wanted == **uri)
                && gateway.may_read(principal, service, own)
        }
        Notice::Log { .. } => false,
    };
    list_changed(notice).filter(|_| wanted)
}

/// The stream of a legacy session outside any request.
pub(super) fn legacy(gateway: &Arc<Gateway>, session: &Arc<Session>) -> BoxStream<'static, Frame> {
    let (session, closing) = (session.clone(), gateway.closing().clone());
    let (notices, gateway) = (gateway.hub.listen(), gateway.clone());
    // The rules may have changed since the session began, so each notice is held against them.
    let message = move |notice: &Notice| {
        let (method, params) = match notice {
            Notice::Updated { service, own, uri } => {
                let wanted = session.subscribed(uri) && gateway.may_read(&session.principal, service, own);
                list_changed(notice).filter(|_| wanted)?
            }
            Notice::Log { service, params } => {
                let wanted = severity_of(params).is_none_or(|level| level <= session.log_level())
                    && gateway.may_use(&session.principal, service);
                ("notifications/message", wanted.then(|| params.clone())?)
            }
            other => list_changed(other)?,
        };
        Some(notification(method, &params))
    };
    changes(notices, message).take_until(closing.cancelled_owned()).boxed()
}

fn list_changed(notice: &Notice) -> Option<(&'static str, Json)> {
    Some(match notice {
        Notice::Tools => ("notifications/tools/list_changed", Json::empty_object()),
        Notice::Prompts => ("notifications/prompts/list_changed", Json::empty_object()),
        Notice::Resources => ("notifications/resources/list_changed", Json::empty_object()),
        Notice::Updated { uri, .. } => {
            ("notifications/resources/updated", Json::from(json!({ "uri": &**uri })))
        }
        Notice::Log { .. } => return None,
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
