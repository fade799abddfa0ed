//! Hands on the disk: what was changed, moved or cut does not open, and is reported.

use std::fs;
use std::path::PathBuf;

use integration_tests::clock::until;
use integration_tests::disk::files;
use integration_tests::noise::body;
use integration_tests::{Account, Server, Store};
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

/// Key and value.
type Row = (Box<[u8]>, Box<[u8]>);

/// The catalog of a store whose server is down.
struct Catalog(DB);

impl Catalog {
    fn of(store: &Store) -> Self {
        let path = store.data().join("meta");
        let names = DB::list_cf(&Options::default(), &path).unwrap();
        Self(DB::open_cf(&Options::default(), &path, names).unwrap())
    }

    fn rows(&self, family: &str) -> Vec<Row> {
        let handle = self.0.cf_handle(family).unwrap();
        self.0.iterator_cf(handle, rocksdb::IteratorMode::Start).map(Result::unwrap).collect()
    }

    fn put(&self, family: &str, key: &[u8], value: &[u8]) {
        self.0.put_cf(self.0.cf_handle(family).unwrap(), key, value).unwrap();
    }

    fn remove(&self, family: &str, key: &[u8]) {
        self.0.delete_cf(self.0.cf_handle(family).unwrap(), key).unwrap();
    }
}

impl Drop for Catalog {
    fn drop(&mut self) {
        self.0.flush_wal(true).unwrap();
    }
}

/// Where `what` begins in `row`.
fn find(row: &[u8], what: &[u8]) -> Option<usize> {
    row.windows(what.len()).position(|w| w == what)
}

/// `row` with other bytes of the same length in the place of `what`.
fn with(row: &[u8], what: &[u8], other: &[u8]) -> Vec<u8> {
    let at = find(row, what).unwrap_or_else(|| panic!("{} in the row", String::from_utf8_lossy(what)));
    [&row[..at], other, &row[at + what.len()..]].concat()
}

/// Swaps the values of the first two keys of a column family that `wanted` admits.
fn swap(store: &Store, family: &str, wanted: impl Fn(&[u8]) -> bool) {
    let catalog = Catalog::of(store);
    let rows: Vec<_> = catalog.rows(family).into_iter().filter(|(k, _)| wanted(k)).take(2).collect();
    let [(a, x), (b, y)] = rows.as_slice() else { panic!("two rows in {family}") };
    catalog.put(family, a, y);
    catalog.put(family, b, x);
}

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

#[test]
fn records_that_were_removed_or_exchanged_show_in_the_log() {
    let asked = |store: &Store| {
        let server = store.start();
        server.client().make_bucket("box");
        for key in ["a", "b", "c", "d", "e"] {
            server.client().put("box", key, key).done();
        }
        assert_eq!(server.records().len(), 6);
        server.stop();
    };
    let damage = |store: &Store| {
        let server = store.start();
        let found: Vec<_> = server.records().into_iter().filter(|line| line["damage"] == true).collect();
        assert_eq!(server.metric("gotgan_log_damage_total") > 0.0, !found.is_empty());
        found
    };
    let store = Store::new();
    asked(&store);
    assert!(damage(&store).is_empty());

    let store = Store::new();
    asked(&store);
    let catalog = Catalog::of(&store);
    let rows = catalog.rows("log");
    catalog.remove("log", &rows[rows.len() - 4].0);
    drop(catalog);
    let found = damage(&store);
    assert!(found.len() == 1 && found[0]["operation"] == "broken-chain", "{found:?}");
    assert!(found[0]["error"].as_str().unwrap().contains("missing"), "{found:?}");

    let store = Store::new();
    asked(&store);
    let catalog = Catalog::of(&store);
    let rows = catalog.rows("log");
    let [(a, x), (b, y)] = [&rows[rows.len() - 5], &rows[rows.len() - 3]];
    catalog.put("log", a, y);
    catalog.put("log", b, x);
    drop(catalog);
    assert!(damage(&store).iter().any(|line| line["error"].as_str().unwrap().contains("moved")));
}
