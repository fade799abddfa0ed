//! Rows of objects: each belongs to its place.

use integration_tests::clock::until;

use crate::catalog::{Catalog, find, swap, with};
use crate::{does_not_open, is_reported, with_two_objects};

#[test]
fn swapped_rows_of_the_catalog_do_not_open() {
    let small = |key: &[u8]| find(key, b"-small").is_some();
    for (family, keys) in [("current", ["one-small", "two-small"]), ("versions", ["one-small", "two-small"])] {
        let store = with_two_objects();
        swap(&store, family, small);
        let server = store.start();
        for key in keys {
            does_not_open(&server, key);
        }
        is_reported(&server);
        server.client().get("box", "one").status(200).done();
    }
    let store = with_two_objects();
    swap(&store, "inline", |_| true);
    let server = store.start();
    for key in ["one-small", "two-small"] {
        does_not_open(&server, key);
    }
    is_reported(&server);
}

#[test]
fn a_row_under_another_name_does_not_open() {
    let store = with_two_objects();
    let catalog = Catalog::of(&store);
    for family in ["current", "versions"] {
        for (key, value) in catalog.rows(family).iter().filter(|(key, _)| find(key, b"one-small").is_some()) {
            catalog.put(family, &with(key, b"one-small", b"owe-small"), value);
        }
    }
    drop(catalog);
    let server = store.start();
    server.client().get("box", "one-small").status(200).done();
    does_not_open(&server, "owe-small");
    is_reported(&server);
    // No list shows a row that does not open, and what its record planned is closed as it went.
    let list = server.client().bucket("GET", "box").query("list-type", "2").send();
    list.refused(500, "InternalError").done();
    until("the closing record of the list", || {
        let lists = server.records_of("ListObjectsV2");
        (lists.len() == 1 && lists[0]["closing"]["status"] == 500).then_some(())
    });
    let shown = server.client().bucket("GET", "box").query("list-type", "2").query("prefix", "two").send();
    assert_eq!(shown.status(200).xml_all("Key"), ["two", "two-small"]);
}

#[test]
fn removing_a_row_takes_nothing_of_the_object_that_it_names() {
    let store = with_two_objects();
    let catalog = Catalog::of(&store);
    let one = ["one", "one-small"];
    let other = |name: &str| name.replace("one", "owe");
    for family in ["current", "versions"] {
        for (key, value) in catalog.rows(family).iter().filter(|(key, _)| find(key, b"one").is_some()) {
            catalog.put(family, &with(key, b"one", b"owe"), value);
        }
    }
    let bodies = catalog.rows("bodies");
    drop(catalog);
    let server = store.start();
    let s3 = server.client();
    let before = one.map(|key| s3.get("box", key).status(200).body);
    s3.object("DELETE", "box", &other(one[0])).send().status(204).done();
    s3.put("box", &other(one[1]), "another".as_bytes().to_vec()).done();
    assert_eq!(server.metric("gotgan_rows_refused_total"), 2.0, "{}", server.said());
    for (key, bytes) in one.iter().zip(before) {
        assert!(s3.get("box", key).status(200).body == bytes, "{key}");
    }
    server.stop();
    let left = Catalog::of(&store).rows("bodies");
    assert!(bodies.iter().all(|row| left.contains(row)), "as they were");
}

#[test]
fn garbage_that_nobody_released_stays() {
    let store = with_two_objects();
    let catalog = Catalog::of(&store);
    let bodies = catalog.rows("bodies");
    for (body, _) in &bodies {
        catalog.put("garbage", &[&1_u64.to_be_bytes()[..], body].concat(), &[]);
    }
    catalog.put("garbage", b"odd", b"odd");
    drop(catalog);
    let server = store.start();
    until("the collector", || (server.metric("gotgan_rows_refused_total") >= 4.0).then_some(()));
    for key in ["one", "two", "one-small", "two-small"] {
        server.client().get("box", key).status(200).done();
    }
    // What is released beside them goes all the same.
    server.client().object("DELETE", "box", "two").send().status(204).done();
    until("the next round", || (server.metric("gotgan_collected_bodies_total") >= 1.0).then_some(()));
    server.client().get("box", "two").refused(404, "NoSuchKey").done();
    server.client().get("box", "one").status(200).done();
}
