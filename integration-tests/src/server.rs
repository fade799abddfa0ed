//! The real binary on a directory of its own: started on free ports, killed, restarted, stopped.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::Client;
use crate::clock::{Moment, until};
use crate::sign::{Signed, Signer};
use crate::sums::sha256_hex;
use crate::wire::{Answer, Wire};

/// A data directory with its root key beside it, both in a temporary folder.
#[derive(Debug)]
pub struct Store {
    home: TempDir,
    environment: Vec<(String, String)>,
}

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    data: PathBuf,
    log: PathBuf,
    /// What `bootstrap.json` says.
    pub bootstrap: Bootstrap,
    stamp: Option<(u64, i64, i64)>,
    /// From the start of the process to the first `/readyz` that answered 200.
    pub start_took: Duration,
}

/// The content of `bootstrap.json`.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    /// Address of the S3 endpoint.
    pub s3: SocketAddr,
    /// Address of the admin endpoint.
    pub admin: SocketAddr,
    /// All of it.
    pub json: Value,
}

/// What a server that did not start left behind.
#[derive(Debug)]
pub struct Refusal {
    /// How it ended.
    pub status: ExitStatus,
    /// What it said.
    pub said: String,
}

/// The binary: `GOTGAN_BIN`, or `gotgan` in the target folder that this test was built into.
#[must_use]
pub fn binary() -> PathBuf {
    let found = std::env::var_os("GOTGAN_BIN").map_or_else(
        || {
            let test = std::env::current_exe().unwrap();
            test.ancestors().nth(2).unwrap().join("gotgan")
        },
        PathBuf::from,
    );
    assert!(
        found.is_file(),
        "{} is not there: run `make test`, or `cargo build --release -p gateway` first",
        found.display()
    );
    found
}

