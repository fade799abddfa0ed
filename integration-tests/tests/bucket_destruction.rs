//! One bucket is destroyed by two persons while its tenant key goes on, wherever that key is held.

use std::fs;

use integration_tests::approvers::{Approvers, certified};
use integration_tests::doomed::{PENDING, TRIAL, believed, copy, filled, untouched};
use integration_tests::held;
use integration_tests::keeper::Keeper;
use integration_tests::noise::body;
use integration_tests::openbao::OpenBao;
use integration_tests::softhsm::SoftHsm;
use integration_tests::{Client, Store};
use serde_json::json;

/// One bucket goes with the versions that it hung on, and the key, with all else that hangs on it, goes on.
fn a_bucket(mut store: Store, provider: &str) {
    store.set("GOTGAN_KEYS_CACHE_SECONDS", "1");
    store.set("GOTGAN_DANGER_TRIAL_DESTRUCTION", "true");
    let keeper = held::keeper(&store, provider);
    let s3 = keeper.s3();
    s3.make_bucket("survives");
    s3.put("survives", "k", body(3, 300_000)).done();
    let upload = s3.begin("survives", "begun");
    let approvers = Approvers::new(&keeper, store.home());
    let account = keeper.account;
    keeper.server.stop();
    let (backup, root) = (store.home().join("backup"), store.home().join("backup.root"));
    copy(&store.data(), &backup);
    copy(store.root_key().parent().unwrap(), &root);
    let keeper = Keeper { server: store.start(), account };
    let id = approvers.approved(&keeper, "bucket:theirs", &["--due-now"]);
    let certificate = store.home().join("certificate.json");
    certified(&keeper, &id, &certificate);
    let said = believed(&certificate, &store.data().join("certs/ca.pem"));
    let (request, certified) = (&said["request"], &said["certificate"]);
    assert_eq!((request["scope"].as_str(), request["buckets"].clone()), (Some("bucket"), json!(["theirs"])));
    assert_eq!((certified["checked"].as_u64(), certified["removed"][0]["objects"].as_u64()), (Some(1), Some(2)));
    let survives = certified["survives"].to_string();
    assert!(survives.contains("with version 2"), "{survives}");
    let s3 = keeper.s3();
    s3.get("theirs", "small").refused(404, "NoSuchBucket").done();
    s3.must_hold("survives", "k", &body(3, 300_000));
    let part = s3.part("survives", "begun", &upload, 1).body("part").send().status(200).etag();
    s3.complete("survives", "begun", &upload, &[(1, part)]).send().status(200).done();
    s3.must_hold("here", "k", b"here");
    let shown = keeper.key(&["show", "held"]);
    assert_eq!((shown["state"].as_str(), shown["buckets"].clone()), (Some("active"), json!(["survives"])));
    assert!(shown["versions"][0]["destroyed"].is_string() && shown["versions"][1]["destroyed"].is_null(), "{shown}");
    s3.make_bucket("theirs");
    s3.put("theirs", "anew", "v").done();
    let keeper = keeper.killed(&store);
    keeper.s3().must_hold("survives", "k", &body(3, 300_000));
    keeper.s3().must_hold("theirs", "anew", b"v");
    keeper.key(&["rotate", "held"]);
    keeper.key(&["rotate-bucket", "survives", "--wait"]);
    keeper.s3().must_hold("survives", "k", &body(3, 300_000));
    keeper.server.stop();

    // As it was before, but for what the provider destroyed.
    fs::remove_dir_all(store.data()).unwrap();
    copy(&backup, &store.data());
    if provider == "sealed-file" {
        let refused = store.try_start(&[]).unwrap_err();
        assert!(refused.said.contains("another root key"), "{}", refused.said);
        return;
    }
    fs::remove_dir_all(store.root_key().parent().unwrap()).unwrap();
    copy(&root, store.root_key().parent().unwrap());
    let server = store.start();
    server.client().get("theirs", "small").refused(held::REFUSED.0, held::REFUSED.1).done();
    server.client().must_hold("here", "k", b"here");
}

#[test]
fn a_bucket_under_the_sealed_file_is_destroyed_and_its_key_goes_on() {
    a_bucket(Store::new(), "sealed-file");
}

#[test]
fn a_bucket_under_openbao_is_destroyed_and_its_key_goes_on() {
    let bao = OpenBao::new();
    let mut store = Store::new();
    bao.serve(&mut store);
    a_bucket(store, "openbao");
}

#[test]
fn a_bucket_under_a_token_is_destroyed_and_its_key_goes_on() {
    let hsm = SoftHsm::new();
    let mut store = Store::new();
    hsm.serve(&mut store);
    a_bucket(store, "pkcs11");
}

