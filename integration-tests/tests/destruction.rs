//! Keys are destroyed by two persons, for good, with a certificate that anybody can verify, and nothing else is touched.

use std::fs;

use integration_tests::approvers::{Approvers, certified, state_of};
use integration_tests::clock::until;
use integration_tests::doomed::{PENDING, TRIAL, believed, copy, filled, untouched, verify};
use integration_tests::held;
use integration_tests::keeper::Keeper;
use integration_tests::noise::body;
use integration_tests::openbao::OpenBao;
use integration_tests::softhsm::SoftHsm;
use integration_tests::{Client, Store};
use serde_json::{Value, json};

#[test]
fn a_key_of_the_sealed_file_is_destroyed_with_proof() {
    let store = Store::new();
    let keeper = Keeper::new(store.start_with(&[TRIAL]), "demo");
    let (_, others) = filled(&keeper);
    let approvers = Approvers::new(&keeper, store.home());
    let (account, others_account) = (keeper.account, others);
    keeper.server.stop();
    let backup = store.home().join("backup");
    copy(&store.data(), &backup);
    let ca = store.home().join("ca.pem");
    fs::copy(store.data().join("certs/ca.pem"), &ca).unwrap();
    let root_before = fs::read_to_string(store.root_key()).unwrap();

    let keeper = Keeper { server: store.start_with(&[TRIAL]), account };
    let others = Client { address: keeper.s3().address, ..others_account };
    let id = approvers.approved(&keeper, "held", &["--due-now"]);
    let s3 = keeper.s3();
    let certificate = store.home().join("certificate.json");
    certified(&keeper, &id, &certificate);

    // What it says, to whoever has the CA's certificate and no server.
    let said = believed(&certificate, &ca);
    let (request, certified) = (&said["request"], &said["certificate"]);
    assert_eq!((request["trial"].as_bool(), request["buckets"].clone()), (Some(true), json!(["theirs"])));
    let bytes = 300 * 6 + (9 << 20) + (5 << 20) + 100;
    let removed = json!([{ "bucket": "theirs", "objects": 302, "uploads": 1, "bytes": bytes }]);
    assert_eq!(certified["removed"], removed);
    assert_eq!((certified["checked"].as_u64(), certified["approvals"].as_array().map(Vec::len)), (Some(1), Some(2)));
    assert!(fs::read(certificate.with_extension("pdf")).unwrap().starts_with(b"%PDF-"));
    let text = fs::read_to_string(&certificate).unwrap();
    for at in (0..text.len()).step_by(41).filter(|at| text.is_char_boundary(*at)) {
        let mut changed = text.clone().into_bytes();
        changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
        let file = store.home().join("changed.json");
        fs::write(&file, changed).unwrap();
        assert!(!verify(&file, &ca).0, "byte {at}");
    }
    let other_ca = Store::new();
    other_ca.start().stop();
    assert!(verify(&certificate, &other_ca.data().join("certs/ca.pem")).1.contains("not signed by a CA"));

    // The key is gone, its bucket with it, and its name opens nothing.
    s3.get("theirs", "large").refused(404, "NoSuchBucket").done();
    assert_eq!(keeper.key(&["show", "held"])["state"], "destroyed");
    keeper.refused(&["key", "rotate", "held"], "destroyed");
    keeper.refused(&["key", "resume", "held"], "destroyed");
    keeper.refused(&["key", "default", "held"], "destroyed");
    untouched(&s3, &others);
    let keeper = keeper.killed(&store);
    let others = Client { address: keeper.s3().address, ..others };
    untouched(&keeper.s3(), &others);
    let log = keeper.server.command(&["audit", "list", "--all", "--tenant", "demo", "--json"]);
    for event in [
        "admin:KeyDestroy\"",
        "admin:KeyDestroySign",
        "destruction-begun",
        "tenant-keys-destroyed",
        "bucket-erased",
        "destruction-certified",
    ] {
        assert!(log.contains(event), "{event}");
    }
    let ledger = keeper.key(&["ledger"]);
    let acts: Vec<_> = ledger.as_array().unwrap().iter().map(|line| line["act"].as_str().unwrap()).collect();
    for act in ["create", "destroy", "destroy-sign", "tenant-keys-destroyed", "destruction-certified"] {
        assert!(acts.contains(&act), "{act}: {acts:?}");
    }
    let paper = store.home().join("ledger.pdf");
    let written = keeper.server.try_command_as(&keeper.account, &["key", "ledger", "--pdf", paper.to_str().unwrap()]);
    assert!(written.status.success());
    assert!(fs::read(paper).unwrap().starts_with(b"%PDF-"));
    let platform = keeper.server.command(&["audit", "list", "--all", "--json"]);
    assert!(platform.contains("root-key-replaced"));

    // A backup of the data from before does not open any more, and nothing in it is changed by trying.
    let root_after = fs::read_to_string(store.root_key()).unwrap();
    assert_ne!(root_before, root_after);
    keeper.server.stop();
    let restored = Store::new();
    copy(&backup, &restored.data());
    restored.copy_root_from(store.root_key().parent().unwrap());
    let refused = restored.try_start(&[]).unwrap_err();
    assert!(!refused.status.success() && refused.said.contains("another root key"), "{}", refused.said);
    // No file of the root key's directory has the key of before.
    for file in fs::read_dir(store.root_key().parent().unwrap()).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        let secret = serde_json::from_str::<Value>(&root_before).unwrap()["key"].as_str().unwrap().to_owned();
        assert!(!String::from_utf8_lossy(&bytes).contains(&secret));
    }
}

