//! The process is killed at every durable step of each key operation, and each time the store opens, every object reads, and the
//! operation is done or not done, never half.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use integration_tests::approvers::{Approvers, state_of};
use integration_tests::clock::until;
use integration_tests::keeper::Keeper;
use integration_tests::noise::body;
use integration_tests::shim::shim;
use integration_tests::{Account, Server, Store};

/// Steps that no operation here needs.
const STEPS_MAX: usize = 60;

/// Kills the process behind the n-th step that reaches the disk, n standing in the file STEPS while there is one.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
static long done;
static void step(void) {
    const char *file = getenv("STEPS");
    FILE *armed = file ? fopen(file, "r") : 0;
    if (!armed) return;
    long last = -1;
    if (fscanf(armed, "%ld", &last) == 1 && __sync_add_and_fetch(&done, 1) == last) kill(getpid(), SIGKILL);
    fclose(armed);
}
int fdatasync(int fd) { int r = syscall(SYS_fdatasync, fd); step(); return r; }
int fsync(int fd) { int r = syscall(SYS_fsync, fd); step(); return r; }
int rename(const char *a, const char *b) { int r = syscall(SYS_renameat, AT_FDCWD, a, AT_FDCWD, b); step(); return r; }
int unlink(const char *a) { int r = syscall(SYS_unlinkat, AT_FDCWD, a, 0); step(); return r; }
"#;

fn is_dead(server: &Server) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap_or_default();
    stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('Z'))
}

/// A store whose server can be killed at a step.
struct Steps {
    store: Store,
    armed: PathBuf,
}

impl Steps {
    fn new() -> Self {
        let mut store = Store::new();
        let armed = store.home().join("steps");
        store.set("LD_PRELOAD", shim(store.home(), SHIM).to_str().unwrap());
        store.set("STEPS", armed.to_str().unwrap());
        store.set("GOTGAN_DANGER_TRIAL_DESTRUCTION", "true");
        Self { store, armed }
    }

    /// Runs an operation again and again, killed one step later each time, until it is done before it is killed. Behind
    /// each kill the store is opened and looked at. Gives how many steps there were.
    fn at_every_step(
        &self,
        account: Account,
        prepare: impl Fn(&Keeper, usize),
        run: impl Fn(&Keeper, usize) -> bool,
        check: impl Fn(&Keeper, usize),
    ) -> usize {
        let mut keeper = Keeper { server: self.store.start(), account };
        for step in 1..STEPS_MAX {
            prepare(&keeper, step);
            std::fs::write(&self.armed, step.to_string()).unwrap();
            let began = Instant::now();
            let mut done = false;
            while !done && !is_dead(&keeper.server) && began.elapsed() < Duration::from_secs(30) {
                done = run(&keeper, step);
            }
            std::fs::remove_file(&self.armed).unwrap();
            let was_killed = is_dead(&keeper.server);
            keeper = keeper.killed(&self.store);
            check(&keeper, step);
            if !was_killed {
                assert!(done, "step {step}");
                return step - 1;
            }
        }
        panic!("more than {STEPS_MAX} steps");
    }
}

fn runs(keeper: &Keeper, arguments: &[&str]) -> bool {
    keeper.server.try_command_as(&keeper.account, arguments).status.success()
}

/// Whether the server comes to say that it is done, before it is killed. To ask it would be a step more each time.
fn says(keeper: &Keeper, what: &str) -> bool {
    until("it is done or killed", || match keeper.server.said().contains(what) {
        true => Some(true),
        false => is_dead(&keeper.server).then_some(false),
    })
}

fn filled(steps: &Steps) -> Account {
    let keeper = Keeper::new(steps.store.start(), "demo");
    let s3 = keeper.s3();
    s3.make_bucket("grain");
    for n in 0..8 {
        s3.put("grain", &format!("small/{n}"), "v").done();
    }
    s3.put("grain", "large", body(1, 5 << 20)).done();
    keeper.server.stop();
    keeper.account
}

