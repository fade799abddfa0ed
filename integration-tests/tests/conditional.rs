//! Conditional reads and writes, one by one and under concurrency.

use std::sync::Barrier;
use std::thread;

use integration_tests::clock::Moment;
use integration_tests::sums::{base64, md5};
use integration_tests::wire::Wire;
use integration_tests::{Client, Store};

fn get_with(s3: &Client, name: &str, value: &str) -> u16 {
    s3.object("GET", "cond", "k").header(name, value).send().status
}

#[test]
fn reads_obey_their_conditions() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("cond");
    let etag = format!("\"{}\"", s3.put("cond", "k", "v").etag());
    let (past, future) = (Moment::now().plus(-86_400).http(), Moment::now().plus(86_400).http());
    assert_eq!(get_with(&s3, "if-match", &etag), 200);
    assert_eq!(get_with(&s3, "if-match", "*"), 200);
    assert_eq!(get_with(&s3, "if-match", "\"00000000000000000000000000000000\""), 412);
    assert_eq!(get_with(&s3, "if-none-match", &etag), 304);
    assert_eq!(get_with(&s3, "if-none-match", "\"00000000000000000000000000000000\""), 200);
    assert_eq!(get_with(&s3, "if-modified-since", &past), 200);
    assert_eq!(get_with(&s3, "if-modified-since", &future), 304);
    assert_eq!(get_with(&s3, "if-unmodified-since", &past), 412);
    assert_eq!(get_with(&s3, "if-unmodified-since", &future), 200);
    let both = s3.object("GET", "cond", "k").header("if-match", &etag).header("if-unmodified-since", &past).send();
    assert_eq!(both.status, 200, "If-Match wins over If-Unmodified-Since");
    let both = s3.object("GET", "cond", "k").header("if-none-match", &etag).header("if-modified-since", &past).send();
    assert_eq!(both.status, 304, "If-None-Match wins over If-Modified-Since");
}

/// RFC 9110 sections 13.1.3 and 13.1.4: a date that is none is not there. Those in other forms are obeyed.
#[test]
fn a_date_that_is_none_is_no_condition() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("cond");
    s3.put("cond", "k", "v").done();
    let copy_with = |name: &str, date: &str| {
        let request = s3.object("PUT", "cond", "copy").header("x-amz-copy-source", "/cond/k");
        request.header(&format!("x-amz-copy-source-{name}"), date).send().status
    };
    let late = Moment::now().plus(86_400).http();
    for date in ["soon", "1994-11-06T08:49:37Z", "784111777", "Sun, 36 Nov 1994 08:49:37 GMT", &late.replace(":", ".")]
    {
        for name in ["if-modified-since", "if-unmodified-since"] {
            assert_eq!(get_with(&s3, name, date), 200, "{name}: {date}");
            assert_eq!(s3.object("HEAD", "cond", "k").header(name, date).send().status, 200, "{name}: {date}");
            // Nothing is written as if nobody had asked.
            assert_eq!(copy_with(name, date), 400, "{name}: {date}");
            let strangers = s3.object("GET", "cond", "k").anonymous().header(name, date);
            strangers.send().refused(403, "AccessDenied").done();
        }
    }
    for date in ["Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Sun, 6 Nov 1994 08:49:37 GMT"] {
        assert_eq!(get_with(&s3, "if-unmodified-since", date), 412, "{date}");
        assert_eq!(get_with(&s3, "if-modified-since", date), 200, "{date}");
        assert_eq!(copy_with("if-unmodified-since", date), 412, "{date}");
        s3.get("cond", "copy").refused(404, "NoSuchKey").done();
        assert_eq!(copy_with("if-modified-since", date), 200, "{date}");
        s3.object("DELETE", "cond", "copy").send().status(204).done();
    }
    let both = s3.object("GET", "cond", "k").header("if-modified-since", "soon").header("range", "bytes=9-2");
    assert_eq!(both.send().status(200).body, b"v");
    s3.with(&s3.signer.access, "wrong")
        .object("GET", "cond", "k")
        .header("if-modified-since", "soon")
        .send()
        .refused(403, "SignatureDoesNotMatch")
        .done();
    let url = s3.presign("GET", "/cond/k", &[], (Moment::now(), 60));
    let mut wire = Wire::connect(server.bootstrap.s3).unwrap();
    let head = format!("GET {url} HTTP/1.1\r\nHost: {}\r\nIf-Modified-Since: soon\r\n\r\n", s3.host);
    wire.send(head.as_bytes()).unwrap();
    assert_eq!(wire.answer("GET").unwrap().status(200).body, b"v");
}

