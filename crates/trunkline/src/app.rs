//! The wiring: builds every part from the configuration and runs it.

use crate::config::{Flags, Loaded};

/// Runs the gateway until it is told to stop.
///
/// # Errors
/// Where it can't start.
pub async fn run_up(loaded: Loaded, flags: Flags) -> anyhow::Result<()> {
    let _ = (loaded, flags);
    anyhow::bail!("wiring not linked yet")
}

/// Runs the gateway with one MCP client on standard input and output.
///
/// # Errors
/// Where it can't start.
pub async fn run_stdio(loaded: Loaded, flags: Flags) -> anyhow::Result<()> {
    let _ = (loaded, flags);
    anyhow::bail!("wiring not linked yet")
}
