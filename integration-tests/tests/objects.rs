//! Objects: put, get, ranges, head, metadata, delete, response overrides.

use integration_tests::clock::Moment;
use integration_tests::noise::body;
use integration_tests::sums::{Sum, md5_hex};
use integration_tests::{Client, Payload, Store};

/// Sizes around every border of the format: empty, inline, segment, chunk.
const SIZES: [usize; 14] = [
    0,
    1,
    15,
    16,
    4096,
    65_535,
    65_536,
    65_537,
    131_072,
    1 << 20,
    (4 << 20) - 1,
    4 << 20,
    (4 << 20) + 1,
    (9 << 20) + 17,
];

#[test]
fn bodies_of_every_size_come_back_identical() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("sizes");
    for size in SIZES {
        let data = body(size as u64, size);
        let put = s3.put("sizes", &size.to_string(), data.clone());
        assert_eq!(put.etag(), md5_hex(&data));
        s3.must_hold("sizes", &size.to_string(), &data);
        let head = s3.head("sizes", &size.to_string()).status(200);
        assert_eq!(head.must("content-length"), size.to_string());
        assert_eq!(head.etag(), md5_hex(&data));
        assert_eq!(head.must("accept-ranges"), "bytes");
    }
}

#[test]
fn they_are_still_there_after_a_restart() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("sizes");
    for size in SIZES {
        s3.put("sizes", &size.to_string(), body(size as u64, size)).done();
    }
    server.stop();
    let server = store.start();
    for size in SIZES {
        server.client().must_hold("sizes", &size.to_string(), &body(size as u64, size));
    }
}

fn range(s3: &Client, key: &str, range: &str) -> (u16, Vec<u8>, String) {
    let answer = s3.object("GET", "ranges", key).header("range", range).send();
    let shown = answer.header("content-range").unwrap_or("").to_owned();
    (answer.status, answer.body, shown)
}

#[test]
fn ranges_give_exactly_what_they_ask_for() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("ranges");
    for (key, size) in [("inline", 1000), ("chunks", (9 << 20) + 17)] {
        let data = body(7, size);
        s3.put("ranges", key, data.clone()).done();
        let borders = [0, 1, 499, 65_535, 65_536, 65_537, (4 << 20) - 1, 4 << 20, size - 1];
        for from in borders.into_iter().filter(|b| *b < size) {
            for length in [1, 2, 100, 65_536, 65_537, 5 << 20] {
                let last = (from + length - 1).min(size - 1);
                let asked = format!("bytes={from}-{}", from + length - 1);
                let (status, bytes, shown) = range(&s3, key, &asked);
                assert_eq!(status, 206, "{asked}");
                assert!(bytes == data[from..=last], "{asked} came back different");
                assert_eq!(shown, format!("bytes {from}-{last}/{size}"));
            }
        }
        let (status, bytes, _) = range(&s3, key, "bytes=-17");
        assert!(status == 206 && bytes == data[size - 17..]);
        let (status, bytes, _) = range(&s3, key, "bytes=990-");
        assert!(status == 206 && bytes == data[990..]);
        let (status, bytes, _) = range(&s3, key, &format!("bytes=-{}", size * 2));
        assert!(status == 206 && bytes == data);
        s3.object("GET", "ranges", key)
            .header("range", &format!("bytes={size}-"))
            .send()
            .refused(416, "InvalidRange")
            .done();
    }
}

#[test]
fn a_range_that_is_not_one_is_ignored_as_s3_does() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("ranges");
    s3.put("ranges", "k", "0123456789").done();
    for asked in ["bytes=5-2", "nonsense", "bytes=a-b"] {
        let answer = s3.object("GET", "ranges", "k").header("range", asked).send();
        assert!(answer.status == 200 && answer.body == b"0123456789" || answer.status == 416, "{asked}: {answer:?}");
    }
}

