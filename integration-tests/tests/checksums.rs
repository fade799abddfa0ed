//! Checksums: kept, told when asked, combined over parts, and asked for where S3 asks for one.

use bytes::Bytes;
use integration_tests::noise::body;
use integration_tests::sums::{Sum, base64, md5};
use integration_tests::{Answer, Client, Payload, Store};

const PART: usize = 5 << 20;

fn told(answer: &Answer) -> Vec<&str> {
    let all = answer.headers.iter().map(|(name, _)| name.as_str());
    all.filter(|n| n.starts_with("x-amz-checksum-") && *n != "x-amz-checksum-type").collect()
}

fn read<'a>(s3: &'a Client, method: &str, key: &str, enabled: bool) -> integration_tests::Outgoing<'a> {
    let request = s3.object(method, "sums", key);
    if enabled { request.header("x-amz-checksum-mode", "ENABLED") } else { request }
}

/// Trap 6: a stored checksum is told when the request says ENABLED, for whole objects, and only then.
#[test]
fn trap_6_checksums_are_told_when_asked() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("sums");
    for size in [0, 1000, 300_000] {
        let data = body(6, size);
        for sum in Sum::ALL {
            let put = s3.object("PUT", "sums", "k").header(&sum.header(), &sum.of(&data)).body(data.clone()).send();
            let put = put.status(200);
            assert_eq!((put.must(&sum.header()), put.must("x-amz-checksum-type")), (&*sum.of(&data), "FULL_OBJECT"));
            for method in ["GET", "HEAD"] {
                let asked = read(&s3, method, "k", true).send().status(200);
                assert_eq!(told(&asked), [sum.header()], "{method}");
                assert_eq!(asked.must(&sum.header()), sum.of(&data));
                assert_eq!(asked.must("x-amz-checksum-type"), "FULL_OBJECT");
                assert_eq!(told(&read(&s3, method, "k", false).send().status(200)), [""; 0], "{method} unasked");
            }
            if size > 0 {
                let only = read(&s3, "GET", "k", true).query("partNumber", "1").send().status(206);
                assert_eq!(only.must(&sum.header()), sum.of(&data), "the only part is the whole");
            }
            if size > 100 {
                let range = read(&s3, "GET", "k", true).header("range", "bytes=0-9").send().status(206);
                assert_eq!(told(&range), [""; 0], "a part of the body has another checksum");
            }
        }
    }
    s3.put("sums", "default", "no client named one").done();
    let answer = read(&s3, "GET", "default", true).send().status(200);
    assert_eq!(answer.must("x-amz-checksum-crc64nvme"), Sum::Crc64Nvme.of(b"no client named one"));
}

fn upload(s3: &Client, sum: Sum, kind: Option<&str>, parts: &[Bytes]) -> Answer {
    let begin = s3.object("POST", "sums", "k").query("uploads", "").header("x-amz-checksum-algorithm", sum.name());
    let begin = match kind {
        Some(kind) => begin.header("x-amz-checksum-type", kind),
        None => begin,
    };
    let begun = begin.send().status(200);
    assert_eq!(begun.must("x-amz-checksum-algorithm"), sum.name());
    let id = begun.xml("UploadId");
    let entries: String = (1..)
        .zip(parts)
        .map(|(number, part)| {
            let sent = s3.part("sums", "k", &id, number).header(&sum.header(), &sum.of(part)).body(part.clone()).send();
            let sent = sent.status(200);
            assert_eq!(sent.must(&sum.header()), sum.of(part));
            let (etag, element) = (sent.etag(), sum.element());
            format!(
                "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag><{element}>{}</{element}></Part>",
                sum.of(part)
            )
        })
        .collect();
    let listed = s3.object("GET", "sums", "k").query("uploadId", &id).send().status(200);
    let wanted: Vec<String> = parts.iter().map(|p| sum.of(p)).collect();
    assert_eq!(listed.xml_all(&sum.element()), wanted);
    let body = format!("<CompleteMultipartUpload>{entries}</CompleteMultipartUpload>");
    s3.object("POST", "sums", "k").query("uploadId", &id).body(body).send()
}