/// At a provider the key itself is destroyed, so not even a backup of data and root key together opens.
fn at_a_provider(mut store: Store, provider: &str) {
    store.set("GOTGAN_KEYS_CACHE_SECONDS", "1");
    store.set("GOTGAN_DANGER_TRIAL_DESTRUCTION", "true");
    let keeper = held::keeper(&store, provider);
    let approvers = Approvers::new(&keeper, store.home());
    let account = keeper.account;
    keeper.server.stop();
    let backup = store.home().join("backup");
    copy(&store.data(), &backup);
    let root = store.home().join("backup.root");
    copy(store.root_key().parent().unwrap(), &root);
    let keeper = Keeper { server: store.start(), account };
    held::opens(&keeper.s3());
    let id = approvers.approved(&keeper, "held", &["--due-now"]);
    let certificate = store.home().join("certificate.json");
    certified(&keeper, &id, &certificate);
    let said = believed(&certificate, &store.data().join("certs/ca.pem"));
    assert_eq!((said["certificate"]["checked"].as_u64(), said["certificate"]["round"].is_null()), (Some(1), true));
    keeper.s3().get("theirs", "small").refused(404, "NoSuchBucket").done();
    keeper.s3().must_hold("here", "k", b"here");
    keeper.server.stop();

    // As it was before, root key and all: what hung on the key stays shut, the rest opens.
    fs::remove_dir_all(store.data()).unwrap();
    fs::remove_dir_all(store.root_key().parent().unwrap()).unwrap();
    copy(&backup, &store.data());
    copy(&root, store.root_key().parent().unwrap());
    let server = store.start();
    let (status, code) = held::REFUSED;
    server.client().get("theirs", "small").refused(status, code).done();
    server.client().must_hold("here", "k", b"here");
}

#[test]
fn a_key_at_openbao_is_destroyed_there() {
    let bao = OpenBao::new();
    let mut store = Store::new();
    bao.serve(&mut store);
    at_a_provider(store, "openbao");
}

#[test]
fn a_key_in_a_token_is_destroyed_there() {
    let hsm = SoftHsm::new();
    let mut store = Store::new();
    hsm.serve(&mut store);
    at_a_provider(store, "pkcs11");
}

/// A provider that is down puts it off; nothing opens meanwhile, and it is done when it is back.
#[test]
fn a_destruction_waits_for_its_provider() {
    let mut bao = OpenBao::new();
    let mut store = Store::new();
    bao.serve(&mut store);
    store.set("GOTGAN_DANGER_TRIAL_DESTRUCTION", "true");
    let keeper = held::keeper(&store, "openbao");
    let approvers = Approvers::new(&keeper, store.home());
    bao.stop();
    let id = approvers.approved(&keeper, "held", &["--due-now"]);
    until("it was tried", || keeper.server.said().contains("is not done yet").then_some(()));
    keeper.s3().get("theirs", "small").refused(PENDING.0, PENDING.1).done();
    assert_eq!(state_of(&keeper.server, &keeper.account, &id), "destroying");
    keeper.refused(&["key", "cancel-destruction", &id], "too late");
    let keeper = keeper.killed(&store);
    bao.start();
    certified(&keeper, &id, &store.home().join("certificate.json"));
}

