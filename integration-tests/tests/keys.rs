//! Tenant keys: made, rotated, suspended and resumed by who manages them, and by nobody else.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use integration_tests::clock::until;
use integration_tests::keeper::Keeper;
use integration_tests::noise::body;
use integration_tests::server::binary;
use integration_tests::wire::Wire;
use integration_tests::{Account, Answer, Client, Store};
use serde_json::json;

const SUSPENDED: &str = "KMS.DisabledException";

#[test]
fn a_rotation_leaves_every_object_as_it_is() {
    let store = Store::new();
    let keeper = Keeper::new(store.start(), "demo");
    let s3 = keeper.s3();
    for bucket in ["one", "two"] {
        s3.make_bucket(bucket);
        s3.put(bucket, "small", "v").done();
        s3.put(bucket, "large", body(1, 5 << 20)).done();
    }
    let upload = s3.begin("one", "parts");
    let part = s3.part("one", "parts", &upload, 1).body(body(2, 5 << 20)).send().status(200).etag();
    let before = keeper.key(&["show", "default"]);
    assert_eq!((before["version"].as_u64(), before["default"].as_bool()), (Some(1), Some(true)));
    assert_eq!(before["buckets"].as_array().unwrap().len(), 2);
    for round in 2..=3 {
        let rotated = keeper.key(&["rotate", "default"]);
        assert_eq!((rotated["version"].as_u64(), rotated["buckets_wrapped_anew"].as_u64()), (Some(round), Some(2)));
        assert_eq!(rotated["id"], before["id"], "a version of the same key");
        assert_ne!(rotated["fingerprint"], before["fingerprint"]);
        s3.put("one", &format!("after-{round}"), "v").done();
    }
    let check = |s3: &Client| {
        for bucket in ["one", "two"] {
            s3.must_hold(bucket, "small", b"v");
            s3.must_hold(bucket, "large", &body(1, 5 << 20));
        }
        s3.must_hold("one", "after-2", b"v");
    };
    check(&s3);
    let last = s3.part("one", "parts", &upload, 2).body("end").send().status(200).etag();
    let keeper = keeper.killed(&store);
    let s3 = keeper.s3();
    check(&s3);
    s3.complete("one", "parts", &upload, &[(1, part), (2, last)]).send().status(200).done();
    let shown = keeper.key(&["show", "default"]);
    let versions = shown["versions"].as_array().unwrap();
    assert_eq!(versions.len(), 3);
    assert_eq!(versions[2]["fingerprint"], shown["fingerprint"]);
    let log = keeper.server.command(&["audit", "list", "--all", "--tenant", "demo", "--json"]);
    let rotations: Vec<serde_json::Value> = log
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .filter(|r: &serde_json::Value| r["operation"] == "admin:KeyRotate")
        .collect();
    assert_eq!(rotations.len(), 2, "in the tenant's log");
    assert!(
        rotations.iter().all(|r| r["key_id"] == shown["id"] && r["decision"] == "allow" && r["rules"][1] == "key.role")
    );
    assert_eq!(rotations[1]["key_version"], 3);
}

/// What a suspended key refuses, on a bucket with the object `k`.
fn all_refused(s3: &Client, bucket: &str, upload: &str) {
    let refused = |answer: Answer| answer.refused(400, SUSPENDED).done();
    refused(s3.get(bucket, "k"));
    s3.head(bucket, "k").status(400).done();
    refused(s3.bucket("GET", bucket).query("list-type", "2").send());
    for size in [1, 100_000] {
        refused(s3.object("PUT", bucket, "k").body(vec![7; size]).send());
    }
    refused(s3.object("POST", bucket, "another").query("uploads", "").send());
    refused(s3.part(bucket, "parts", upload, 1).body("x").send());
    refused(s3.object("PUT", "elsewhere", "copy").header("x-amz-copy-source", &format!("/{bucket}/k")).send());
}

