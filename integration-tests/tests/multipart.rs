//! Multipart uploads from create to complete or abort.

use bytes::Bytes;
use integration_tests::Store;
use integration_tests::noise::body;
use integration_tests::sums::{md5_hex, multipart_etag};

const PART: usize = 5 << 20;

/// Trap 18 and 19: `md5(md5s)-N`, hex and nothing else.
#[test]
fn trap_18_the_etag_of_parts_is_md5_of_md5s() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("parts");
    let parts: Vec<Bytes> = vec![body(1, PART), body(2, PART + 77), body(3, 9)];
    let answer = s3.put_parts("parts", "k", &parts);
    let views: Vec<&[u8]> = parts.iter().map(|p| &p[..]).collect();
    assert_eq!(answer.xml("ETag").trim_matches('"'), multipart_etag(&views));
    assert_eq!(s3.head("parts", "k").etag(), multipart_etag(&views));
    s3.must_hold("parts", "k", &views.concat());
    let listed = s3.bucket("GET", "parts").query("list-type", "2").send();
    assert_eq!(listed.xml("ETag").trim_matches('"'), multipart_etag(&views));
}

#[test]
fn a_part_can_be_read_by_its_number() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("parts");
    let parts: Vec<Bytes> = vec![body(1, PART), body(2, PART + 77), body(3, 9)];
    s3.put_parts("parts", "k", &parts).done();
    for (number, part) in (1..).zip(&parts) {
        let read = |method: &str| s3.object(method, "parts", "k").query("partNumber", &format!("{number}")).send();
        let answer = read("GET").status(206);
        assert!(answer.body == *part, "part {number} differs");
        assert_eq!(answer.must("x-amz-mp-parts-count"), "3");
        let head = read("HEAD").status(206);
        assert_eq!(head.must("content-length"), part.len().to_string());
    }
    let beyond = s3.object("GET", "parts", "k").query("partNumber", "4").send();
    assert!(matches!(beyond.status, 400 | 416), "{beyond:?}");
    s3.put("parts", "plain", "v").done();
    let one = s3.object("GET", "parts", "plain").query("partNumber", "1").send();
    assert!(matches!(one.status, 200 | 206) && one.body == b"v", "{one:?}");
}

#[test]
fn a_range_may_cross_parts() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("parts");
    let parts: Vec<Bytes> = vec![body(1, PART), body(2, PART + 77), body(3, 9)];
    s3.put_parts("parts", "k", &parts).done();
    let whole = parts.concat();
    for (from, to) in [(PART - 5, PART + 5), (0, 2 * PART + 80), (2 * PART + 70, 2 * PART + 85)] {
        let asked = format!("bytes={from}-{to}");
        let answer = s3.object("GET", "parts", "k").header("range", &asked).send().status(206);
        assert!(answer.body == whole[from..=to], "{asked} differs");
    }
}

#[test]
fn parts_are_listed_in_pages_and_replaced_by_number() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("parts");
    let upload = s3.begin("parts", "k");
    for number in [7, 1, 3, 1] {
        let data = body(u64::from(number), 100);
        let answer = s3.part("parts", "k", &upload, number).body(data.clone()).send().status(200);
        assert_eq!(answer.etag(), md5_hex(&data));
    }
    let list = |marker: &str| {
        s3.object("GET", "parts", "k")
            .query("uploadId", &upload)
            .query("max-parts", "2")
            .query("part-number-marker", marker)
            .send()
            .status(200)
    };
    let first = list("0");
    assert_eq!(first.xml_all("PartNumber"), ["1", "3"]);
    assert_eq!((first.xml("IsTruncated"), first.xml("NextPartNumberMarker")), ("true".into(), "3".into()));
    let second = list("3");
    assert_eq!((second.xml_all("PartNumber"), second.xml("IsTruncated")), (vec!["7".to_owned()], "false".into()));
    let none = s3.object("GET", "parts", "k").query("uploadId", &upload).query("max-parts", "0").send().status(200);
    assert_eq!((none.xml("IsTruncated"), none.xml_all("PartNumber").len()), ("false".into(), 0));
    s3.get("parts", "k").refused(404, "NoSuchKey").done();
}

#[test]
fn uploads_are_listed_with_prefixes_and_markers() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("parts");
    let mut ids: Vec<(String, String)> = Vec::new();
    for key in ["a/1", "a/2", "b", "b", "c"] {
        ids.push((key.to_owned(), s3.begin("parts", key)));
    }
    let list = s3.bucket("GET", "parts").query("uploads", "").send().status(200);
    assert_eq!(list.xml_all("Key"), ["a/1", "a/2", "b", "b", "c"]);
    let list = s3.bucket("GET", "parts").query("uploads", "").query("delimiter", "/").send();
    assert_eq!(list.xml_all("Key"), ["b", "b", "c"], "{}", list.text());
    let (mut seen, mut key, mut id) = (Vec::new(), String::new(), String::new());
    for _ in 0..6 {
        let page = s3
            .bucket("GET", "parts")
            .query("uploads", "")
            .query("max-uploads", "1")
            .query("key-marker", &key)
            .query("upload-id-marker", &id)
            .send()
            .status(200);
        seen.extend(page.xml_all("Key").into_iter().zip(page.xml_all("UploadId")));
        (key, id) = (page.xml("NextKeyMarker"), page.xml("NextUploadIdMarker"));
        if page.xml("IsTruncated") != "true" {
            break;
        }
    }
    ids.sort();
    seen.sort();
    assert_eq!(seen, ids, "each upload once");
}

