//! Rows of uploads and parts.

use integration_tests::noise::body;
use integration_tests::{Client, Store};

use crate::catalog::{Catalog, find, swap, with};
use crate::is_reported;

/// Puts the bodies of two part rows into each other: ids, lengths, places and envelopes, each number
/// staying where it is. What a row seals of its MD5 stays too.
fn swap_bodies_of_parts(store: &Store) {
    const ENVELOPE: usize = 134;
    let catalog = Catalog::of(store);
    let bodies = catalog.rows("bodies");
    let parts = catalog.rows("parts");
    let [(a, x), (b, y)] = parts.as_slice() else { panic!("{} parts", parts.len()) };
    let body_of = |row: &[u8]| {
        let id = bodies.iter().find_map(|(body, _)| find(row, body)).unwrap();
        // The length of an envelope, its format and its suite.
        let envelope = id + find(&row[id..], &[0x86, 1, 1, 1]).unwrap() + 2;
        id..envelope + ENVELOPE
    };
    let (of_x, of_y) = (body_of(x), body_of(y));
    let put = |row: &[u8], at: &std::ops::Range<usize>, body: &[u8]| [&row[..at.start], body, &row[at.end..]].concat();
    catalog.put("parts", a, &put(x, &of_x, &y[of_y.clone()]));
    catalog.put("parts", b, &put(y, &of_y, &x[of_x.clone()]));
}

/// An upload of two parts of the object `box/k`: its id, and what Complete names of them.
fn with_two_parts(store: &Store) -> (String, Vec<(u32, String)>) {
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("box");
    let upload = s3.begin("box", "k");
    let tags = (1..=2)
        .map(|n| (n, s3.part("box", "k", &upload, n).body(body(u64::from(n), 5 << 20)).send().status(200).etag()))
        .collect();
    server.stop();
    (upload, tags)
}

#[test]
fn parts_whose_bodies_were_swapped_do_not_complete() {
    let store = Store::new();
    let (upload, tags) = with_two_parts(&store);
    swap_bodies_of_parts(&store);
    let server = store.start();
    let s3 = server.client();
    s3.object("GET", "box", "k").query("uploadId", &upload).send().status(500).done();
    s3.complete("box", "k", &upload, &tags).send().status(500).done();
    s3.get("box", "k").refused(404, "NoSuchKey").done();
    is_reported(&server);
}

/// The one row of a family in which `what` stands.
fn row_of(catalog: &Catalog, family: &str, what: &[u8]) -> (Box<[u8]>, Box<[u8]>) {
    let rows = catalog.rows(family);
    rows.into_iter().find(|(key, row)| find(key, what).is_some() || find(row, what).is_some()).unwrap()
}

#[test]
fn uploads_that_were_exchanged_or_changed_are_not_shown() {
    let store = Store::new();
    let server = store.start();
    let account = server.stranger("clinic").signer;
    let s3 = server.client();
    let theirs = |server: &integration_tests::Server| server.client_of(&account.access, &account.secret);
    s3.make_bucket("ours");
    theirs(&server).make_bucket("theirs");
    let lists = |s3: &Client, bucket: &str| s3.bucket("GET", bucket).query("uploads", "").send();
    let begun = [s3.begin("ours", "scans/plan"), theirs(&server).begin("theirs", "scans/note")];
    server.stop();
    swap(&store, "uploads", |_| true);
    let server = store.start();
    lists(&server.client(), "ours").refused(500, "InternalError").done();
    lists(&theirs(&server), "theirs").refused(500, "InternalError").done();
    server.client().object("GET", "ours", "scans/plan").query("uploadId", &begun[0]).send().status(500).done();
    server.client().object("DELETE", "ours", "scans/plan").query("uploadId", &begun[0]).send().status(500).done();
    is_reported(&server);
    server.stop();
    swap(&store, "uploads", |_| true);

    // Each fact that stands in the clear, and the id of another upload of the same name.
    let server = store.start();
    let other = server.client().begin("ours", "scans/plan");
    assert_eq!(lists(&server.client(), "ours").status(200).xml_all("UploadId").len(), 2);
    server.stop();
    let (key, row) = row_of(&Catalog::of(&store), "uploads", &hex(&begun[0]));
    let name = find(&row, b"scans/plan").unwrap();
    let facts = [
        ("its id", with(&row, &hex(&begun[0]), &hex(&other))),
        ("its name", with(&row, b"scans/plan", b"scans/plum")),
        ("its time", flipped(&row, name + 11)),
        ("its initiator", flipped(&row, name + 20)),
        ("its checksum", flipped(&row, row.len() - 1)),
        ("a byte more", [&row[..], &[0]].concat()),
    ];
    for (what, changed) in facts {
        Catalog::of(&store).put("uploads", &key, &changed);
        let server = store.start();
        println!("{what}");
        lists(&server.client(), "ours").status(500).done();
        let upload =
            |method: &str| server.client().object(method, "ours", "scans/plan").query("uploadId", &begun[0]).send();
        upload("GET").status(500).done();
        upload("DELETE").status(500).done();
        server.client().object("GET", "ours", "scans/plan").query("uploadId", &other).send().status(200).done();
        server.stop();
    }
    Catalog::of(&store).put("uploads", &key, &row);
    let server = store.start();
    assert_eq!(lists(&server.client(), "ours").status(200).xml_all("UploadId").len(), 2);
}

