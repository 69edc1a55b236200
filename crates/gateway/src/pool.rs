//! A service that runs in several places: a choice between its instances for every call.
//!
//! Each instance is a service of its connector. Their tools are one list; a tool is called at an instance that has it. A call
//! that did nothing because its instance could not be reached, or took nothing, goes to another one at once, whatever it would
//! have done. Everything else is for the guard of the tool to decide, which stands before this.

mod checks;
mod heard;
mod place;
mod tool;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use indexmap::IndexMap;
use parking_lot::Mutex;
use tokio::time::Instant;
use trunkline_model::{
    BoxFuture, Call, CallContext, Capability, Contents, EffectState, Failure, Instance, InstanceStatus, Item,
    Operation, Outcome, Service, ServiceId, ServiceObserver, ServiceState, ServiceStatus, Task, TaskOrder,
    Tool,
};
use trunkline_resilience::balance::{BalanceConfig, Balancer, Endpoint, Flight, Sign};
use trunkline_resilience::budget::Budget;
use trunkline_resilience::guard::Verdict;
use trunkline_resilience::outlier::Outliers;
use trunkline_resilience::verdict;

use crate::error::Error;
use crate::gateway::{Sources, chance};
use heard::OfMembers;
use place::placed;
use tool::PoolTool;

pub use checks::{HealthConfig, Probe};

/// Calls that are made at another instance though the first one was reached, as a share of all, and how many there may always
/// be in ten seconds: an outage of all instances is not made worse. One that could not be reached costs nothing.
const FAILOVERS: (f64, u32) = (0.2, 10);

/// The most instances that one call is tried at.
const MOST_TRIED: usize = 5;

/// A service that runs in several places.
pub struct Pool(Arc<Shared>);

struct Shared {
    id: ServiceId,
    observer: Arc<dyn ServiceObserver>,
    balancer: Balancer,
    outliers: Outliers,
    failovers: Budget,
    members: ArcSwap<Members>,
    contents: ArcSwap<Contents>,
    /// Why the source of the instances can't be asked.
    source_fails: ArcSwapOption<String>,
    /// What was last told.
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    state: Option<ServiceState>,
    /// By address: whether it is well, and what is known of it.
    instances: HashMap<String, (bool, Instance)>,
}

/// The instances, in one order.
#[derive(Default)]
struct Members {
    endpoints: Vec<Arc<Endpoint>>,
    services: Vec<Member>,
}

/// What the connector made of an instance.
#[derive(Clone)]
struct Member {
    service: Arc<dyn Service>,
    /// Its tools by name.
    tools: Arc<HashMap<Arc<str>, Arc<dyn Tool>>>,
}

/// An instance that the pool has, and the service of the connector there.
pub type Place = (Instance, Arc<dyn Service>);

impl Pool {
    /// A pool without instances.
    #[must_use]
    pub fn new(
        id: ServiceId,
        observer: Arc<dyn ServiceObserver>,
        config: BalanceConfig,
        sources: &Sources,
    ) -> Arc<Self> {
        let now = Instant::now().into_std();
        let outliers = Outliers::new(config.outliers.clone(), now);
        Arc::new(Self(Arc::new(Shared {
            id,
            observer,
            balancer: Balancer::new(config, chance(sources)),
            outliers,
            failovers: Budget::new(FAILOVERS.0, FAILOVERS.1, now),
            members: ArcSwap::default(),
            contents: ArcSwap::default(),
            source_fails: ArcSwapOption::empty(),
            told: Mutex::default(),
        })))
    }

    /// What the services of the instances are to tell.
    #[must_use]
    pub fn observer(&self) -> Arc<dyn ServiceObserver> {
        Arc::new(OfMembers(Arc::downgrade(&self.0)))
    }

    /// The source of the instances can't be asked, or can be again: those that it told last stay. Whether that is news.
    pub fn source_fails(&self, cause: Option<String>) -> bool {
        let now = cause.is_some();
        self.0.source_fails.swap(cause.map(Arc::new)).is_some() != now
    }