#[test]
fn every_key_of_a_tenant_is_destroyed_and_its_log_stays() {
    let store = Store::new();
    let keeper = Keeper::new(store.start_with(&[TRIAL]), "demo");
    let (s3, others) = filled(&keeper);
    let approvers = Approvers::new(&keeper, store.home());
    let id = approvers.approved(&keeper, "all", &["--due-now"]);
    let certificate = store.home().join("certificate.json");
    certified(&keeper, &id, &certificate);
    let said = believed(&certificate, &store.data().join("certs/ca.pem"));
    assert_eq!(said["request"]["keys"].as_array().map(Vec::len), Some(2));
    s3.get("kept", "k").refused(404, "NoSuchBucket").done();
    s3.bucket("PUT", "anew").send().refused(400, "KMS.NotFoundException").done();
    others.must_hold("neighbour", "k", &body(5, 300_000));
    let keeper = keeper.killed(&store);
    let others = Client { address: keeper.s3().address, ..others };
    others.must_hold("neighbour", "k", &body(5, 300_000));
    let log = keeper.server.command(&["audit", "list", "--all", "--tenant", "demo", "--json"]);
    assert!(log.contains("small/17") && log.contains("destruction-certified"), "its records are read as before");
    // The tenant begins anew with another key.
    keeper.key(&["create", "fresh"]);
    keeper.key(&["default", "fresh"]);
    keeper.s3().make_bucket("anew");
    keeper.s3().put("anew", "k", "v").done();
    keeper.s3().must_hold("anew", "k", b"v");
}

