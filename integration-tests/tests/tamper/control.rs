//! Rows of buckets and accounts, and what says where the node stands.

use std::fs;

use integration_tests::clock::until;
use integration_tests::{Account, Store};

use crate::catalog::{Catalog, find, swap, with};
use crate::{does_not_open, is_reported, with_two_objects};

fn with_two_buckets() -> Store {
    let store = Store::new();
    let server = store.start();
    for bucket in ["barley", "millet"] {
        server.client().make_bucket(bucket);
        server.client().put(bucket, "k", bucket).done();
    }
    server.stop();
    store
}

#[test]
fn buckets_whose_names_were_exchanged_serve_nothing() {
    let store = with_two_buckets();
    let catalog = Catalog::of(&store);
    for (key, row) in catalog.rows("buckets") {
        let renamed = match find(&row, b"barley") {
            Some(_) => with(&row, b"barley", b"millet"),
            None => with(&row, b"millet", b"barley"),
        };
        catalog.put("buckets", &key, &renamed);
    }
    drop(catalog);
    let server = store.start();
    for bucket in ["barley", "millet"] {
        server.client().get(bucket, "k").refused(500, "InternalError").done();
        server.client().object("PUT", bucket, "new").body("v").send().refused(500, "InternalError").done();
        server.client().bucket("DELETE", bucket).send().refused(500, "InternalError").done();
    }
    server.client().raw("GET", "/").send().refused(500, "InternalError").done();
    assert!(server.metric("gotgan_rows_refused_total") >= 2.0 && server.said().contains("does not prove itself"));
}

#[test]
fn a_bucket_that_was_hidden_or_widened_is_reported() {
    let store = with_two_buckets();
    let server = store.start();
    server.command(&["bucket", "narrow", "millet", "--subdivision", "KR-41"]);
    server.stop();
    let catalog = Catalog::of(&store);
    for (key, row) in catalog.rows("buckets") {
        let changed = match find(&row, b"barley") {
            Some(_) => with(&row, b"barley", b"barlex"),
            // Of the residency; its name is elsewhere.
            None => with(&row, b"KR-41", b"KR-11"),
        };
        catalog.put("buckets", &key, &changed);
    }
    drop(catalog);
    let server = store.start();
    until("the look at all rows", || (server.metric("gotgan_rows_refused_total") >= 2.0).then_some(()));
    server.client().get("barley", "k").refused(404, "NoSuchBucket").done();
    for bucket in ["barlex", "millet"] {
        server.client().get(bucket, "k").refused(500, "InternalError").done();
    }
    until("what it found", || server.said().contains("control rows were changed").then_some(()));
}

#[test]
fn rows_that_lie_under_another_id_or_go_on_are_refused() {
    let store = with_two_buckets();
    swap(&store, "buckets", |_| true);
    let refusal = store.try_start(&[]).expect_err("it does not start");
    assert!(refusal.said.contains("lies under another's id"), "{}", refusal.said);

    let store = with_two_objects();
    let catalog = Catalog::of(&store);
    for (key, row) in catalog.rows("current").iter().filter(|(key, _)| find(key, b"one-small").is_some()) {
        catalog.put("current", key, &[row, [0].as_slice()].concat());
    }
    drop(catalog);
    let server = store.start();
    does_not_open(&server, "one-small");
    is_reported(&server);
}

#[test]
fn accounts_that_were_changed_are_not_believed() {
    let store = Store::new();
    let server = store.start();
    let [revoked, other] = ["minji", "jisoo"].map(|name| server.make_account("demo", name));
    server.command(&["credential", "revoke", &revoked.access]);
    server.stop();
    let catalog = Catalog::of(&store);
    let rows = catalog.rows("control");
    let of = |access: &str| rows.iter().find(|(key, _)| find(key, access.as_bytes()).is_some()).unwrap();
    let (key, row) = of(&revoked.access);
    let active = find(row, b"\"active\":false").unwrap();
    catalog.put("control", key, &[&row[..active], b"\"active\":true", &row[active + 14..]].concat());
    // The secret of one account under the name of another.
    let told = fs::read(store.data().join("bootstrap.json")).unwrap();
    let engineer =
        serde_json::from_slice::<serde_json::Value>(&told).unwrap()["access_key_id"].as_str().unwrap().to_owned();
    catalog.put("control", &of(&engineer).0, &of(&other.access).1);
    // A tenant that gives its name to nobody else.
    for (key, row) in rows.iter().filter(|(key, _)| find(key, b"demo").is_some()) {
        catalog.remove("control", key);
        catalog.put("control", &with(key, b"demo", b"dema"), row);
    }
    drop(catalog);
    let server = store.start();
    let asks = |account: &Account| server.client_of(&account.access, &account.secret).raw("GET", "/").send();
    asks(&revoked).refused(500, "InternalError").done();
    asks(&other).status(200).done();
    server.client().raw("GET", "/").send().refused(500, "InternalError").done();
    until("the look at all rows", || (server.metric("gotgan_rows_refused_total") >= 3.0).then_some(()));
    for kind in ["credential", "tenant name"] {
        until(kind, || server.said().contains(&format!("kind=\"{kind}\"")).then_some(()));
    }
}

/// Whoever writes the data directory cannot move the node: the CA that counts lies beside the root key.
#[test]
fn an_identity_of_another_installation_is_no_place() {
    let [ours, other] = [Store::new(), Store::new()];
    let server = ours.start();
    server.client().make_bucket("box");
    server.stop();
    other.start().stop();
    for file in ["ca.pem", "node.pem", "node.key"] {
        let [from, to] = [&other, &ours].map(|store| store.data().join("certs").join(file));
        fs::copy(from, to).unwrap();
    }
    let server = ours.start();
    let refused = server.client().object("PUT", "box", "k").body("v").send();
    refused.refused(403, "AccessDenied").done();
}