/// RFC 9110 section 13.1.5: a Range of an object that was replaced meanwhile is none.
#[test]
fn a_range_is_of_the_object_that_if_range_names() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("cond");
    let etag = s3.put("cond", "k", "value").etag();
    let modified = s3.head("cond", "k").must("last-modified").to_owned();
    let past = Moment::now().plus(-86_400).http();
    let other = "\"00000000000000000000000000000000\"";
    for (value, status) in [(&*format!("\"{etag}\""), 206), (&modified, 206), (other, 200), (&past, 200)] {
        for method in ["GET", "HEAD"] {
            let request = s3.object(method, "cond", "k").header("range", "bytes=1-2").header("if-range", value);
            let answer = request.send().status(status);
            let whole = if status == 206 { &b"al"[..] } else { b"value" };
            assert!(method == "HEAD" || answer.body == whole, "{value}");
        }
    }
}

/// Trap 21: a condition that nothing would look at is refused.
#[test]
fn trap_21_writes_refuse_conditions_that_they_have_not() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("cond");
    s3.put("cond", "k", "v").done();
    s3.put("cond", "other", "w").done();
    let date = Moment::now().plus(-86_400).http();
    for date in [&*date, "soon", "2024-05-01T00:00:00Z", "784111777", "Sun Nov  6 08:49:37 1994"] {
        for name in ["if-unmodified-since", "if-modified-since"] {
            for request in [
                s3.object("PUT", "cond", "k").body("w"),
                s3.object("PUT", "cond", "k").header("x-amz-copy-source", "/cond/other"),
                s3.object("DELETE", "cond", "k"),
            ] {
                request.header(name, date).send().refused(501, "NotImplemented").done();
                s3.must_hold("cond", "k", b"v");
            }
        }
    }
    s3.object("DELETE", "cond", "k").header("if-none-match", "*").send().refused(501, "NotImplemented").done();
    s3.must_hold("cond", "k", b"v");
}

/// Trap 21: the conditions of PutObject are not those of what S3 knows no conditions of.
#[test]
fn trap_21_operations_without_conditions_refuse_them() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("cond");
    s3.make_bucket("empty");
    s3.put("cond", "k", "v").done();
    let upload = s3.begin("cond", "up");
    let part = || s3.part("cond", "up", &upload, 1);
    let keys = "<Delete><Object><Key>k</Key></Object></Delete>";
    let md5 = base64(&md5(keys.as_bytes()));
    for (name, value) in [("if-none-match", "*"), ("if-match", "\"00000000000000000000000000000000\"")] {
        for (what, request) in [
            ("UploadPart", part().body("part")),
            ("UploadPartCopy", part().header("x-amz-copy-source", "/cond/k")),
            ("CreateMultipartUpload", s3.object("POST", "cond", "up").query("uploads", "")),
            ("AbortMultipartUpload", s3.object("DELETE", "cond", "up").query("uploadId", &upload)),
            ("DeleteObjects", s3.bucket("POST", "cond").query("delete", "").header("content-md5", &md5).body(keys)),
            ("CreateBucket", s3.bucket("PUT", "another")),
            ("DeleteBucket", s3.bucket("DELETE", "empty")),
        ] {
            // AWS's common runtime sends If-Match with every request of an upload in parts.
            let expected = match what {
                "UploadPart" | "CreateMultipartUpload" if name == "if-match" => 200,
                "AbortMultipartUpload" if name == "if-match" => 204,
                _ => 501,
            };
            let answer = request.header(name, value).send();
            assert_eq!(answer.status, expected, "{what} with {name}: {}", answer.text());
        }
    }
    s3.must_hold("cond", "k", b"v");
    s3.bucket("HEAD", "empty").send().status(200).done();
    s3.bucket("HEAD", "another").send().status(404).done();
    let uploads = s3.bucket("GET", "cond").query("uploads", "").send().status(200);
    let uploads = uploads.xml_all("UploadId");
    assert!(uploads.len() == 1 && uploads[0] != upload, "{uploads:?}");
}