#[test]
fn one_person_destroys_nothing() {
    let store = Store::new();
    let keeper = Keeper::new(store.start_with(&[TRIAL]), "demo");
    let (s3, _) = filled(&keeper);
    let approvers = Approvers::new(&keeper, store.home());
    let server = &keeper.server;
    let asked = server.json_as(&keeper.account, &approvers.asking("held", &["--due-now"]));
    let id = asked["id"].as_str().unwrap();
    // What hides or turns other text is in no request that somebody shall sign.
    let mut turned = approvers.asking("held", &["--due-now"]);
    let at = turned.iter().position(|word| *word == "the contract ended").unwrap();
    turned[at] = "the \u{202e}dedne tcartnoc";
    keeper.refused(&turned, "hides or turns");
    s3.must_hold("theirs", "small/1", b"inline");
    // Not whoever asked, under its own name or with its own key; and a signature is good for one request only.
    let mine = approvers.keys[0].to_str().unwrap();
    keeper.refused(&["key", "approve", id, "--sign-with", mine, "--confirm", id], "two persons");
    let output =
        server.try_command_as(&approvers.second, &["key", "approve", id, "--sign-with", mine, "--confirm", id]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("not one of this request"));
    let output = server.try_command_as(&approvers.second, &["key", "approve", id, "--sign-with", mine]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--confirm"));
    for role in ["compliance-officer", "engineer"] {
        let account = server.make_account_as("demo", &format!("a-{role}"), role);
        assert!(!server.try_command_as(&account, &approvers.approving(id)).status.success(), "{role}");
        assert!(!server.try_command_as(&account, &approvers.asking("held", &["--due-now"])).status.success());
    }
    let stranger = server.make_account_as("others", "keeper", "key-administrator");
    let output = server.try_command_as(&stranger, &approvers.approving(id));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no destruction"));
    assert_eq!(state_of(server, &keeper.account, id), "requested");
    s3.must_hold("theirs", "small/1", b"inline");
    keeper.key(&["cancel-destruction", id]);
    let output = server.try_command_as(&approvers.second, &approvers.approving(id));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not waiting for a signature"));
}

/// What is approved is what was asked for: a key that comes between is in no request that was signed.
#[test]
fn what_changed_since_it_was_asked_for_is_asked_for_anew() {
    let store = Store::new();
    let keeper = Keeper::new(store.start_with(&[TRIAL]), "demo");
    let (s3, _) = filled(&keeper);
    let approvers = Approvers::new(&keeper, store.home());
    let server = &keeper.server;
    let refused = |id: &str| {
        let output = server.try_command_as(&approvers.second, &approvers.approving(id));
        assert!(String::from_utf8_lossy(&output.stderr).contains("ask anew"), "{output:?}");
    };
    let ask = |what: &str| {
        let asked = server.json_as(&keeper.account, &approvers.asking(what, &["--due-now"]));
        asked["id"].as_str().unwrap().to_owned()
    };
    let all = ask("all");
    keeper.key(&["create", "between"]);
    refused(&all);
    let one = ask("held");
    keeper.key(&["rotate", "held"]);
    refused(&one);
    let one = ask("held");
    keeper.key(&["default", "held"]);
    s3.make_bucket("between");
    refused(&one);
    s3.must_hold("theirs", "small/1", b"inline");
}

#[test]
fn a_destruction_is_called_off_and_the_keys_are_what_they_were() {
    let store = Store::new();
    let keeper = Keeper::new(store.start_with(&[TRIAL]), "demo");
    let (s3, _) = filled(&keeper);
    let approvers = Approvers::new(&keeper, store.home());
    keeper.suspend("default");
    let id = approvers.approved(&keeper, "all", &["--days", "7"]);
    for (bucket, key) in [("theirs", "small/1"), ("kept", "k")] {
        s3.get(bucket, key).refused(PENDING.0, PENDING.1).done();
    }
    keeper.refused(&["key", "resume", "default"], "cancel that first");
    assert_eq!(keeper.key(&["show", "held"])["state"], "pending destruction");
    let keeper = keeper.killed(&store);
    keeper.s3().get("theirs", "small/1").refused(PENDING.0, PENDING.1).done();
    keeper.key(&["cancel-destruction", &id]);
    keeper.refused(&["key", "cancel-destruction", &id], "cancelled before");
    keeper.s3().must_hold("theirs", "small/1", b"inline");
    assert_eq!(keeper.key(&["show", "default"])["state"], "suspended");
    keeper.key(&["resume", "default"]);
    keeper.s3().must_hold("kept", "k", &body(6, 3 << 20));
}

#[test]
fn without_a_trial_nobody_is_spared_the_waiting() {
    let store = Store::new();
    let keeper = Keeper::new(store.start(), "demo");
    keeper.key(&["create", "held"]);
    let approvers = Approvers::new(&keeper, store.home());
    for days in ["0", "1", "6", "31"] {
        keeper.refused(&approvers.asking("held", &["--days", days]), "7 to 30");
    }
    let asked = keeper.server.json_as(&keeper.account, &approvers.asking("held", &["--due-now"]));
    let id = asked["id"].as_str().unwrap();
    let output = keeper.server.try_command_as(&approvers.second, &approvers.approving(id));
    assert!(String::from_utf8_lossy(&output.stderr).contains("for a week"), "who approves was made today");
}

#[test]
fn another_root_key_takes_the_place_of_the_one_in_use() {
    let store = Store::new();
    let keeper = Keeper::new(store.start(), "demo");
    let (s3, others) = filled(&keeper);
    let mut seen = vec![fs::read_to_string(store.root_key()).unwrap()];
    for _ in 0..3 {
        let round = keeper.server.json(&["root", "replace"]);
        assert_ne!(round["before"], round["after"]);
        let now = fs::read_to_string(store.root_key()).unwrap();
        assert!(!seen.contains(&now) && now.contains(round["after"].as_str().unwrap()));
        seen.push(now);
        untouched(&s3, &others);
        keeper.key(&["rotate", "held"]);
    }
    let keeper = keeper.killed(&store);
    let others = Client { address: keeper.s3().address, ..others };
    untouched(&keeper.s3(), &others);
    keeper.s3().must_hold("theirs", "large", &body(1, 9 << 20));
    keeper.server.stop();
    fs::write(store.root_key(), &seen[0]).unwrap();
    let refused = store.try_start(&[]).unwrap_err();
    assert!(refused.said.contains("another root key"), "{}", refused.said);
}