/// A part has its own checksum, whether it is asked for by its number or as a range.
fn tells_of_parts(s3: &Client, sum: Sum, kind: &str, parts: &[Bytes]) {
    let mut start = 0;
    for (number, part) in (1..).zip(parts) {
        let end = start + part.len();
        for method in ["GET", "HEAD"] {
            let numbered = read(s3, method, "k", true).query("partNumber", &number.to_string()).send().status(206);
            let range = format!("bytes={start}-{}", end - 1);
            let ranged = read(s3, method, "k", true).header("range", &range).send().status(206);
            for answer in [numbered, ranged] {
                let told = (answer.must(&sum.header()), answer.must("x-amz-checksum-type"));
                assert_eq!(told, (&*sum.of(part), kind), "{method} of part {number}");
            }
        }
        let beside = format!("bytes={start}-{end}");
        let beside = read(s3, "GET", "k", true).header("range", &beside).send().status(206);
        assert!(number == parts.len() || told(&beside).is_empty(), "more than part {number}");
        start = end;
    }
}

/// Trap 7: FULL_OBJECT is the checksum of the whole, put together from those of the parts; COMPOSITE
/// is the checksum of checksums; each algorithm has the kinds that S3 gives it.
#[test]
fn trap_7_checksums_of_parts_are_combined() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("sums");
    let parts: Vec<Bytes> = vec![body(1, PART), body(2, PART + 77), body(3, 9)];
    let views: Vec<&[u8]> = parts.iter().map(|p| &p[..]).collect();
    let whole = parts.concat();
    for (sum, kind, full) in [
        (Sum::Crc32, Some("FULL_OBJECT"), true),
        (Sum::Crc32, Some("COMPOSITE"), false),
        (Sum::Crc32, None, false),
        (Sum::Crc32c, Some("FULL_OBJECT"), true),
        (Sum::Crc32c, None, false),
        (Sum::Crc64Nvme, Some("FULL_OBJECT"), true),
        (Sum::Crc64Nvme, None, true),
        (Sum::Sha1, None, false),
        (Sum::Sha256, Some("COMPOSITE"), false),
    ] {
        let wanted = if full { sum.of(&whole) } else { sum.composite(&views) };
        let kind_told = if full { "FULL_OBJECT" } else { "COMPOSITE" };
        let answer = upload(&s3, sum, kind, &parts).status(200);
        assert_eq!(answer.xml(&sum.element()), wanted, "{sum:?} {kind:?}");
        assert_eq!(answer.xml("ChecksumType"), kind_told);
        let head = read(&s3, "HEAD", "k", true).send().status(200);
        assert_eq!((head.must(&sum.header()), head.must("x-amz-checksum-type")), (&*wanted, kind_told));
        tells_of_parts(&s3, sum, kind_told, &parts);
        let listed = s3.bucket("GET", "sums").query("list-type", "2").send().status(200);
        assert_eq!(
            (listed.xml("ChecksumAlgorithm"), listed.xml("ChecksumType")),
            (sum.name().into(), kind_told.into())
        );
    }
    for (sum, kind) in [(Sum::Sha1, "FULL_OBJECT"), (Sum::Sha256, "FULL_OBJECT"), (Sum::Crc64Nvme, "COMPOSITE")] {
        let begin = s3.object("POST", "sums", "k").query("uploads", "");
        let begin = begin.header("x-amz-checksum-algorithm", sum.name()).header("x-amz-checksum-type", kind);
        begin.send().refused(400, "InvalidRequest").done();
    }
}

/// Trap 7: what a client says of an object must hold for all of its parts.
#[test]
fn trap_7_wrong_checksums_complete_nothing() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("sums");
    for sum in Sum::ALL {
        let id = s3.object("POST", "sums", "k").query("uploads", "").header("x-amz-checksum-algorithm", sum.name());
        let id = id.send().status(200).xml("UploadId");
        let wrong = sum.of(b"something else");
        let part = |header: Option<&str>| {
            let request = s3.part("sums", "k", &id, 1).body("part");
            match header {
                Some(value) => request.header(&sum.header(), value).send(),
                None => request.send(),
            }
        };
        part(Some(&wrong)).refused(400, "BadDigest").done();
        let other = if sum == Sum::Sha1 { Sum::Crc32 } else { Sum::Sha1 };
        let mixed = s3.part("sums", "k", &id, 1).header(&other.header(), &other.of(b"part")).body("part");
        mixed.send().refused(400, "InvalidRequest").done();
        let etag = part(None).status(200).etag();
        let complete = |value: &str| {
            s3.object("POST", "sums", "k")
                .query("uploadId", &id)
                .body(format!(
                    "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag><{0}>{value}</{0}></Part></CompleteMultipartUpload>",
                    sum.element()
                ))
                .send()
        };
        complete(&wrong).refused(400, "InvalidPart").done();
        let of_whole = s3.complete("sums", "k", &id, &[(1, etag.clone())]).header(&sum.header(), &wrong).send();
        of_whole.refused(400, "BadDigest").done();
        s3.get("sums", "k").refused(404, "NoSuchKey").done();
        complete(&sum.of(b"part")).status(200).done();
        s3.object("DELETE", "sums", "k").send().status(204).done();
    }
}

