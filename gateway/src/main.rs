//! `gotgan`, the storehouse: the server and the commands of its administrators.

use std::process::ExitCode;

/// Many small allocations per request: lists and records spend less time in this one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    gateway::command::main()
}
