//! Readers that do not read: they are cut off, are on record, and take nothing from others.

use std::time::Duration;

use integration_tests::Store;
use integration_tests::clock::within;
use integration_tests::noise::body;

const SIZE: usize = 64 << 20;

#[test]
fn a_reader_that_reads_nothing_is_cut_off() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("slow");
    let data = body(1, SIZE);
    s3.put("slow", "k", data.clone()).done();
    let idle: Vec<_> = (0..4).map(|_| s3.object("GET", "slow", "k").open().unwrap()).collect();
    assert!(idle.iter().all(|(_, head)| head.status == 200));
    s3.must_hold("slow", "k", &data);
    // Their sockets stay open all the while; it is the server that ends them.
    within(Duration::from_secs(75), "closing records of all that do not read", || {
        let reads = server.records_of("GetObject");
        let cut = |r: &&serde_json::Value| {
            r["closing"]["outcome"] == "broken off" && r["closing"]["bytes_sent"].as_u64().unwrap() < SIZE as u64
        };
        (reads.iter().filter(cut).count() == idle.len()).then_some(())
    });
    for (mut wire, head) in idle {
        let mut came = 0;
        assert!(wire.body(&head, |piece| came += piece.len()).is_err(), "it has not got all");
        assert!(came < SIZE);
    }
    s3.must_hold("slow", "k", &data);
}

/// Who reads slowly but steadily is served to the end, however many windows that takes.
#[test]
fn a_reader_that_is_only_slow_is_served() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("slow");
    let data = body(2, SIZE);
    s3.put("slow", "k", data.clone()).done();
    let (mut wire, head) = s3.object("GET", "slow", "k").open().unwrap();
    let (mut at, mut rests) = (0, 0);
    let (_over, never) = std::sync::mpsc::channel::<()>();
    wire.body(&head, |piece| {
        assert!(data[at..at + piece.len()] == *piece, "differs at {at}");
        at += piece.len();
        if at / (8 << 20) > rests {
            // Eight rests of six seconds are longer together than one window, and each shorter.
            rests += 1;
            assert!(never.recv_timeout(Duration::from_secs(6)).is_err());
        }
    })
    .unwrap();
    assert_eq!(at, SIZE);
}
