//! A changed configuration is put in force without a restart. Running calls keep what they started with.

use trunkline_policy::Authorizer;

use super::{App, authenticator};
use crate::config::{Config, Finding, Loaded};

/// Puts a new configuration in force, or says why the old one stays.
pub(super) async fn apply(app: &mut App, in_force: &mut Config, loaded: Result<Loaded, Vec<Finding>>) {
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(findings) => {
            tracing::error!("the changed configuration has faults; the old one stays in force");
            for finding in findings {
                tracing::error!("{finding}");
            }
            return;
        }
    };
    let settings = super::settings(&loaded);
    let config = loaded.config;
    let keys = match authenticator(&config) {
        Ok(keys) => keys,
        Err(error) => return stays(&error),
    };
    let services = match app.services.prepare(&config, &loaded.base).await {
        Ok(services) => services,
        Err(error) => return stays(&error),
    };
    let flows = match super::flows::prepare(&config.flows) {
        Ok(flows) => flows,
        Err(error) => return stays(&error),
    };
    // The rules first: nothing new may be called under the old ones.
    app.gateway.reconfigure(config.doors.clone(), keys, Authorizer::new(&config.policy));
    app.gateway.show_settings(settings);
    app.gateway.show_console(config.console.clone());
    app.gateway.guard(super::guards(&config));
    app.gateway.recover(config.recovery.clone());
    super::restrain::apply(&app.gateway, &config);
    app.services.put_in_place(services);
    // Those that are no longer allowed go with the next change, which this is.
    let taken = app.services.names(&config);
    if let Err(error) = app.gateway.open_registrations(super::registrations(&config), taken).await {
        tracing::error!(%error, "who may register services stays as it was");
    }
    app.flows.configure(&config.flows, flows);
    if let Err(error) = app.flows.service.choreography().settle().await {
        tracing::error!(%error, "new subscriptions are not in the record; they have no events yet");
    }
    for (what, changed) in [
        ("listen", config.listen != in_force.listen),
        ("data_dir", config.data_dir != in_force.data_dir),
        ("events", config.events != in_force.events),
        ("children", config.children != in_force.children),
        ("search", config.search != in_force.search),
        ("telemetry", config.telemetry != in_force.telemetry),
    ] {
        if changed {
            tracing::warn!("{what} has changed; that takes effect at the next start");
        }
    }
    tracing::info!(services = config.services.len(), "the changed configuration is in force");
    *in_force = config;
}

/// Puts services in place that have registered themselves, and takes those away that have gone.
pub(super) async fn registered(app: &mut App, in_force: &Config, base: &std::path::Path) {
    match app.services.prepare(in_force, base).await {
        Ok(services) => app.services.put_in_place(services),
        Err(error) => tracing::error!("the services that have registered can't be put in place: {error:#}"),
    }
}

fn stays(error: &anyhow::Error) {
    tracing::error!("the changed configuration can't be used; the old one stays in force: {error:#}");
}