fn whole(keeper: &Keeper) {
    let s3 = keeper.s3();
    for n in 0..8 {
        s3.must_hold("grain", &format!("small/{n}"), b"v");
    }
    s3.must_hold("grain", "large", &body(1, 5 << 20));
    s3.put("grain", "after", "v").done();
}

fn version(keeper: &Keeper) -> u64 {
    keeper.key(&["show", "default"])["version"].as_u64().unwrap()
}

#[test]
fn rotations_of_tenant_keys() {
    let steps = Steps::new();
    let account = filled(&steps);
    let count = steps.at_every_step(
        account,
        |_, _| {},
        |keeper, _| runs(keeper, &["key", "rotate", "default"]),
        |keeper, _| {
            whole(keeper);
            let before = version(keeper);
            assert_eq!(keeper.key(&["rotate", "default"])["version"].as_u64(), Some(before + 1));
            whole(keeper);
        },
    );
    assert!(count >= 1, "{count}");
}

#[test]
fn suspensions() {
    let steps = Steps::new();
    let account = filled(&steps);
    let arguments = ["key", "suspend", "default", "--reason", "an order", "--confirm", "default"];
    let count = steps.at_every_step(
        account,
        |_, _| {},
        |keeper, _| runs(keeper, &arguments),
        |keeper, _| {
            match keeper.key(&["show", "default"])["state"].as_str().unwrap() {
                "active" => {}
                state => {
                    assert_eq!(state, "suspended");
                    keeper.s3().get("grain", "large").refused(400, "KMS.DisabledException").done();
                    keeper.key(&["resume", "default"]);
                }
            }
            whole(keeper);
        },
    );
    assert!(count >= 1, "{count}");
}

/// Rotates the key of the bucket, killed at each step, under the tenant key that is named for the step.
fn rotate_at_every_step(steps: &Steps, account: Account, under: impl Fn(usize) -> Option<&'static str>) {
    let done = |keeper: &Keeper| {
        let rows = keeper.key(&["rotations"]);
        rows.as_array().unwrap().iter().all(|row| row["state"] == "done")
    };
    let count = steps.at_every_step(
        account,
        |_, _| {},
        |keeper, step| {
            let mut begun = vec!["key", "rotate-bucket", "grain", "--rate", "40", "--json"];
            begun.extend(under(step).into_iter().flat_map(|key| ["--key", key]));
            let begun = keeper.server.try_command_as(&keeper.account, &begun);
            match serde_json::from_slice::<serde_json::Value>(&begun.stdout) {
                Ok(row) => says(keeper, &format!("of its key bucket=grain version={}", row["version"])),
                Err(_) => false,
            }
        },
        |keeper, _| {
            whole(keeper);
            until("nothing hangs on the older version", || done(keeper).then_some(()));
            whole(keeper);
        },
    );
    assert!(count >= 3, "{count}");
}

#[test]
fn rotations_of_bucket_keys() {
    let steps = Steps::new();
    let account = filled(&steps);
    rotate_at_every_step(&steps, account, |_| None);
}

#[test]
fn moves_of_buckets_to_other_tenant_keys() {
    let steps = Steps::new();
    let account = filled(&steps);
    let keeper = Keeper { server: steps.store.start(), account };
    keeper.key(&["create", "second"]);
    keeper.server.stop();
    rotate_at_every_step(&steps, keeper.account, |step| Some(if step % 2 == 1 { "second" } else { "default" }));
}

#[test]
fn replacements_of_the_root_key() {
    let steps = Steps::new();
    let account = filled(&steps);
    let count = steps.at_every_step(
        account,
        |_, _| {},
        |keeper, _| keeper.server.try_command(&["root", "replace"]).status.success(),
        |keeper, _| {
            whole(keeper);
            let folder = keeper.server.data().with_extension("root");
            let left: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name()).collect();
            assert!(!left.iter().any(|name| name == "root.key.next"), "{left:?}");
        },
    );
    assert!(count >= 5, "{count}");
}

