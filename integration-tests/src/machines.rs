//! Machines of a platform: invited, joined, and nodes that run.

use std::fs::{File, read_to_string};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::cli::run;
use crate::clock::until;
use crate::server::{Server, Store, binary};

/// A gotgan command without a server, which must succeed.
pub fn gotgan(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// One that must fail, for a reason that contains `why`.
pub fn fails(arguments: &[&str], why: &str) {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(why), "{arguments:?}: {said}");
}

/// A platform and the folders of its machines.
#[derive(Debug)]
pub struct Platform {
    /// Its server, which is also the CA's.
    pub server: Server,
    /// That server's store, beside which the folders lie.
    pub store: Store,
}

impl Platform {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Store::new())
    }

    /// Of a store.
    #[must_use]
    pub fn of(store: Store) -> Self {
        Self { server: store.start(), store }
    }

    /// A path beside the store.
    #[must_use]
    pub fn at(&self, name: &str) -> PathBuf {
        self.store.home().join(name)
    }

    /// The same as text.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        self.at(name).to_str().unwrap().to_owned()
    }

    /// The arguments that invite a machine.
    #[must_use]
    pub fn inviting(&self, name: &str, role: &str, country: &str) -> Vec<String> {
        let out = self.text(&format!("{name}.invitation"));
        let words =
            ["certs", "invite", name, "--role", role, "--country", country, "--site", "pangyo-1", "--out", &out];
        words.map(str::to_owned).to_vec()
    }

    /// Invites a machine; its id.
    pub fn invite(&self, name: &str, role: &str) -> String {
        let made = self.server.json(&self.inviting(name, role, "KR").iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!((made["state"].as_str(), made["invitation"].as_str()), (Some("invited"), None), "{made}");
        made["id"].as_str().unwrap().to_owned()
    }

    /// The machine joins; its folder has its name.
    pub fn join(&self, name: &str) {
        let said = gotgan(&["certs", "join", &self.text(&format!("{name}.invitation")), "--dir", &self.text(name)]);
        assert!(said.contains(name), "{said}");
    }

    /// A machine that was invited and has joined; its id.
    pub fn joined(&self, name: &str, role: &str) -> String {
        let id = self.invite(name, role);
        self.join(name);
        id
    }

    /// Who a machine is, by its own folder.
    #[must_use]
    pub fn shown(&self, name: &str) -> Value {
        serde_json::from_str(&gotgan(&["certs", "show", &self.text(name), "--json"])).unwrap()
    }

    /// What the platform knows of a machine.
    #[must_use]
    pub fn listed(&self, id: &str) -> Value {
        let all = self.server.json(&["certs", "list"]);
        all.as_array().unwrap().iter().find(|machine| machine["id"] == id).cloned().unwrap()
    }

    /// Starts the node of a machine over stores beside its folder; it must come up.
    #[must_use]
    pub fn node(&self, machine: &str, stores: &[&str]) -> Node {
        let log = self.at(&format!("{machine}.log"));
        let mut command = Command::new(binary());
        command.args(["node", "--listen", "127.0.0.1:0", "--machine", &self.text(machine)]);
        for store in stores {
            command.args(["--store", &self.text(store)]);
        }
        Node::spawn(command, log)
    }
}

impl Default for Platform {
    fn default() -> Self {
        Self::new()
    }
}

/// A node that runs; killed when it is dropped.
#[derive(Debug)]
pub struct Node {
    child: Child,
    log: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Node {
    fn spawn(mut command: Command, log: PathBuf) -> Self {
        let out = File::create(&log).unwrap();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(out).spawn().unwrap();
        let address = until("the node is ready or ends", || {
            let said = read_to_string(&log).unwrap();
            assert!(child.try_wait().unwrap().is_none(), "the node ended: {said}");
            let line = said.lines().find(|line| line.contains(" ready "))?;
            line.split("address=").nth(1)?.split(' ').next()?.parse().ok()
        });
        Self { child, log, address }
    }

    /// All that it said.
    #[must_use]
    pub fn said(&self) -> String {
        read_to_string(&self.log).unwrap()
    }

    /// Where it listens, as text.
    #[must_use]
    pub fn to(&self) -> String {
        self.address.to_string()
    }

    /// Kills it, as a power cut of the process.
    pub fn kill9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it; it must end well.
    pub fn stop(mut self) {
        let id = i32::try_from(self.child.id()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), rustix::process::Signal::TERM)
            .unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.said());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// What a gateway's machine hears of a node.
#[must_use]
pub fn status(gateway: &Path, node: &Node) -> Value {
    let text = gotgan(&["node", "status", &node.to(), "--machine", gateway.to_str().unwrap(), "--json"]);
    serde_json::from_str(&text).unwrap()
}