#[test]
fn a_bucket_that_is_to_be_destroyed_opens_nothing_until_it_is_called_off() {
    let store = Store::new();
    let keeper = Keeper::new(store.start_with(&[TRIAL]), "demo");
    let (s3, others) = filled(&keeper);
    s3.put("theirs", "long", body(8, 64 << 20)).done();
    let approvers = Approvers::new(&keeper, store.home());
    let upload = s3.begin("theirs", "other");
    let asked = keeper.server.json_as(&keeper.account, &approvers.asking("bucket:theirs", &["--days", "7"]));
    let id = asked["id"].as_str().unwrap().to_owned();
    let (mut wire, head) = s3.object("GET", "theirs", "long").open().unwrap();
    let mut got = 0;
    let _broken = wire.body(&head, |bytes| {
        if got == 0 {
            let done = keeper.server.json_as(&approvers.second, &approvers.approving(&id));
            assert_eq!((done["state"].as_str(), done["bucket"].as_str()), (Some("scheduled"), Some("theirs")));
        }
        got += bytes.len();
    });
    assert!(got < 64 << 20, "a read under way breaks off: {got}");
    let pending = |s3: &Client| {
        s3.get("theirs", "large").refused(PENDING.0, PENDING.1).done();
        s3.object("PUT", "theirs", "new").body("v").send().refused(PENDING.0, PENDING.1).done();
        s3.part("theirs", "other", &upload, 1).body("part").send().refused(PENDING.0, PENDING.1).done();
        s3.object("PUT", "kept", "copy")
            .header("x-amz-copy-source", "/theirs/large")
            .send()
            .refused(PENDING.0, PENDING.1)
            .done();
        s3.bucket("GET", "theirs").query("list-type", "2").send().refused(PENDING.0, PENDING.1).done();
    };
    pending(&s3);
    untouched(&s3, &others);
    keeper.refused(&["key", "rotate-bucket", "theirs"], "to be destroyed");
    keeper.key(&["rotate", "held"]);
    keeper.refused(&approvers.asking("bucket:theirs", &["--days", "7"]), "already");
    let keeper = Keeper {
        server: {
            keeper.server.kill9();
            store.start_with(&[TRIAL])
        },
        account: keeper.account,
    };
    let (s3, others) = (keeper.s3(), Client { address: keeper.s3().address, ..others });
    pending(&s3);
    keeper.key(&["cancel-destruction", &id]);
    s3.must_hold("theirs", "large", &body(1, 9 << 20));
    s3.put("theirs", "more", "v").done();
    untouched(&s3, &others);
    keeper.refused(&approvers.asking("bucket:neighbour", &["--days", "7"]), "no bucket");
}

/// Destructions of a bucket and of its key, side by side, in either order.
#[test]
fn a_bucket_and_its_key_are_condemned_apart() {
    let store = Store::new();
    let keeper = Keeper::new(store.start_with(&[TRIAL]), "demo");
    let (s3, others) = filled(&keeper);
    let approvers = Approvers::new(&keeper, store.home());
    let bucket = approvers.approved(&keeper, "bucket:theirs", &["--days", "7"]);
    let key = approvers.approved(&keeper, "held", &["--days", "7"]);
    // Calling one off does not undo the other.
    keeper.key(&["cancel-destruction", &bucket]);
    assert_eq!(keeper.key(&["show", "held"])["state"], "pending destruction");
    s3.get("theirs", "large").refused(PENDING.0, PENDING.1).done();
    keeper.refused(&["key", "rotate-bucket", "theirs", "--key", "default"], "suspended");
    keeper.refused(&approvers.asking("bucket:theirs", &["--due-now"]), "already");
    keeper.key(&["cancel-destruction", &key]);
    s3.must_hold("theirs", "large", &body(1, 9 << 20));

    // The key goes first, and the bucket's own destruction is certified all the same.
    let bucket = approvers.approved(&keeper, "bucket:theirs", &["--days", "1"]);
    let key = approvers.approved(&keeper, "held", &["--due-now"]);
    certified(&keeper, &key, &store.home().join("key.json"));
    keeper.key(&["cancel-destruction", &bucket]);
    untouched(&s3, &others);
}

/// What a bucket hung on before it was moved is destroyed with it, or named where it lives on.
#[test]
fn a_bucket_that_was_moved_leaves_nothing_behind_unsaid() {
    let store = Store::new();
    let keeper = Keeper::new(store.start_with(&[TRIAL]), "demo");
    let (s3, others) = filled(&keeper);
    let approvers = Approvers::new(&keeper, store.home());
    keeper.key(&["create", "second"]);
    s3.make_bucket("moved");
    s3.put("moved", "k", body(4, 300_000)).done();
    for bucket in ["theirs", "moved"] {
        keeper.key(&["rotate-bucket", bucket, "--key", "second", "--wait"]);
    }
    let id = approvers.approved(&keeper, "bucket:theirs", &["--due-now"]);
    let file = store.home().join("bucket.json");
    certified(&keeper, &id, &file);
    let said = believed(&file, &store.data().join("certs/ca.pem"));
    // In the order of their ids.
    let keys = said["request"]["keys"].as_array().unwrap();
    let names: std::collections::BTreeSet<_> = keys.iter().map(|key| key["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["held", "second"].into());
    for key in ["held", "second"] {
        let shown = keeper.key(&["show", key]);
        assert!(shown["versions"][0]["destroyed"].is_string(), "{shown}");
    }
    s3.must_hold("moved", "k", &body(4, 300_000));
    // The key alone: the one before is named.
    let id = approvers.approved(&keeper, "second", &["--due-now"]);
    let file = store.home().join("second.json");
    certified(&keeper, &id, &file);
    let said = believed(&file, &store.data().join("certs/ca.pem"));
    let survives = said["certificate"]["survives"].to_string();
    assert!(survives.contains("the bucket moved hung on the tenant key default"), "{survives}");
    s3.get("moved", "k").refused(404, "NoSuchBucket").done();
    untouched(&s3, &others);
}
