//! What the services of the instances tell: what changes the whole is passed on.

use std::sync::Weak;

use trunkline_model::{Json, ServiceId, ServiceObserver, ServiceStatus};

use super::Shared;

/// Hears what the services of the instances tell.
pub(super) struct OfMembers(pub(super) Weak<Shared>);

impl ServiceObserver for OfMembers {
    fn contents_changed(&self, _: &ServiceId) {
        if let Some(pool) = self.0.upgrade() {
            pool.look();
        }
    }

    fn status_changed(&self, _: &ServiceId, _: &ServiceStatus) {
        if let Some(pool) = self.0.upgrade() {
            pool.look();
        }
    }

    fn resource_updated(&self, service: &ServiceId, uri: &str) {
        if let Some(pool) = self.0.upgrade() {
            pool.observer.resource_updated(service, uri);
        }
    }

    fn logged(&self, service: &ServiceId, params: &Json) {
        if let Some(pool) = self.0.upgrade() {
            pool.observer.logged(service, params);
        }
    }
}