/// Trap 23: 304 has no body; errors of HEAD have none; 412 of GET is XML.
#[test]
fn trap_23_answers_without_a_body_have_none() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("cond");
    let etag = format!("\"{}\"", s3.put("cond", "k", "v").etag());
    let answer = s3.object("GET", "cond", "k").header("if-none-match", &etag).send().status(304);
    assert_eq!(answer.must("etag"), etag);
    assert!(matches!(answer.header("content-length"), None | Some("0")), "{answer:?}");
    s3.object("GET", "cond", "k").header("if-match", "\"x\"").send().refused(412, "PreconditionFailed").done();
    assert_eq!(s3.head("cond", "absent").status(404).body, b"");
    assert_eq!(s3.object("HEAD", "cond", "k").header("if-match", "\"x\"").send().status, 412);
    assert_eq!(s3.object("HEAD", "cond", "k").header("if-none-match", &etag).send().status, 304);
}

/// Trap 23: after an answer without a body the connection goes on, in step.
#[test]
fn trap_23_connections_stay_in_step() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("cond");
    let etag = format!("\"{}\"", s3.put("cond", "k", "v").etag());
    let stranger = server.stranger("others");
    let mut wire = Wire::connect(server.bootstrap.s3).unwrap();
    for (request, status) in [
        (s3.object("GET", "cond", "k").header("if-none-match", &etag), 304),
        (s3.object("HEAD", "cond", "k").header("if-none-match", &etag), 304),
        (s3.object("HEAD", "cond", "k").header("if-match", "\"x\""), 412),
        (s3.object("GET", "cond", "k").header("if-match", "\"x\""), 412),
        (s3.object("HEAD", "cond", "absent"), 404),
        (s3.bucket("HEAD", "absent-bucket"), 404),
        (s3.object("HEAD", "cond", "k").header("range", "bytes=9-"), 416),
        (s3.object("HEAD", "cond", "k").anonymous(), 403),
        (stranger.object("HEAD", "cond", "k"), 403),
        (s3.object("HEAD", "cond", &"k".repeat(1025)), 400),
        (s3.object("DELETE", "cond", "absent"), 204),
    ] {
        let (head, _) = request.encode();
        let method = String::from_utf8_lossy(&head).split(' ').next().unwrap().to_owned();
        wire.send(&head).unwrap();
        let answer = wire.answer(&method).unwrap().status(status);
        assert!(answer.body.is_empty() || method == "GET", "{answer:?}");
        wire.send(&s3.object("GET", "cond", "k").encode().0).unwrap();
        assert_eq!(wire.answer("GET").unwrap().status(200).body, b"v", "after {status}");
    }
}