    /// The instances and their services.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        let members = self.0.members.load();
        let instances = members.endpoints.iter().map(|endpoint| endpoint.instance().clone());
        instances.zip(members.services.iter().map(|member| member.service.clone())).collect()
    }

    /// Puts other instances in place. Calls that run at those that go are not touched.
    pub fn replace(&self, places: Vec<Place>) {
        let shared = &self.0;
        let old = shared.members.load_full();
        let now = Instant::now().into_std();
        let mut new = Members::default();
        for (instance, service) in places {
            // What is known of an instance stays known.
            let known = old.endpoints.iter().find(|endpoint| *endpoint.instance() == instance);
            new.endpoints.push(known.cloned().unwrap_or_else(|| Endpoint::new(instance, now)));
            new.services.push(Member { service, tools: Arc::default() });
        }
        shared.members.store(Arc::new(new));
        shared.look();
    }

    /// Checks an instance again and again, until it is no longer one of the pool. To be run by whoever made it.
    #[must_use]
    pub fn watch(&self, url: &str, config: HealthConfig, probe: Probe) -> BoxFuture<'static, ()> {
        Box::pin(checks::watch(Arc::downgrade(&self.0), url.to_owned(), config, probe))
    }
}

impl Shared {
    /// Reads again what the instances have and how they are.
    fn look(self: &Arc<Self>) {
        let members = self.members.load_full();
        let now = Instant::now().into_std();
        let mut services = Vec::with_capacity(members.services.len());
        for (endpoint, member) in members.endpoints.iter().zip(&members.services) {
            let status = member.service.status();
            let cause = match status.state {
                ServiceState::Up => None,
                ServiceState::Starting => Some(Arc::from("it has not been reached yet")),
                ServiceState::Down => {
                    Some(Arc::from(status.cause.as_deref().unwrap_or("it can't be reached")))
                }
            };
            endpoint.saw(Sign::Connection, cause, now);
            let contents = member.service.contents();
            let tools = contents.tools.iter().map(|tool| (tool.spec().name.clone(), tool.clone())).collect();
            services.push(Member { service: member.service.clone(), tools: Arc::new(tools) });
        }
        let next = Arc::new(Members { endpoints: members.endpoints.clone(), services });
        // Another set of instances may have come meanwhile; whoever brought it looks again.
        self.members.compare_and_swap(&members, next);
        self.gather();
        self.tell();
        self.observer.contents_changed(&self.id);
    }

    /// The tools that any instance has, as the first that is well says they are; and all prompts and resources.
    fn gather(self: &Arc<Self>) {
        let members = self.members.load_full();
        let now = Instant::now().into_std();
        let (well, ill): (Vec<usize>, Vec<usize>) =
            (0..members.services.len()).partition(|&index| members.endpoints[index].is_usable(now));
        let mut tools: IndexMap<Arc<str>, Arc<dyn Tool>> = IndexMap::new();
        let (mut prompts, mut resources, mut templates) = (Vec::new(), Vec::new(), Vec::new());
        let mut first: Option<Arc<Contents>> = None;
        for index in well.into_iter().chain(ill) {
            let contents = members.services[index].service.contents();
            for tool in &contents.tools {
                let make = || -> Arc<dyn Tool> { Arc::new(PoolTool::new(tool, Arc::downgrade(self))) };
                tools.entry(tool.spec().name.clone()).or_insert_with(make);
            }
            add(&mut prompts, &contents.prompts);
            add(&mut resources, &contents.resources);
            add(&mut templates, &contents.templates);
            if first.is_none() && (!contents.tools.is_empty() || !contents.resources.is_empty()) {
                first = Some(contents);
            }
        }
        // While nobody is there, what was last known stays.
        if let Some(first) = first {
            let tools = tools.into_values().collect();
            let contents = Contents { tools, prompts, resources, templates, ..Contents::clone(&first) };
            self.contents.store(Arc::new(contents));
        }
    }

