//! Bodies that became durable and were then refused are not kept: their space comes back while the server runs.

use integration_tests::clock::until;
use integration_tests::noise::body;
use integration_tests::sums::{Sum, base64, md5};
use integration_tests::{Payload, Store};

#[test]
fn refused_bodies_are_collected_in_the_same_run() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("orphans");
    s3.put("orphans", "kept", body(1, 300_000)).done();
    let wrong = base64(&md5(b"something else"));
    for size in [100_000, 5 << 20] {
        let data = body(2, size);
        s3.object("PUT", "orphans", "k").header("content-md5", &wrong).body(data.clone()).send().status(400).done();
        let trailer = Payload::UnsignedTrailer(Sum::Crc32.header(), Sum::Crc32.of(b"something else"));
        s3.object("PUT", "orphans", "k").payload(trailer).body(data.clone()).send().refused(400, "BadDigest").done();
        let upload = s3.begin("orphans", "k");
        s3.part("orphans", "k", &upload, 1).header("content-md5", &wrong).body(data).send().status(400).done();
    }
    let collected = || server.metric("gotgan_collected_bodies_total");
    until("six orphans are collected", || (collected() >= 6.0).then_some(()));
    s3.must_hold("orphans", "kept", &body(1, 300_000));
    assert!((collected() - 6.0).abs() < 0.5, "and nothing else");
    server.stop();
    store.start().client().must_hold("orphans", "kept", &body(1, 300_000));
}
