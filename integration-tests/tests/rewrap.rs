//! The key of a bucket rotates while requests go on, whatever is killed, and no object is the worse for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use integration_tests::clock::until;
use integration_tests::keeper::Keeper;
use integration_tests::noise::body;
use integration_tests::{Client, Store};
use serde_json::Value;

/// Small objects of a bucket.
const MANY: usize = 2000;
/// Envelopes a second: some seconds for them all.
const RATE: &str = "500";

fn name(n: usize) -> String {
    format!("many/{n:05} é")
}

fn fill(s3: &Client, bucket: &str) {
    thread::scope(|scope| {
        for worker in 0..4 {
            scope.spawn(move || {
                for n in (worker..MANY).step_by(4) {
                    s3.put(bucket, &name(n), format!("value {n}")).done();
                }
            });
        }
    });
}

fn all_there(s3: &Client, bucket: &str) {
    for n in (0..MANY).step_by(7) {
        s3.must_hold(bucket, &name(n), format!("value {n}").as_bytes());
    }
}

fn rotation(keeper: &Keeper, bucket: &str) -> Value {
    keeper.key(&["rotations", "--bucket", bucket])[0].clone()
}

fn rewrapped(keeper: &Keeper, bucket: &str) -> u64 {
    rotation(keeper, bucket)["rewrapped"].as_u64().unwrap()
}

fn until_done(keeper: &Keeper, bucket: &str) -> Value {
    until("nothing hangs on the older version", || {
        let row = rotation(keeper, bucket);
        (row["state"] == "done").then_some(row)
    })
}

fn listed(s3: &Client, bucket: &str) -> Vec<u8> {
    s3.bucket("GET", bucket).query("prefix", "kept").send().status(200).body
}

#[test]
fn requests_go_on_while_the_key_of_their_bucket_rotates() {
    let store = Store::new();
    let keeper = Keeper::new(store.start(), "demo");
    let s3 = keeper.s3();
    s3.make_bucket("grain");
    fill(&s3, "grain");
    s3.put("grain", "kept/large", body(1, 5 << 20)).done();
    s3.put_parts("grain", "kept/parts", &[body(2, 5 << 20), body(3, 100)]).done();
    s3.object("PUT", "grain", "kept/copy").header("x-amz-copy-source", "/grain/kept/parts").send().status(200).done();
    let upload = s3.begin("grain", "kept/later");
    let first = s3.part("grain", "kept/later", &upload, 1).body(body(4, 5 << 20)).send().status(200).etag();
    let etag = s3.head("grain", "kept/parts").etag();
    let before = listed(&s3, "grain");

    let begun = keeper.key(&["rotate-bucket", "grain", "--rate", RATE]);
    assert_eq!((begun["version"].as_u64(), begun["state"].as_str()), (Some(2), Some("running")));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (s3, over) = (&s3, &over);
        for worker in 0..3_u64 {
            scope.spawn(move || {
                for n in (0..).take_while(|_| !over.load(Ordering::Relaxed)) {
                    let key = format!("busy/{worker}/{}", n % 20);
                    let value = body(worker * 1000 + n, if n % 5 == 0 { 200_000 } else { 90 });
                    s3.put("grain", &key, value.clone()).done();
                    s3.must_hold("grain", &key, &value);
                    s3.bucket("GET", "grain").query("prefix", "many/").send().status(200).done();
                    if n % 3 == 0 {
                        s3.object("DELETE", "grain", &key).send().status(204).done();
                    }
                    let begun = s3.begin("grain", &key);
                    s3.part("grain", &key, &begun, 1).body("part").send().status(200).done();
                }
            });
        }
        until_done(&keeper, "grain");
        over.store(true, Ordering::Relaxed);
    });
    let row = until_done(&keeper, "grain");
    assert!(row["proof"].as_str().unwrap().starts_with("0 envelopes under version 1;"), "{row}");
    assert!(row["rewrapped"].as_u64().unwrap() >= 2003, "{row}");

    let check = |s3: &Client| {
        all_there(s3, "grain");
        s3.must_hold("grain", "kept/large", &body(1, 5 << 20));
        let parts = [body(2, 5 << 20), body(3, 100)].concat();
        s3.must_hold("grain", "kept/parts", &parts);
        s3.must_hold("grain", "kept/copy", &parts);
        assert_eq!(s3.head("grain", "kept/parts").etag(), etag);
    };
    assert_eq!(listed(&s3, "grain"), before, "ETags and checksums say what they said");
    check(&s3);
    let keeper = keeper.killed(&store);
    let s3 = keeper.s3();
    check(&s3);
    let last = s3.part("grain", "kept/later", &upload, 2).body("end").send().status(200).etag();
    s3.complete("grain", "kept/later", &upload, &[(1, first), (2, last)]).send().status(200).done();
    s3.object("GET", "grain", "kept/large")
        .header("if-match", &s3.head("grain", "kept/large").etag())
        .send()
        .status(200)
        .done();

    let log = keeper.server.command(&["audit", "list", "--all", "--tenant", "demo", "--json"]);
    let records: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let shown = |operation: &str| records.iter().rfind(|r| r["operation"] == operation).unwrap();
    let read = shown("GetObject");
    assert_eq!((read["key_id"].clone(), read["key_version"].as_u64()), (begun["key_id"].clone(), Some(2)));
    let asked = shown("admin:KeyRotateBucket");
    assert_eq!((asked["bucket"].as_str(), asked["key_version"].as_u64()), (Some("grain"), Some(2)));
    assert!(log.contains("0 envelopes under versions [1]"), "the proof is on record");
    let ledger = keeper.key(&["ledger"]);
    let acts: Vec<_> =
        ledger.as_array().unwrap().iter().map(|line| (line["act"].clone(), line["key"].clone())).collect();
    assert!(acts.contains(&("rotate-bucket".into(), "bucket grain".into())), "{acts:?}");
}