/// Trap 9 and 10: DeleteObjects asks for Content-MD5 or any one checksum, and compares it. (It is the one
/// operation served of which S3 asks that.)
#[test]
fn trap_9_deletes_of_many_need_one_digest_that_is_right() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("sums");
    s3.put("sums", "k", "v").done();
    const XML: &str = "<Delete><Object><Key>k</Key></Object></Delete>";
    let delete = |headers: &[(String, String)]| {
        let request = s3.bucket("POST", "sums").query("delete", "").body(XML);
        headers.iter().fold(request, |r, (name, value)| r.header(name, value)).send()
    };
    let (right, wrong) = (XML.as_bytes(), &b"something else"[..]);
    let with_md5 = |of: &[u8]| ("content-md5".to_owned(), base64(&md5(of)));
    let with_sum = |sum: Sum, of: &[u8]| (sum.header(), sum.of(of));
    delete(&[]).refused(400, "InvalidRequest").done();
    delete(&[with_md5(wrong)]).refused(400, "BadDigest").done();
    delete(&[("content-md5".to_owned(), "nonsense".to_owned())]).refused(400, "InvalidDigest").done();
    delete(&[with_md5(wrong), with_sum(Sum::Crc32, right)]).refused(400, "BadDigest").done();
    delete(&[with_sum(Sum::Crc32, right), with_sum(Sum::Sha1, right)]).refused(400, "InvalidRequest").done();
    delete(&[("x-amz-trailer".to_owned(), Sum::Crc32.header())]).status(400).done();
    for sum in Sum::ALL {
        delete(&[with_sum(sum, wrong)]).refused(400, "BadDigest").done();
        delete(&[(sum.header(), "nonsense".to_owned())]).refused(400, "InvalidRequest").done();
    }
    s3.must_hold("sums", "k", b"v");
    let mut accepted = vec![vec![with_md5(right)], vec![with_md5(right), with_sum(Sum::Crc32, right)]];
    accepted.extend(Sum::ALL.map(|sum| vec![with_sum(sum, right)]));
    for headers in accepted {
        s3.put("sums", "k", "v").done();
        assert_eq!(delete(&headers).status(200).xml_all("Key"), ["k"], "{headers:?}");
        s3.get("sums", "k").refused(404, "NoSuchKey").done();
    }
}

/// Trap 10: a digest that S3 does not ask for is compared all the same, on documents too.
#[test]
fn trap_10_a_digest_that_comes_unasked_is_compared() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    let wrong = base64(&md5(b"something else"));
    let answer = s3.bucket("PUT", "sums").header("content-md5", &wrong).body("<CreateBucketConfiguration/>").send();
    answer.refused(400, "BadDigest").done();
    s3.bucket("HEAD", "sums").send().status(404).done();
    s3.make_bucket("sums");
    let id = s3.begin("sums", "k");
    let etag = s3.part("sums", "k", &id, 1).body("part").send().status(200).etag();
    let answer = s3.complete("sums", "k", &id, &[(1, etag.clone())]).header("content-md5", &wrong).send();
    answer.refused(400, "BadDigest").done();
    let claimed = s3.complete("sums", "k", &id, &[(1, etag)]).payload(Payload::Claimed("0".repeat(64))).send();
    assert_eq!((claimed.status, claimed.xml("Code").as_str()), (400, "XAmzContentSHA256Mismatch"));
    s3.get("sums", "k").refused(404, "NoSuchKey").done();
}
