//! Copies: same and other bucket, metadata directives, conditions on the source, parts.

use integration_tests::disk;
use integration_tests::noise::body;
use integration_tests::sums::md5_hex;
use integration_tests::{Client, Outgoing, Store};

fn copy<'a>(s3: &'a Client, source: &str, bucket: &str, key: &str) -> Outgoing<'a> {
    s3.object("PUT", bucket, key).header("x-amz-copy-source", source)
}

#[test]
fn copies_are_identical_and_independent() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("from");
    s3.make_bucket("onto");
    for size in [0, 10, 65_537, (9 << 20) + 3] {
        let data = body(size as u64, size);
        s3.put("from", "k", data.clone()).done();
        for (bucket, key) in [("from", "same"), ("onto", "other")] {
            let answer = copy(&s3, "/from/k", bucket, key).send().status(200);
            assert_eq!(answer.xml("ETag").trim_matches('"'), md5_hex(&data));
            s3.must_hold(bucket, key, &data);
        }
        s3.object("DELETE", "from", "k").send().status(204).done();
        s3.must_hold("from", "same", &data);
        s3.put("from", "same", "changed").done();
        s3.must_hold("onto", "other", &data);
    }
}

#[test]
fn metadata_follows_or_is_replaced() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("from");
    s3.object("PUT", "from", "k")
        .header("x-amz-meta-a", "1")
        .header("content-type", "text/plain")
        .body("v")
        .send()
        .status(200)
        .done();
    copy(&s3, "from/k", "from", "kept").header("x-amz-meta-b", "2").send().status(200).done();
    let kept = s3.head("from", "kept");
    assert_eq!((kept.header("x-amz-meta-a"), kept.header("x-amz-meta-b")), (Some("1"), None));
    assert_eq!(kept.must("content-type"), "text/plain");
    copy(&s3, "from/k", "from", "new")
        .header("x-amz-metadata-directive", "REPLACE")
        .header("x-amz-meta-b", "2")
        .header("content-type", "text/csv")
        .send()
        .status(200)
        .done();
    let new = s3.head("from", "new");
    assert_eq!((new.header("x-amz-meta-a"), new.header("x-amz-meta-b")), (None, Some("2")));
    assert_eq!(new.must("content-type"), "text/csv");
    copy(&s3, "from/k", "from", "x").header("x-amz-metadata-directive", "MAYBE").send().status(400).done();
    let summed =
        |algorithm: &str| copy(&s3, "from/k", "from", "x").header("x-amz-checksum-algorithm", algorithm).send();
    summed("MD4").refused(400, "InvalidRequest").done();
    assert!(!summed("SHA256").status(200).xml("ChecksumSHA256").is_empty());
}

/// Trap 28: rclone changes times by a self-copy; that must not write the body again.
#[test]
fn trap_28_a_self_copy_that_changes_metadata_rewrites_no_body() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("own");
    let data = body(28, 64 << 20);
    s3.put("own", "k", data.clone()).done();
    copy(&s3, "own/k", "own", "k").send().refused(400, "InvalidRequest").done();
    let before = written(&server);
    for round in 0..4 {
        copy(&s3, "own/k", "own", "k")
            .header("x-amz-metadata-directive", "REPLACE")
            .header("x-amz-meta-mtime", &round.to_string())
            .send()
            .status(200)
            .done();
    }
    let grown = written(&server).saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes written by copies that change metadata only");
    assert_eq!(s3.head("own", "k").must("x-amz-meta-mtime"), "3");
    s3.must_hold("own", "k", &data);
}

fn written(server: &integration_tests::Server) -> u64 {
    disk::files(server.data()).iter().filter_map(|f| Some(f.metadata().ok()?.len())).sum()
}