#[test]
fn whatever_is_killed_goes_on_where_it_was() {
    let store = Store::new();
    let mut keeper = Keeper::new(store.start(), "demo");
    keeper.s3().make_bucket("grain");
    fill(&keeper.s3(), "grain");
    keeper.key(&["rotate-bucket", "grain", "--rate", RATE]);
    let mut seen = 0;
    for _ in 0..5 {
        let more = until("some more envelopes are wrapped", || Some(rewrapped(&keeper, "grain")).filter(|n| *n > seen));
        assert!(more >= seen, "what was done stays done");
        seen = more;
        keeper = keeper.killed(&store);
        all_there(&keeper.s3(), "grain");
    }
    let row = until_done(&keeper, "grain");
    assert_eq!(row["rewrapped"].as_u64(), Some(MANY as u64), "each once");
    all_there(&keeper.s3(), "grain");
    // And once more, in one go.
    let row = keeper.key(&["rotate-bucket", "grain", "--wait"]);
    assert_eq!((row["version"].as_u64(), row["state"].as_str()), (Some(3), Some("done")));
    all_there(&keeper.killed(&store).s3(), "grain");
}

#[test]
fn a_suspension_holds_it_back_and_the_tenant_key_rotates_meanwhile() {
    let store = Store::new();
    let keeper = Keeper::new(store.start(), "demo");
    let s3 = keeper.s3();
    s3.make_bucket("grain");
    fill(&s3, "grain");
    keeper.key(&["rotate-bucket", "grain", "--rate", RATE]);
    until("some envelopes are wrapped", || Some(rewrapped(&keeper, "grain")).filter(|n| *n > 0));
    let rotated = keeper.key(&["rotate", "default"]);
    assert_eq!(rotated["buckets_wrapped_anew"], 1);
    keeper.suspend("default");
    let before = rewrapped(&keeper, "grain");
    s3.get("grain", &name(0)).refused(400, "KMS.DisabledException").done();
    keeper.refused(&["key", "rotate-bucket", "grain"], "suspended");
    let keeper = keeper.killed(&store);
    assert_eq!(rewrapped(&keeper, "grain"), before, "nothing is wrapped under a key that is suspended");
    keeper.key(&["resume", "default"]);
    until_done(&keeper, "grain");
    all_there(&keeper.s3(), "grain");
    all_there(&keeper.killed(&store).s3(), "grain");
}

#[test]
fn only_who_manages_the_keys_of_the_tenant_rotates_its_buckets() {
    let store = Store::new();
    let server = store.start();
    let stranger = server.make_tenant("others");
    assert_eq!(stranger["name"], "others");
    let theirs = Keeper { account: server.make_account_as("others", "keeper", "key-administrator"), server };
    theirs.s3().make_bucket("grain");
    theirs.refused(&["key", "rotate-bucket", "grain"], "has no bucket grain");
    theirs.refused(&["key", "rotate-bucket", "nowhere"], "has no bucket nowhere");
    let keeper = Keeper::new(theirs.server, "demo");
    keeper.refused(&["key", "rotate-bucket", "grain", "--rate", "0"], "at least 1");
    let watching = keeper.server.make_account_as("demo", "watcher", "compliance-officer");
    let denied = keeper.server.try_command_as(&watching, &["key", "rotate-bucket", "grain"]);
    assert!(!denied.status.success());
    let row = keeper.key(&["rotate-bucket", "grain", "--wait"]);
    assert_eq!((row["objects"].as_u64(), row["state"].as_str()), (Some(0), Some("done")), "an empty bucket");
    let seen = keeper.server.json_as(&watching, &["key", "rotations"]);
    assert_eq!(seen.as_array().map(Vec::len), Some(1));
    keeper.s3().put("grain", "k", "v").done();
    // A bucket of the same name that is made later has a key of its own.
    keeper.s3().object("DELETE", "grain", "k").send().status(204).done();
    keeper.s3().bucket("DELETE", "grain").send().status(204).done();
    keeper.s3().make_bucket("grain");
    let row = keeper.key(&["rotate-bucket", "grain", "--wait"]);
    assert_eq!(row["version"].as_u64(), Some(2));
}