/// RFC 9110 section 14.1.2: what ends behind the end ends there, however many digits that takes.
#[test]
fn a_range_may_count_further_than_there_are_numbers() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("ranges");
    s3.put("ranges", "k", "0123456789").done();
    let far = "9".repeat(40);
    for (asked, wanted) in [
        (format!("bytes=0-{far}"), &b"0123456789"[..]),
        (format!("bytes=7-{far}"), b"789"),
        (format!("bytes=7-{}", u64::MAX), b"789"),
        (format!("bytes=-{far}"), b"0123456789"),
    ] {
        let (status, bytes, shown) = range(&s3, "k", &asked);
        assert_eq!((status, &bytes[..]), (206, wanted), "{asked}");
        assert_eq!(shown, format!("bytes {}-9/10", 10 - wanted.len()), "{asked}");
        assert_eq!(s3.object("HEAD", "ranges", "k").header("range", &asked).send().status, 206, "{asked}");
    }
    for asked in [format!("bytes={far}-"), format!("bytes={far}-{far}"), format!("bytes={}-", u64::MAX)] {
        s3.object("GET", "ranges", "k").header("range", &asked).send().refused(416, "InvalidRange").done();
        assert_eq!(s3.object("HEAD", "ranges", "k").header("range", &asked).send().status, 416, "{asked}");
    }
}

/// An Expires may be any text, and comes back as it was given.
#[test]
fn an_expires_that_is_no_date_comes_back() {
    const GIVEN: &str = "soon, or 1994-11-06";
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("meta");
    let trailer = (Sum::Crc32.header(), Sum::Crc32.of(b"value"));
    for payload in [
        Payload::Whole,
        Payload::Unsigned,
        Payload::UnsignedFrames,
        Payload::SignedFrames,
        Payload::SignedTrailer(trailer.0.clone(), trailer.1.clone()),
        Payload::UnsignedTrailer(trailer.0, trailer.1),
    ] {
        let case = format!("{payload:?}");
        s3.object("PUT", "meta", "k").payload(payload).header("expires", GIVEN).body("value").send().status(200).done();
        let answer = s3.get("meta", "k").status(200);
        assert_eq!((answer.must("expires"), &answer.body[..]), (GIVEN, &b"value"[..]), "{case}");
        s3.object("DELETE", "meta", "k").send().status(204).done();
    }
    let wrong = s3.object("PUT", "meta", "wrong").payload(Payload::Claimed("0".repeat(64))).header("expires", GIVEN);
    wrong.body("value").send().refused(400, "XAmzContentSHA256Mismatch").done();
    let torn = s3.object("PUT", "meta", "wrong").payload(Payload::SignedFrames).header("expires", GIVEN).body("value");
    torn.mangle(|body| String::from_utf8(body).unwrap().replace("value", "other").into()).send().status(403).done();
    s3.get("meta", "wrong").refused(404, "NoSuchKey").done();
    s3.object("PUT", "meta", "k").header("expires", GIVEN).body("v").send().status(200).done();
    let copy = |name: &str| s3.object("PUT", "meta", name).header("x-amz-copy-source", "/meta/k");
    copy("copied").send().status(200).done();
    copy("anew").header("x-amz-metadata-directive", "REPLACE").header("expires", "later").send().status(200).done();
    let begun = s3.object("POST", "meta", "parts").query("uploads", "").header("expires", GIVEN).send().status(200);
    let upload = begun.xml("UploadId");
    let etag = s3.part("meta", "parts", &upload, 1).body("v").send().status(200).etag();
    s3.complete("meta", "parts", &upload, &[(1, etag)]).send().status(200).done();
    server.stop();
    let server = store.start();
    let s3 = server.client();
    for (key, expires) in [("k", GIVEN), ("copied", GIVEN), ("anew", "later"), ("parts", GIVEN)] {
        for method in ["GET", "HEAD"] {
            assert_eq!(s3.object(method, "meta", key).send().status(200).must("expires"), expires, "{method} {key}");
            for asked in ["any time", "Fri, 02 Jan 2026 03:04:05 GMT"] {
                let answer = s3.object(method, "meta", key).query("response-expires", asked).send().status(200);
                assert_eq!(answer.must("expires"), asked, "{method} {key}");
            }
        }
    }
}

