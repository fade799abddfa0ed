//! Frames that are as long as the whole body: their content passes as it comes, and nobody holds them.

use std::time::Duration;

use integration_tests::noise::body;
use integration_tests::wire::{Answer, Wire};
use integration_tests::{Client, Outgoing, Payload, Server, Store};

/// Buffers of bodies under way and what RocksDB takes on its first writes; far below any frame here.
const ROOM: u64 = 160 << 20;
const PIECE: usize = 1 << 20;

fn put<'a>(s3: &'a Client, key: &str, name: &str, length: u64) -> Outgoing<'a> {
    s3.object("PUT", "frames", key)
        .payload(Payload::Claimed(name.to_owned()))
        .header("content-encoding", "aws-chunked")
        .header("x-amz-decoded-content-length", &length.to_string())
}

/// Sends `length` bytes as one frame of a body; gives what was answered, and by how much the server grew.
fn send(server: &Server, request: &Outgoing<'_>, length: u64, ends: (&str, &str), piece: &[u8]) -> (Answer, u64) {
    let (front, back) = (format!("{length:x}{}\r\n", ends.0), ends.1);
    let whole = front.len() as u64 + length + back.len() as u64;
    let (head, _) = request.clone().declare(whole).encode();
    let mut wire = Wire::connect(server.bootstrap.s3).unwrap();
    let before = server.resident();
    let mut most = before;
    wire.send(&[&head, front.as_bytes()].concat()).unwrap();
    for _ in 0..length / piece.len() as u64 {
        wire.send(piece).unwrap();
        most = most.max(server.resident());
    }
    wire.send(back.as_bytes()).unwrap();
    (wire.answer("PUT").unwrap(), most - before)
}

#[test]
fn a_frame_of_a_gib_is_not_gathered() {
    const LENGTH: u64 = 1 << 30;
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("frames");
    let request = put(&s3, "k", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", LENGTH).header("x-amz-trailer", "x-note");
    let (answer, grown) = send(&server, &request, LENGTH, ("", "\r\n0\r\nx-note:1\r\n\r\n"), &body(1, PIECE));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(grown < ROOM, "{} MiB for one request", grown >> 20);
    assert_eq!(s3.head("frames", "k").must("content-length"), LENGTH.to_string());
}

#[test]
fn a_long_signed_frame_is_verified_without_being_gathered() {
    const LENGTH: usize = 256 << 20;
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("frames");
    let piece = body(2, PIECE);
    let content = piece.repeat(LENGTH / PIECE);
    for (key, piece, status) in [("good", piece.clone(), 200), ("bad", body(3, PIECE), 403)] {
        let request = put(&s3, key, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", LENGTH as u64);
        let declared = |first: &str, last: &str| {
            (format!(";chunk-signature={first}"), format!("\r\n0;chunk-signature={last}\r\n\r\n"))
        };
        let (front, back) = declared(&"0".repeat(64), &"0".repeat(64));
        // The length does not depend on what the signatures are.
        let whole = (format!("{LENGTH:x}{front}\r\n").len() + LENGTH + back.len()) as u64;
        let (head, _) = request.clone().declare(whole).encode();
        let head = String::from_utf8(head).unwrap();
        let seed = head.split("Signature=").nth(1).unwrap().split("\r\n").next().unwrap();
        let first = s3.signer.chunk(request.moment(), seed, &content);
        let last = s3.signer.chunk(request.moment(), &first, b"");
        let (front, back) = declared(&first, &last);
        let (answer, grown) = send(&server, &request, LENGTH as u64, (&front, &back), &piece);
        assert_eq!(answer.status, status, "{key}: {answer:?}");
        assert!(grown < ROOM, "{} MiB for one request", grown >> 20);
    }
    s3.must_hold("frames", "good", &content);
    s3.get("frames", "bad").refused(404, "NoSuchKey").done();
}

/// Patience looks at what arrives, not at whole frames: a frame may take longer than a window.
#[test]
fn a_long_frame_that_comes_steadily_is_taken() {
    const LENGTH: u64 = 8 << 20;
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("frames");
    let request = put(&s3, "k", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", LENGTH).header("x-amz-trailer", "x-note");
    let back = "\r\n0\r\n\r\n";
    let front = format!("{LENGTH:x}\r\n");
    let (head, _) = request.declare(front.len() as u64 + LENGTH + back.len() as u64).encode();
    let mut wire = Wire::connect(server.bootstrap.s3).unwrap();
    wire.send(&[&head, front.as_bytes()].concat()).unwrap();
    let (piece, (_over, never)) = (body(4, PIECE), std::sync::mpsc::channel::<()>());
    for _ in 0..LENGTH / PIECE as u64 {
        // Eight rests of five seconds are longer together than one window, and each shorter.
        assert!(never.recv_timeout(Duration::from_secs(5)).is_err());
        wire.send(&piece).unwrap();
    }
    wire.send(back.as_bytes()).unwrap();
    assert_eq!(wire.answer("PUT").unwrap().status, 200);
    s3.must_hold("frames", "k", &piece.repeat(8));
}

/// What `s3s` would read from frames is not here.
#[test]
fn documents_in_frames_are_refused() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("frames");
    let document = "<CreateBucketConfiguration/>";
    for request in [
        s3.bucket("PUT", "frames-two").payload(Payload::SignedFrames).body(document),
        s3.bucket("POST", "frames").query("delete", "").payload(Payload::SignedFrames).body("<Delete/>"),
    ] {
        request.send().refused(501, "NotImplemented").done();
    }
    s3.bucket("HEAD", "frames-two").send().status(404).done();
}
