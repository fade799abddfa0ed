//! Bodies in frames, trailers, checksums; and bodies that are not what they promise.

use std::time::Duration;

use integration_tests::clock::Moment;
use integration_tests::noise::body;
use integration_tests::sums::{Sum, base64, md5};
use integration_tests::wire::Wire;
use integration_tests::{Payload, Store};

const SIZES: [usize; 4] = [0, 10, 65_537, 5_000_000];

#[test]
fn traps_1_to_5_frames_are_taken_off_and_trailers_verified() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("framed");
    for size in SIZES {
        let data = body(size as u64, size);
        for sum in Sum::ALL {
            let (name, value) = (sum.header(), sum.of(&data));
            for payload in [
                Payload::SignedTrailer(name.clone(), value.clone()),
                Payload::UnsignedTrailer(name.clone(), value.clone()),
            ] {
                let put = s3.object("PUT", "framed", "k").payload(payload).body(data.clone()).send().status(200);
                assert_eq!(put.must(&name), value);
                s3.must_hold("framed", "k", &data);
            }
        }
        for payload in [Payload::SignedFrames, Payload::UnsignedFrames, Payload::Unsigned] {
            s3.object("PUT", "framed", "k").payload(payload.clone()).body(data.clone()).send().status(200).done();
            s3.must_hold("framed", "k", &data);
            assert_eq!(s3.head("framed", "k").header("content-encoding"), None, "{payload:?}");
        }
    }
}

#[test]
fn trap_8_wrong_sums_are_refused_and_nothing_is_stored() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("sums");
    for size in [10, 300_000] {
        let data = body(1, size);
        for sum in Sum::ALL {
            let wrong = sum.of(b"something else");
            s3.object("PUT", "sums", "k")
                .header(&sum.header(), &wrong)
                .body(data.clone())
                .send()
                .refused(400, "BadDigest")
                .done();
            let trailer = Payload::UnsignedTrailer(sum.header(), wrong.clone());
            s3.object("PUT", "sums", "k").payload(trailer).body(data.clone()).send().refused(400, "BadDigest").done();
        }
        let wrong = base64(&md5(b"something else"));
        s3.object("PUT", "sums", "k")
            .header("content-md5", &wrong)
            .body(data.clone())
            .send()
            .refused(400, "BadDigest")
            .done();
        s3.object("PUT", "sums", "k")
            .header("content-md5", "nonsense")
            .body(data.clone())
            .send()
            .refused(400, "InvalidDigest")
            .done();
        let unknown = s3.object("PUT", "sums", "k").header("x-amz-checksum-sha512", &base64(&[0; 64]));
        unknown.body(data).send().refused(400, "InvalidRequest").done();
    }
    s3.get("sums", "k").refused(404, "NoSuchKey").done();
}

#[test]
fn broken_bodies_store_nothing() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("broken");
    for size in [1000, 300_000] {
        let data = body(2, size);
        for payload in [Payload::SignedFrames, Payload::UnsignedFrames] {
            let cut: fn(Vec<u8>) -> Vec<u8> = |mut bytes| {
                let at = bytes.len() / 2;
                bytes[at] ^= 1;
                bytes.swap(0, 1);
                bytes
            };
            let answer = s3.object("PUT", "broken", "k").payload(payload).body(data.clone()).mangle(cut).send();
            assert!((400..500).contains(&answer.status), "{answer:?}");
        }
        let other = "0".repeat(64);
        let answer = s3.object("PUT", "broken", "k").payload(Payload::Claimed(other)).body(data.clone()).send();
        assert_eq!((answer.status, answer.xml("Code").as_str()), (400, "XAmzContentSHA256Mismatch"));
    }
    s3.object("PUT", "broken", &"k".repeat(1025)).body("v").send().refused(400, "KeyTooLongError").done();
    s3.object("PUT", "broken", &"k".repeat(1024)).body("v").send().status(200).done();
    s3.object("PUT", "broken", "k").body("v").declare(6 << 40).send().refused(400, "EntityTooLarge").done();
    s3.get("broken", "k").refused(404, "NoSuchKey").done();
}

