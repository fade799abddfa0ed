//! `Expect: 100-continue`: who may not send a body is told before sending it.

use std::io::ErrorKind;
use std::time::Duration;

use integration_tests::noise::body;
use integration_tests::wire::Wire;
use integration_tests::{Client, Outgoing, Payload, Server, Store};

const SIZE: usize = 3 << 20;

fn put<'a>(s3: &'a Client, key: &str) -> Outgoing<'a> {
    let request = s3.object("PUT", "expected", key).payload(Payload::Unsigned);
    request.body(body(11, SIZE)).loose_header("expect", "100-continue")
}

/// Sends a head that waits for a go-ahead; the first status that comes must be `status`. Afterwards the
/// connection either serves another request or is closed, but never takes the one for the other.
fn final_status(server: &Server, request: &Outgoing<'_>, status: u16, code: &str) {
    let s3 = server.client();
    let (head, _) = request.encode();
    let mut wire = Wire::connect(server.bootstrap.s3).unwrap();
    wire.send(&head).unwrap();
    let first = wire.head().unwrap();
    assert_eq!(first.status, status, "no 100 before {code}");
    let mut text = Vec::new();
    wire.body(&first, |piece| text.extend_from_slice(piece)).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains(&format!("<Code>{code}</Code>")), "{text}");
    let (next, _) = s3.object("HEAD", "expected", "before").encode();
    match wire.send(&next).and_then(|()| wire.answer("HEAD")) {
        Ok(answer) => assert_eq!(answer.status, 200, "{answer:?}"),
        Err(error) => assert!(
            matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
            "{error}"
        ),
    }
}

#[test]
fn trap_11_refusals_come_before_the_body() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("expected");
    s3.put("expected", "before", "v").done();
    let stranger = server.stranger("others");
    let wrong = s3.with(&s3.signer.access, "wrong");
    let nobody = s3.with("NOBODY", "x");
    let absent = s3.object("PUT", "no-such-bucket-here", "k").payload(Payload::Unsigned).body(body(11, SIZE));
    let locked = s3.object("PUT", "expected", "before").payload(Payload::Unsigned).body(body(11, SIZE));
    for (request, status, code) in [
        (put(&wrong, "k"), 403, "SignatureDoesNotMatch"),
        (put(&nobody, "k"), 403, "InvalidAccessKeyId"),
        (put(&s3, "k").anonymous(), 403, "AccessDenied"),
        (put(&stranger, "k"), 403, "AccessDenied"),
        (absent.loose_header("expect", "100-continue"), 404, "NoSuchBucket"),
        (put(&s3, &"k".repeat(1025)), 400, "KeyTooLongError"),
        (put(&s3, "k").declare(6 << 30), 400, "EntityTooLarge"),
        (put(&s3, "k").header("x-amz-server-side-encryption", "aws:kms"), 501, "NotImplemented"),
        (put(&s3, "k").header("content-md5", "nonsense"), 400, "InvalidDigest"),
        (locked.header("if-none-match", "*").loose_header("expect", "100-continue"), 412, "PreconditionFailed"),
    ] {
        final_status(&server, &request, status, code);
    }
    s3.get("expected", "k").refused(404, "NoSuchKey").done();
    s3.must_hold("expected", "before", b"v");
}

#[test]
fn trap_11_a_node_outside_korea_asks_for_no_body() {
    let store = Store::new();
    let server = store.start();
    server.client().make_bucket("expected");
    server.client().put("expected", "before", "v").done();
    server.stop();
    let server = store.start_with(&["--country", "JP"]);
    let s3 = server.client();
    final_status(&server, &put(&s3, "k"), 403, "AccessDenied");
    s3.get("expected", "k").refused(404, "NoSuchKey").done();
}

#[test]
fn trap_11_a_permitted_body_is_asked_for_and_stored() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("expected");
    let mut wire = Wire::connect(server.bootstrap.s3).unwrap();
    for key in ["first", "second"] {
        let (head, data) = put(&s3, key).encode();
        wire.send(&head).unwrap();
        wire.patience(Duration::from_secs(20)).unwrap();
        assert_eq!(wire.head().unwrap().status, 100, "{key}");
        wire.send(&data).unwrap();
        assert_eq!(wire.answer("PUT").unwrap().status, 200, "on one connection");
        s3.must_hold("expected", key, &body(11, SIZE));
    }
    let (head, data) = put(&s3, "impatient").encode();
    wire.send(&[&head[..], &data[..]].concat()).unwrap();
    assert_eq!(wire.answer("PUT").unwrap().status, 200, "a client need not wait");
    s3.must_hold("expected", "impatient", &body(11, SIZE));
}
