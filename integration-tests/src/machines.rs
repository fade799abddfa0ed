//! Machines of a platform: invited and joined.

use std::path::PathBuf;

use serde_json::Value;

use crate::cli::run;
use crate::server::{Server, Store};

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
}

impl Default for Platform {
    fn default() -> Self {
        Self::new()
    }
}
