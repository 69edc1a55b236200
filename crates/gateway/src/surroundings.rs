//! What telemetry is told of the gateway when someone looks: services, breakers, queues, the cache, flows, the record.

use std::sync::Arc;

use trunkline_model::{ServiceId, ServiceState};
use trunkline_resilience::breaker::BreakerState;
use trunkline_telemetry::Surroundings;
use trunkline_telemetry::exposition::{Family, Kind, Labels};
use trunkline_telemetry::metrics::histogram::as_float;
use trunkline_telemetry::surroundings::ServiceFacts;

use crate::Gateway;

impl Surroundings for Gateway {
    fn families(&self) -> Vec<Family> {
        let mut families = self.of_services();
        families.extend(self.of_guards());
        families.extend(self.of_doors());
        families.extend(self.of_flows());
        families.extend(self.of_log());
        families
    }

    fn services(&self) -> Vec<ServiceFacts> {
        let (loads, breakers) = (self.guards.loads(), self.guards.breakers());
        let services = self.catalog.services();
        let facts = services.iter().map(|(id, entry)| {
            let status = entry.service.status();
            let load = loads.iter().find(|(of, _)| of == id).map(|(_, load)| load);
            let open = breakers.iter().filter(|(of, _, state)| of == id && *state != BreakerState::Closed);
            ServiceFacts {
                id: id.to_string(),
                protocol: status.protocol,
                state: state_word(status.state).to_owned(),
                cause: status.cause,
                breakers: open
                    .map(|(_, tool, state)| (tool.to_string(), breaker_word(*state).to_owned()))
                    .collect(),
                load: load.map(|load| (load.running, load.waiting, load.limit)),
            }
        });
        facts.collect()
    }

    fn protocol(&self, service: &str) -> Option<String> {
        let services = self.catalog.services();
        services.get(&ServiceId::new(service)).map(|entry| entry.service.status().protocol)
    }
}

fn state_word(state: ServiceState) -> &'static str {
    match state {
        ServiceState::Starting => "starting",
        ServiceState::Up => "up",
        ServiceState::Down => "down",
    }
}

fn breaker_word(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "closed",
        BreakerState::Open => "open",
        BreakerState::Probing => "probing",
    }
}

fn gauge(name: &'static str, help: &'static str) -> Family {
    Family::new(name, Kind::Gauge, help)
}

fn count(number: usize) -> f64 {
    as_float(u64::try_from(number).unwrap_or(u64::MAX))
}

fn of(service: &ServiceId) -> Labels {
    vec![("service", service.shared())]
}

impl Gateway {
    fn of_services(&self) -> Vec<Family> {
        let mut up = gauge("trunkline_service_up", "Whether a service can be called: 1 or 0.");
        let mut restarts = Family::new(
            "trunkline_service_restarts",
            Kind::Counter,
            "How often the process or session of a service was started anew.",
        );
        let mut tools = gauge("trunkline_service_tools", "How many tools a service has.");
        let mut instances =
            gauge("trunkline_service_instances", "Instances of a service, by whether calls go there.");
        for (id, entry) in self.catalog.services().iter() {
            let status = entry.service.status();
            up.put(of(id), f64::from(u8::from(status.state == ServiceState::Up)));
            restarts.put(of(id), as_float(status.restarts));
            tools.put(of(id), count(entry.service.contents().tools.len()));
            let all = entry.service.instances();
            if !all.is_empty() {
                for healthy in [true, false] {
                    let mut labels = of(id);
                    labels.push(("healthy", Arc::from(if healthy { "true" } else { "false" })));
                    let number = all.iter().filter(|instance| instance.healthy == healthy).count();
                    instances.put(labels, count(number));
                }
            }
        }
        vec![up, restarts, tools, instances]
    }

