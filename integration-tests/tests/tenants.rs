//! Tenants are apart: buckets, copy sources, upload ids, presigned URLs; and credentials end.

use integration_tests::clock::{Moment, until};
use integration_tests::noise::body;
use integration_tests::wire::Wire;
use integration_tests::{Server, Store};

#[test]
fn another_tenant_reaches_nothing() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("mine");
    s3.put("mine", "k", "secret").done();
    let upload = s3.begin("mine", "up");
    let stranger = server.stranger("others");
    stranger.make_bucket("theirs");
    let denied = |answer: integration_tests::Answer| {
        let answer = answer.refused(403, "AccessDenied");
        assert!(!answer.text().contains("tenant.own-bucket"), "strangers learn no rule");
    };
    denied(stranger.get("mine", "k"));
    denied(stranger.object("DELETE", "mine", "k").send());
    denied(stranger.bucket("GET", "mine").query("list-type", "2").send());
    denied(stranger.object("PUT", "theirs", "copy").header("x-amz-copy-source", "/mine/k").send());
    denied(stranger.part("mine", "up", &upload, 1).body("x").send());
    denied(stranger.object("GET", "mine", "up").query("uploadId", &upload).send());
    stranger.part("theirs", "up", &upload, 1).body("x").send().refused(404, "NoSuchUpload").done();
    let target = stranger.presign("GET", "/mine/k", &[], (Moment::now(), 60));
    denied(stranger.visit("GET", &target, b""));
    denied(stranger.bucket("DELETE", "mine").send());
    stranger.bucket("PUT", "mine").send().refused(409, "BucketAlreadyExists").done();
    assert_eq!(stranger.bucket("GET", "").send().status(200).xml_all("Name"), ["theirs"]);
    s3.must_hold("mine", "k", b"secret");
}

#[test]
fn credentials_and_principals_end() {
    let store = Store::new();
    let server = store.start();
    server.client().make_bucket("mine");
    let account = server.make_account("demo", "second");
    let s3 = server.client_of(&account.access, &account.secret);
    s3.put("mine", "k", "v").done();
    server.command(&["credential", "revoke", &account.access]);
    s3.get("mine", "k").refused(403, "InvalidAccessKeyId").done();
    let other = server.make_account("demo", "third");
    let s3 = server.client_of(&other.access, &other.secret);
    s3.put("mine", "k", "v").done();
    server.command(&["principal", "disable", &other.principal]);
    s3.get("mine", "k").refused(403, "InvalidAccessKeyId").done();
    assert!(!server.try_command(&["tenant", "create", "demo"]).status.success(), "names are unique");
    assert!(server.command(&["tenant", "list"]).contains("demo"));
    let refused = server.try_command(&["tenant", "list", "--bootstrap", "/nonexistent"]);
    assert!(!refused.status.success());
}

#[test]
fn an_upload_of_a_revoked_credential_is_not_committed() {
    let store = Store::new();
    let server = store.start();
    server.client().make_bucket("mine");
    for size in [1000, 300_000] {
        let account = server.make_account("demo", &format!("leaver-{size}"));
        let s3 = server.client_of(&account.access, &account.secret);
        let put = s3.object("PUT", "mine", "k").loose_header("expect", "100-continue").body(body(7, size));
        let (head, body) = put.encode();
        let mut wire = Wire::connect(s3.address).unwrap();
        wire.send(&head).unwrap();
        assert_eq!(wire.head().unwrap().status, 100, "it was admitted");
        server.command(&["credential", "revoke", &account.access]);
        wire.send(&body).unwrap();
        wire.answer("PUT").unwrap().refused(403, "InvalidAccessKeyId").done();
        server.client().get("mine", "k").refused(404, "NoSuchKey").done();
    }
}

/// Who revokes and goes away has revoked.
#[test]
fn a_revocation_needs_nobody_to_wait_for_it() {
    let store = Store::new();
    let server = store.start();
    server.client().make_bucket("mine");
    for round in 0..8 {
        let account = server.make_account("demo", &format!("leaver-{round}"));
        let s3 = server.client_of(&account.access, &account.secret);
        s3.put("mine", "k", "v").done();
        let path = format!("/v1/credentials/{}/revoke", account.access);
        let mut wire = Wire::connect(server.bootstrap.admin).unwrap();
        wire.send(&server.admin_request("POST", &path, Moment::now(), &format!("nonce-of-round-{round}"))).unwrap();
        drop(wire);
        until("the credential is refused", || (s3.get("mine", "k").status == 403).then_some(()));
    }
}

#[test]
fn an_admin_request_is_good_once_across_restarts() {
    let store = Store::new();
    let server = store.start();
    let (at, nonce) = (Moment::now(), "nonce-of-this-test");
    let request = server.admin_request("GET", "/v1/tenants", at, nonce);
    let send = |server: &Server| {
        let mut wire = Wire::connect(server.bootstrap.admin).unwrap();
        wire.send(&request).unwrap();
        wire.answer("GET").unwrap()
    };
    send(&server).status(200).done();
    assert!(send(&server).status(403).text().contains("nonce"));
    server.kill9();
    let server = store.start();
    assert!(send(&server).status(403).text().contains("sign it again"));
    server.admin_call("GET", "/v1/tenants", Moment::now(), "nonce-of-a-later-time").status(200).done();
}

/// Trap 31: `x-amz-expected-bucket-owner` is enforced.
#[test]
fn trap_31_the_expected_owner_is_enforced() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("mine");
    let owner = s3.bucket("GET", "").send().status(200).xml("ID");
    s3.object("PUT", "mine", "k").header("x-amz-expected-bucket-owner", &owner).body("v").send().status(200).done();
    for wrong in ["111122223333", "0".repeat(32).as_str()] {
        s3.object("GET", "mine", "k")
            .header("x-amz-expected-bucket-owner", wrong)
            .send()
            .refused(403, "AccessDenied")
            .done();
    }
}
