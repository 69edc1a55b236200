//! Resolve: what a name stands for.

use std::sync::Arc;

use trunkline_model::{Failure, Json, Operation, Principal, Service, Tool};
use trunkline_resilience::Care;

use super::Request;
use crate::gateway::Rules;
use crate::guards::care;
use crate::{Error, Gateway};

/// The most characters of an unknown name that are repeated.
pub(super) const MAX_ECHO: usize = 256;

/// What a name stands for.
pub(crate) struct Target {
    pub(super) service: Arc<dyn Service>,
    pub(super) tool: Option<Arc<dyn Tool>>,
    pub(super) own: Arc<str>,
    /// `service/own`.
    pub(super) label: Arc<str>,
    pub(super) read_only: bool,
    /// What may be done with the call.
    pub(super) care: Care,
    /// Further services that may have the resource.
    pub(super) others: Vec<(Arc<dyn Service>, Arc<str>)>,
}

impl Gateway {
    /// What the record calls a name: `service/own` where it stands for something.
    pub(crate) fn label(&self, operation: Operation, name: &Arc<str>) -> Arc<str> {
        let snapshot = self.catalog.snapshot();
        let label = match operation {
            Operation::CallTool => snapshot.tools.get(name).map(|entry| entry.target.clone()),
            Operation::GetPrompt => snapshot.prompts.get(name).map(|entry| entry.target.clone()),
            Operation::ReadResource | Operation::Complete => {
                snapshot.resources.get(name).map(|entry| entry.target.clone())
            }
        };
        label.unwrap_or_else(|| name.clone())
    }

    /// Finds what a name stands for. One that nothing has comes back with the nearest that the principal may use.
    pub(super) fn resolve(
        &self,
        rules: &Rules,
        principal: &Principal,
        request: &Request,
    ) -> Result<Target, Failure> {
        let snapshot = self.catalog.snapshot();
        let name = &*request.name;
        match request.operation {
            Operation::CallTool => {
                let Some(entry) = snapshot.tools.get(name) else {
                    let name = capped(name);
                    let mut near = snapshot.near_tools(name);
                    near.retain(|name| {
                        let spec = snapshot.tools.get(&**name).map(|entry| entry.tool.spec());
                        spec.is_some_and(|spec| {
                            let (service, own) = (&spec.service, &*spec.name);
                            rules.authorizer.decide(principal, service, own, request.operation).allow
                        })
                    });
                    return Err(Error::UnknownTool { name: name.to_owned(), near }.into());
                };
                let spec = entry.tool.spec();
                Ok(Target {
                    service: entry.service.clone(),
                    tool: Some(entry.tool.clone()),
                    own: spec.name.clone(),
                    label: entry.target.clone(),
                    read_only: spec.effects.read_only,
                    care: care(&*entry.tool, request),
                    others: Vec::new(),
                })
            }
            Operation::GetPrompt => prompt_target(&snapshot, name),
            Operation::ReadResource => resource_target(&snapshot, name),
            Operation::Complete if is_uri_ref(&request.arguments) => resource_target(&snapshot, name),
            Operation::Complete => prompt_target(&snapshot, name),
        }
    }
}

fn prompt_target(snapshot: &trunkline_discovery::Snapshot, name: &str) -> Result<Target, Failure> {
    let Some(entry) = snapshot.prompts.get(name) else {
        let name = capped(name);
        let near = snapshot.near_prompts(name);
        return Err(Error::UnknownPrompt { name: name.to_owned(), near }.into());
    };
    Ok(Target {
        service: entry.service.clone(),
        tool: None,
        own: entry.own.clone(),
        label: entry.target.clone(),
        read_only: true,
        care: Care::ReadOnly,
        others: Vec::new(),
    })
}

fn resource_target(snapshot: &trunkline_discovery::Snapshot, uri: &str) -> Result<Target, Failure> {
    // A completion names a template itself, everything else an expansion of one.
    let mut readers = match snapshot.templates.get(uri) {
        Some(entry) => vec![(entry.service.clone(), entry.own.clone())],
        None => snapshot.readers_of(uri),
    };
    if readers.is_empty() {
        return Err(Error::UnknownResource { uri: capped(uri).to_owned() }.into());
    }
    let (service, own) = readers.remove(0);
    let label = label_of(&*service, &own);
    Ok(Target { service, tool: None, own, label, read_only: true, care: Care::ReadOnly, others: readers })
}

/// A binding as the record has it.
pub(super) fn label_of(service: &dyn Service, own: &str) -> Arc<str> {
    Arc::from(format!("{}/{own}", service.id()))
}

/// As much of an unknown name as is repeated: in the answer, and in the record.
pub(super) fn capped(name: &str) -> &str {
    name.char_indices().nth(MAX_ECHO).map_or(name, |(end, _)| &name[..end])
}

pub(super) fn is_uri_ref(params: &Json) -> bool {
    params.to_value()["ref"]["type"] == "ref/resource"
}