    fn status(&self) -> ServiceStatus {
        let members = self.members.load();
        let now = Instant::now().into_std();
        let statuses: Vec<ServiceStatus> =
            members.services.iter().map(|member| member.service.status()).collect();
        let well = members.endpoints.iter().any(|endpoint| endpoint.is_usable(now));
        let cause = members.endpoints.iter().find_map(|endpoint| endpoint.status(now).cause);
        let state = if well {
            ServiceState::Up
        } else if statuses.iter().any(|status| status.state == ServiceState::Starting) {
            ServiceState::Starting
        } else {
            ServiceState::Down
        };
        ServiceStatus {
            state,
            cause: self.cause(well, cause.as_deref()),
            restarts: statuses.iter().map(|status| status.restarts).sum(),
            protocol: statuses.into_iter().map(|status| status.protocol).next().unwrap_or_default(),
            stderr: Vec::new(),
        }
    }

    /// What is wrong with the whole, in words.
    fn cause(&self, well: bool, instance: Option<&str>) -> Option<String> {
        let own = (!well).then(|| instance.unwrap_or("it has no instances").to_owned());
        let fails = self.source_fails.load();
        let source =
            fails.as_ref().map(|cause| format!("its instances are those that were known last: {cause}"));
        match (own, source) {
            (Some(own), Some(source)) => Some(format!("{own}; {source}")),
            (own, source) => own.or(source),
        }
    }

    /// Tells what has changed since it was last told.
    fn tell(&self) {
        let members = self.members.load();
        let now = Instant::now().into_std();
        let status = self.status();
        let mut news = Vec::new();
        let changed = {
            let mut told = self.told.lock();
            let mut gone = std::mem::take(&mut told.instances);
            for endpoint in &members.endpoints {
                let status = endpoint.status(now);
                let now = (status.healthy, endpoint.instance().clone());
                if gone.remove(&status.url).as_ref() != Some(&now) {
                    news.push(status.clone());
                }
                told.instances.insert(status.url, now);
            }
            news.extend(gone.into_keys().map(|url| {
                let cause = Some(Arc::from("it is no longer an instance of the service"));
                let at = Endpoint::new(Instance::at(&url), now);
                InstanceStatus { healthy: false, cause, ..at.status(now) }
            }));
            told.state.replace(status.state) != Some(status.state)
        };
        for instance in &news {
            self.observer.instance_changed(&self.id, instance);
        }
        if changed {
            self.observer.status_changed(&self.id, &status);
        }
    }

    /// Does something at this one instance.
    async fn at<'a>(
        &'a self,
        members: &'a Members,
        index: usize,
        work: BoxFuture<'a, Result<Outcome, Failure>>,
    ) -> Result<Outcome, Failure> {
        let endpoint = &members.endpoints[index];
        let flight = endpoint.begin(Instant::now().into_std());
        let outcome = work.await;
        self.judge(members, endpoint, flight, &outcome);
        outcome.map(|outcome| placed(&endpoint.instance().url, outcome))
    }

    /// Does something at an instance, and at another one where nothing was done.
    async fn at_one<'a>(
        &'a self,
        members: &'a Members,
        context: &'a CallContext,
        work: impl Fn(&'a Member) -> Option<BoxFuture<'a, Result<Outcome, Failure>>>,
    ) -> Result<Outcome, Failure> {
        let key = context.conversation.as_deref().unwrap_or(&context.principal.id);
        self.failovers.call(Instant::now().into_std());
        let (mut tried, mut made, mut last) = (Vec::new(), 0, None);
        while made < MOST_TRIED {
            let start = Instant::now().into_std();
            let Some(index) = self.balancer.pick(&members.endpoints, &tried, key, start) else { break };
            tried.push(index);
            let Some(work) = work(&members.services[index]) else { continue };
            made += 1;
            match self.at(members, index, work).await {
                Err(failure) if goes_elsewhere(&failure) => {
                    let reached = members.services[index].service.is_up();
                    if reached && !self.failovers.take(Instant::now().into_std()) {
                        return Err(failure);
                    }
                    last = Some(failure);
                }
                outcome => return outcome,
            }
        }
        Err(last.unwrap_or_else(|| Error::NoInstance { service: self.id.to_string() }.into()))
    }

    fn judge(
        &self,
        members: &Members,
        endpoint: &Endpoint,
        flight: Flight<'_>,
        outcome: &Result<Outcome, Failure>,
    ) {
        let now = Instant::now().into_std();
        let good = match verdict(outcome) {
            Verdict::Good => {
                flight.answered(now);
                true
            }
            Verdict::Bad(wish) => {
                flight.failed(now, wish);
                false
            }
        };
        if self.outliers.saw(&members.endpoints, endpoint, good, now) {
            self.tell();
        }
    }
}