#[test]
fn a_suspended_key_opens_nothing_until_it_is_resumed() {
    let store = Store::new();
    let keeper = Keeper::new(store.start(), "demo");
    let others = keeper.server.stranger("others");
    others.make_bucket("theirs");
    others.put("theirs", "k", "theirs").done();
    let s3 = keeper.s3();
    s3.make_bucket("mine");
    s3.put("mine", "k", body(3, 64 << 20)).done();
    let upload = s3.begin("mine", "parts");
    // Buckets of another key of the same tenant, and another cipher.
    let second = keeper.key(&["create", "second", "--algorithm", "CHACHA20-POLY1305"]);
    assert_eq!(second["algorithm"], "CHACHA20-POLY1305");
    keeper.key(&["default", "second"]);
    s3.make_bucket("elsewhere");
    s3.put("elsewhere", "k", body(4, 3 << 20)).done();
    s3.must_hold("elsewhere", "k", &body(4, 3 << 20));

    // A read and two writes are under way.
    let (mut reading, head) = s3.object("GET", "mine", "k").open().unwrap();
    assert_eq!(head.status, 200);
    let writes = [1000, 300_000].map(|size| {
        let put = s3.object("PUT", "mine", "k").loose_header("expect", "100-continue").body(body(7, size));
        let (head, body) = put.encode();
        let mut wire = Wire::connect(s3.address).unwrap();
        wire.send(&head).unwrap();
        assert_eq!(wire.head().unwrap().status, 100, "it was admitted");
        (wire, body)
    });
    keeper.suspend("default");
    let read = reading.body(&head, |_| {});
    assert!(!matches!(read, Ok(length) if length == 64 << 20), "the rest of the answer did not come: {read:?}");
    for (mut wire, body) in writes {
        wire.send(&body).unwrap();
        wire.answer("PUT").unwrap().refused(400, SUSPENDED).done();
    }
    all_refused(&s3, "mine", &upload);
    keeper.refused(&["key", "rotate", "default"], "resume it first");
    keeper.refused(&["key", "default", "default"], "resume it first");
    keeper.refused(&["key", "resume", "second"], "not suspended");
    others.must_hold("theirs", "k", b"theirs");
    s3.must_hold("elsewhere", "k", &body(4, 3 << 20));

    let keeper = keeper.killed(&store);
    let s3 = keeper.s3();
    all_refused(&s3, "mine", &upload);
    s3.must_hold("elsewhere", "k", &body(4, 3 << 20));
    assert_eq!(keeper.key(&["resume", "default"])["state"], "active");
    s3.must_hold("mine", "k", &body(3, 64 << 20));
    s3.put("mine", "k", "after").done();
    s3.part("mine", "parts", &upload, 1).body("x").send().status(200).done();
    let shown = keeper.key(&["show", "second"]);
    assert_eq!(shown["buckets"], serde_json::json!(["elsewhere"]));
    assert_eq!(keeper.key(&["list"]).as_array().unwrap().len(), 2);
}

/// In the log nothing that hangs on the key is written behind its suspension.
#[test]
fn no_write_follows_a_suspension() {
    let store = Store::new();
    let keeper = Keeper::new(store.start(), "demo");
    keeper.s3().make_bucket("mine");
    for _ in 0..3 {
        let commits = || keeper.server.metric("gotgan_commits_total");
        let before = commits();
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let s3 = keeper.s3();
                std::thread::spawn(move || {
                    let put = |n: &u32| s3.object("PUT", "mine", &format!("{writer}-{n}")).body("v").send();
                    (0..).take_while(|n| put(n).status == 200).count()
                })
            })
            .collect();
        until("they write", || (commits() > before + 20.0).then_some(()));
        keeper.suspend("default");
        assert!(writers.into_iter().map(|writer| writer.join().unwrap()).sum::<usize>() > 0);
        let log = keeper.server.command(&["audit", "list", "--all", "--tenant", "demo", "--json"]);
        let log: Vec<serde_json::Value> = log.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let at = log.iter().rposition(|r| r["operation"] == "admin:KeySuspend" && r["status"] == 200).unwrap();
        let (before, after) = log.split_at(at);
        let written = |r: &&serde_json::Value| r["operation"] == "PutObject" && r["status"] == 200;
        assert!(before.iter().filter(written).count() > 0);
        assert_eq!(after.iter().filter(written).count(), 0);
        keeper.key(&["resume", "default"]);
    }
}

