//! Commands of this machine as tools. Arguments are filled into templates (`argv`); there is never a shell.

mod argv;
mod client;
mod config;
mod service;
mod tool;

pub use client::{Finished, Place, Run};
pub use config::{Config, Format, ProcessTool};
pub use service::{Processes, build};
