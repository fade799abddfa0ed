//! Encryption headers: what is done anyway is accepted and told, all else is refused, alike everywhere.

use integration_tests::sums::{base64, md5};
use integration_tests::{Client, Outgoing, Store};

const ASKED: &str = "x-amz-server-side-encryption";

/// Every operation that may carry such headers, on a bucket that holds `k` and has an upload of `up`.
fn operations<'a>(s3: &'a Client, upload: &str, etag: &str) -> Vec<(&'static str, Outgoing<'a>)> {
    let copy = "x-amz-copy-source";
    vec![
        ("PutObject", s3.object("PUT", "sealed", "new").body("v")),
        ("CopyObject", s3.object("PUT", "sealed", "new").header(copy, "/sealed/k")),
        ("CreateMultipartUpload", s3.object("POST", "sealed", "new").query("uploads", "")),
        ("UploadPart", s3.part("sealed", "up", upload, 1).body("part")),
        ("UploadPartCopy", s3.part("sealed", "up", upload, 2).header(copy, "/sealed/k")),
        ("CompleteMultipartUpload", s3.complete("sealed", "up", upload, &[(1, etag.to_owned())])),
        ("GetObject", s3.object("GET", "sealed", "k")),
        ("HeadObject", s3.object("HEAD", "sealed", "k")),
    ]
}

/// Trap 29: SSE-C and SSE-KMS are 501 on every way in and out, and leave nothing behind.
#[test]
fn trap_29_encryption_that_is_not_done_is_refused_everywhere() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("sealed");
    s3.put("sealed", "k", "v").done();
    let upload = s3.begin("sealed", "up");
    let etag = s3.part("sealed", "up", &upload, 1).body("part").send().status(200).etag();
    let key = base64(&[7; 32]);
    let customer = [("algorithm", "AES256".to_owned()), ("key", key.clone()), ("key-md5", base64(&md5(&[7; 32])))];
    let mut asked: Vec<Vec<(String, String)>> = Vec::new();
    for prefix in [ASKED, "x-amz-copy-source-server-side-encryption"] {
        let all = customer.clone().map(|(name, value)| (format!("{prefix}-customer-{name}"), value));
        asked.push(all.to_vec());
        asked.extend(all.map(|one| vec![one]));
    }
    for kms in ["aws:kms", "aws:kms:dsse"] {
        asked.push(vec![(ASKED.to_owned(), kms.to_owned())]);
        asked.push(vec![
            (ASKED.to_owned(), kms.to_owned()),
            (format!("{ASKED}-aws-kms-key-id"), "arn:aws:kms:kr:1:key/1".to_owned()),
        ]);
    }
    asked.push(vec![(format!("{ASKED}-aws-kms-key-id"), "key-1".to_owned())]);
    asked.push(vec![(format!("{ASKED}-context"), base64(b"{}"))]);
    for headers in &asked {
        for (name, request) in operations(&s3, &upload, &etag) {
            let answer = headers.iter().fold(request, |r, (k, v)| r.header(k, v)).send();
            let code = answer.xml("Code");
            assert_eq!(answer.status, 501, "{name} {headers:?}: {}", answer.text());
            assert!(name == "HeadObject" || code == "NotImplemented", "{name}: {code}");
        }
    }
    let listed = s3.bucket("GET", "sealed").query("list-type", "2").send().status(200);
    assert_eq!(listed.xml_all("Key"), ["k"]);
    let uploads = s3.bucket("GET", "sealed").query("uploads", "").send().status(200);
    assert_eq!(uploads.xml_all("UploadId"), [upload]);
}

/// Trap 29: AES256 is accepted on writes and told by every answer that AWS tells it in.
#[test]
fn trap_29_aes256_is_accepted_and_told() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("sealed");
    s3.put("sealed", "k", "v").done();
    let upload = s3.begin("sealed", "up");
    let etag = s3.part("sealed", "up", &upload, 1).body("part").send().status(200).etag();
    for wanted in [false, true] {
        for (name, request) in operations(&s3, &upload, &etag) {
            let reads = matches!(name, "GetObject" | "HeadObject");
            if name == "CompleteMultipartUpload" || (reads && wanted) {
                continue;
            }
            let request = if wanted { request.header(ASKED, "AES256") } else { request };
            assert_eq!(request.send().status(200).must(ASKED), "AES256", "{name}, asked: {wanted}");
        }
    }
    let done = s3.complete("sealed", "up", &upload, &[(1, etag)]).send().status(200);
    assert_eq!(done.must(ASKED), "AES256");
    let get = s3.object("GET", "sealed", "k").header(ASKED, "AES256").send();
    get.refused(400, "InvalidArgument").done();
    let put = s3.object("PUT", "sealed", "other").header(ASKED, "ROT13").body("v").send();
    put.refused(400, "InvalidArgument").done();
    s3.get("sealed", "other").refused(404, "NoSuchKey").done();
}
