//! `gotgan serve`.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use clap::Args;
use storage::crew::Crew;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::{CommandError, print};
use crate::anew::Handover;
use crate::bootstrap::Bootstrap;
use crate::config::{Config, Log};
use crate::serve::{Ended, Server};

/// Threads for work that blocks: chunk writes, cold reads, lists.
const BLOCKING_THREADS: usize = 64;

/// Flags win over environment and file.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Data directory; made at the first start.
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Address of the S3 interface [default: 127.0.0.1:9000].
    #[arg(long, value_name = "ADDR:PORT")]
    s3: Option<String>,
    /// Address of admin API, health and metrics [default: 127.0.0.1:9001].
    #[arg(long, value_name = "ADDR:PORT")]
    admin: Option<String>,
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Region name that clients see [default: kr-gyeonggi-1]. It never chooses a place.
    #[arg(long)]
    region: Option<String>,
    /// Domain whose subdomains are bucket names.
    #[arg(long)]
    domain: Option<String>,
    /// Country of this node (ISO 3166-1), or `none`; KR at the first start. Issues a new identity.
    #[arg(long)]
    country: Option<String>,
    /// Subdivision of this node (ISO 3166-2); KR-41 at the first start.
    #[arg(long)]
    subdivision: Option<String>,
    /// Building of this node.
    #[arg(long)]
    site: Option<String>,
    /// Rack of this node.
    #[arg(long)]
    rack: Option<String>,
    /// Who runs this machine.
    #[arg(long)]
    operator: Option<String>,
    /// Directory of the root key [default: DIR.root].
    #[arg(long, value_name = "DIR")]
    root_dir: Option<String>,
    /// File with the passphrase that seals the root key.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<String>,
    /// Names for a TLS certificate of the own CA, separated by commas.
    #[arg(long, value_name = "NAMES")]
    tls_names: Option<String>,
    /// TLS certificate chain (PEM).
    #[arg(long, value_name = "FILE")]
    tls_certificate: Option<String>,
    /// TLS private key (PEM).
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// Serve plain HTTP beyond loopback: secrets and data are readable on the network.
    #[arg(long)]
    danger_plain_http: bool,
    /// Make another secret for the first administrator, tell it in DIR/bootstrap.json, and revoke the one before.
    #[arg(long)]
    replace_administrator_secret: bool,
    /// Keep the root key inside the data directory: a copy of the data carries its key.
    #[arg(long)]
    danger_root_key_inside_data: bool,
    /// Destroy keys without waiting, approved by whoever was made today: for trials of the procedure, whose certificates
    /// say so.
    #[arg(long)]
    danger_trial_destruction: bool,
}

impl ServeArgs {
    fn config(&self) -> Result<Config, CommandError> {
        let mut config = Config::merge(self.config.as_deref(), std::env::vars()).map_err(CommandError::new)?;
        let pairs: [(&Option<String>, &mut String); 15] = [
            (&self.data, &mut config.data),
            (&self.s3, &mut config.listen.s3),
            (&self.admin, &mut config.listen.admin),
            (&self.region, &mut config.region),
            (&self.domain, &mut config.listen.domain),
            (&self.country, &mut config.node.country),
            (&self.subdivision, &mut config.node.subdivision),
            (&self.site, &mut config.node.site),
            (&self.rack, &mut config.node.rack),
            (&self.operator, &mut config.node.operator),
            (&self.root_dir, &mut config.root.dir),
            (&self.passphrase_file, &mut config.root.passphrase_file),
            (&self.tls_names, &mut config.tls.names),
            (&self.tls_certificate, &mut config.tls.certificate),
            (&self.tls_key, &mut config.tls.key),
        ];
        for (flag, value) in pairs {
            if let Some(flag) = flag {
                flag.clone_into(value);
            }
        }
        config.danger.plain_http |= self.danger_plain_http;
        config.danger.root_key_inside_data |= self.danger_root_key_inside_data;
        config.danger.trial_destruction |= self.danger_trial_destruction;
        config.checked().map_err(CommandError::new)
    }
}

