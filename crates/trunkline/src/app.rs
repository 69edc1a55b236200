//! The wiring: builds every part from the configuration and runs it. Tasks are spawned here and nowhere else but for
//! what a single call needs.

mod assistant;
mod children;
mod choreography;
pub mod endpoints;
mod fleet;
mod flows;
mod registered;
mod reload;
mod restrain;
mod services;
mod sources;
mod state;
mod telemetry;
mod workers;

pub(crate) use flows::definitions;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_discovery::Catalog;
use trunkline_event_log as event_log;
use trunkline_gateway::{Gateway, GuardsConfig, Parts, Setting, Show, Sources, server};
use trunkline_policy::{Authenticator, Authorizer};
use uuid::Uuid;

use crate::config::{Config, Env, Flags, Loaded, Watcher};
use services::Services;

/// How often what has waited too long is ended.
const SWEEP: Duration = Duration::from_secs(5);

/// How long running calls may go on after the shutdown began.
const GRACE: Duration = Duration::from_secs(10);

/// Everything that runs.
struct App {
    gateway: Arc<Gateway>,
    services: Services,
    /// Tells when services have registered themselves, or have gone.
    registered: tokio::sync::watch::Receiver<()>,
    flows: flows::Running,
    /// Calls and the doors.
    calls: TaskTracker,
    doors: CancellationToken,
    /// Everything that calls need.
    tasks: TaskTracker,
    shutdown: CancellationToken,
    writer: std::thread::JoinHandle<event_log::Result<()>>,
    log: event_log::EventLog,
    seeing: telemetry::Seeing,
}

/// Runs the gateway until it is told to stop.
///
/// # Errors
/// Where it can't start.
pub async fn run_up(loaded: Loaded, flags: Flags) -> anyhow::Result<()> {
    let mut listeners = Vec::new();
    for address in &loaded.listen {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on {address}: is another gateway running? `trunkline doctor` tells")
        })?;
        listeners.push(listener);
    }
    let addresses: Vec<SocketAddr> =
        listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    announce(&addresses)?;
    let _children = children::start(&loaded.config.children).await?;
    let mut app = App::build(&loaded, &loaded.config.data_dir).await?;
    let workers = workers::start(&app.gateway, &app.doors)?;
    for listener in listeners {
        app.calls.spawn(server::accept(listener, workers.handles.clone(), app.doors.clone()));
    }
    guide(&loaded, &addresses);
    let env: Env = Arc::new(|name: &str| std::env::var(name).ok());
    let mut watcher = Watcher::new(&loaded, env, flags);
    let (mut in_force, base) = (loaded.config, loaded.base);
    let mut stop = std::pin::pin!(stop_signal());
    loop {
        let next = async {
            match &mut watcher {
                Some(watcher) => watcher.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = &mut stop => break,
            loaded = next => reload::apply(&mut app, &mut in_force, loaded).await,
            Ok(()) = app.registered.changed() => reload::registered(&mut app, &in_force, &base).await,
        }
    }
    app.gateway.close();
    app.doors.cancel();
    workers.join().await;
    app.stop().await
}

/// Runs the gateway with one MCP client on standard input and output.
///
/// # Errors
/// Where it can't start.
pub async fn run_stdio(loaded: Loaded, show: Option<Show>) -> anyhow::Result<()> {
    let _children = children::start(&loaded.config.children).await?;
    let app =
        state::with_own_folder(&loaded.config.data_dir, async |folder| App::build(&loaded, folder).await)
            .await?;
    let serving = trunkline_gateway::mcp::stdio::serve(
        app.gateway.clone(),
        show,
        tokio::io::stdin(),
        tokio::io::stdout(),
        app.doors.clone(),
    );
    let mut serving = std::pin::pin!(serving);
    let served = tokio::select! {
        served = &mut serving => served,
        () = stop_signal() => {
            app.gateway.close();
            app.doors.cancel();
            // The answers of calls that end meanwhile are written.
            tokio::time::timeout(GRACE, serving).await.unwrap_or(Ok(()))
        }
    };
    app.stop().await?;
    served.context("standard input or output failed")
}

impl App {
    async fn build(loaded: &Loaded, folder: &std::path::Path) -> anyhow::Result<Self> {
        let config = &loaded.config;
        std::fs::create_dir_all(folder)
            .with_context(|| format!("the data directory {} can't be made", folder.display()))?;
        let sources = sources();
        let (log, writer) = log_config(config, folder).build(sources.now.clone())?;
        let writer = std::thread::Builder::new().name("event-log".to_owned()).spawn(move || writer.run())?;
        let (calls, tasks) = (TaskTracker::new(), TaskTracker::new());
        let (telemetry, collector) = telemetry::build(config, &loaded.base, folder)?;
        let gateway = Gateway::new(Parts {
            config: config.doors.clone(),
            catalog: Arc::new(Catalog::new()),
            log: log.clone(),
            authenticator: authenticator(config)?,
            authorizer: Authorizer::new(&config.policy),
            sealer: state::sealer(folder)?,
            sources: sources.clone(),
            tasks: calls.clone(),
            runtime: tokio::runtime::Handle::current(),
            telemetry: telemetry.clone(),
        });
        let (doors, shutdown) = (CancellationToken::new(), CancellationToken::new());
        let seeing = telemetry::Seeing::start(&gateway, collector, &tasks, &shutdown)?;
        let flows = flows::Running::build(&gateway, &log, &sources, &calls, &loaded.base).await?;
        let prepared_flows = flows::prepare(&config.flows)?;
        let mut services = Services::new(&gateway, flows.service.clone(), tasks.clone(), shutdown.clone())?;
        let registered = gateway.open_registrations(registrations(config), services.names(config)).await?;
        let prepared = services.prepare(config, &loaded.base).await?;
        gateway.show_settings(settings(loaded));
        gateway.show_console(config.console.clone());
        gateway.guard(guards(config));
        gateway.recover(config.recovery.clone());
        restrain::apply(&gateway, config);
        services.put_in_place(prepared);
        flows.configure(&config.flows, prepared_flows);
        gateway.remember().await;
        flows.service.choreography().settle().await?;
        let resumed = flows.engine.resume_all().await?;
        if resumed > 0 {
            tracing::info!(instances = resumed, "flows go on where an earlier process ended");
        }
        if let Some(encoder) = assistant::encoder(config, &loaded.base)? {
            tasks.spawn(gateway.clone().search_by(encoder));
        }
        calls.spawn(flows.service.choreography().clone().run(gateway.closing().clone()));
        let (sweeper, ended) = (gateway.clone(), shutdown.clone());
        tasks.spawn(async move {
            while ended.run_until_cancelled(tokio::time::sleep(SWEEP)).await.is_some() {
                sweeper.sweep();
            }
        });
        let (watching, ended) = (gateway.clone(), shutdown.clone());
        tasks.spawn(async move {
            ended.run_until_cancelled(watching.watch_registrations()).await;
        });
        Ok(Self { gateway, services, registered, flows, calls, doors, tasks, shutdown, writer, log, seeing })
    }

