//! Two key administrators who destroy a key between them, with approval keys of their own.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cli::Account;
use crate::clock::until;
use crate::keeper::Keeper;
use crate::server::Server;

/// The law that tests cite.
pub const BASIS: &str = "개인정보 보호법 제21조";

/// Whoever asks is the keeper; this is who approves, and both keys.
#[derive(Debug)]
pub struct Approvers {
    /// Who approves.
    pub second: Account,
    /// Approval keys of the keeper and of the second.
    pub keys: [PathBuf; 2],
}

impl Approvers {
    /// Makes the second administrator, and enrols both.
    #[must_use]
    pub fn new(keeper: &Keeper, home: &Path) -> Self {
        let second = keeper.server.make_account_as("demo", "second", "key-administrator");
        let keys = ["keeper.approval", "second.approval"].map(|name| home.join(name));
        for (account, key) in [&keeper.account, &second].into_iter().zip(&keys) {
            let enrolled = keeper.server.json_as(account, &["key", "approver", key.to_str().unwrap()]);
            assert_eq!(enrolled["public_key"].as_str().map(str::len), Some(64));
        }
        Self { second, keys }
    }

    fn key(&self, which: usize) -> &str {
        self.keys[which].to_str().unwrap()
    }

    /// The arguments by which the keeper asks for a destruction: of a key, of `all`, or of a bucket as `bucket:NAME`.
    #[must_use]
    pub fn asking<'a>(&'a self, what: &'a str, days: &[&'a str]) -> Vec<&'a str> {
        let mut out = vec!["key", "destroy"];
        let bucket = what.strip_prefix("bucket:");
        match bucket {
            Some(name) => out.extend(["--bucket", name]),
            None => out.push(if what == "all" { "--all" } else { what }),
        }
        out.extend(["--legal-basis", BASIS, "--reason", "the contract ended", "--sign-with", self.key(0)]);
        out.extend(["--confirm", bucket.unwrap_or(what)]);
        out.extend(days);
        out
    }

    /// The arguments by which the second approves.
    #[must_use]
    pub fn approving<'a>(&'a self, id: &'a str) -> Vec<&'a str> {
        vec!["key", "approve", id, "--sign-with", self.key(1), "--confirm", id]
    }

    /// Asks and approves; gives the id.
    #[must_use]
    pub fn approved(&self, keeper: &Keeper, what: &str, days: &[&str]) -> String {
        let asked = keeper.server.json_as(&keeper.account, &self.asking(what, days));
        assert_eq!((asked["state"].as_str(), asked["signed_by"].as_str()), (Some("requested"), Some("keeper")));
        let id = asked["id"].as_str().unwrap().to_owned();
        let done = keeper.server.json_as(&self.second, &self.approving(&id));
        assert_eq!((done["state"].as_str(), done["signed_by"].as_str()), (Some("scheduled"), Some("keeper, second")));
        id
    }
}

/// How far a destruction is.
#[must_use]
pub fn state_of(server: &Server, account: &Account, id: &str) -> String {
    let all = server.json_as(account, &["key", "destructions"]);
    let one = all.as_array().unwrap().iter().find(|one| one["id"] == id);
    one.map_or(Value::Null, |one| one["state"].clone()).as_str().unwrap_or_default().to_owned()
}

/// Waits for the certificate of a destruction and writes it down.
pub fn certified(keeper: &Keeper, id: &str, to: &Path) {
    until("the destruction is certified", || (state_of(&keeper.server, &keeper.account, id) == "done").then_some(()));
    let (json, pdf) = (to.to_owned(), to.with_extension("pdf"));
    let arguments = ["key", "certificate", id, "--out", json.to_str().unwrap(), "--pdf", pdf.to_str().unwrap()];
    assert_eq!(keeper.server.json_as(&keeper.account, &arguments)["valid"], true);
}
