//! The binary's commands, as a person types them, and the access log as they show it.

use std::process::{Command, Output};

use serde_json::Value;

use crate::client::Client;
use crate::server::{Server, binary};

/// A principal with a credential.
#[derive(Debug, Clone)]
pub struct Account {
    /// Name of its tenant.
    pub tenant: String,
    /// Its id.
    pub principal: String,
    /// Access key id.
    pub access: String,
    /// Secret access key.
    pub secret: String,
}

impl Account {
    /// What makes the binary's commands ask as this account.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, &str); 2] {
        [("GOTGAN_ADMIN_ACCESS_KEY_ID", &self.access), ("GOTGAN_ADMIN_SECRET_ACCESS_KEY", &self.secret)]
    }
}

/// Runs the binary without a server.
#[must_use]
pub fn run(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).output().unwrap()
}

impl Server {
    /// Runs a command against this server.
    #[must_use]
    pub fn try_command(&self, arguments: &[&str]) -> Output {
        Command::new(binary()).args(arguments).arg("--data").arg(self.data()).output().unwrap()
    }

    /// Runs a command that must succeed, and gives back what it printed.
    pub fn command(&self, arguments: &[&str]) -> String {
        let output = self.try_command(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gotgan {}: {errors}", arguments.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command with `--json`.
    #[must_use]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.command(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e} in {text}"))
    }

    /// As [`Self::try_command`], as somebody else than the administrator.
    #[must_use]
    pub fn try_command_as(&self, account: &Account, arguments: &[&str]) -> Output {
        Command::new(binary())
            .args(arguments)
            .arg("--data")
            .arg(self.data())
            .envs(account.variables())
            .output()
            .unwrap()
    }

    /// As [`Self::json`], as somebody else than the administrator.
    pub fn json_as(&self, account: &Account, arguments: &[&str]) -> Value {
        let output = self.try_command_as(account, &[arguments, &["--json"]].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gotgan {}: {errors}", arguments.join(" "));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Makes a tenant.
    pub fn make_tenant(&self, name: &str) -> Value {
        self.json(&["tenant", "create", name])
    }

    /// Makes a principal with a credential in a tenant that exists.
    #[must_use]
    pub fn make_account(&self, tenant: &str, name: &str) -> Account {
        self.make_account_as(tenant, name, "engineer")
    }

    /// As [`Self::make_account`], with a role.
    #[must_use]
    pub fn make_account_as(&self, tenant: &str, name: &str, role: &str) -> Account {
        let principal = self.json(&["principal", "create", name, "--tenant", tenant, "--role", role]);
        let principal = field(&principal, &["id", "principal"]);
        let credential = self.json(&["credential", "create", "--principal", &principal]);
        Account {
            tenant: tenant.to_owned(),
            principal,
            access: field(&credential, &["access_key_id"]),
            secret: field(&credential, &["secret_access_key"]),
        }
    }

    /// A client of a fresh tenant.
    #[must_use]
    pub fn stranger(&self, tenant: &str) -> Client {
        self.make_tenant(tenant);
        let account = self.make_account(tenant, "stranger");
        self.client_of(&account.access, &account.secret)
    }

    /// The access log of S3 requests, oldest first.
    #[must_use]
    pub fn records(&self) -> Vec<Value> {
        let text = self.command(&["audit", "list", "--json"]);
        text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e} in {l}"))).collect()
    }

    /// Records of one operation.
    #[must_use]
    pub fn records_of(&self, operation: &str) -> Vec<Value> {
        self.records().into_iter().filter(|r| r["operation"] == operation).collect()
    }
}

fn field(json: &Value, names: &[&str]) -> String {
    names.iter().find_map(|n| json[*n].as_str()).unwrap_or_else(|| panic!("none of {names:?} in {json}")).to_owned()
}