/// The folder of the Python packages that `make test` installs.
#[must_use]
pub fn venv() -> PathBuf {
    let cache = std::env::var_os("GOTGAN_CACHE")
        .map_or_else(|| PathBuf::from(std::env::var("HOME").unwrap()).join(".cache/gotgan"), PathBuf::from);
    cache.join("venv")
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// An empty place for a store.
    #[must_use]
    pub fn new() -> Self {
        Self { home: tempfile::Builder::new().prefix("gotgan-").tempdir().unwrap(), environment: Vec::new() }
    }

    /// Sets a variable for servers that are started from now on.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.environment.push((variable.to_owned(), value.to_owned()));
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// The root key file.
    #[must_use]
    pub fn root_key(&self) -> PathBuf {
        self.home.path().join("data.root/root.key")
    }

    /// The folder that holds everything, for files of the test's own.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Starts a server that must come up.
    #[must_use]
    pub fn start(&self) -> Server {
        self.start_with(&[])
    }

    /// Starts a server with more arguments; it must come up.
    #[must_use]
    pub fn start_with(&self, arguments: &[&str]) -> Server {
        self.try_start(arguments).unwrap_or_else(|r| panic!("the server ended with {}: {}", r.status, r.said))
    }

    /// Starts a server that must come up as the child of another program, which is named with its arguments.
    #[must_use]
    pub fn start_under(&self, program: &[OsString]) -> Server {
        let mut command = Command::new(&program[0]);
        command.args(&program[1..]).arg(binary());
        self.spawn(command, &[]).unwrap_or_else(|r| panic!("the server ended with {}: {}", r.status, r.said))
    }

    /// Starts a server from another copy of the binary; it must come up.
    #[must_use]
    pub fn start_copy(&self, copy: &Path) -> Server {
        let started = self.spawn(Command::new(copy), &[]);
        started.unwrap_or_else(|r| panic!("the server ended with {}: {}", r.status, r.said))
    }

    /// Takes over the root key of another store, whose data was put here.
    pub fn copy_root_from(&self, folder: &Path) {
        let own = self.root_key();
        fs::create_dir(own.parent().unwrap()).unwrap();
        for file in fs::read_dir(folder).unwrap() {
            let from = file.unwrap().path();
            fs::copy(&from, own.with_file_name(from.file_name().unwrap())).unwrap();
        }
    }

    /// Starts a server that may refuse to. One with TLS may not be ready yet, but answers.
    ///
    /// # Errors
    /// The refusal, when the process ended before it was ready.
    pub fn try_start(&self, arguments: &[&str]) -> Result<Server, Refusal> {
        self.spawn(Command::new(binary()), arguments)
    }

    fn spawn(&self, mut command: Command, arguments: &[&str]) -> Result<Server, Refusal> {
        let before = stamp(&self.data());
        let log = self.home.path().join("server.log");
        let out = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let begun = Instant::now();
        let mut child = command
            .args(["serve", "--s3", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data"])
            .arg(self.data())
            .args(arguments)
            .envs(self.environment.iter().map(|(variable, value)| (variable, value)))
            .stdin(Stdio::null())
            .stdout(File::create(self.home.path().join("server.out")).unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        let ready = until("the server is ready or ends", || {
            if let Some(status) = child.try_wait().unwrap() {
                return Some(Err(status));
            }
            if stamp(&self.data()) == before {
                return None;
            }
            let bootstrap = Bootstrap::read(&self.data())?;
            (bootstrap.is_tls() || visit(bootstrap.admin, "GET", "/readyz").ok()?.status == 200)
                .then_some(Ok(bootstrap))
        });
        match ready {
            Ok(bootstrap) => {
                let data = self.data();
                let stamp = stamp(&data);
                Ok(Server { child, data, log, bootstrap, stamp, start_took: begun.elapsed() })
            }
            Err(status) => {
                let out = fs::read_to_string(self.home.path().join("server.out"));
                let said = fs::read_to_string(&log).unwrap_or_default() + &out.unwrap_or_default();
                Err(Refusal { status, said })
            }
        }
    }
}

impl Bootstrap {
    fn read(data: &Path) -> Option<Self> {
        let json: Value = serde_json::from_slice(&fs::read(data.join("bootstrap.json")).ok()?).ok()?;
        let address = |field: &str| -> Option<SocketAddr> {
            json.get(field)?.as_str()?.split("://").nth(1)?.trim_end_matches('/').parse().ok()
        };
        Some(Self { s3: address("s3_endpoint")?, admin: address("admin_endpoint")?, json })
    }

    /// It is written when the addresses are bound: who connects then is served, sooner or later.
    fn is_tls(&self) -> bool {
        self.text("admin_endpoint").starts_with("https:")
    }

    /// A text field.
    #[must_use]
    pub fn text(&self, field: &str) -> String {
        self.json[field].as_str().unwrap_or_else(|| panic!("no {field} in bootstrap.json")).to_owned()
    }
}

impl Server {
    /// The first engineer's client.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client_of(&self.bootstrap.text("access_key_id"), &self.bootstrap.text("secret_access_key"))
    }

    /// A client with this credential.
    #[must_use]
    pub fn client_of(&self, access: &str, secret: &str) -> Client {
        Client {
            address: self.bootstrap.s3,
            host: self.bootstrap.s3.to_string(),
            signer: Signer {
                access: access.to_owned(),
                secret: secret.to_owned(),
                region: self.bootstrap.text("region"),
            },
        }
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, now, and wait until the process is gone.
    pub fn kill9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, and gives back how it did.
    #[must_use]
    pub fn terminate(mut self) -> ExitStatus {
        self.ask_to_end();
        self.wait()
    }

    /// Sends SIGTERM without waiting.
    pub fn ask_to_end(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Waits for its end.
    #[must_use]
    pub fn wait(&mut self) -> ExitStatus {
        until("the server ends", || self.child.try_wait().unwrap())
    }

    /// Stops it cleanly; it must exit with 0.
    pub fn stop(self) {
        let log = self.log.clone();
        let status = self.terminate();
        assert!(status.success(), "ended with {status}: {}", tail(&log));
    }

    /// Waits until the process has begun anew by itself, and takes note of its new addresses.
    pub fn await_another_start(&mut self) {
        let before = self.stamp;
        self.bootstrap = until("the server begins anew", || {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended");
            let bootstrap = Bootstrap::read(&self.data).filter(|_| stamp(&self.data) != before)?;
            (visit(bootstrap.admin, "GET", "/readyz").ok()?.status == 200).then_some(bootstrap)
        });
        self.stamp = stamp(&self.data);
    }

    /// GET on the admin address.
    #[must_use]
    pub fn admin(&self, path: &str) -> Answer {
        visit(self.bootstrap.admin, "GET", path).unwrap()
    }

    /// A signed request to the admin API, as it goes over the wire.
    #[must_use]
    pub fn admin_request(&self, method: &str, path: &str, at: Moment, nonce: &str) -> Vec<u8> {
        let signer = Signer {
            access: self.bootstrap.text("admin_access_key_id"),
            secret: self.bootstrap.text("admin_secret_access_key"),
            region: self.bootstrap.text("region"),
        };
        let (host, payload) = (self.bootstrap.admin.to_string(), sha256_hex(b""));
        let headers = [
            ("host", host.as_str()),
            ("x-amz-content-sha256", &payload),
            ("x-amz-date", &at.amz()),
            ("x-gotgan-nonce", nonce),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let signed = Signed { method, path, query: "", headers: &headers, payload: &payload, at };
        let mut head = format!("{method} {path} HTTP/1.1\r\ncontent-length: 0\r\n");
        for (name, value) in &headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("authorization: {}\r\n\r\n", signer.authorization_for("gotgan-admin", &signed)));
        head.into_bytes()
    }

    /// Sends [`Self::admin_request`] and reads the answer.
    #[must_use]
    pub fn admin_call(&self, method: &str, path: &str, at: Moment, nonce: &str) -> Answer {
        let mut wire = Wire::connect(self.bootstrap.admin).unwrap();
        wire.send(&self.admin_request(method, path, at, nonce)).unwrap();
        wire.answer(method).unwrap()
    }

    /// The sum of all metrics whose name, or name and labels, contain `part`.
    #[must_use]
    pub fn metric(&self, part: &str) -> f64 {
        self.admin("/metrics")
            .status(200)
            .text()
            .lines()
            .filter(|l| {
                !l.starts_with('#')
                    && l.rsplit_once(' ').is_some_and(|(name, _)| match part.contains('{') {
                        true => name.contains(part),
                        false => name.split('{').next().is_some_and(|n| n.contains(part)),
                    })
            })
            .filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Anonymous resident memory in bytes: what the process itself holds, page cache left out.
    #[must_use]
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|l| l.starts_with("RssAnon:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// The end of what the server said on standard error.
    #[must_use]
    pub fn said(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
        if std::thread::panicking() {
            println!("--- the server said\n{}", tail(&self.log));
        }
    }
}

/// When `bootstrap.json` was written last: a server writes it at every start.
fn stamp(data: &Path) -> Option<(u64, i64, i64)> {
    let facts = fs::metadata(data.join("bootstrap.json")).ok()?;
    Some((facts.ino(), facts.mtime(), facts.mtime_nsec()))
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

fn visit(to: SocketAddr, method: &str, path: &str) -> std::io::Result<Answer> {
    let mut wire = Wire::connect(to)?;
    wire.send(format!("{method} {path} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes())?;
    wire.answer(method)
}
