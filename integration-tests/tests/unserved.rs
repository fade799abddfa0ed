//! What is not served says so: every operation that `docs/compatibility.md` lists as 501 is asked for.

use std::collections::BTreeMap;

use integration_tests::Store;

/// Operation, method and query of a request to a bucket.
#[rustfmt::skip]
const OF_A_BUCKET: &[(&str, &str, &str)] = &[
    ("CreateBucketMetadataTableConfiguration", "POST", "metadataTable"), ("CreateSession", "GET", "session"),
    ("DeleteBucketAnalyticsConfiguration", "DELETE", "analytics&id=1"), ("DeleteBucketCors", "DELETE", "cors"),
    ("DeleteBucketEncryption", "DELETE", "encryption"), ("DeleteBucketIntelligentTieringConfiguration", "DELETE", "intelligent-tiering&id=1"),
    ("DeleteBucketInventoryConfiguration", "DELETE", "inventory&id=1"), ("DeleteBucketLifecycle", "DELETE", "lifecycle"),
    ("DeleteBucketMetadataTableConfiguration", "DELETE", "metadataTable"), ("DeleteBucketMetricsConfiguration", "DELETE", "metrics&id=1"),
    ("DeleteBucketOwnershipControls", "DELETE", "ownershipControls"), ("DeleteBucketPolicy", "DELETE", "policy"),
    ("DeleteBucketReplication", "DELETE", "replication"), ("DeleteBucketTagging", "DELETE", "tagging"), ("DeleteBucketWebsite", "DELETE", "website"),
    ("DeletePublicAccessBlock", "DELETE", "publicAccessBlock"), ("GetBucketAccelerateConfiguration", "GET", "accelerate"), ("GetBucketAcl", "GET", "acl"),
    ("GetBucketAnalyticsConfiguration", "GET", "analytics&id=1"), ("GetBucketCors", "GET", "cors"), ("GetBucketEncryption", "GET", "encryption"),
    ("GetBucketIntelligentTieringConfiguration", "GET", "intelligent-tiering&id=1"), ("GetBucketInventoryConfiguration", "GET", "inventory&id=1"),
    ("GetBucketLifecycleConfiguration", "GET", "lifecycle"), ("GetBucketLogging", "GET", "logging"),
    ("GetBucketMetadataTableConfiguration", "GET", "metadataTable"), ("GetBucketMetricsConfiguration", "GET", "metrics&id=1"),
    ("GetBucketNotificationConfiguration", "GET", "notification"), ("GetBucketOwnershipControls", "GET", "ownershipControls"),
    ("GetBucketPolicy", "GET", "policy"), ("GetBucketPolicyStatus", "GET", "policyStatus"), ("GetBucketReplication", "GET", "replication"),
    ("GetBucketRequestPayment", "GET", "requestPayment"), ("GetBucketTagging", "GET", "tagging"),
    ("GetBucketWebsite", "GET", "website"), ("GetObjectLockConfiguration", "GET", "object-lock"), ("GetPublicAccessBlock", "GET", "publicAccessBlock"),
    ("ListBucketAnalyticsConfigurations", "GET", "analytics"), ("ListBucketIntelligentTieringConfigurations", "GET", "intelligent-tiering"),
    ("ListBucketInventoryConfigurations", "GET", "inventory"), ("ListBucketMetricsConfigurations", "GET", "metrics"),
    ("ListObjectVersions", "GET", "versions"), ("PutBucketAccelerateConfiguration", "PUT", "accelerate"), ("PutBucketAcl", "PUT", "acl"),
    ("PutBucketAnalyticsConfiguration", "PUT", "analytics&id=1"), ("PutBucketCors", "PUT", "cors"), ("PutBucketEncryption", "PUT", "encryption"),
    ("PutBucketIntelligentTieringConfiguration", "PUT", "intelligent-tiering&id=1"), ("PutBucketInventoryConfiguration", "PUT", "inventory&id=1"),
    ("PutBucketLifecycleConfiguration", "PUT", "lifecycle"), ("PutBucketLogging", "PUT", "logging"), ("PutBucketMetricsConfiguration", "PUT", "metrics&id=1"),
    ("PutBucketNotificationConfiguration", "PUT", "notification"), ("PutBucketOwnershipControls", "PUT", "ownershipControls"),
    ("PutBucketPolicy", "PUT", "policy"), ("PutBucketReplication", "PUT", "replication"), ("PutBucketRequestPayment", "PUT", "requestPayment"),
    ("PutBucketTagging", "PUT", "tagging"), ("PutBucketVersioning", "PUT", "versioning"), ("PutBucketWebsite", "PUT", "website"),
    ("PutObjectLockConfiguration", "PUT", "object-lock"), ("PutPublicAccessBlock", "PUT", "publicAccessBlock"),
];

