//! A tenant's key administrator at work on a server.

use serde_json::Value;

use crate::cli::Account;
use crate::client::Client;
use crate::server::{Server, Store};

/// The administrator, and the server, which can be killed and started again.
#[derive(Debug)]
pub struct Keeper {
    /// The server.
    pub server: Server,
    /// Who manages the keys.
    pub account: Account,
}

impl Keeper {
    /// A new key administrator of a tenant.
    #[must_use]
    pub fn new(server: Server, tenant: &str) -> Self {
        let account = server.make_account_as(tenant, "keeper", "key-administrator");
        Self { server, account }
    }

    /// Kills the server and starts it again.
    #[must_use]
    pub fn killed(self, store: &Store) -> Self {
        self.server.kill9();
        Self { server: store.start(), account: self.account }
    }

    /// Runs `gotgan key`, which must succeed.
    pub fn key(&self, arguments: &[&str]) -> Value {
        self.server.json_as(&self.account, &[&["key"], arguments].concat())
    }

    /// Suspends a key.
    pub fn suspend(&self, key: &str) {
        let reason = "an order of the court";
        let done = self.key(&["suspend", key, "--reason", reason, "--confirm", key]);
        assert_eq!((done["state"].as_str(), done["reason"].as_str()), (Some("suspended"), Some(reason)));
    }

    /// Runs a command that must be refused, for a reason that contains `why`.
    pub fn refused(&self, arguments: &[&str], why: &str) {
        let output = self.server.try_command_as(&self.account, arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(why), "{arguments:?}: {said}");
    }

    /// An engineer of `demo`.
    #[must_use]
    pub fn s3(&self) -> Client {
        self.server.client()
    }
}
