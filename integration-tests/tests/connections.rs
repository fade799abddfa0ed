//! Connections that ask for nothing end, each by its deadline, and there are only so many.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use integration_tests::clock::until;
use integration_tests::http2::Http2;
use integration_tests::noise::body;
use integration_tests::wire::Wire;
use integration_tests::{Payload, Server, Store};

const FIRST: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(4);
/// What an end in order may take on top, and a busy machine.
const SLACK: Duration = Duration::from_secs(8);

fn start(store: &Store, more: &str) -> Server {
    let file = store.home().join("gotgan.toml");
    let limits =
        format!("[limits]\nfirst_request_seconds = {}\nidle_seconds = {}\n{more}", FIRST.as_secs(), IDLE.as_secs());
    std::fs::write(&file, limits).unwrap();
    store.start_with(&["--config", file.to_str().unwrap()])
}

#[test]
fn who_says_nothing_or_half_a_thing_is_let_go() {
    let store = Store::new();
    let server = start(&store, "");
    for address in [server.bootstrap.s3, server.bootstrap.admin] {
        for start in ["", "G", "PRI", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\n"] {
            let begun = Instant::now();
            let mut wire = Wire::connect(address).unwrap();
            wire.send(start.as_bytes()).unwrap();
            // HTTP/2 says a few things about itself first.
            while wire.patience(FIRST + SLACK).is_ok() && !wire.closed() {}
            let took = begun.elapsed();
            assert!(took >= FIRST - Duration::from_millis(500) && took < FIRST + SLACK, "{start:?}: {took:?}");
        }
    }
}

#[test]
fn an_idle_connection_ends_and_a_used_one_does_not() {
    let store = Store::new();
    let server = start(&store, "");
    let s3 = server.client();
    s3.make_bucket("idle");
    let (head, _) = s3.bucket("HEAD", "idle").encode();
    let mut wire = Wire::connect(server.bootstrap.s3).unwrap();
    let (_over, never) = std::sync::mpsc::channel::<()>();
    for _ in 0..3 {
        // Together longer than a connection may be idle, and each shorter.
        wire.send(&head).unwrap();
        assert_eq!(wire.answer("HEAD").unwrap().status, 200);
        assert!(never.recv_timeout(IDLE * 2 / 3).is_err());
    }
    wire.send(&head).unwrap();
    assert_eq!(wire.answer("HEAD").unwrap().status, 200);
    let begun = Instant::now();
    wire.patience(IDLE + SLACK).unwrap();
    assert!(wire.closed());
    let took = begun.elapsed();
    assert!(took >= IDLE - Duration::from_millis(500) && took < IDLE + SLACK, "{took:?}");
}

#[test]
fn who_only_pings_is_told_to_go() {
    let store = Store::new();
    let server = start(&store, "");
    let s3 = server.client();
    s3.make_bucket("idle");
    let begun = Instant::now();
    let pongs = Http2::connect(server.bootstrap.s3).unwrap().ping_to_the_end(Duration::from_millis(200)).unwrap();
    assert!(pongs > 2 && begun.elapsed() < FIRST + SLACK, "{pongs} pings in {:?}", begun.elapsed());
    let mut used = Http2::connect(server.bootstrap.s3).unwrap();
    used.send(&s3.bucket("HEAD", "idle")).unwrap().status(200).done();
    let begun = Instant::now();
    let pongs = used.ping_to_the_end(Duration::from_millis(200)).unwrap();
    let took = begun.elapsed();
    assert!(pongs > 2 && took + FIRST > IDLE && took < IDLE + SLACK, "{pongs} pings in {took:?}");
}

#[test]
fn a_request_may_take_longer_than_a_connection_may_be_idle() {
    let store = Store::new();
    let server = start(&store, "");
    let s3 = server.client();
    s3.make_bucket("idle");
    let data = body(1, 100_000);
    let (head, body) = s3.object("PUT", "idle", "k").payload(Payload::Unsigned).body(data.clone()).encode();
    let mut wire = Wire::connect(server.bootstrap.s3).unwrap();
    wire.send(&[&head, &body[..50_000]].concat()).unwrap();
    let (_over, never) = std::sync::mpsc::channel::<()>();
    assert!(never.recv_timeout(IDLE * 2).is_err());
    wire.send(&body[50_000..]).unwrap();
    assert_eq!(wire.answer("PUT").unwrap().status, 200);
    s3.must_hold("idle", "k", &data);
}

/// Those beyond wait until others end, and those who do nothing end soon.
#[test]
fn there_are_only_so_many_connections() {
    let store = Store::new();
    let server = start(&store, "connections = 3\nconnections_per_source = 3\n");
    let s3 = server.client();
    let silent = |address: SocketAddr| Wire::connect(address).unwrap();
    let begun = Instant::now();
    let held: Vec<Wire> = (0..3).map(|_| silent(server.bootstrap.s3)).collect();
    s3.bucket("GET", "").send().status(200).done();
    let took = begun.elapsed();
    assert!(took >= FIRST - Duration::from_millis(500) && took < FIRST + SLACK, "{took:?}");
    drop(held);
}

/// Others are served meanwhile, and so is the source again when it has fewer.
#[test]
fn one_source_has_no_more_than_its_share_of_them() {
    let store = Store::new();
    let server = start(&store, "connections = 4\n");
    let s3 = server.client();
    s3.make_bucket("mine");
    let (head, _) = s3.bucket("HEAD", "mine").encode();
    let from = |last: u8| Wire::connect_from(IpAddr::from([127, 0, 0, last]), server.bootstrap.s3).unwrap();
    let serves =
        |wire: &mut Wire| wire.send(&head).is_ok() && wire.answer("HEAD").is_ok_and(|answer| answer.status == 200);
    // Those of before may be under way to their end.
    let [mut first, mut second] = [(); 2].map(|()| {
        until("a place", || {
            let mut wire = from(1);
            serves(&mut wire).then_some(wire)
        })
    });
    // Three of four are no more than there may be, and would be served.
    assert!(!serves(&mut from(1)), "half of four are there");
    assert!(serves(&mut from(2)), "another source");
    assert!(serves(&mut first) && serves(&mut second));
    assert!(server.metric("connections_refused") >= 1.0);
    drop(first);
    until("the source has a place again", || serves(&mut from(1)).then_some(()));
}
