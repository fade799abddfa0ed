//! Memory has one bound, whatever moves through the server.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use bytes::Bytes;
use integration_tests::noise::body;
use integration_tests::{Client, Payload, Store};

const CONNECTIONS: usize = 16;
const SIZE: usize = 64 << 20;
const ROUNDS: usize = 2;
const MOST: u64 = 400 << 20;

/// Sends an object and reads it back, again and again; every other connection begins with the reading.
fn both_ways(s3: &Client, connection: usize, data: &Bytes) {
    let key = format!("k{connection}");
    for round in 0..ROUNDS {
        if (connection + round).is_multiple_of(2) {
            s3.object("PUT", "memory", &key).payload(Payload::Unsigned).body(data.clone()).send().status(200).done();
            assert!(s3.get("memory", &key).status(200).body == *data, "{key}");
        } else {
            assert!(s3.get("memory", "first").status(200).body == *data);
            s3.object("PUT", "memory", &key).payload(Payload::Unsigned).body(data.clone()).send().status(200).done();
        }
    }
}

#[test]
fn sixteen_connections_that_move_large_objects_both_ways_stay_within_400_mib() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("memory");
    let data = body(1, SIZE);
    s3.put("memory", "first", data.clone()).done();
    let (working, done) = channel::<()>();
    let mut peak = 0;
    std::thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            let (s3, data, working) = (&s3, &data, working.clone());
            scope.spawn(move || {
                both_ways(s3, connection, data);
                drop(working);
            });
        }
        drop(working);
        while done.recv_timeout(Duration::from_millis(5)) == Err(RecvTimeoutError::Timeout) {
            peak = peak.max(server.resident());
        }
    });
    println!("peak of anonymous resident memory: {} MiB", peak >> 20);
    assert!(peak <= MOST, "{} MiB were resident", peak >> 20);
    assert!(peak > 16 << 20, "only {peak} bytes: it was not looked at while it worked");
    server.stop();
}