    /// Stops: no new requests, running calls have a while, then their services end, and the record is written to its
    /// end.
    async fn stop(self) -> anyhow::Result<()> {
        let Self { gateway, services, flows, calls, doors, tasks, shutdown, writer, log, seeing, .. } = self;
        gateway.close();
        doors.cancel();
        calls.close();
        if tokio::time::timeout(GRACE, calls.wait()).await.is_err() {
            tracing::warn!(left = calls.len(), "some calls did not end in time");
        }
        // What was seen of them is written, and sent, before what sends it ends.
        seeing.stop().await;
        shutdown.cancel();
        tasks.close();
        if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
            tracing::warn!(left = tasks.len(), "some services did not end in time");
        }
        drop((services, flows, gateway));
        log.close();
        tokio::task::spawn_blocking(move || writer.join())
            .await?
            .map_err(|_| anyhow::anyhow!("the event log's writer has panicked"))??;
        Ok(())
    }
}

fn authenticator(config: &Config) -> anyhow::Result<Authenticator> {
    Authenticator::new(&config.auth).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow::anyhow!(errors.join("; "))
    })
}

fn log_config(config: &Config, folder: &std::path::Path) -> event_log::Config {
    let mut log = event_log::Config::new(folder.join("events.db"));
    log.batch_interval = Duration::from_millis(config.events.batch_interval_ms);
    let days = u64::from(config.events.retention_days);
    log.retention.max_age = (days > 0).then(|| Duration::from_secs(days * 86_400));
    let size = config.events.retention_mb << 20;
    log.retention.max_bytes = (size > 0).then_some(size);
    log
}

/// Time and identities from the operating system.
/// What is configured, and where it comes from, for those who look.
fn settings(loaded: &Loaded) -> Vec<Setting> {
    let of = |setting: crate::config::Setting| Setting {
        path: setting.path,
        value: setting.value,
        origin: setting.origin.to_string(),
    };
    loaded.settings().into_iter().map(of).collect()
}

fn sources() -> Sources {
    Sources {
        now: Arc::new(Timestamp::now),
        time_id: Arc::new(Uuid::now_v7),
        random_id: Arc::new(Uuid::new_v4),
    }
}

/// The first line on standard output says where the doors are, for programs that start us.
fn announce(addresses: &[SocketAddr]) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    for address in addresses {
        writeln!(out, "listening on http://{address}")?;
    }
    out.flush()
}

/// What a person does next.
fn guide(loaded: &Loaded, addresses: &[SocketAddr]) {
    use std::io::Write as _;
    let Some(address) = addresses.first() else { return };
    let server = if address.port() == 7400 { String::new() } else { format!(" --server http://{address}") };
    let me = own_command();
    let services: Vec<&str> = loaded.config.services.keys().map(String::as_str).collect();
    let text = format!(
        "\nConsole   http://{address}/\n\
         MCP       http://{address}/mcp   (claude mcp add --transport http trunkline http://{address}/mcp)\n\
         HTTP      http://{address}/v1/tools, described by http://{address}/openapi.json\n\
         Services  {}\n\
         Data      {}\n\n\
         Try       {me} tools{server}\n          \
         {me} call TOOL --arg name=value{server}\n          \
         {me} events --follow{server}\n",
        if services.is_empty() {
            "none yet: trunkline import .mcp.json".to_owned()
        } else {
            services.join(", ")
        },
        loaded.config.data_dir.display(),
    );
    // Nobody reading is no error.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// How a person calls this program from here: by its name where `PATH` leads to it, else by its path.
fn own_command() -> String {
    let Ok(program) = std::env::current_exe() else { return "trunkline".to_owned() };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named = std::env::split_paths(&path).any(|folder| folder.join("trunkline") == program);
    if named {
        return "trunkline".to_owned();
    }
    let here = std::env::current_dir().unwrap_or_default();
    program.strip_prefix(here).unwrap_or(&program).display().to_string()
}

/// Waits until the process is asked to end.
pub(crate) async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// Who may register services.
fn registrations(config: &Config) -> trunkline_gateway::RegistrationsConfig {
    config.registry.services.clone().unwrap_or_default()
}

/// How calls are guarded.
fn guards(config: &Config) -> GuardsConfig {
    let own = config.services.iter().filter_map(|(name, service)| {
        Some((trunkline_model::ServiceId::new(name), service.resilience.clone()?))
    });
    GuardsConfig { usual: config.resilience.clone(), services: own.collect() }
}
