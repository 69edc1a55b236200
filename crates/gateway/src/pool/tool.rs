//! A tool of a pool, as callers see it: whichever instance has it executes it.

use std::sync::{Arc, Weak};

use trunkline_model::{BoxFuture, Call, CallContext, Failure, Outcome, Tool, ToolSpec};

use super::{Member, Shared};
use crate::error::Error;

/// A tool that several instances have.
pub(super) struct PoolTool {
    spec: ToolSpec,
    goes_on: bool,
    pool: Weak<Shared>,
}

impl PoolTool {
    pub(super) fn new(tool: &Arc<dyn Tool>, pool: Weak<Shared>) -> Self {
        Self { spec: tool.spec().clone(), goes_on: tool.goes_on(), pool }
    }
}

impl Tool for PoolTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn goes_on(&self) -> bool {
        self.goes_on
    }

    fn execute<'a>(
        &'a self,
        call: &'a Call,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(async move {
            let gone = || Error::NoInstance { service: self.spec.service.to_string() };
            let pool = self.pool.upgrade().ok_or_else(gone)?;
            let members = pool.members.load_full();
            let of =
                |member: &Member| -> Option<Arc<dyn Tool>> { member.tools.get(&self.spec.name).cloned() };
            if let Some((index, call)) = pool.resumed(&members, call)? {
                let tool = of(&members.services[index]).ok_or_else(gone)?;
                return pool.at(&members, index, tool.execute(&call, context)).await;
            }
            pool.at_one(&members, context, |member| {
                let tool = of(member)?;
                Some(Box::pin(async move { tool.execute(call, context).await }))
            })
            .await
        })
    }
}