pub(super) fn run(args: &ServeArgs) -> Result<(), CommandError> {
    let config = args.config()?;
    log_to_stderr(&config.log)?;
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let crew = Arc::new(Crew::new(workers));
    let [parks, unparks] = [(); 2].map(|()| Arc::clone(&crew));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .on_thread_park(move || parks.parks())
        .on_thread_unpark(move || unparks.unparks())
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(CommandError::new)?;
    let handed = Handover::received();
    if handed.starts > 0 {
        name_process();
    }
    let done = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(CommandError::new)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(CommandError::new)?;
        let server = Server::open(&config, args.replace_administrator_secret, &handed, &crew)
            .await
            .map_err(CommandError::new)?;
        if let Some(first) = &server.first {
            welcome(first, &config)?;
        }
        let stop = async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        server.run(stop).await.map_err(CommandError::new)
    });
    let done = match done {
        Ok(Ended::Stopped) => return Ok(()),
        Ok(Ended::Again(handover)) => Err(begin_anew(&handover)),
        Err(error) => Err(error),
    };
    // To be dropped it would wait for threads that wait for a broken database.
    runtime.shutdown_background();
    done
}

/// Puts another process in the place of this one, as whoever started it would when it ends, with the same arguments
/// but for what is done once. Returns when that is not possible; then it is up to whoever started it.
fn begin_anew(handover: &Handover) -> CommandError {
    let failed = |why: &dyn std::fmt::Display| {
        CommandError::new(format!("a full disk broke a database, and the server could not begin anew: {why}"))
    };
    let (name, value) = match handover.variable() {
        Ok(variable) => variable,
        Err(error) => return failed(&error),
    };
    let execute = |program: &Path| {
        let mut arguments = std::env::args_os();
        let mut command = Command::new(program);
        if let Some(own) = arguments.next() {
            command.arg0(own);
        }
        command.args(arguments.filter(|argument| argument != "--replace-administrator-secret"));
        command.env(&name, &value).exec()
    };
    // What runs, also when another version was put in its place meanwhile: that one starts when somebody says so.
    let error = execute(Path::new("/proc/self/exe"));
    if error.kind() != std::io::ErrorKind::NotFound {
        return failed(&error);
    }
    match std::env::current_exe() {
        Ok(program) => failed(&execute(&program)),
        Err(error) => failed(&error),
    }
}

/// As `ps` shows it: after [`begin_anew`] that would be `exe`.
fn name_process() {
    let own = std::env::args_os().next().map(PathBuf::from);
    let Some(name) = own.as_deref().and_then(Path::file_name) else { return };
    if let Err(error) = std::fs::write("/proc/self/comm", name.as_encoded_bytes()) {
        tracing::debug!(%error, "the name of the process");
    }
}

pub(super) fn log_to_stderr(log: &Log) -> Result<(), CommandError> {
    // s3s logs whole requests, which hold secrets and names.
    let filter = EnvFilter::try_new(format!("{},s3s=off", log.filter)).map_err(CommandError::new)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format.as_str() {
        "json" => builder.json().init(),
        _ => builder.with_ansi(false).init(),
    }
    Ok(())
}

/// Told once, to the person who started it.
fn welcome(first: &Bootstrap, config: &Config) -> Result<(), CommandError> {
    print(&format!(
        "
  Gotgan is ready (곳간이 준비되었습니다).

    S3 endpoint        {}
    region             {}
    tenant             {}
    access key id      {}
    secret access key  {}

    admin endpoint     {}
    admin access key   {}
    admin secret       {}

  This is also in {}/bootstrap.json (mode 0600). Delete that file once the secrets are kept elsewhere.
  The root key is in {}: back it up apart from the data. Without it nothing here can ever be read.
",
        first.s3_endpoint,
        first.region,
        first.tenant,
        first.access_key_id,
        first.secret_access_key,
        first.admin_endpoint,
        first.admin_access_key_id,
        first.admin_secret_access_key,
        config.data,
        config.root_dir().map_err(CommandError::new)?.display(),
    ))
}
