//! Waiting periods and the age of who approves, by a clock that the test sets forward.

use std::path::Path;
use std::process::Command;

use integration_tests::Account;
use integration_tests::approvers::Approvers;
use integration_tests::clock::until;
use integration_tests::clocked::{Clocked, DAY};
use integration_tests::keeper::Keeper;
use integration_tests::server::binary;
use serde_json::Value;

fn state(clocked: &Clocked, account: &Account, id: &str) -> String {
    let all = clocked.json(account, &["key", "destructions"]);
    let one = all.as_array().unwrap().iter().find(|one| one["id"] == id).unwrap();
    one["state"].as_str().unwrap().to_owned()
}

fn ask(clocked: &Clocked, keeper: &Keeper, approvers: &Approvers, days: &[&str]) -> String {
    clocked.json(&keeper.account, &approvers.asking("held", days))["id"].as_str().unwrap().to_owned()
}

fn verified(clocked: &Clocked, file: &Path) -> Value {
    let ca = clocked.store.data().join("certs/ca.pem");
    let output = Command::new(binary())
        .args(["key", "verify", file.to_str().unwrap(), "--ca", ca.to_str().unwrap(), "--json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_destruction_is_done_when_it_is_due_and_no_day_before() {
    let clocked = Clocked::new();
    let keeper = Keeper::new(clocked.store.start(), "demo");
    let s3 = keeper.s3();
    keeper.key(&["create", "held"]);
    keeper.key(&["default", "held"]);
    s3.make_bucket("theirs");
    s3.put("theirs", "k", "v").done();
    let approvers = Approvers::new(&keeper, clocked.store.home());
    let early = ask(&clocked, &keeper, &approvers, &["--days", "7"]);
    clocked.refused(&approvers.second, &approvers.approving(&early), "for a week");

    clocked.ahead(8 * DAY);
    clocked.refused(&approvers.second, &approvers.approving(&early), "void");
    let id = ask(&clocked, &keeper, &approvers, &["--days", "7"]);
    let approved = clocked.json(&approvers.second, &approvers.approving(&id));
    assert_eq!(approved["state"], "scheduled");
    // A key that is enrolled anew begins to be there anew.
    let fresh = clocked.store.home().join("fresh.approval");
    clocked.json(&approvers.second, &["key", "approver", fresh.to_str().unwrap()]);

    clocked.ahead(15 * DAY - 600);
    assert_eq!(state(&clocked, &keeper.account, &id), "scheduled");
    // Its approver has another key now: the signature that was given does not hold any more when it is due.
    clocked.ahead(15 * DAY + 60);
    until("it was due, and refused", || keeper.server.said().contains("does not hold any more").then_some(()));
    assert_eq!(state(&clocked, &keeper.account, &id), "scheduled");
    let shown = clocked.json(&keeper.account, &["key", "show", "held"]);
    assert_eq!(shown["state"], "pending destruction");
    // It is called off, and asked for anew if need be.
    clocked.json(&keeper.account, &["key", "cancel-destruction", &id]);
    let shown = clocked.json(&keeper.account, &["key", "show", "held"]);
    assert_eq!(shown["state"], "active");
}

#[test]
fn keys_rotate_by_schedule() {
    let clocked = Clocked::new();
    let keeper = Keeper::new(clocked.store.start(), "demo");
    keeper.s3().make_bucket("grain");
    keeper.s3().put("grain", "k", "v").done();
    let scheduled = keeper.key(&["schedule", "default", "--days", "90"]);
    assert_eq!((scheduled["rotate_days"].as_u64(), scheduled["version"].as_u64()), (Some(90), Some(1)));
    let version = || clocked.json(&keeper.account, &["key", "show", "default"])["version"].as_u64().unwrap();
    clocked.ahead(89 * DAY);
    assert_eq!(version(), 1);
    clocked.ahead(90 * DAY + 60);
    until("it is rotated", || (version() == 2).then_some(()));
    clocked.json(&keeper.account, &["key", "schedule", "default", "--never"]);
    let ledger = clocked.json(&keeper.account, &["key", "ledger"]);
    let acts: Vec<_> = ledger.as_array().unwrap().iter().map(|line| line["act"].as_str().unwrap().to_owned()).collect();
    assert_eq!(acts, ["schedule", "tenant-key-rotated", "schedule"]);
    clocked.ahead(0);
    keeper.killed(&clocked.store).s3().must_hold("grain", "k", b"v");
}

#[test]
fn what_is_due_is_certified_without_a_trial() {
    let clocked = Clocked::new();
    let keeper = Keeper::new(clocked.store.start(), "demo");
    let s3 = keeper.s3();
    keeper.key(&["create", "held"]);
    keeper.key(&["default", "held"]);
    s3.make_bucket("theirs");
    s3.put("theirs", "k", "v").done();
    let approvers = Approvers::new(&keeper, clocked.store.home());
    clocked.ahead(8 * DAY);
    let id = ask(&clocked, &keeper, &approvers, &["--days", "30"]);
    clocked.json(&approvers.second, &approvers.approving(&id));
    clocked.ahead(38 * DAY - 600);
    assert_eq!(state(&clocked, &keeper.account, &id), "scheduled");
    clocked.ahead(38 * DAY + 60);
    until("it is done", || (state(&clocked, &keeper.account, &id) == "done").then_some(()));
    let file = clocked.store.home().join("certificate.json");
    clocked.json(&keeper.account, &["key", "certificate", &id, "--out", file.to_str().unwrap()]);
    let said = verified(&clocked, &file);
    assert_eq!((said["request"]["trial"].as_bool(), said["request"]["waiting_days"].as_u64()), (Some(false), Some(30)));
    // The clock goes back to where it was: what is gone stays gone.
    clocked.ahead(0);
    let keeper = keeper.killed(&clocked.store);
    keeper.s3().get("theirs", "k").refused(404, "NoSuchBucket").done();
    assert_eq!(keeper.key(&["show", "held"])["state"], "destroyed");
}
