//! The `trunkline` binary.

use std::process::ExitCode;

/// Events are made on one thread and dropped on another, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    trunkline::cli::main()
}