#[test]
fn who_manages_keys_reads_nothing_and_who_reads_manages_none() {
    let store = Store::new();
    let server = store.start();
    server.client().make_bucket("mine");
    server.client().put("mine", "k", "v").done();
    server.make_tenant("others");
    let theirs = server.make_account_as("others", "their-keeper", "key-administrator");
    let engineer = server.make_account("demo", "second");
    let keeper = Keeper::new(server, "demo");
    let s3 = keeper.server.client_of(&keeper.account.access, &keeper.account.secret);
    for answer in [s3.get("mine", "k"), s3.bucket("GET", "").send(), s3.object("PUT", "mine", "k").body("x").send()] {
        assert!(answer.refused(403, "AccessDenied").xml("Message").contains("object.role"));
    }
    let id = keeper.key(&["show", "default"])["id"].as_str().unwrap().to_owned();
    let said = |account: &Account, arguments: &[&str]| {
        let output = keeper.server.try_command_as(account, arguments);
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    for command in [["key", "list"].as_slice(), &["key", "rotate", "default"], &["key", "resume", &id]] {
        assert!(said(&engineer, command).contains("key.role"), "{command:?}");
        let output = keeper.server.try_command(command);
        assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("access denied"));
    }
    for command in [["key", "show", &id].as_slice(), &["key", "rotate", &id], &["key", "default", &id]] {
        assert!(said(&theirs, command).contains("has no key"), "{command:?}");
    }
    assert!(said(&keeper.account, &["tenant", "list"]).contains("access denied"));
    keeper.refused(&["key", "create", "default"], "exists already");
    keeper.refused(&["key", "create", "-"], "a name has");
    keeper.refused(&["key", "create", "k", "--algorithm", "ROT13"], "the algorithm is");
    keeper.refused(&["key", "suspend", "default", "--reason", "r"], "--confirm default");
    keeper.refused(&["key", "suspend", "default", "--reason", " ", "--confirm", "default"], "needs a reason");
    keeper.refused(&["key", "show", "absent"], "has no key");
    keeper.server.client().must_hold("mine", "k", b"v");
}

