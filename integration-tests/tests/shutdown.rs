//! A clean end under load: what is under way is finished, nothing new is begun, and everything that was
//! acknowledged is there afterwards.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use integration_tests::clock::{until, within};
use integration_tests::noise::body;
use integration_tests::wire::Wire;
use integration_tests::{Client, Payload, Server, Store};

const WRITERS: u64 = 8;
const LARGE: usize = 12 << 20;

/// An upload whose body was asked for and is half sent.
fn half_sent(s3: &Client, key: &str) -> Wire {
    let request = s3.object("PUT", "end", key).payload(Payload::Unsigned).body(body(7, LARGE));
    let (head, data) = request.loose_header("expect", "100-continue").encode();
    let mut wire = Wire::connect(s3.address).unwrap();
    wire.send(&head).unwrap();
    assert_eq!(wire.head().unwrap().status, 100, "it is under way");
    wire.send(&data[..LARGE / 2]).unwrap();
    wire
}

/// Writes until the server takes no more; gives what was acknowledged.
fn writes(s3: &Client, writer: u64, count: &AtomicU64, kept: &Mutex<BTreeMap<String, (u64, usize)>>) {
    for n in 0.. {
        let key = format!("w{writer}/{n}");
        let what = (writer * 100_000 + n, [500, 70_000, 3 << 20][usize::try_from(n % 3).unwrap()]);
        match s3.object("PUT", "end", &key).body(body(what.0, what.1)).try_send() {
            Ok(answer) if answer.status == 200 => {
                kept.lock().unwrap().insert(key, what);
                count.fetch_add(1, Ordering::AcqRel);
            }
            // One that came too late is refused, or finds nobody.
            Ok(answer) => return answer.status(503).done(),
            Err(_) => return,
        }
    }
}

fn finish(mut wire: Wire, what: &str) {
    wire.send(&body(7, LARGE)[LARGE / 2..]).unwrap();
    let answer = wire.answer("PUT").unwrap_or_else(|e| panic!("{what}: {e}"));
    answer.status(200).done();
}

fn takes_no_more(server: &Server) -> Option<()> {
    // A socket that nobody accepts from is another error.
    Wire::connect(server.bootstrap.s3).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused).then_some(())
}

#[test]
fn the_end_waits_for_what_is_under_way_and_loses_nothing() {
    let store = Store::new();
    let mut server = store.start();
    let s3 = server.client();
    s3.make_bucket("end");
    s3.put("end", "large", body(8, LARGE)).done();
    let (count, kept) = (AtomicU64::new(0), Mutex::default());
    let uploads = ["a", "b"].map(|key| half_sent(&s3, key));
    let upload = s3.begin("end", "parts");
    let part = s3.part("end", "parts", &upload, 1).body(body(9, 5 << 20)).send().status(200).etag();
    let (mut download, head) = s3.object("GET", "end", "large").open().unwrap();
    assert_eq!(head.status, 200);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (s3, count, kept) = (&s3, &count, &kept);
            scope.spawn(move || writes(s3, writer, count, kept));
        }
        until("writes are acknowledged", || (count.load(Ordering::Acquire) > 40).then_some(()));
        server.ask_to_end();
        until("nothing new is taken", || takes_no_more(&server));
        for wire in uploads {
            finish(wire, "an upload under way");
        }
        let mut read = Vec::new();
        download.body(&head, |piece| read.extend_from_slice(piece)).unwrap();
        assert!(read == body(8, LARGE), "a download under way comes whole");
    });
    let status = server.wait();
    assert!(status.success(), "it ended with {status}");
    let server = store.start();
    let s3 = server.client();
    for (key, (seed, size)) in kept.into_inner().unwrap() {
        s3.must_hold("end", &key, &body(seed, size));
    }
    for key in ["a", "b"] {
        s3.must_hold("end", key, &body(7, LARGE));
    }
    s3.complete("end", "parts", &upload, &[(1, part)]).send().status(200).done();
    s3.must_hold("end", "parts", &body(9, 5 << 20));
    assert!(server.said().contains("stopped"), "it flushed and closed before");
    server.stop();
}

/// The end is seen also where every connection that is allowed is taken, before the pace cuts one off.
#[test]
fn a_full_house_ends_too() {
    let mut store = Store::new();
    store.set("GOTGAN_LIMITS_CONNECTIONS", "1");
    let mut server = store.start();
    let s3 = server.client();
    s3.make_bucket("end");
    let upload = half_sent(&s3, "a");
    server.ask_to_end();
    within(Duration::from_secs(10), "nothing new is taken", || takes_no_more(&server));
    finish(upload, "an upload under way");
    let status = server.wait();
    assert!(status.success(), "it ended with {status}");
    store.start().client().must_hold("end", "a", &body(7, LARGE));
}
