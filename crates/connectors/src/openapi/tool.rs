//! An operation as a tool.

use std::sync::Arc;

use trunkline_model::{BoxFuture, Call, CallContext, Failure, Outcome, Tool, ToolSpec};

use crate::Error;
use crate::http_client::HttpError;

use super::client::{Client, Target};
use super::health::Health;
use super::request::Template;
use super::response::{Origin, Shape, outcome};

/// An operation as a tool. All that does not depend on arguments is made once.
pub(super) struct OperationTool {
    pub(super) spec: ToolSpec,
    pub(super) template: Template,
    /// Where requests go; nothing where neither document nor configuration says so.
    pub(super) target: Option<Target>,
    pub(super) shape: Shape,
    pub(super) client: Arc<Client>,
    pub(super) health: Arc<Health>,
}

impl OperationTool {
    async fn call(&self, call: &Call, context: &CallContext) -> Result<Outcome, Error> {
        let target = self.target.as_ref().ok_or(Error::NoServer)?;
        let (answer, url) = match self.client.exchange(&self.template, target, call, context).await {
            Ok(answered) => answered,
            Err(error) => {
                if let Error::Http { cause: HttpError::Connect(_), .. } = &error {
                    self.health.lost(error.to_string(), &target.base);
                }
                return Err(error);
            }
        };
        self.health.reached();
        let missing = target.security.missing.as_deref();
        let (safe, known) = (self.template.is_safe(), call.known.is_some());
        outcome(answer, self.shape, Origin { url: &url, safe, missing, known })
    }
}

impl Tool for OperationTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn execute<'a>(
        &'a self,
        call: &'a Call,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(async move { self.call(call, context).await.map_err(Failure::from) })
    }
}