#[test]
fn a_compliance_officer_reads_the_log_and_the_ledger_of_the_tenant_and_no_more() {
    let store = Store::new();
    let server = store.start();
    let stranger = server.stranger("others");
    stranger.make_bucket("theirs");
    let officer = server.make_account_as("demo", "officer", "compliance-officer");
    let keeper = Keeper::new(server, "demo");
    keeper.s3().make_bucket("mine");
    keeper.s3().put("mine", "k", "v").done();
    keeper.key(&["rotate", "default"]);
    keeper.suspend("default");
    keeper.key(&["resume", "default"]);
    let read = |arguments: &[&str]| {
        let output = keeper.server.try_command_as(&officer, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let log = read(&["audit", "list", "--all", "--json"]);
    let log: Vec<serde_json::Value> = log.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(log.iter().all(|r| r["tenant"] == "demo"), "nothing of others, nothing of the platform");
    for operation in ["PutObject", "admin:KeyRotate", "admin:KeySuspend"] {
        assert_eq!(log.iter().filter(|r| r["operation"] == operation).count(), 1, "{operation}");
    }
    let ledger: serde_json::Value = serde_json::from_str(&read(&["key", "ledger", "--json"])).unwrap();
    let acts: Vec<_> = ledger.as_array().unwrap().iter().map(|l| l["act"].as_str().unwrap()).collect();
    assert_eq!(acts, ["rotate", "suspend", "resume"]);
    assert!(
        ledger.as_array().unwrap().iter().all(|l| l["by"] == "keeper" && l["key"] == "default" && l["version"] == 2)
    );
    let csv = read(&["key", "ledger", "--csv"]);
    assert!(csv.starts_with('\u{feff}') && csv.contains("암호키") && csv.lines().count() == 4, "{csv}");
    read(&["key", "show", "default"]);
    for command in [["key", "rotate", "default"].as_slice(), &["tenant", "list"], &["credential", "list"]] {
        assert!(!keeper.server.try_command_as(&officer, command).status.success(), "{command:?}");
    }
    let s3 = keeper.server.client_of(&officer.access, &officer.secret);
    assert!(s3.get("mine", "k").refused(403, "AccessDenied").xml("Message").contains("object.role"));
}

/// Whatever becomes of the process, a rotation is made or it is not.
#[test]
fn a_killed_rotation_is_whole_or_nothing() {
    let store = Store::new();
    let mut keeper = Keeper::new(store.start(), "demo");
    let buckets: Vec<String> = (0..20).map(|n| format!("bucket-{n}")).collect();
    for bucket in &buckets {
        keeper.s3().make_bucket(bucket);
        keeper.s3().put(bucket, "k", bucket.clone()).done();
    }
    let (mut version, mut made) = (1, 0);
    for round in 0..12_u64 {
        let mut rotation = Command::new(binary());
        rotation.args(["key", "rotate", "default", "--data"]).arg(keeper.server.data());
        rotation.envs(keeper.account.variables()).stderr(Stdio::null()).stdout(Stdio::null());
        let mut rotation = rotation.spawn().unwrap();
        // Sooner and later: before it is sent, within it, and behind it.
        let killed_in_time = round % 4 != 3;
        if killed_in_time {
            let (begun, delay) = (Instant::now(), Duration::from_millis(4 + 3 * round));
            while begun.elapsed() < delay {
                std::thread::yield_now();
            }
        } else {
            assert!(rotation.wait().unwrap().success());
        }
        keeper = keeper.killed(&store);
        let _answered = rotation.wait().unwrap();
        let shown = keeper.key(&["show", "default"]);
        let now = shown["version"].as_u64().unwrap();
        assert!(now == version || now == version + 1, "{version} -> {now}");
        made += now - version;
        version = now;
        for bucket in &buckets {
            keeper.s3().must_hold(bucket, "k", bucket.as_bytes());
        }
    }
    assert!(made >= 3, "some were made");
    // What an unlucky kill left under an older version is wrapped anew by the next rotation.
    assert_eq!(keeper.key(&["rotate", "default"])["buckets_wrapped_anew"], 20);
    until("readiness", || (keeper.server.admin("/readyz").status == 200).then_some(()));
}

#[test]
fn keys_go_by_other_names_which_may_be_given_to_others() {
    let store = Store::new();
    let keeper = Keeper::new(store.start(), "demo");
    keeper.key(&["create", "second"]);
    let named = keeper.key(&["alias", "default", "payroll"]);
    assert_eq!((named["name"].as_str(), named["aliases"].clone()), (Some("default"), json!(["payroll"])));
    assert_eq!(keeper.key(&["show", "payroll"])["name"], "default");
    keeper.refused(&["key", "create", "payroll"], "goes by that name");
    keeper.refused(&["key", "alias", "second", "default"], "keeps that name");
    keeper.refused(&["key", "unalias", "second", "payroll"], "another key's name");
    keeper.refused(&["key", "alias", "second", "no name"], "a name has");
    keeper.key(&["alias", "second", "payroll"]);
    assert_eq!(keeper.key(&["rotate", "payroll"])["name"], "second");
    let keeper = keeper.killed(&store);
    assert_eq!(keeper.key(&["show", "second"])["aliases"], json!(["payroll"]));
    assert_eq!(keeper.key(&["aliases"])[0]["key"], "second");
    keeper.key(&["unalias", "second", "payroll"]);
    keeper.refused(&["key", "show", "payroll"], "no key");
    keeper.refused(&["key", "unalias", "second", "payroll"], "no other name");
    // What nobody goes by any more may be the name of a new key.
    keeper.key(&["create", "payroll"]);
    keeper.refused(&["key", "alias", "default", "payroll"], "keeps that name");
    // Another tenant has its own.
    keeper.server.make_tenant("others");
    let stranger = keeper.server.make_account_as("others", "keeper", "key-administrator");
    let output = keeper.server.try_command_as(&stranger, &["key", "show", "payroll"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no key"));
    assert_eq!(keeper.server.json_as(&stranger, &["key", "aliases"]), json!([]));
}

/// Its envelopes are wrapped anew while requests go on; bodies stay, and the key before opens nothing of it any more.
#[test]
fn a_bucket_moves_to_another_tenant_key() {
    let store = Store::new();
    let keeper = Keeper::new(store.start(), "demo");
    let s3 = keeper.s3();
    s3.make_bucket("mine");
    s3.make_bucket("stays");
    for n in 0..700 {
        s3.put("mine", &format!("small/{n}"), "inline").done();
    }
    s3.put("mine", "large", body(1, 9 << 20)).done();
    let upload = s3.begin("mine", "begun");
    let part = s3.part("mine", "begun", &upload, 1).body(body(2, 5 << 20)).send().status(200).etag();
    keeper.key(&["create", "second", "--algorithm", "ARIA-256-GCM"]);
    let moved = keeper.key(&["rotate-bucket", "mine", "--key", "second", "--wait"]);
    assert_eq!((moved["state"].as_str(), moved["version"].as_u64()), (Some("done"), Some(2)));
    assert_eq!(keeper.key(&["show", "second"])["buckets"], json!(["mine"]));
    assert_eq!(keeper.key(&["show", "default"])["buckets"], json!(["stays"]));
    keeper.suspend("default");
    s3.must_hold("mine", "large", &body(1, 9 << 20));
    s3.must_hold("mine", "small/699", b"inline");
    s3.complete("mine", "begun", &upload, &[(1, part)]).send().status(200).done();
    s3.must_hold("mine", "begun", &body(2, 5 << 20));
    s3.get("stays", "k").refused(400, "KMS.DisabledException").done();
    keeper.key(&["resume", "default"]);
    keeper.suspend("second");
    s3.get("mine", "large").refused(400, "KMS.DisabledException").done();
    let keeper = keeper.killed(&store);
    keeper.s3().get("mine", "large").refused(400, "KMS.DisabledException").done();
    keeper.refused(&["key", "rotate-bucket", "mine", "--key", "default"], "suspended");
    keeper.key(&["resume", "second"]);
    keeper.key(&["rotate-bucket", "mine", "--key", "default", "--wait"]);
    keeper.s3().must_hold("mine", "large", &body(1, 9 << 20));
    keeper.refused(&["key", "rotate-bucket", "mine", "--key", "none"], "no key");
}

/// While a bucket is on its way, what hangs on either key opens by that key alone.
#[test]
fn a_bucket_on_its_way_hangs_on_both_keys() {
    let store = Store::new();
    let keeper = Keeper::new(store.start(), "demo");
    let s3 = keeper.s3();
    s3.make_bucket("mine");
    for n in 0..300 {
        s3.put("mine", &format!("old/{n:03}"), "old").done();
    }
    keeper.key(&["create", "second"]);
    // As slowly as may be: 10 envelopes a second.
    keeper.key(&["rotate-bucket", "mine", "--key", "second", "--rate", "10"]);
    s3.put("mine", "new", "new").done();
    s3.must_hold("mine", "old/299", b"old");
    keeper.refused(
        &[
            "key",
            "destroy",
            "default",
            "--legal-basis",
            "x",
            "--reason",
            "y",
            "--sign-with",
            "/nowhere",
            "--confirm",
            "default",
        ],
        "nowhere",
    );
    keeper.suspend("default");
    s3.must_hold("mine", "new", b"new");
    s3.get("mine", "old/299").refused(400, "KMS.DisabledException").done();
    s3.put("mine", "newer", "new").done();
    let keeper = keeper.killed(&store);
    let s3 = keeper.s3();
    s3.get("mine", "old/299").refused(400, "KMS.DisabledException").done();
    s3.must_hold("mine", "newer", b"new");
    keeper.key(&["resume", "default"]);
    until("it opens again", || (s3.get("mine", "old/299").status == 200).then_some(()));
    keeper.suspend("second");
    s3.get("mine", "new").refused(400, "KMS.DisabledException").done();
}
