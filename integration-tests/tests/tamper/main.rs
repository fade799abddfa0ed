//! Hands on the disk: what was changed, moved or cut does not open, and is reported.

use std::fs;
use std::path::PathBuf;

use integration_tests::clock::until;
use integration_tests::disk::files;
use integration_tests::noise::body;
use integration_tests::{Server, Store};

mod catalog;
mod control;
mod log;
mod rows;
mod uploads;

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
