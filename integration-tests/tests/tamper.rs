//! Hands on the disk: what was changed, moved or cut does not open, and is reported.

use std::fs;
use std::path::PathBuf;

use integration_tests::clock::until;
use integration_tests::disk::files;
use integration_tests::noise::body;
use integration_tests::{Server, Store};
use rocksdb::{DB, Options};

fn segments(store: &Store) -> Vec<PathBuf> {
    files(&store.data()).into_iter().filter(|f| f.extension().is_some_and(|e| e == "seg")).collect()
}

fn with_two_objects() -> Store {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("box");
    for key in ["one", "two"] {
        s3.put("box", key, body(key.len() as u64 + u64::from(key.as_bytes()[0]), (4 << 20) + 100_000)).done();
        s3.put("box", &format!("{key}-small"), body(u64::from(key.as_bytes()[1]), 3000)).done();
    }
    server.stop();
    store
}

/// GET either fails at once or breaks off; it never gives the whole of anything.
fn does_not_open(server: &Server, key: &str) {
    match server.client().object("GET", "box", key).try_send() {
        Ok(answer) => assert!(answer.status >= 400, "{key} opens with {}", answer.status),
        Err(error) => println!("{key}: {error}"),
    }
}

fn is_reported(server: &Server) {
    let reported = server.metric("gotgan_chunks_corrupt_total")
        + server.metric("gotgan_segments_refused_total")
        + server.metric("gotgan_s3_errors_total");
    assert!(reported > 0.0, "{}", server.said());
    let said = server.said();
    assert!(said.contains("not served") || said.contains("corrupt") || said.contains("does not open"), "{said}");
}

#[test]
fn a_flipped_bit_is_found_on_read_and_by_the_scrub() {
    let store = with_two_objects();
    let file = &segments(&store)[0];
    let mut bytes = fs::read(file).unwrap();
    bytes[70_000] ^= 1;
    fs::write(file, bytes).unwrap();
    let server = store.start();
    until("the scrub", || (server.metric("gotgan_chunks_corrupt_total") >= 1.0).then_some(()));
    assert!(server.said().contains("is corrupt: not served"), "{}", server.said());
    let broken = ["one", "two"]
        .iter()
        .filter(|key| !server.client().object("GET", "box", key).try_send().is_ok_and(|a| a.status == 200))
        .count();
    assert_eq!(broken, 1, "one object is hit and the other is not");
}

#[test]
fn truncated_and_reordered_chunks_do_not_open() {
    let store = with_two_objects();
    let file = &segments(&store)[0];
    let bytes = fs::read(file).unwrap();
    fs::write(file, &bytes[..100_000]).unwrap();
    let server = store.start();
    does_not_open(&server, "one");
    does_not_open(&server, "two");
    is_reported(&server);
    server.stop();
    // The same bytes in another order, whole blocks of them.
    let half = bytes.len() / 8192 * 4096;
    fs::write(file, [&bytes[half..], &bytes[..half]].concat()).unwrap();
    let server = store.start();
    does_not_open(&server, "one");
    does_not_open(&server, "two");
    is_reported(&server);
}

/// Swaps the values of the first two keys of a column family that `wanted` admits.
fn swap(store: &Store, family: &str, wanted: impl Fn(&[u8]) -> bool) {
    let path = store.data().join("meta");
    let names = DB::list_cf(&Options::default(), &path).unwrap();
    let db = DB::open_cf(&Options::default(), &path, names).unwrap();
    let handle = db.cf_handle(family).unwrap();
    let rows: Vec<_> = db
        .iterator_cf(handle, rocksdb::IteratorMode::Start)
        .map(Result::unwrap)
        .filter(|(k, _)| wanted(k))
        .take(2)
        .collect();
    let [(a, x), (b, y)] = rows.as_slice() else { panic!("two rows in {family}") };
    db.put_cf(handle, a, y).unwrap();
    db.put_cf(handle, b, x).unwrap();
    db.flush_wal(true).unwrap();
}

#[test]
fn swapped_rows_of_the_catalog_do_not_open() {
    let ends = |what: &'static [u8]| move |key: &[u8]| key.windows(what.len()).any(|w| w == what);
    let small = ends(b"-small");
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
    let path = store.data().join("meta");
    let names = DB::list_cf(&Options::default(), &path).unwrap();
    let db = DB::open_cf(&Options::default(), &path, names).unwrap();
    for family in ["current", "versions"] {
        let handle = db.cf_handle(family).unwrap();
        let rows: Vec<_> = db.iterator_cf(handle, rocksdb::IteratorMode::Start).map(Result::unwrap).collect();
        for (key, value) in rows {
            let text = key.windows(9).position(|w| w == b"one-small");
            if let Some(at) = text {
                let mut renamed = key.to_vec();
                renamed[at..at + 9].copy_from_slice(b"owe-small");
                db.put_cf(handle, renamed, value).unwrap();
            }
        }
    }
    drop(db);
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

/// Puts the bodies of two part rows into each other: ids, lengths, places and envelopes, each number
/// staying where it is. What a row seals of its MD5 stays too.
fn swap_bodies_of_parts(store: &Store) {
    const ENVELOPE: usize = 134;
    let path = store.data().join("meta");
    let names = DB::list_cf(&Options::default(), &path).unwrap();
    let db = DB::open_cf(&Options::default(), &path, names).unwrap();
    let rows = |family: &str| -> Vec<_> {
        db.iterator_cf(db.cf_handle(family).unwrap(), rocksdb::IteratorMode::Start).map(Result::unwrap).collect()
    };
    let bodies = rows("bodies");
    let find = |row: &[u8], what: &[u8]| row.windows(what.len()).position(|w| w == what);
    let parts = rows("parts");
    let [(a, x), (b, y)] = parts.as_slice() else { panic!("{} parts", parts.len()) };
    let body_of = |row: &[u8]| {
        let id = bodies.iter().find_map(|(body, _)| find(row, body)).unwrap();
        // The length of an envelope, its format and its suite.
        let envelope = id + find(&row[id..], &[0x86, 1, 1, 1]).unwrap() + 2;
        id..envelope + ENVELOPE
    };
    let (of_x, of_y) = (body_of(x), body_of(y));
    let put = |row: &[u8], at: &std::ops::Range<usize>, body: &[u8]| [&row[..at.start], body, &row[at.end..]].concat();
    let parts = db.cf_handle("parts").unwrap();
    db.put_cf(parts, a, put(x, &of_x, &y[of_y.clone()])).unwrap();
    db.put_cf(parts, b, put(y, &of_y, &x[of_x.clone()])).unwrap();
    db.flush_wal(true).unwrap();
}

#[test]
fn parts_whose_bodies_were_swapped_do_not_complete() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("box");
    let upload = s3.begin("box", "k");
    let tags: Vec<(u32, String)> = (1..=2)
        .map(|n| {
            let part = body(u64::from(n), 5 << 20);
            (n, s3.part("box", "k", &upload, n).body(part).send().status(200).etag())
        })
        .collect();
    server.stop();
    swap_bodies_of_parts(&store);
    let server = store.start();
    let s3 = server.client();
    s3.object("GET", "box", "k").query("uploadId", &upload).send().status(500).done();
    s3.complete("box", "k", &upload, &tags).send().status(500).done();
    s3.get("box", "k").refused(404, "NoSuchKey").done();
    is_reported(&server);
}