/// Trap 24: clocks may differ by fifteen minutes.
#[test]
fn trap_24_skewed_clocks_are_refused() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("clocks");
    for seconds in [-1000, 1000, 86_400] {
        s3.bucket("GET", "clocks").at(Moment::now().plus(seconds)).send().refused(403, "RequestTimeTooSkewed").done();
    }
    s3.bucket("GET", "clocks").at(Moment::now().plus(-600)).send().status(200).done();
    let old = s3.presign("GET", "/clocks", &[], (Moment::now().plus(-100), 50));
    s3.visit("GET", &old, b"").refused(403, "AccessDenied").done();
    let target = s3.presign("GET", "/clocks", &[], (Moment::now(), 60));
    s3.visit("GET", &target, b"").status(200).done();
}

/// Trap 24: the time of a request is in `x-amz-date` or in Date; answers carry a Date.
#[test]
fn trap_24_a_date_is_enough() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("clocks");
    s3.object("PUT", "clocks", "k").dated().body("v").send().status(200).done();
    let answer = s3.object("GET", "clocks", "k").dated().send().status(200);
    assert_eq!(answer.body, b"v");
    let (now, told) = (Moment::now(), answer.must("date").to_owned());
    assert!((-5..=1).any(|s| now.plus(s).http() == told), "{told} is not now");
    let both = s3.object("GET", "clocks", "k").loose_header("date", &Moment(0).http()).send();
    both.status(200).done(); // x-amz-date wins
    for seconds in [-1000, 1000] {
        let skewed = s3.bucket("GET", "clocks").dated().at(Moment::now().plus(seconds)).send();
        assert_eq!(skewed.refused(403, "RequestTimeTooSkewed").header("date").map(str::len), Some(29));
    }
    let tampered = s3.bucket("GET", "clocks").dated().loose_header("x-amz-date", &Moment::now().plus(60).amz()).send();
    tampered.refused(403, "SignatureDoesNotMatch").done();
}

fn in_http_chunks(body: Vec<u8>) -> Vec<u8> {
    let pieces = body.chunks(10_000).map(|p| [format!("{:x}\r\n", p.len()).as_bytes(), p, b"\r\n"].concat());
    [pieces.collect::<Vec<_>>().concat(), b"0\r\n\r\n".to_vec()].concat()
}

/// Trap 32: without Content-Length a body comes in HTTP chunks, and must tell its decoded length.
#[test]
fn trap_32_a_length_is_needed_in_one_way_or_another() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("chunks");
    for size in [0, 10, 70_000, 5_000_000] {
        let data = body(32, size);
        for payload in [
            Payload::SignedFrames,
            Payload::SignedTrailer(Sum::Crc32.header(), Sum::Crc32.of(&data)),
            Payload::UnsignedTrailer(Sum::Crc32.header(), Sum::Crc32.of(&data)),
        ] {
            let put = s3.object("PUT", "chunks", "k").payload(payload).body(data.clone()).mangle(in_http_chunks);
            put.loose_header("transfer-encoding", "chunked").send().status(200).done();
            s3.must_hold("chunks", "k", &data);
        }
        for payload in [Payload::Unsigned, Payload::Whole] {
            let put = s3.object("PUT", "chunks", "none").payload(payload).body(data.clone()).mangle(in_http_chunks);
            put.loose_header("transfer-encoding", "chunked").send().refused(411, "MissingContentLength").done();
        }
    }
    s3.get("chunks", "none").refused(404, "NoSuchKey").done();
    let data = body(33, 5_000_000);
    let cut: fn(Vec<u8>) -> Vec<u8> = |bytes| in_http_chunks(bytes[..3_000_000].to_vec());
    let short = s3.object("PUT", "chunks", "none").payload(Payload::SignedFrames).body(data).mangle(cut);
    let answer = short.loose_header("transfer-encoding", "chunked").send();
    assert!((400..500).contains(&answer.status), "{answer:?}");
    s3.get("chunks", "none").refused(404, "NoSuchKey").done();
}

