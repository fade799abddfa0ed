//! HTTP/2 with prior knowledge.

use std::time::Duration;

use integration_tests::clock::within;
use integration_tests::http2::Http2;
use integration_tests::noise::body;
use integration_tests::{Payload, Store};

#[test]
fn objects_come_and_go() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    let mut http2 = Http2::connect(server.bootstrap.s3).unwrap();
    http2.send(&s3.bucket("PUT", "two")).unwrap().status(200).done();
    for (size, payload) in
        [(0, Payload::Whole), (10, Payload::Unsigned), (100_000, Payload::SignedFrames), (9 << 20, Payload::Whole)]
    {
        let (key, data) = (format!("k-{size}"), body(size as u64, size));
        http2.send(&s3.object("PUT", "two", &key).payload(payload).body(data.clone())).unwrap().status(200).done();
        let answer = http2.send(&s3.object("GET", "two", &key)).unwrap().status(200);
        assert!(answer.body == data, "{size}");
        s3.must_hold("two", &key, &data);
    }
    let list = http2.send(&s3.bucket("GET", "two").query("list-type", "2")).unwrap().status(200);
    assert_eq!(list.xml_all("Key"), ["k-0", "k-10", "k-100000", "k-9437184"]);
    let part = http2.send(&s3.object("GET", "two", "k-100000").header("range", "bytes=10-19")).unwrap().status(206);
    assert!(part.body == body(100_000, 100_000)[10..20]);
    http2.send(&s3.object("DELETE", "two", "k-0")).unwrap().status(204).done();
    http2.send(&s3.object("GET", "two", "k-0")).unwrap().refused(404, "NoSuchKey").done();
    http2.send(&s3.object("GET", "two", "k-10").anonymous()).unwrap().refused(403, "AccessDenied").done();
}

/// Its Host is the authority, also when it is asked again without the header.
#[test]
fn a_range_that_is_none_is_ignored_in_virtual_host_style() {
    let store = Store::new();
    let server = store.start();
    let mut s3 = server.client();
    s3.make_bucket("two");
    s3.put("two", "k", "value").done();
    s3.host = format!("two.localhost:{}", server.bootstrap.s3.port());
    let mut http2 = Http2::connect(server.bootstrap.s3).unwrap();
    for range in ["bytes=1-2", "bytes=2-1", "lines=1-2", "nonsense"] {
        let wanted = if range == "bytes=1-2" { (206, &b"al"[..]) } else { (200, &b"value"[..]) };
        let request = s3.raw("GET", "/k").header("range", range);
        for answer in [http2.send(&request).unwrap(), request.send()] {
            assert_eq!((answer.status, &answer.body[..]), wanted, "{range}: {}", answer.text());
        }
        assert_eq!(http2.send(&s3.raw("HEAD", "/k").header("range", range)).unwrap().status, wanted.0, "{range}");
    }
}

/// What nobody takes is let go, and what it held is there for others: those on the same connection too.
#[test]
fn an_answer_that_nobody_reads_is_let_go() {
    const SIZE: usize = 64 << 20;
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("two");
    let data = body(1, SIZE);
    s3.put("two", "k", data.clone()).done();
    s3.put("two", "small", "v").done();
    let mut http2 = Http2::connect(server.bootstrap.s3).unwrap();
    let idle: Vec<_> = (0..3).map(|_| http2.open(&s3.object("GET", "two", "k")).unwrap()).collect();
    assert!(idle.iter().all(|unread| unread.status == 200));
    within(Duration::from_secs(75), "closing records of all that nobody reads", || {
        let reads = server.records_of("GetObject");
        let cut = |r: &&serde_json::Value| {
            r["closing"]["outcome"] == "broken off" && r["closing"]["bytes_sent"].as_u64().unwrap() < SIZE as u64
        };
        (reads.iter().filter(cut).count() == idle.len()).then_some(())
    });
    for unread in idle {
        assert!(http2.read(unread).is_err(), "it has not got all");
    }
    assert_eq!(http2.send(&s3.object("GET", "two", "small")).unwrap().body, b"v");
    s3.must_hold("two", "k", &data);
}

/// Answers that are one piece for the server, too, where the peer's window is a byte wide.
#[test]
fn a_short_answer_that_nobody_takes_is_let_go() {
    const SIZE: usize = 60_000;
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("two");
    s3.put("two", "k", body(1, SIZE)).done();
    for n in 0..100 {
        s3.put("two", &format!("{n}-{}", "n".repeat(1000)), "v").done();
    }
    let mut http2 = Http2::connect_narrow(server.bootstrap.s3, 1).unwrap();
    let idle: Vec<_> = (0..10)
        .flat_map(|_| [s3.object("GET", "two", "k"), s3.bucket("GET", "two").query("list-type", "2")])
        .map(|request| http2.open(&request).unwrap())
        .collect();
    assert!(idle.iter().all(|unread| unread.status == 200));
    within(Duration::from_secs(75), "closing records of all that nobody takes", || {
        let cut = |operation| {
            let broken = |r: &serde_json::Value| {
                r["closing"]["outcome"] == "broken off" && r["closing"]["bytes_sent"].as_u64().unwrap() < SIZE as u64
            };
            server.records_of(operation).into_iter().filter(broken).count()
        };
        (cut("GetObject") == 10 && cut("ListObjectsV2") == 10).then_some(())
    });
    s3.must_hold("two", "k", &body(1, SIZE));
}