/// Trap 14: the copy source is decoded once, and may name a version.
#[test]
fn trap_14_the_copy_source_is_decoded_once() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("from");
    for key in ["a b+c%20d", "한글/열쇠", "q?x=y&z", "plus+plus"] {
        s3.put("from", key, key.to_owned()).done();
        let source = format!("/from/{}", integration_tests::sign::encode(key, true));
        copy(&s3, &source, "from", "copied").send().status(200).done();
        s3.must_hold("from", "copied", key.as_bytes());
    }
    copy(&s3, "from/absent", "from", "x").send().refused(404, "NoSuchKey").done();
    copy(&s3, "no-such-bucket-at-all/k", "from", "x").send().refused(404, "NoSuchBucket").done();
    let versioned = copy(&s3, "from/plus%2Bplus?versionId=nonsense", "from", "x").send();
    versioned.refused(400, "InvalidArgument").done();
    copy(&s3, "%%%", "from", "x").send().status(400).done();
}

#[test]
fn conditions_on_the_source_are_obeyed() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("from");
    let etag = s3.put("from", "k", "v").etag();
    let with = |name: &str, value: &str| copy(&s3, "from/k", "from", "c").header(name, value).send();
    with("x-amz-copy-source-if-match", "\"0\"").refused(412, "PreconditionFailed").done();
    with("x-amz-copy-source-if-none-match", &etag).refused(412, "PreconditionFailed").done();
    s3.get("from", "c").refused(404, "NoSuchKey").done();
    with("x-amz-copy-source-if-match", &etag).status(200).done();
    s3.must_hold("from", "c", b"v");
}

#[test]
fn conditions_on_the_destination_are_obeyed() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("from");
    s3.put("from", "k", "v").done();
    let onto = |key: &str, name: &str, value: &str| copy(&s3, "from/k", "from", key).header(name, value).send();
    onto("c", "if-match", "\"0\"").refused(404, "NoSuchKey").done();
    let etag = onto("c", "if-none-match", "*").status(200).xml("ETag");
    s3.put("from", "k", "w").done();
    onto("c", "if-none-match", "*").refused(412, "PreconditionFailed").done();
    onto("c", "if-match", "\"00000000000000000000000000000000\"").refused(412, "PreconditionFailed").done();
    s3.must_hold("from", "c", b"v");
    onto("c", "if-match", &etag).status(200).done();
    s3.must_hold("from", "c", b"w");
    // A copy onto itself, which writes no body.
    let own = |name: &str, value: &str| {
        copy(&s3, "from/k", "from", "k").header("x-amz-metadata-directive", "REPLACE").header(name, value).send()
    };
    own("if-none-match", "*").refused(412, "PreconditionFailed").done();
    own("if-match", &etag).refused(412, "PreconditionFailed").done();
    own("if-match", &format!("\"{}\"", md5_hex(b"w"))).status(200).done();
}

#[test]
fn parts_can_be_copied_whole_and_in_ranges() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("parts");
    let data = body(5, 12 << 20);
    s3.put("parts", "source", data.clone()).done();
    let upload = s3.begin("parts", "k");
    let part = |number, range: Option<&str>| {
        let mut request = s3.part("parts", "k", &upload, number).header("x-amz-copy-source", "parts/source");
        if let Some(range) = range {
            request = request.header("x-amz-copy-source-range", range);
        }
        request.send()
    };
    let first = part(1, Some("bytes=1000-6291455")).status(200).xml("ETag");
    assert_eq!(first.trim_matches('"'), md5_hex(&data[1000..6_291_456]));
    let second = part(2, None).status(200).xml("ETag");
    for bad in ["bytes=0-99999999", "bytes=5-1", "0-5", "bytes=1-"] {
        let answer = part(3, Some(bad));
        assert!(matches!(answer.status, 400 | 416), "{bad}: {answer:?}");
    }
    let tags = [first, second].map(|t| t.trim_matches('"').to_owned());
    let parts = [(1, tags[0].clone()), (2, tags[1].clone())];
    s3.complete("parts", "k", &upload, &parts).send().status(200).done();
    s3.must_hold("parts", "k", &[&data[1000..6_291_456], &data[..]].concat());
}