#[test]
fn parts_that_were_changed_do_not_complete() {
    let store = Store::new();
    let (upload, tags) = with_two_parts(&store);
    let rows = Catalog::of(&store).rows("parts");
    let (first, second) = (&rows[0], &rows[1]);
    let envelope = find(&first.1, &[0x86, 1, 1, 1]).unwrap() + 2;
    let changes = [
        ("its time", flipped(&first.1, 2)),
        ("the salt of its key", flipped(&first.1, envelope + 30)),
        ("its wrapped key", flipped(&first.1, envelope + 60)),
        ("another part", second.1.to_vec()),
    ];
    for (what, changed) in changes {
        Catalog::of(&store).put("parts", &first.0, &changed);
        let server = store.start();
        println!("{what}");
        server.client().complete("box", "k", &upload, &tags).send().status(500).done();
        server.client().get("box", "k").refused(404, "NoSuchKey").done();
        is_reported(&server);
        server.stop();
    }
    Catalog::of(&store).put("parts", &first.0, &first.1);
    let server = store.start();
    server.client().complete("box", "k", &upload, &tags).send().status(200).done();
    server.client().get("box", "k").status(200).done();
}

#[test]
fn removing_a_part_takes_nothing_of_the_object_that_it_names() {
    let store = Store::new();
    let (upload, tags) = with_two_parts(&store);
    let server = store.start();
    let thief = server.client().begin("box", "thief");
    server.stop();
    let catalog = Catalog::of(&store);
    let steal = |catalog: &Catalog| {
        let rows = catalog.rows("parts").into_iter().filter(|(key, _)| key.starts_with(&hex(&upload)));
        for (key, row) in rows {
            catalog.put("parts", &with(&key, &hex(&upload), &hex(&thief)), &row);
        }
    };
    steal(&catalog);
    let bodies = catalog.rows("bodies");
    drop(catalog);
    let server = store.start();
    server.client().part("box", "thief", &thief, 1).body(body(9, 5 << 20)).send().status(200).done();
    server.client().object("DELETE", "box", "thief").query("uploadId", &thief).send().status(204).done();
    assert_eq!(server.metric("gotgan_rows_refused_total"), 2.0, "{}", server.said());
    server.client().complete("box", "k", &upload, &tags).send().status(200).done();
    let object = server.client().get("box", "k").status(200).body;
    assert!(object == [body(1, 5 << 20), body(2, 5 << 20)].concat());
    server.stop();
    let left = Catalog::of(&store).rows("bodies");
    assert!(bodies.iter().all(|row| left.contains(row)), "as they were");
}

fn hex(id: &str) -> Vec<u8> {
    (0..id.len()).step_by(2).map(|at| u8::from_str_radix(&id[at..at + 2], 16).unwrap()).collect()
}

fn flipped(row: &[u8], at: usize) -> Vec<u8> {
    let mut changed = row.to_vec();
    changed[at] ^= 1;
    changed
}