    fn of_guards(&self) -> Vec<Family> {
        let help = "Whether the breaker of a tool lets calls pass: 0 closed, 1 probing, 2 open.";
        let mut state = gauge("trunkline_breaker_state", help);
        for (service, tool, breaker) in self.guards.breakers() {
            let mut labels = of(&service);
            labels.push(("tool", tool));
            let value = match breaker {
                BreakerState::Closed => 0.0,
                BreakerState::Probing => 1.0,
                BreakerState::Open => 2.0,
            };
            state.put(labels, value);
        }
        let mut running = gauge("trunkline_service_calls_running", "Calls of a service that run.");
        let mut waiting =
            gauge("trunkline_service_calls_waiting", "Calls of a service that wait for others.");
        let mut limit =
            gauge("trunkline_service_calls_limit", "Calls of a service that there may be at a time, now.");
        for (service, load) in self.guards.loads() {
            running.put(of(&service), count(load.running));
            waiting.put(of(&service), count(load.waiting));
            limit.put(of(&service), count(load.limit));
        }
        vec![state, running, waiting, limit]
    }

    fn of_doors(&self) -> Vec<Family> {
        let mut sessions = gauge("trunkline_mcp_sessions", "MCP sessions of clients that are open.");
        sessions.put(Vec::new(), count(self.sessions.len()));
        let mut catalog = gauge("trunkline_catalog_tools", "Tools that can be called by name.");
        catalog.put(Vec::new(), count(self.catalog.snapshot().tools.len()));
        let (answers, bytes) = self.cache.size();
        let mut kept = gauge("trunkline_cache_entries", "Answers that are kept.");
        kept.put(Vec::new(), count(answers));
        let mut weight = gauge("trunkline_cache_bytes", "Bytes of the answers that are kept.");
        weight.put(Vec::new(), as_float(bytes));
        let mut uptime = gauge("trunkline_uptime_seconds", "How long the process has run.");
        uptime.put(Vec::new(), self.running().as_secs_f64());
        let mut build = gauge("trunkline_build_info", "1, with the version.");
        build.put(vec![("version", Arc::from(env!("CARGO_PKG_VERSION")))], 1.0);
        vec![sessions, catalog, kept, weight, uptime, build]
    }

    fn of_flows(&self) -> Vec<Family> {
        let Some(door) = self.flows.get() else { return Vec::new() };
        let standing = door.engine.standing();
        let mut unfinished =
            gauge("trunkline_flows_unfinished", "Instances of flows that have begun and not ended.");
        unfinished.put(Vec::new(), count(standing.unfinished));
        let mut running =
            gauge("trunkline_flows_running", "Unfinished instances of flows that are in memory.");
        running.put(Vec::new(), count(standing.running));
        let mut active = gauge("trunkline_flow_queue_active", "What goes on under a limit of flows.");
        let mut waiting =
            gauge("trunkline_flow_queue_waiting", "What waits for its turn under a limit of flows.");
        // A limit with a key has a queue for each of its values, which callers choose.
        for queue in door.engine.queues().into_iter().take(100) {
            let labels: Labels = vec![("queue", queue.what.clone())];
            active.put(labels.clone(), count(queue.active));
            waiting.put(labels, count(queue.waiting.len()));
        }
        vec![unfinished, running, active, waiting]
    }

    fn of_log(&self) -> Vec<Family> {
        let (head, oldest) = (self.log.head(), self.log.oldest());
        let mut position = gauge("trunkline_event_log_position", "The position of the newest event on disk.");
        position.put(Vec::new(), as_float(head));
        let mut kept = gauge("trunkline_event_log_events", "Events that are kept.");
        kept.put(Vec::new(), as_float((head + 1).saturating_sub(oldest)));
        let mut lag =
            gauge("trunkline_projection_lag_events", "Events that a projection of the log has not seen yet.");
        let mut stopped = gauge("trunkline_projection_stopped", "Whether a projection has stopped: 1 or 0.");
        for projection in self.log.projections() {
            let labels: Labels = vec![("projection", Arc::from(projection.name))];
            lag.put(labels.clone(), as_float(head.saturating_sub(projection.position)));
            stopped.put(labels, f64::from(u8::from(projection.error.is_some())));
        }
        vec![position, kept, lag, stopped]
    }
}
