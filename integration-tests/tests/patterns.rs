//! What known clients do with a store, request by request: Hadoop's S3A, mountpoint-s3.

use std::thread;

use integration_tests::noise::body;
use integration_tests::sums::{Sum, base64, md5, md5_hex};
use integration_tests::{Client, Payload, Store, xml};

fn list(s3: &Client, query: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let request = s3.bucket("GET", "hadoop").query("list-type", "2").query("encoding-type", "url");
    let answer = query.iter().fold(request, |r, (k, v)| r.query(k, v)).send().status(200);
    let prefixes = xml::inner(&answer.text(), "CommonPrefixes");
    (answer.xml_all("Key"), prefixes.iter().filter_map(|p| xml::first(p, "Prefix")).collect())
}

fn delete(s3: &Client, keys: &[String], quiet: bool) -> integration_tests::Answer {
    let objects: String = keys.iter().map(|k| format!("<Object><Key>{}</Key></Object>", xml::escape(k))).collect();
    let body = format!("<Delete><Quiet>{quiet}</Quiet>{objects}</Delete>");
    let sum = base64(&md5(body.as_bytes()));
    s3.bucket("POST", "hadoop").query("delete", "").header("content-md5", &sum).body(body).send()
}

/// Trap 26: directories are empty objects that end in `/`, beside and above what they hold.
#[test]
fn trap_26_directory_markers_are_objects() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("hadoop");
    let marker = s3.object("PUT", "hadoop", "t/").header("content-type", "application/x-directory").body("").send();
    assert_eq!(marker.status(200).etag(), md5_hex(b""));
    s3.head("hadoop", "t").status(404).done();
    let head = s3.head("hadoop", "t/").status(200);
    assert_eq!((head.must("content-length"), head.must("content-type")), ("0", "application/x-directory"));
    for key in ["t/a/", "t/a/1", "t/b/2", "t/c", "u"] {
        s3.put("hadoop", key, if key.ends_with('/') { "" } else { "x" }).done();
    }
    assert_eq!(list(&s3, &[("delimiter", "/")]), (vec!["u".into()], vec!["t/".into()]));
    let of_t = list(&s3, &[("delimiter", "/"), ("prefix", "t/")]);
    assert_eq!(of_t, (vec!["t/".into(), "t/c".into()], vec!["t/a/".into(), "t/b/".into()]));
    let probe = list(&s3, &[("delimiter", "/"), ("prefix", "t/a/"), ("max-keys", "2")]);
    assert_eq!(probe, (vec!["t/a/".into(), "t/a/1".into()], vec![]));
    assert_eq!(list(&s3, &[("prefix", "t/"), ("start-after", "t/")]).0, ["t/a/", "t/a/1", "t/b/2", "t/c"]);
    assert_eq!(list(&s3, &[("prefix", "absent/"), ("delimiter", "/"), ("max-keys", "1")]), (vec![], vec![]));
    s3.object("DELETE", "hadoop", "t/").send().status(204).done();
    s3.must_hold("hadoop", "t/a/1", b"x");
    assert_eq!(list(&s3, &[("delimiter", "/")]).1, ["t/"], "what it held is still there");
}

/// Trap 26: a directory is deleted by pages of a thousand keys, quietly or not.
#[test]
fn trap_26_a_thousand_keys_are_deleted_at_once() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("hadoop");
    let keys: Vec<String> = (0..1000).map(|n| format!("d/part-{n:05}")).collect();
    thread::scope(|scope| {
        for some in keys.chunks(250) {
            scope.spawn(|| some.iter().for_each(|key| s3.put("hadoop", key, "x").done()));
        }
    });
    assert_eq!(list(&s3, &[("prefix", "d/")]).0.len(), 1000);
    let quiet = delete(&s3, &keys[..500], true).status(200);
    assert_eq!((quiet.xml_all("Key"), quiet.xml_all("Error")), (Vec::<String>::new(), Vec::<String>::new()));
    let all = delete(&s3, &keys, false).status(200);
    assert_eq!(all.xml_all("Key"), keys, "those that were gone count as deleted");
    assert_eq!(list(&s3, &[("prefix", "d/")]).0, Vec::<String>::new());
    delete(&s3, &[keys, vec!["one-too-many".into()]].concat(), true).refused(400, "MalformedXML").done();
}

/// Trap 26: a file that is read in ranges tells when it was replaced in between.
#[test]
fn trap_26_a_change_between_ranges_is_detected() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("hadoop");
    for size in [1000, 5 << 20] {
        let data = body(26, size);
        let etag = s3.put("hadoop", "f", data.clone()).etag();
        let read = |range: &str, etag: &str| {
            s3.object("GET", "hadoop", "f").header("range", range).header("if-match", &format!("\"{etag}\"")).send()
        };
        assert!(read("bytes=0-499", &etag).status(206).body == data[..500]);
        let newer = s3.put("hadoop", "f", body(27, size)).etag();
        read("bytes=500-999", &etag).refused(412, "PreconditionFailed").done();
        assert!(read("bytes=500-999", &newer).status(206).body == body(27, size)[500..1000]);
        s3.object("DELETE", "hadoop", "f").send().status(204).done();
        read("bytes=500-999", &newer).refused(404, "NoSuchKey").done();
    }
}

/// Trap 27: many connections write with CRC32C in trailers and read ranges of one object side by side.
#[test]
fn trap_27_parallel_parts_and_ranges_with_crc32c() {
    const PARTS: usize = 4;
    const PART: usize = 8 << 20;
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("crt");
    let whole = body(27, PARTS * PART);
    let begin = s3.object("POST", "crt", "k").query("uploads", "").header("x-amz-checksum-algorithm", "CRC32C");
    let upload = begin.header("x-amz-checksum-type", "FULL_OBJECT").send().status(200).xml("UploadId");
    let tags: Vec<(u32, String)> = thread::scope(|scope| {
        let (s3, upload) = (&s3, &upload);
        let threads: Vec<_> = (1..)
            .zip((0..PARTS).map(|n| whole.slice(n * PART..(n + 1) * PART)))
            .map(|(number, part)| {
                scope.spawn(move || {
                    let trailer = Payload::UnsignedTrailer(Sum::Crc32c.header(), Sum::Crc32c.of(&part));
                    let sent = s3.part("crt", "k", upload, number).payload(trailer).body(part).send();
                    (number, sent.status(200).etag())
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    s3.complete("crt", "k", &upload, &tags).send().status(200).done();
    let head = s3.object("HEAD", "crt", "k").header("x-amz-checksum-mode", "ENABLED").send().status(200);
    assert_eq!(head.must("x-amz-checksum-crc32c"), Sum::Crc32c.of(&whole));
    let etag = head.must("etag");
    let size = whole.len() / 64;
    thread::scope(|scope| {
        for lane in 0..64 {
            let (s3, whole) = (&s3, &whole);
            scope.spawn(move || {
                let range = format!("bytes={}-{}", lane * size, (lane + 1) * size - 1);
                let read = s3.object("GET", "crt", "k").header("range", &range).header("if-match", etag).send();
                assert!(read.status(206).body == whole[lane * size..(lane + 1) * size], "{range}");
            });
        }
    });
}
