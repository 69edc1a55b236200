//! The command line.

/// Runs the command line.
pub fn main() -> std::process::ExitCode {
    let path = std::env::args().nth(2).unwrap_or_default();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let loaded = crate::config::load_or_default(Some(std::path::Path::new(&path)), std::path::Path::new("."), &|n: &str| std::env::var(n).ok(), &crate::config::Flags::default());
    let loaded = match loaded { Ok(l) => l, Err(e) => { for f in e { eprintln!("{f}"); } return std::process::ExitCode::FAILURE } };
    let rt = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let Err(e) = rt.block_on(crate::app::run_up(loaded, crate::config::Flags::default())) { eprintln!("{e:#}"); return std::process::ExitCode::FAILURE }
    std::process::ExitCode::SUCCESS
}