/// Trap 20 and 21: conditional writes are obeyed, with the codes of AWS.
#[test]
fn trap_20_conditional_writes_answer_as_aws_does() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("cond");
    let put = |name: &str, value: &str, body: &'static str| {
        s3.object("PUT", "cond", "k").header(name, value).body(body).send()
    };
    put("if-match", "\"00000000000000000000000000000000\"", "0").refused(404, "NoSuchKey").done();
    let first = put("if-none-match", "*", "1").status(200).etag();
    put("if-none-match", "*", "2").refused(412, "PreconditionFailed").done();
    s3.must_hold("cond", "k", b"1");
    let second = put("if-match", &format!("\"{first}\""), "3").status(200).etag();
    put("if-match", &format!("\"{first}\""), "4").refused(412, "PreconditionFailed").done();
    s3.must_hold("cond", "k", b"3");
    put("if-match", &second, "5").status(200).done();
    s3.must_hold("cond", "k", b"5");
}

/// Trap 21: of many writers that all say "only if absent", exactly one wins.
#[test]
fn trap_21_one_of_many_creators_wins() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("cond");
    for round in 0..10 {
        let key = format!("lock-{round}");
        let gate = Barrier::new(16);
        let answers: Vec<(u16, usize)> = thread::scope(|scope| {
            let threads: Vec<_> = (0..16)
                .map(|i| {
                    let (s3, key, gate) = (&s3, &key, &gate);
                    scope.spawn(move || {
                        let request =
                            s3.object("PUT", "cond", key).header("if-none-match", "*").body(format!("owner {i}"));
                        gate.wait();
                        (request.send().status, i)
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let winners: Vec<usize> = answers.iter().filter(|a| a.0 == 200).map(|a| a.1).collect();
        assert_eq!(winners.len(), 1, "{answers:?}");
        assert!(answers.iter().all(|a| matches!(a.0, 200 | 409 | 412)), "{answers:?}");
        s3.must_hold("cond", &key, format!("owner {}", winners[0]).as_bytes());
    }
}

/// Trap 21: counting up by compare-and-swap loses no step.
#[test]
fn trap_21_compare_and_swap_loses_nothing() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("cond");
    s3.put("cond", "counter", "0").done();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    while !step(&s3) {}
                }
            });
        }
    });
    s3.must_hold("cond", "counter", b"80");
}

fn step(s3: &Client) -> bool {
    let now = s3.get("cond", "counter").status(200);
    let next = now.text().parse::<u32>().map_or(0, |n| n + 1);
    let answer = s3.object("PUT", "cond", "counter").header("if-match", now.must("etag")).body(next.to_string()).send();
    assert!(matches!(answer.status, 200 | 409 | 412), "{answer:?}");
    answer.status == 200
}

/// Trap 22: table formats use conditions on CompleteMultipartUpload too.
#[test]
fn trap_22_completing_an_upload_obeys_conditions() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("cond");
    s3.put("cond", "k", "first").done();
    let upload = s3.begin("cond", "k");
    let etag = s3.part("cond", "k", &upload, 1).body("part").send().status(200).etag();
    let complete =
        |name: &str, value: &str| s3.complete("cond", "k", &upload, &[(1, etag.clone())]).header(name, value).send();
    complete("if-none-match", "*").refused(412, "PreconditionFailed").done();
    complete("if-match", "\"00000000000000000000000000000000\"").refused(412, "PreconditionFailed").done();
    s3.must_hold("cond", "k", b"first");
    let own = s3.head("cond", "k").etag();
    complete("if-match", &format!("\"{own}\"")).status(200).done();
    s3.must_hold("cond", "k", b"part");
}

#[test]
fn deletes_may_be_conditional() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("cond");
    let etag = s3.put("cond", "k", "v").etag();
    let delete = |value: &str| s3.object("DELETE", "cond", "k").header("if-match", value).send();
    let stale = delete("\"00000000000000000000000000000000\"");
    assert!(matches!(stale.status, 412 | 501), "a stale condition was ignored: {stale:?}");
    s3.must_hold("cond", "k", b"v");
    let fresh = delete(&format!("\"{etag}\""));
    assert!(matches!(fresh.status, 204 | 501), "{fresh:?}");
}
