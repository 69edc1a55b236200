//! Checks of where instances come from: leases, Consul, DNS.

use trunkline_connectors::http_client::HttpClient;
use trunkline_connectors::{consul, dns, source};

use super::Validator;
use crate::config::model::{Discover, Service};
use crate::config::node::ConfigPath;

impl Validator<'_> {
    /// What a service with a source of instances needs.
    pub(super) fn discover(&mut self, service: &Service, discover: &Discover, path: &ConfigPath) {
        let given = [discover.lease.is_some(), discover.consul.is_some(), discover.dns.is_some()];
        if given.into_iter().filter(|given| *given).count() != 1 || !service.instances.is_empty() {
            let fix = "Keep one of discover.lease, discover.consul, discover.dns and instances.";
            self.invalid("exactly one source of instances is needed", fix, path);
        }
        let consul = discover.consul.as_ref().and_then(|lookup| lookup.url.as_ref());
        let dns = discover.dns.as_ref().and_then(|lookup| lookup.url.as_ref());
        for (name, template) in [("consul", consul), ("dns", dns)] {
            let Some(template) = template else { continue };
            if !template.contains("{host}") || source::place(template, "host", 1).is_err() {
                let path = path.join(name).join("url");
                self.invalid("this is no URL of an instance", "Write http://{host}:{port}/path.", &path);
            }
        }
        if let Some(lookup) = &discover.dns {
            let path = path.join("dns");
            if lookup.name.is_some() == lookup.srv.is_some() {
                let fix = "Write name: host.example with port: 8080, or srv: _name._tcp.example.";
                self.invalid("exactly one of name and srv is needed", fix, &path);
            }
            let needs_port = lookup.url.as_ref().is_none_or(|url| url.contains("{port}"));
            if lookup.name.is_some() && lookup.port.is_none_or(|port| port == 0) && needs_port {
                self.invalid("addresses say no port", "Write port: 8080.", &path.join("port"));
            }
        }
    }

    /// The registries themselves.
    pub(super) fn registry(&mut self) {
        let registry = &self.config.registry;
        if let Some(config) = &registry.dns
            && let Err(error) = dns::Client::new(config)
        {
            let path = ConfigPath::new(["registry", "dns"]);
            self.invalid(error.to_string(), "Write servers: [\"10.0.0.2\"], or leave it out.", &path);
        }
        let Some(config) = &registry.consul else { return };
        let path = ConfigPath::new(["registry", "consul"]);
        let made = HttpClient::new().map(|http| consul::Client::new(config, &http));
        if let Ok(Err(error)) = made {
            self.invalid(error.to_string(), "Correct it, or leave it out.", &path);
        }
        for (name, announce) in &config.announce {
            let path = path.join("announce").join(name);
            if let Some(service) = &announce.service
                && !self.config.services.contains_key(service)
            {
                let fix = "Name one of services, or leave it out for the gateway itself.";
                self.invalid("there is no service of this name", fix, &path.join("service"));
            }
            let Some(check) = &announce.check else { continue };
            let kinds = [check.http.is_some(), check.tcp.is_some(), check.ttl_ms.is_some()];
            if kinds.into_iter().filter(|given| *given).count() != 1 {
                let fix = "Write one of http: URL, tcp: host:port and ttl_ms: 15000.";
                self.invalid("a check is of one kind", fix, &path.join("check"));
            }
            if check.ttl_ms.is_some_and(|ttl| ttl < 1_000) {
                let fix = "Write 1000 or more: it is told three times in that time.";
                self.invalid("the time to live is below a second", fix, &path.join("check").join("ttl_ms"));
            }
        }
    }
}
