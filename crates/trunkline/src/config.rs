//! The configuration: one typed model, read from YAML, TOML, JSON or XML, in layers: defaults, file, environment, flags.

mod assistant;
mod choreography;
mod finding;
mod flows;
mod format;
mod interpolate;
mod load;
mod model;
pub(crate) mod near;
mod node;
mod paths;
mod schema;
mod show;
mod specification;
mod validate;
mod watch;

pub use assistant::{Embeddings, Model};
pub(crate) use choreography::rules as event_rules;
pub use choreography::{Loops, Outgoing, Scheme, Subscription, Webhook};
pub use finding::{Finding, Level};
pub use flows::{FlowLimit, FlowSecret, FlowTool, FlowUndo, Flows};
pub use format::Format;
pub use load::{Flags, Loaded, convert, find, load, load_or_default, load_text};
pub use model::{Child, Config, Events, Listen, Log, LogFormat, Registry, Service};
pub(crate) use paths::is_url;
pub use show::{Origin, Setting};
pub use watch::{Env, Watcher};
