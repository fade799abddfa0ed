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