#[test]
fn an_aborted_upload_is_gone() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("parts");
    let upload = s3.begin("parts", "k");
    let etag = s3.part("parts", "k", &upload, 1).body(body(1, PART)).send().status(200).etag();
    let abort = || s3.object("DELETE", "parts", "k").query("uploadId", &upload).send();
    abort().status(204).done();
    abort().refused(404, "NoSuchUpload").done();
    s3.part("parts", "k", &upload, 2).body("x").send().refused(404, "NoSuchUpload").done();
    s3.complete("parts", "k", &upload, &[(1, etag)]).send().refused(404, "NoSuchUpload").done();
    s3.get("parts", "k").refused(404, "NoSuchKey").done();
    let list = s3.bucket("GET", "parts").query("uploads", "").send().status(200);
    assert_eq!(list.xml_all("UploadId"), Vec::<String>::new());
    s3.bucket("DELETE", "parts").send().status(204).done();
}

#[test]
fn parts_in_any_order_with_gaps_become_one_object() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("parts");
    let upload = s3.begin("parts", "k");
    let mut tags = Vec::new();
    for number in [9000, 20, 3] {
        let answer = s3.part("parts", "k", &upload, number).body(body(u64::from(number), PART)).send();
        tags.push((number, answer.status(200).etag()));
    }
    tags.sort();
    s3.complete("parts", "k", &upload, &tags).send().status(200).done();
    s3.must_hold("parts", "k", &[body(3, PART), body(20, PART), body(9000, PART)].concat());
}

#[test]
fn an_upload_survives_a_restart() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("parts");
    let upload = s3.object("POST", "parts", "k").query("uploads", "").header("x-amz-meta-a", "b");
    let upload = upload.send().status(200).xml("UploadId");
    let first = s3.part("parts", "k", &upload, 1).body(body(1, PART)).send().status(200).etag();
    server.kill9();
    let server = store.start();
    let s3 = server.client();
    let second = s3.part("parts", "k", &upload, 2).body("end").send().status(200).etag();
    s3.complete("parts", "k", &upload, &[(1, first), (2, second)]).send().status(200).done();
    assert_eq!(s3.head("parts", "k").must("x-amz-meta-a"), "b");
    s3.must_hold("parts", "k", &[&body(1, PART)[..], b"end"].concat());
}

/// As many parts as there may be; each is a body of its own.
#[test]
fn ten_thousand_parts_are_completed() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("parts");
    let upload = s3.begin("parts", "k");
    let etag = s3.part("parts", "k", &upload, 10_000).body("last").send().status(200).etag();
    s3.part("parts", "k", &upload, 10_001).body("x").send().refused(400, "InvalidArgument").done();
    s3.part("parts", "k", &upload, 0).body("x").send().refused(400, "InvalidArgument").done();
    s3.complete("parts", "k", &upload, &[(10_000, etag)]).send().status(200).done();
    s3.must_hold("parts", "k", b"last");
    let upload = s3.begin("parts", "many");
    let parts: Vec<(u32, String)> = (1..=10_001).map(|n| (n, md5_hex(b"x"))).collect();
    let answer = s3.complete("parts", "many", &upload, &parts).send();
    assert_eq!(answer.status, 400, "{answer:?}");
}

/// An answer can be lost; the request that comes again finds its work done.
#[test]
fn completing_again_answers_as_before() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("parts");
    let upload = s3.begin("parts", "k");
    let data = body(1, 1000);
    let parts = [(1, s3.part("parts", "k", &upload, 1).body(data.clone()).send().status(200).etag())];
    let complete = || s3.complete("parts", "k", &upload, &parts).header("if-none-match", "*").send();
    let first = complete().status(200);
    let again = complete().status(200);
    assert_eq!(
        (again.xml("ETag"), again.xml("ChecksumCRC64NVME")),
        (first.xml("ETag"), first.xml("ChecksumCRC64NVME"))
    );
    s3.must_hold("parts", "k", &data);
    let other = [(1, md5_hex(b"other"))];
    s3.complete("parts", "k", &upload, &other).send().refused(404, "NoSuchUpload").done();
    s3.complete("parts", "k", "no-upload", &parts).send().refused(404, "NoSuchUpload").done();
    s3.complete("parts", "l", &upload, &parts).send().refused(404, "NoSuchUpload").done();
    // An upload that was aborted made nothing, whatever lies there from before it.
    let later = s3.begin("parts", "k");
    s3.object("DELETE", "parts", "k").query("uploadId", &later).send().status(204).done();
    s3.complete("parts", "k", &later, &parts).send().refused(404, "NoSuchUpload").done();
    s3.put("parts", "k", "overwritten").done();
    complete().refused(404, "NoSuchUpload").done();
}
