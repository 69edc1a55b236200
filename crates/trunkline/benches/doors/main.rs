//! What limits and the cache bring, on the real binary before a real service on loopback.
//!
//! `cargo bench -p trunkline --bench doors -- overload|cache [SECONDS]`, or `cargo xtask bench overload|cache`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints")]

mod cache;
mod load;
mod overload;
mod stage;

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let (what, seconds) = (arguments.next(), arguments.next());
    let seconds = seconds.map_or(Ok(10), |seconds| seconds.parse()).context("SECONDS is a number")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let met = match what.as_deref() {
        Some("overload") => runtime.block_on(overload::run(seconds))?,
        Some("cache") => runtime.block_on(cache::run())?,
        // `cargo bench` runs all benchmarks; this one says what it wants to hear.
        _ => {
            eprintln!("say `overload` or `cache`");
            return Ok(());
        }
    };
    anyhow::ensure!(met, "a bar is missed");
    Ok(())
}