#[test]
fn metadata_and_headers_come_back() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("meta");
    s3.object("PUT", "meta", "k")
        .header("content-type", "text/csv; charset=utf-8")
        .header("cache-control", "no-cache")
        .header("content-disposition", "attachment; filename=\"a.csv\"")
        .header("content-language", "ko")
        .header("expires", &Moment::now().plus(86_400).http())
        .header("x-amz-meta-owner", "field team")
        .header("x-amz-meta-Season", "winter")
        .body("a,b\n")
        .send()
        .status(200)
        .done();
    for answer in [s3.get("meta", "k").status(200), s3.head("meta", "k").status(200)] {
        assert_eq!(answer.must("content-type"), "text/csv; charset=utf-8");
        assert_eq!(answer.must("cache-control"), "no-cache");
        assert_eq!(answer.must("content-disposition"), "attachment; filename=\"a.csv\"");
        assert_eq!(answer.must("content-language"), "ko");
        assert_eq!(answer.must("x-amz-meta-owner"), "field team");
        assert_eq!(answer.must("x-amz-meta-season"), "winter");
        assert!(answer.header("expires").is_some() && answer.header("last-modified").is_some());
        assert!(answer.header("x-amz-request-id").is_some());
    }
}

#[test]
fn responses_can_be_overridden_by_signed_requests_only() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("meta");
    s3.put("meta", "k", "v").done();
    for method in ["GET", "HEAD"] {
        let answer = s3
            .object(method, "meta", "k")
            .query("response-content-type", "application/x-rice")
            .query("response-content-disposition", "inline")
            .query("response-cache-control", "max-age=7")
            .query("response-content-encoding", "identity")
            .query("response-content-language", "ko")
            .query("response-expires", "Fri, 02 Jan 2026 03:04:05 GMT")
            .send()
            .status(200);
        assert_eq!(answer.must("content-type"), "application/x-rice");
        assert_eq!(answer.must("content-disposition"), "inline");
        assert_eq!(answer.must("cache-control"), "max-age=7");
        assert_eq!(answer.must("content-encoding"), "identity");
        assert_eq!(answer.must("content-language"), "ko");
        assert_eq!(answer.must("expires"), "Fri, 02 Jan 2026 03:04:05 GMT");
    }
    for method in ["GET", "HEAD"] {
        s3.object(method, "meta", "k").query("response-content-type", "a\r\nb: c").send().status(400).done();
    }
    s3.object("GET", "meta", "k")
        .query("response-content-type", "x/y")
        .anonymous()
        .send()
        .refused(403, "AccessDenied")
        .done();
}

/// Trap 34: deleting is idempotent, and lists and reads agree with it at once.
#[test]
fn trap_34_deletes_are_idempotent_and_seen_at_once() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("gone");
    s3.object("DELETE", "gone", "never").send().status(204).done();
    for size in [10, 5 << 20] {
        s3.put("gone", "k", body(1, size)).done();
        let listed = s3.bucket("GET", "gone").query("list-type", "2").send();
        assert_eq!(listed.xml_all("Key"), ["k"]);
        s3.object("DELETE", "gone", "k").send().status(204).done();
        s3.object("DELETE", "gone", "k").send().status(204).done();
        s3.get("gone", "k").refused(404, "NoSuchKey").done();
        let listed = s3.bucket("GET", "gone").query("list-type", "2").send();
        assert_eq!(listed.xml_all("Key"), Vec::<String>::new());
    }
}

