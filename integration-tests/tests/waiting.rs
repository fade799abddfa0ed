//! Waiting periods and the age of who approves, by a clock that the test sets forward.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use integration_tests::approvers::Approvers;
use integration_tests::clock::until;
use integration_tests::keeper::Keeper;
use integration_tests::server::binary;
use integration_tests::shim::shim;
use integration_tests::{Account, Store};
use serde_json::Value;

const DAY: u64 = 24 * 3600;

/// The time of day is ahead by the seconds in the file AHEAD; other clocks go as they do.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static volatile long *ahead;
__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("AHEAD");
    int fd = file ? open(file, O_RDONLY) : -1;
    if (fd < 0) return;
    void *at = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) ahead = at;
    close(fd);
}
int clock_gettime(clockid_t which, struct timespec *out) {
    int done = syscall(SYS_clock_gettime, which, out);
    if (done == 0 && ahead && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) out->tv_sec += *ahead;
    return done;
}
"#;

/// A store whose clock, and that of the commands here, is set.
struct Clocked {
    store: Store,
    library: PathBuf,
    ahead: PathBuf,
}

impl Clocked {
    fn new() -> Self {
        let mut store = Store::new();
        let (library, ahead) = (shim(store.home(), SHIM), store.home().join("ahead"));
        store.set("LD_PRELOAD", library.to_str().unwrap());
        store.set("AHEAD", ahead.to_str().unwrap());
        let clocked = Self { store, library, ahead };
        std::fs::write(&clocked.ahead, 0_u64.to_ne_bytes()).unwrap();
        clocked
    }

    /// Sets all clocks ahead of the real one.
    fn ahead(&self, seconds: u64) {
        use std::os::unix::fs::FileExt;
        // In place: the file is mapped.
        let file = std::fs::OpenOptions::new().write(true).open(&self.ahead).unwrap();
        file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    fn run(&self, account: &Account, arguments: &[&str]) -> Output {
        Command::new(binary())
            .args(arguments)
            .args(["--data", self.store.data().to_str().unwrap(), "--json"])
            .envs(account.variables())
            .env("LD_PRELOAD", &self.library)
            .env("AHEAD", &self.ahead)
            .output()
            .unwrap()
    }

    fn json(&self, account: &Account, arguments: &[&str]) -> Value {
        let output = self.run(account, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn refused(&self, account: &Account, arguments: &[&str], why: &str) {
        let output = self.run(account, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(why), "{arguments:?}: {said}");
    }

    fn state(&self, account: &Account, id: &str) -> String {
        let all = self.json(account, &["key", "destructions"]);
        let one = all.as_array().unwrap().iter().find(|one| one["id"] == id).unwrap();
        one["state"].as_str().unwrap().to_owned()
    }
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
    assert_eq!(clocked.state(&keeper.account, &id), "scheduled");
    // Its approver has another key now: the signature that was given does not hold any more when it is due.
    clocked.ahead(15 * DAY + 60);
    until("it was due, and refused", || keeper.server.said().contains("does not hold any more").then_some(()));
    assert_eq!(clocked.state(&keeper.account, &id), "scheduled");
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
    assert_eq!(clocked.state(&keeper.account, &id), "scheduled");
    clocked.ahead(38 * DAY + 60);
    until("it is done", || (clocked.state(&keeper.account, &id) == "done").then_some(()));
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
