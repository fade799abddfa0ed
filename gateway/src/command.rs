//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

mod access;
mod admin;
mod approval;
mod certs;
mod client;
mod config;
mod key;
mod machine;
mod reseat;
mod root;
mod serve;
mod table;

/// Gotgan (곳간), a sovereign object store: S3 outside, sealed per tenant inside, in Korea only.
#[derive(Debug, Parser)]
#[command(name = "gotgan", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve(Box<serve::ServeArgs>),
    /// Organisations whose data is kept apart.
    #[command(subcommand)]
    Tenant(admin::Tenant),
    /// Users and services.
    #[command(subcommand)]
    Principal(admin::Principal),
    /// Access keys.
    #[command(subcommand)]
    Credential(admin::Credential),
    /// Keys of a tenant, for its key administrators.
    #[command(subcommand)]
    Key(key::Key),
    /// What the platform may read of a tenant, when two of its persons say so; for both.
    #[command(subcommand)]
    Access(access::Access),
    /// Exchange an invitation for a credential of yours, which is shown to you alone.
    Enrol(admin::Enrol),
    /// Print what a shell completes commands from.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Machines of the platform and their certificates.
    #[command(subcommand)]
    Certs(certs::Certs),
    /// The root key, which wraps the keys of the sealed file.
    #[command(subcommand)]
    Root(root::Root),
    /// Buckets, as far as administrators decide about them.
    #[command(subcommand)]
    Bucket(admin::Bucket),
    /// The access log.
    #[command(subcommand)]
    Audit(admin::Audit),
    /// The configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
}

/// How to reach the admin API.
#[derive(Debug, Clone, Args)]
struct Reach {
    /// Data directory of a server on this machine: its bootstrap.json names address and administrator.
    #[arg(long, value_name = "DIR", global = true, env = "GOTGAN_DATA")]
    data: Option<PathBuf>,
    /// A bootstrap.json, instead of --data.
    #[arg(long, value_name = "FILE", global = true)]
    bootstrap: Option<PathBuf>,
    /// Certificate of the CA that signed the server's certificate (PEM); DIR/certs/ca.pem with --data.
    #[arg(long, value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
    /// Ask as this access key, whose secret is in GOTGAN_ADMIN_SECRET_ACCESS_KEY, instead of as the administrator of
    /// bootstrap.json.
    #[arg(long, value_name = "ACCESS_KEY_ID", global = true, env = ADMIN_ACCESS_KEY)]
    access_key_id: Option<String>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

/// Who asks, where it is not the administrator of bootstrap.json. A secret is no argument: other users see those.
pub(crate) const ADMIN_ACCESS_KEY: &str = "GOTGAN_ADMIN_ACCESS_KEY_ID";
pub(crate) const ADMIN_SECRET_KEY: &str = "GOTGAN_ADMIN_SECRET_ACCESS_KEY";

/// A command failed; said to the person who typed it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct CommandError(String);

impl CommandError {
    fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// Runs the command line; the exit code is 0 when all went well.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Tenant(command) => admin::tenant(&command),
        Command::Principal(command) => admin::principal(&command),
        Command::Credential(command) => admin::credential(&command),
        Command::Key(command) => key::key(&command),
        Command::Access(command) => access::access(&command),
        Command::Enrol(command) => admin::enrol(&command),
        Command::Completions { shell } => completions(shell),
        Command::Certs(command) => certs::certs(&command),
        Command::Root(command) => root::root(&command),
        Command::Bucket(command) => admin::bucket(&command),
        Command::Audit(command) => admin::audit(&command),
        Command::Config(command) => config::run(&command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("gotgan: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn completions(shell: clap_complete::Shell) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "gotgan", &mut script);
    print(String::from_utf8(script).map_err(CommandError::new)?.trim_end())
}

/// One line on standard error, which may be gone.
fn say(line: &str) {
    use std::io::Write;
    let _gone = writeln!(std::io::stderr(), "{line}").is_err();
}

/// One line on standard output.
fn print(line: &str) -> Result<(), CommandError> {
    use std::io::Write;
    writeln!(std::io::stdout(), "{line}").map_err(CommandError::new)
}