/// The same of an object.
#[rustfmt::skip]
const OF_AN_OBJECT: &[(&str, &str, &str)] = &[
    ("DeleteObjectTagging", "DELETE", "tagging"), ("GetObjectAcl", "GET", "acl"), ("GetObjectAttributes", "GET", "attributes"),
    ("GetObjectLegalHold", "GET", "legal-hold"), ("GetObjectRetention", "GET", "retention"), ("GetObjectTagging", "GET", "tagging"),
    ("GetObjectTorrent", "GET", "torrent"), ("PutObjectAcl", "PUT", "acl"), ("PutObjectLegalHold", "PUT", "legal-hold"),
    ("PutObjectRetention", "PUT", "retention"), ("PutObjectTagging", "PUT", "tagging"), ("RestoreObject", "POST", "restore"),
    ("SelectObjectContent", "POST", "select&select-type=2"),
];

/// Asked for in another way: a form, a directory bucket's endpoint, Object Lambda's endpoint.
const ELSEWHERE: &[&str] = &["PostObject", "ListDirectoryBuckets", "WriteGetObjectResponse"];

/// What a method does to the whole it does not do to whoever names a part of it.
#[test]
fn a_part_is_not_taken_for_the_whole() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("plain");
    for (method, part) in [
        ("DELETE", "acl"),
        ("DELETE", "versioning"),
        ("DELETE", "uploads"),
        ("PUT", "location"),
        ("PUT", "uploads"),
        ("PUT", "policyStatus"),
        ("HEAD", "acl"),
        ("GET", "attributes"),
    ] {
        let answer = s3.bucket(method, "plain").query(part, "").send().status(405);
        assert!(method == "HEAD" || answer.xml("Code") == "MethodNotAllowed", "{method} {part}");
    }
    s3.put("plain", "k", "v").done();
    for (method, part) in [
        ("DELETE", "acl"),
        ("DELETE", "retention"),
        ("DELETE", "uploads"),
        ("PUT", "attributes"),
        ("PUT", "uploads"),
        ("PUT", "torrent"),
        ("GET", "policy"),
        ("GET", "uploads"),
        ("HEAD", "tagging"),
    ] {
        let answer = s3.object(method, "plain", "k").query(part, "").send().status(405);
        assert!(method == "HEAD" || answer.xml("Code") == "MethodNotAllowed", "{method} {part}");
        s3.must_hold("plain", "k", b"v");
    }
    s3.bucket("DELETE", "plain").query("metadataConfiguration", "").send().refused(501, "NotImplemented").done();
    s3.object("PUT", "plain", "k").query("renameObject", "").send().refused(501, "NotImplemented").done();
    s3.must_hold("plain", "k", b"v");
}

/// `s3s` takes half of what names a part, or a part of an empty key, for one on the whole.
#[test]
fn half_of_what_names_a_part_is_no_whole() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("plain");
    s3.make_bucket("empty");
    s3.put("plain", "k", "v").done();
    s3.put("plain", "source", "w").done();
    for (name, value) in [("partNumber", "2"), ("uploadId", "X"), ("uploadId", "")] {
        for request in [
            s3.object("PUT", "plain", "k").body("w"),
            s3.object("PUT", "plain", "k").header("x-amz-copy-source", "/plain/source"),
            s3.bucket("DELETE", "empty"),
            s3.object("DELETE", "empty", ""),
            s3.bucket("PUT", "another"),
            s3.bucket("GET", "plain"),
        ] {
            request.query(name, value).send().refused(400, "InvalidArgument").done();
            s3.must_hold("plain", "k", b"v");
        }
    }
    s3.object("DELETE", "plain", "k").query("partNumber", "2").send().refused(400, "InvalidArgument").done();
    s3.object("HEAD", "plain", "k").query("uploadId", "X").send().status(400).done();
    s3.must_hold("plain", "k", b"v");
    s3.bucket("HEAD", "empty").send().status(200).done();
    s3.bucket("HEAD", "another").send().status(404).done();
}

#[test]
fn trap_25_what_is_not_served_answers_501() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("plain");
    s3.put("plain", "k", "v").done();
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/compatibility.md")).unwrap();
    let (_, unserved) = page.split_once("501 NotImplemented\n- ").unwrap();
    let mut left: BTreeMap<&str, ()> = unserved.trim_end().split("\n- ").map(|name| (name, ())).collect();
    for (of_object, table) in [(false, OF_A_BUCKET), (true, OF_AN_OBJECT)] {
        for (operation, method, query) in table {
            assert!(left.remove(operation).is_some(), "{operation} is not on the page");
            let request = if of_object { s3.object(method, "plain", "k") } else { s3.bucket(method, "plain") };
            let mut request = request.header("x-amz-object-attributes", "ETag");
            for pair in query.split('&') {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                request = request.query(name, value);
            }
            let answer = request.body("").send();
            assert_eq!(
                (answer.status, answer.xml("Code").as_str()),
                (501, "NotImplemented"),
                "{operation} {query}: {}",
                answer.text()
            );
        }
    }
    assert_eq!(left.into_keys().collect::<Vec<_>>(), {
        let mut all = ELSEWHERE.to_vec();
        all.sort_unstable();
        all
    });
    s3.must_hold("plain", "k", b"v");
}
