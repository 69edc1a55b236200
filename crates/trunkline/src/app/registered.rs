//! Services that have registered themselves, as the configuration would have them.

use indexmap::IndexMap;
use trunkline_connectors::{mcp, openapi};
use trunkline_gateway::{Gateway, Kind, RegisteredService};

use crate::config::{self, Config};

/// Those whose names the configuration does not take itself. They have no credentials, headers or files of ours.
pub(super) fn services(gateway: &Gateway, config: &Config) -> IndexMap<String, config::Service> {
    let registered = gateway.registered_services().into_iter();
    registered
        .filter(|service| !config.services.contains_key(&service.name))
        .map(|service| (service.name.clone(), as_configured(service)))
        .collect()
}

fn as_configured(service: RegisteredService) -> config::Service {
    let RegisteredService { kind, url, document, description, capabilities, version, zone, metadata, .. } =
        service;
    let about =
        config::Service { description, capabilities, version, zone, metadata, ..config::Service::default() };
    match kind {
        Kind::Mcp => {
            config::Service { mcp: Some(mcp::Config { url: Some(url), ..mcp::Config::default() }), ..about }
        }
        Kind::Openapi => {
            let openapi = openapi::Config {
                document: document.unwrap_or_default(),
                base_url: Some(url),
                ..openapi::Config::default()
            };
            config::Service { openapi: Some(openapi), ..about }
        }
    }
}