#[test]
fn destructions() {
    let steps = Steps::new();
    let account = filled(&steps);
    let keeper = Keeper { server: steps.store.start(), account };
    let approvers = Approvers::new(&keeper, steps.store.home());
    keeper.server.stop();
    let names = |step: usize| (format!("key-{step}"), format!("bucket-{step}"));
    let finished = |keeper: &Keeper, key: &str| {
        let all = keeper.key(&["destructions"]);
        let wanted = |one: &&serde_json::Value| one["keys"] == key && one["state"] == "done";
        all.as_array().unwrap().iter().any(|one| wanted(&one))
    };
    let count = steps.at_every_step(
        keeper.account,
        |keeper, step| {
            let (key, bucket) = names(step);
            keeper.key(&["create", &key]);
            keeper.key(&["default", &key]);
            keeper.s3().make_bucket(&bucket);
            keeper.s3().put(&bucket, "k", body(2, 300_000)).done();
            keeper.key(&["default", "default"]);
        },
        |keeper, step| {
            let (key, _) = names(step);
            let asked = keeper
                .server
                .try_command_as(&keeper.account, &[&approvers.asking(&key, &["--due-now"])[..], &["--json"]].concat());
            let Ok(asked) = serde_json::from_slice::<serde_json::Value>(&asked.stdout) else { return false };
            let id = asked["id"].as_str().unwrap();
            keeper.server.try_command_as(&approvers.second, &approvers.approving(id)).status.success()
                && says(keeper, &format!("certified destruction={id}"))
        },
        |keeper, step| {
            whole(keeper);
            let (key, bucket) = names(step);
            if keeper.key(&["show", &key])["state"] == "active" {
                // It was not approved yet: a request that was made is there, and another may be made.
                keeper.s3().must_hold(&bucket, "k", &body(2, 300_000));
                let id = approvers.approved(keeper, &key, &["--due-now"]);
                until("it is destroyed", || (state_of(&keeper.server, &keeper.account, &id) == "done").then_some(()));
            }
            until("it is certified", || finished(keeper, &key).then_some(()));
            keeper.s3().get(&bucket, "k").refused(404, "NoSuchBucket").done();
            assert_eq!(keeper.key(&["show", &key])["state"], "destroyed");
            whole(keeper);
        },
    );
    assert!(count >= 8, "{count}");
}

#[test]
fn destructions_of_buckets() {
    let steps = Steps::new();
    let account = filled(&steps);
    let keeper = Keeper { server: steps.store.start(), account };
    let approvers = Approvers::new(&keeper, steps.store.home());
    keeper.server.stop();
    let name = |step: usize| format!("doomed-{step}");
    let finished = |keeper: &Keeper, bucket: &str| {
        let all = keeper.key(&["destructions"]);
        all.as_array().unwrap().iter().any(|one| one["bucket"] == bucket && one["state"] == "done")
    };
    let count = steps.at_every_step(
        keeper.account,
        |keeper, step| {
            keeper.s3().make_bucket(&name(step));
            keeper.s3().put(&name(step), "k", body(2, 300_000)).done();
        },
        |keeper, step| {
            let what = format!("bucket:{}", name(step));
            let asking = [&approvers.asking(&what, &["--due-now"])[..], &["--json"]].concat();
            let asked = keeper.server.try_command_as(&keeper.account, &asking);
            let Ok(asked) = serde_json::from_slice::<serde_json::Value>(&asked.stdout) else { return false };
            let id = asked["id"].as_str().unwrap();
            keeper.server.try_command_as(&approvers.second, &approvers.approving(id)).status.success()
                && says(keeper, &format!("certified destruction={id}"))
        },
        |keeper, step| {
            whole(keeper);
            let bucket = name(step);
            if keeper.s3().get(&bucket, "k").status == 200 {
                let id = approvers.approved(keeper, &format!("bucket:{bucket}"), &["--due-now"]);
                until("it is destroyed", || (state_of(&keeper.server, &keeper.account, &id) == "done").then_some(()));
            }
            until("it is certified", || finished(keeper, &bucket).then_some(()));
            keeper.s3().get(&bucket, "k").refused(404, "NoSuchBucket").done();
            assert_eq!(keeper.key(&["show", "default"])["state"], "active");
            whole(keeper);
        },
    );
    assert!(count >= 8, "{count}");
}