impl Member {
    /// Whether it says that it has what is asked for.
    fn lists(&self, call: &Call) -> bool {
        let contents = self.service.contents();
        let items = match call.operation {
            Operation::ReadResource => &contents.resources,
            Operation::GetPrompt => &contents.prompts,
            _ => return false,
        };
        items.iter().any(|item| *item.key == *call.name)
    }
}

/// Adds what is not there yet.
fn add(all: &mut Vec<Item>, items: &[Item]) {
    let known: HashSet<Arc<str>> = all.iter().map(|item| item.key.clone()).collect();
    all.extend(items.iter().filter(|item| !known.contains(&item.key)).cloned());
}

/// Whether another instance may do what this one did not.
fn goes_elsewhere(failure: &Failure) -> bool {
    failure.effect == EffectState::None
        && failure.fault == trunkline_model::Fault::Service
        && failure.rpc.is_none()
}

impl Service for Pool {
    fn id(&self) -> &ServiceId {
        &self.0.id
    }

    fn status(&self) -> ServiceStatus {
        self.0.status()
    }

    fn is_up(&self) -> bool {
        let now = Instant::now().into_std();
        self.0.members.load().endpoints.iter().any(|endpoint| endpoint.is_usable(now))
    }

    fn instances(&self) -> Vec<InstanceStatus> {
        let now = Instant::now().into_std();
        self.0.members.load().endpoints.iter().map(|endpoint| endpoint.status(now)).collect()
    }

    fn rediscover(&self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            let members = self.0.members.load_full();
            let reads = members.services.iter().map(|member| member.service.rediscover());
            futures_util::future::join_all(reads).await.contains(&true)
        })
    }

    fn capabilities(&self) -> Vec<Capability> {
        let members = self.0.members.load();
        let told = members.endpoints.iter().flat_map(|endpoint| &endpoint.instance().capabilities);
        told.cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn contents(&self) -> Arc<Contents> {
        self.0.contents.load_full()
    }

    fn request<'a>(
        &'a self,
        call: &'a Call,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(async move {
            let members = self.0.members.load_full();
            if let Some((index, call)) = self.0.resumed(&members, call)? {
                let work = members.services[index].service.request(&call, context);
                return self.0.at(&members, index, work).await;
            }
            // Instances need not have the same; what none of them lists may still be there.
            let listed = members.services.iter().any(|member| member.lists(call));
            let work = |member: &'_ Member| (!listed || member.lists(call)).then(|| member.service.clone());
            self.0
                .at_one(&members, context, |member| {
                    let service = work(member)?;
                    Some(Box::pin(async move { service.request(call, context).await }))
                })
                .await
        })
    }

    fn task<'a>(
        &'a self,
        id: &'a str,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<Option<Task>, Failure>> {
        Box::pin(async move {
            let members = self.0.members.load_full();
            let (index, own) = self.0.keeper(&members, id)?;
            let task = members.services[index].service.task(own.unwrap_or_default(), context).await?;
            Ok(task.map(|task| Task { id: Arc::from(id), ..task }))
        })
    }

    fn order_task<'a>(
        &'a self,
        id: &'a str,
        order: TaskOrder,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<bool, Failure>> {
        Box::pin(async move {
            let members = self.0.members.load_full();
            let (index, own) = self.0.keeper(&members, id)?;
            members.services[index].service.order_task(own.unwrap_or_default(), order, context).await
        })
    }

    /// Every instance is told: which of them changes the resource is not known.
    fn subscribe<'a>(&'a self, uri: &'a str, on: bool) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let (mut done, mut failed) = (false, None);
            for member in &self.0.members.load_full().services {
                match member.service.subscribe(uri, on).await {
                    Ok(()) => done = true,
                    Err(failure) => failed = Some(failure),
                }
            }
            failed.filter(|_| !done).map_or(Ok(()), Err)
        })
    }
}

#[cfg(test)]
mod tests;
