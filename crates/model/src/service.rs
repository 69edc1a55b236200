//! What a connector brings: a service with its tools, prompts and resources.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    BoxFuture, Call, CallContext, Capability, Failure, InstanceStatus, Json, Outcome, ServiceId, Task,
    TaskOrder, Tool,
};

/// Whether a service can be called now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// It has not been reached yet.
    Starting,
    /// It answered when last asked.
    Up,
    /// It can't be reached; it is being tried again behind the caller's back.
    Down,
}

/// How a service is, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Whether it can be called now.
    pub state: ServiceState,
    /// What is wrong, in words, where it is not up.
    pub cause: Option<String>,
    /// How often its process or session was started anew.
    pub restarts: u64,
    /// The protocol and its revision: `mcp 2025-11-25`, `openapi 3.1`, `process`.
    pub protocol: String,
    /// The last lines that it wrote to standard error, oldest first, where it is a process.
    pub stderr: Vec<String>,
}

/// A prompt, resource or resource template as the service lists it.
#[derive(Clone, Debug)]
pub struct Item {
    /// The prompt's name, the resource's URI, or the template's URI template.
    pub key: Arc<str>,
    /// The MCP object as the service sent it.
    pub raw: Json,
}

/// All that a service offers. What was last known stays while the service is down.
#[derive(Clone, Default)]
pub struct Contents {
    /// Its tools, in the order the service lists them.
    pub tools: Vec<Arc<dyn Tool>>,
    /// Its prompts.
    pub prompts: Vec<Item>,
    /// Its resources.
    pub resources: Vec<Item>,
    /// Its resource templates.
    pub templates: Vec<Item>,
    /// It completes arguments.
    pub completions: bool,
    /// It can be subscribed to for changes of a resource.
    pub subscriptions: bool,
    /// It sends log messages.
    pub logging: bool,
    /// What it says of itself to models.
    pub instructions: Option<String>,
}

/// What a service tells without being asked. Implementations return at once.
pub trait ServiceObserver: Send + Sync {
    /// The tools, prompts or resources have changed: read [`Service::contents`] again.
    fn contents_changed(&self, service: &ServiceId);

    /// The service came up or went down.
    fn status_changed(&self, service: &ServiceId, status: &ServiceStatus);

    /// An instance of the service is well, or no longer is, has come or has gone.
    fn instance_changed(&self, service: &ServiceId, instance: &InstanceStatus) {
        let _ = (service, instance);
    }

    /// A subscribed resource has changed.
    fn resource_updated(&self, service: &ServiceId, uri: &str);

    /// A log message outside any call: the params of `notifications/message`.
    fn logged(&self, service: &ServiceId, params: &Json);
}

/// A service behind the gateway.
pub trait Service: Send + Sync {
    /// Its name in the configuration.
    fn id(&self) -> &ServiceId;

    /// How it is.
    fn status(&self) -> ServiceStatus;

    /// Whether it can be called now.
    fn is_up(&self) -> bool {
        self.status().state == ServiceState::Up
    }

    /// Where it runs, where that is several places.
    fn instances(&self) -> Vec<InstanceStatus> {
        Vec::new()
    }

    /// What some of its instances can do, beside what is configured of it and what its tools say, sorted.
    fn capabilities(&self) -> Vec<Capability> {
        Vec::new()
    }

    /// Asks for a sign of life. Who asks does not wait for ever.
    ///
    /// # Errors
    /// What is wrong, in words.
    fn ping(&self) -> BoxFuture<'_, Result<(), String>> {
        let status = self.status();
        let up = status.state == ServiceState::Up;
        let cause = status.cause.unwrap_or_else(|| "it has not been reached yet".to_owned());
        Box::pin(std::future::ready(if up { Ok(()) } else { Err(cause) }))
    }

    /// Reads anew what it offers, because it may no longer be what it was. Who asks does not wait for ever. False where that
    /// can't be done.
    fn rediscover(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(false))
    }

    /// What it offers, as last known.
    fn contents(&self) -> Arc<Contents>;

    /// Gets a prompt, reads a resource or completes an argument. Tools are called through [`Tool::execute`].
    ///
    /// # Errors
    /// [`Failure`] as for [`Tool::execute`].
    fn request<'a>(
        &'a self,
        call: &'a Call,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<Outcome, Failure>>;

    /// Looks at a task of one of its tools. None where the principal has no such task.
    ///
    /// # Errors
    /// [`Failure`] where the service can't be asked.
    fn task<'a>(
        &'a self,
        id: &'a str,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<Option<Task>, Failure>> {
        let _ = (id, context);
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Asks something of a task of one of its tools; nothing where it has ended. False where the principal has no such
    /// task.
    ///
    /// # Errors
    /// [`Failure`] where the service can't be asked.
    fn order_task<'a>(
        &'a self,
        id: &'a str,
        order: TaskOrder,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<bool, Failure>> {
        let _ = (id, order, context);
        Box::pin(std::future::ready(Ok(false)))
    }

    /// Starts or ends a subscription to a resource. Updates come through [`ServiceObserver::resource_updated`].
    ///
    /// # Errors
    /// [`Failure`] where the service can't be reached or refuses.
    fn subscribe<'a>(&'a self, uri: &'a str, on: bool) -> BoxFuture<'a, Result<(), Failure>>;
}
