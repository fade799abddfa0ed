//! Buckets: create, head, list, delete, location; and the promise that nothing is a stub.

use integration_tests::Store;

#[test]
fn a_bucket_lives_from_create_to_delete() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.bucket("HEAD", "grain").send().status(404).done();
    s3.make_bucket("grain");
    s3.bucket("HEAD", "grain").send().status(200).done();
    s3.put("grain", "k", "v").done();
    s3.bucket("DELETE", "grain").send().refused(409, "BucketNotEmpty").done();
    s3.object("DELETE", "grain", "k").send().status(204).done();
    s3.bucket("DELETE", "grain").send().status(204).done();
    s3.bucket("DELETE", "grain").send().refused(404, "NoSuchBucket").done();
    s3.get("grain", "k").refused(404, "NoSuchBucket").done();
}

#[test]
fn buckets_are_listed_in_order_and_only_once() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    for name in ["pine", "ash", "oak"] {
        s3.make_bucket(name);
    }
    let again = s3.bucket("PUT", "oak").send();
    assert!(again.status == 200 || again.xml("Code") == "BucketAlreadyOwnedByYou", "{again:?}");
    let listed = s3.raw("GET", "/").send().status(200);
    assert_eq!(listed.xml_all("Name"), ["ash", "oak", "pine"]);
}

#[test]
fn bucket_names_follow_the_rules() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    for name in ["ab", "UPPER", "192.168.1.1", "two..dots", "xn--abc", "-dash", "a_b", "x-s3alias"] {
        s3.bucket("PUT", name).send().refused(400, "InvalidBucketName").done();
    }
    s3.make_bucket("a.b-c.1");
}

/// Trap 33: no client's region chooses a place, and the location is the server's own.
#[test]
fn trap_33_a_region_name_never_chooses_a_place() {
    let store = Store::new();
    let server = store.start();
    let mut s3 = server.client();
    let own = s3.signer.region.clone();
    assert_eq!(own, "kr-gyeonggi-1");
    for region in ["us-east-1", "eu-west-3", "kr-gyeonggi-1"] {
        region.clone_into(&mut s3.signer.region);
        let bucket = format!("for-{region}");
        let body = format!(
            "<CreateBucketConfiguration><LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
        );
        s3.bucket("PUT", &bucket).body(body).send().status(200).done();
        let located = s3.bucket("GET", &bucket).query("location", "").send().status(200);
        assert_eq!(located.xml("LocationConstraint"), own, "{}", located.text());
    }
}

/// Trap 25: what is not enforced is refused, and leaves nothing behind.
#[test]
fn trap_25_nothing_is_accepted_and_then_ignored() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("plain");
    s3.put("plain", "k", "v").done();
    let unsupported = [
        "acl",
        "accelerate",
        "analytics",
        "cors",
        "encryption",
        "inventory",
        "lifecycle",
        "logging",
        "metrics",
        "notification",
        "object-lock",
        "ownershipControls",
        "policy",
        "policyStatus",
        "publicAccessBlock",
        "replication",
        "requestPayment",
        "tagging",
        "website",
    ];
    for name in unsupported {
        let get = s3.bucket("GET", "plain").query(name, "").send();
        assert_eq!((get.status, get.xml("Code").as_str()), (501, "NotImplemented"), "GET ?{name}");
        if name != "policyStatus" {
            let put = s3.bucket("PUT", "plain").query(name, "").body("<x/>").send();
            assert_ne!(put.status / 100, 2, "PUT ?{name} was accepted");
        }
    }
    for name in ["acl", "tagging", "retention", "legal-hold", "torrent", "attributes"] {
        let get = s3.object("GET", "plain", "k").query(name, "").send();
        assert_eq!((get.status, get.xml("Code").as_str()), (501, "NotImplemented"), "GET ?{name}");
    }
    s3.must_hold("plain", "k", b"v");
}

/// Trap 25 again: headers that ask for something not done are refused, never dropped.
#[test]
fn trap_25_headers_that_ask_for_more_are_refused() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("plain");
    for (name, value) in [
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-website-redirect-location", "/elsewhere"),
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-acl", "public-read"),
        ("x-amz-grant-read", "id=\"x\""),
        ("x-amz-storage-class", "GLACIER"),
    ] {
        let answer = s3.object("PUT", "plain", name).header(name, value).body("v").send();
        assert!(matches!(answer.status, 400 | 403 | 501), "{name}: {answer:?}");
        s3.get("plain", name).refused(404, "NoSuchKey").done();
    }
}

/// Clients ask before they delete; the truth is that no bucket has versions, and none can be switched on.
#[test]
fn no_bucket_has_versions() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("plain");
    let asked = s3.bucket("GET", "plain").query("versioning", "").send().status(200);
    assert!(asked.text().contains("<VersioningConfiguration") && !asked.text().contains("Status"), "{}", asked.text());
    let enable = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    s3.bucket("PUT", "plain").query("versioning", "").body(enable).send().refused(501, "NotImplemented").done();
    s3.bucket("GET", "absent-bucket").query("versioning", "").send().refused(404, "NoSuchBucket").done();
    server.stranger("others").bucket("GET", "plain").query("versioning", "").send().refused(403, "AccessDenied").done();
}

#[test]
fn virtual_host_style_reaches_the_same_objects() {
    let store = Store::new();
    let server = store.start_with(&[]);
    let mut s3 = server.client();
    s3.make_bucket("styled");
    s3.put("styled", "a/b", "here").done();
    s3.host = format!("styled.localhost:{}", server.bootstrap.s3.port());
    let answer = s3.raw("GET", "/a/b").send().status(200);
    assert_eq!(answer.body, b"here");
    let listed = s3.raw("GET", "/").query("list-type", "2").send().status(200);
    assert_eq!(listed.xml_all("Key"), ["a/b"]);
}