/// Trap 19: an ETag that is not 32 hex digits, with `-N` for parts, crashes some SDKs; everywhere.
#[test]
fn trap_19_etags_are_hex_wherever_they_are_told() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("tags");
    let mut told = vec![s3.put("tags", "k", "v").must("etag").to_owned()];
    s3.put_parts("tags", "parts", &[body(1, 5 << 20), body(2, 10)]).done();
    let copied = s3.object("PUT", "tags", "copy").header("x-amz-copy-source", "tags/parts").send().status(200);
    told.extend(copied.xml_all("ETag"));
    let upload = s3.begin("tags", "up");
    told.push(s3.part("tags", "up", &upload, 1).body("part").send().status(200).must("etag").to_owned());
    let part = s3.part("tags", "up", &upload, 2).header("x-amz-copy-source", "tags/k").send().status(200);
    told.extend(part.xml_all("ETag"));
    told.extend(s3.object("GET", "tags", "up").query("uploadId", &upload).send().status(200).xml_all("ETag"));
    for query in [("list-type", "2"), ("prefix", "")] {
        told.extend(s3.bucket("GET", "tags").query(query.0, query.1).send().status(200).xml_all("ETag"));
    }
    for key in ["k", "parts", "copy"] {
        told.extend([s3.get("tags", key), s3.head("tags", key)].map(|a| a.must("etag").to_owned()));
    }
    assert_eq!(told.len(), 18, "{told:?}");
    for etag in &told {
        let bare = etag.strip_prefix('"').and_then(|e| e.strip_suffix('"')).unwrap_or_else(|| panic!("{etag}: bare"));
        let (digits, parts) = bare.split_once('-').map_or((bare, None), |(d, n)| (d, Some(n)));
        assert!(
            digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
            "{etag}"
        );
        assert!(parts.is_none_or(|n| n.parse::<u32>().is_ok()), "{etag}");
    }
}

#[test]
fn many_are_deleted_in_one_request() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("many");
    let keys: Vec<String> = (0..50).map(|i| format!("쌀/{i} & <{i}>")).collect();
    for key in &keys {
        s3.put("many", key, "x").done();
    }
    let objects: String = keys
        .iter()
        .chain([&"absent".to_owned()])
        .map(|k| format!("<Object><Key>{}</Key></Object>", integration_tests::xml::escape(k)))
        .collect();
    let xml = format!("<Delete>{objects}</Delete>");
    let answer = s3
        .bucket("POST", "many")
        .query("delete", "")
        .header("content-md5", &integration_tests::sums::base64(&integration_tests::sums::md5(xml.as_bytes())))
        .body(xml)
        .send()
        .status(200);
    assert_eq!(answer.xml_all("Key").len(), 51, "{}", answer.text());
    let listed = s3.bucket("GET", "many").query("list-type", "2").send();
    assert_eq!(listed.xml("KeyCount"), "0");
}

#[test]
fn overwriting_replaces_bodies_of_all_kinds() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("over");
    for (seed, size) in [(1, 10), (2, 5 << 20), (3, 0), (4, 70_000), (5, 100)] {
        let data = body(seed, size);
        s3.put("over", "k", data.clone()).done();
        s3.must_hold("over", "k", &data);
    }
}

#[test]
fn what_is_read_again_is_what_is_there_now() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("again");
    for size in [100, 65_536, 200_000, (4 << 20) + 1] {
        let key = size.to_string();
        for turn in 0..3 {
            let data = body(size as u64 + turn, size);
            s3.object("PUT", "again", &key)
                .header("x-amz-meta-turn", &turn.to_string())
                .body(data.clone())
                .send()
                .done();
            for _ in 0..3 {
                s3.must_hold("again", &key, &data);
                assert_eq!(s3.head("again", &key).must("x-amz-meta-turn"), turn.to_string());
                let range = s3.object("GET", "again", &key).header("range", "bytes=7-77").send().status(206);
                assert_eq!(*range.body, data[7..78]);
            }
        }
        s3.object("PUT", "again", &key)
            .header("x-amz-copy-source", &format!("/again/{key}"))
            .header("x-amz-metadata-directive", "REPLACE")
            .header("x-amz-meta-turn", "copied")
            .send()
            .status(200)
            .done();
        s3.must_hold("again", &key, &body(size as u64 + 2, size));
        assert_eq!(s3.head("again", &key).must("x-amz-meta-turn"), "copied");
        s3.object("DELETE", "again", &key).send().status(204).done();
        s3.get("again", &key).status(404).done();
    }
}