#[test]
fn a_client_that_sends_headers_forever_is_cut_off() {
    let store = Store::new();
    let server = store.start();
    let mut wire = Wire::connect(server.bootstrap.s3).unwrap();
    wire.send(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ").unwrap();
    let drip = Drip::start(&wire, vec![b'a'; 1000]);
    let begun = std::time::Instant::now();
    let answer = wire.answer("GET").ok().map(|a| a.status);
    assert!(matches!(answer, None | Some(408)) && wire.closed(), "{answer:?}");
    assert!(begun.elapsed() < Duration::from_secs(40), "cut off after {:?}", begun.elapsed());
    drip.stop();
    server.client().make_bucket("alive");
}

/// A body that drips is cut off too, for a few of them would hold every buffer; nothing of it stays.
#[test]
fn a_client_that_drips_its_body_is_cut_off() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("slow");
    for size in [60_000, 8 << 20] {
        s3.put("slow", "k", "before").done();
        let (head, body) = s3.object("PUT", "slow", "k").payload(Payload::Unsigned).body(body(3, size)).encode();
        let mut wire = Wire::connect(server.bootstrap.s3).unwrap();
        wire.send(&head).unwrap();
        let drip = Drip::start(&wire, body[..1000].to_vec());
        let answer = wire.answer("PUT").unwrap();
        assert_eq!((answer.status, answer.xml("Code").as_str()), (400, "RequestTimeout"), "{answer:?}");
        drip.stop();
        s3.must_hold("slow", "k", b"before");
    }
}

/// So is one that drips inside a frame that says it is long.
#[test]
fn a_client_that_drips_a_long_frame_is_cut_off() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("slow");
    let length = 1_u64 << 30;
    let put = s3.object("PUT", "slow", "k").payload(Payload::Claimed("STREAMING-UNSIGNED-PAYLOAD-TRAILER".to_owned()));
    let put = put.header("x-amz-decoded-content-length", &length.to_string()).header("x-amz-trailer", "x-note");
    let (head, _) = put.declare(length + 20).encode();
    let mut wire = Wire::connect(server.bootstrap.s3).unwrap();
    wire.send(&[&head[..], b"40000000\r\n"].concat()).unwrap();
    let drip = Drip::start(&wire, vec![b'a'; 1000]);
    let answer = wire.answer("PUT").unwrap();
    assert_eq!((answer.status, answer.xml("Code").as_str()), (400, "RequestTimeout"), "{answer:?}");
    drip.stop();
    s3.get("slow", "k").refused(404, "NoSuchKey").done();
}

/// A document that drips is cut off as well, though no part of it is sealed.
#[test]
fn a_client_that_drips_a_document_is_cut_off() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("slow");
    let upload = s3.begin("slow", "k");
    let (head, body) = s3.complete("slow", "k", &upload, &[(1, "0".repeat(32))]).encode();
    let mut wire = Wire::connect(server.bootstrap.s3).unwrap();
    wire.send(&head).unwrap();
    let drip = Drip::start(&wire, body[..100].repeat(10));
    let answer = wire.answer("POST").unwrap();
    assert_eq!((answer.status, answer.xml("Code").as_str()), (400, "RequestTimeout"), "{answer:?}");
    drip.stop();
    s3.object("GET", "slow", "k").query("uploadId", &upload).send().status(200).done();
}

/// Sends one byte after the other from a thread of its own, so that a connection is never idle.
struct Drip {
    over: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Drip {
    fn start(wire: &Wire, bytes: Vec<u8>) -> Self {
        let mut slow = wire.sender().unwrap();
        let (over, quiet) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            for byte in bytes {
                let pause = quiet.recv_timeout(Duration::from_millis(300));
                if pause != Err(std::sync::mpsc::RecvTimeoutError::Timeout)
                    || std::io::Write::write_all(&mut slow, &[byte]).is_err()
                {
                    return;
                }
            }
        });
        Self { over, thread }
    }

    fn stop(self) {
        drop(self.over);
        self.thread.join().unwrap();
    }
}
