//! `gotgan`, the storehouse: the server and the commands of its administrators.

use std::process::ExitCode;

fn main() -> ExitCode {
    gateway::command::main()
}
