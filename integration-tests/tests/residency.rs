//! Data rests in Korea or nowhere.

use integration_tests::clock::until;
use integration_tests::disk::files;
use integration_tests::wire::Wire;
use integration_tests::{Server, Store};

fn stored(store: &Store) -> u64 {
    let segments = files(&store.data()).into_iter().filter(|f| f.extension().is_some_and(|e| e == "seg"));
    segments.map(|f| f.metadata().unwrap().len()).sum()
}

fn refuses_writes(server: &Server, rule: &str) {
    let s3 = server.client();
    for size in [0, 100, 1 << 20] {
        let answer = s3.object("PUT", "here", "k").body(vec![7; size]).send().refused(403, "AccessDenied");
        let message = answer.xml("Message");
        assert!(message.contains(rule) && message.contains("PIPA Art. 28-8"), "{message}");
    }
    s3.object("POST", "here", "k").query("uploads", "").send().refused(403, "AccessDenied").done();
    s3.bucket("PUT", "another").send().refused(403, "AccessDenied").done();
    s3.object("PUT", "here", "k")
        .header("x-amz-copy-source", "/here/before")
        .send()
        .refused(403, "AccessDenied")
        .done();
    s3.get("here", "k").refused(404, "NoSuchKey").done();
    s3.must_hold("here", "before", b"was here before");
    let denied: Vec<_> = server.records_of("PutObject").into_iter().filter(|r| r["decision"] == "deny").collect();
    assert_eq!(denied.len(), 3);
    assert!(
        denied
            .iter()
            .all(|r| r["rules"][0] == rule && r["citation"].as_str().unwrap().contains("PIPA") && r["status"] == 403)
    );
}

#[test]
fn a_node_in_another_country_or_nowhere_keeps_nothing() {
    for (country, rule) in [("JP", "residency.korea"), ("none", "residency.unknown-place")] {
        let store = Store::new();
        let server = store.start();
        server.client().make_bucket("here");
        server.client().put("here", "before", "was here before").done();
        server.stop();
        let before = stored(&store);
        let server = store.start_with(&["--country", country]);
        refuses_writes(&server, rule);
        assert_eq!(stored(&store), before, "{country}: nothing is stored");
        server.stop();
        // It stays refused until somebody issues another identity.
        let server = store.start();
        server.client().object("PUT", "here", "k").body("v").send().refused(403, "AccessDenied").done();
        server.stop();
        let server = store.start_with(&["--country", "KR"]);
        server.client().put("here", "k", "v").done();
    }
}

#[test]
fn an_identity_that_is_gone_or_foreign_is_an_unknown_place() {
    let store = Store::new();
    let server = store.start();
    server.client().make_bucket("here");
    server.client().put("here", "before", "was here before").done();
    server.stop();
    let certificate = store.data().join("certs/node.pem");
    let good = std::fs::read(&certificate).unwrap();
    std::fs::remove_file(&certificate).unwrap();
    let server = store.start();
    refuses_writes(&server, "residency.unknown-place");
    server.stop();
    let other = Store::new();
    other.start().stop();
    std::fs::copy(other.data().join("certs/node.pem"), &certificate).unwrap();
    let server = store.start();
    server.client().object("PUT", "here", "k").body("v").send().refused(403, "AccessDenied").done();
    server.stop();
    std::fs::write(&certificate, good).unwrap();
    let key = store.data().join("certs/node.key");
    let good = std::fs::read(&key).unwrap();
    std::fs::copy(other.data().join("certs/node.key"), &key).unwrap();
    let server = store.start();
    server.client().object("PUT", "here", "k").body("v").send().refused(403, "AccessDenied").done();
    assert!(server.said().contains("not the key of its certificate"), "{}", server.said());
    server.stop();
    std::fs::write(&key, good).unwrap();
    let server = store.start();
    server.client().put("here", "k", "v").done();
}

/// An identity that the root itself signed, as before there were intermediates, for some seconds; and no CA that would renew it.
fn short_lived(store: &Store, seconds: i64) -> String {
    let read = |path: &str| std::fs::read_to_string(store.home().join(path)).unwrap();
    let key = rcgen::KeyPair::from_pem(&read("data.root/ca.key")).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&read("data/certs/ca.pem"), key).unwrap();
    let claim = br#"{"country":"KR","subdivision":"KR-41","site":"short","rack":null,"operator":null,"assurance":"self-declared"}"#;
    let value = [&[0x0c, u8::try_from(claim.len()).unwrap()], &claim[..]].concat();
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    let oid = [2, 25, 6_917_529_027_641_081_967];
    params.custom_extensions = vec![rcgen::CustomExtension::from_oid_content(&oid, value)];
    params.not_after = time::OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
    let node = rcgen::KeyPair::from_pem(&read("data/certs/node.key")).unwrap();
    for file in ["ca.key", "issuer.key", "node.json"] {
        let _gone = std::fs::remove_file(store.home().join("data.root").join(file));
    }
    params.signed_by(&node, &issuer).unwrap().pem()
}

#[test]
fn an_identity_that_ends_while_the_server_runs_ends_its_writes() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("here");
    let certificate = store.data().join("certs/node.pem");
    let good = std::fs::read(&certificate).unwrap();
    let put = || s3.object("PUT", "here", "k").body(vec![7; 100_000]).send();
    std::fs::write(&certificate, short_lived(&store, 15)).unwrap();
    until("the short-lived identity is seen", || server.said().contains("KR / KR-41 / short").then_some(()));
    put().status(200).done();
    let refused = until("writes are refused", || Some(put()).filter(|answer| answer.status != 200));
    assert!(refused.refused(403, "AccessDenied").xml("Message").contains("residency.unknown-place"));
    s3.must_hold("here", "k", &[7; 100_000]);
    until("the end is seen", || server.said().contains("not valid now").then_some(()));
    std::fs::write(&certificate, good).unwrap();
    until("writes are taken again", || (put().status == 200).then_some(()));
}

/// What was permitted and arrives when the place is known no more is not kept.
#[test]
fn an_upload_under_way_ends_with_the_identity() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("here");
    let upload = s3.begin("here", "parts");
    let certificate = store.data().join("certs/node.pem");
    let good = std::fs::read(&certificate).unwrap();
    let requests: Vec<_> = [
        s3.object("PUT", "here", "small").body(vec![7; 1000]),
        s3.object("PUT", "here", "large").body(vec![7; 9 << 20]),
        s3.part("here", "parts", &upload, 1).body(vec![7; 300_000]),
    ]
    .into_iter()
    .map(|request| request.loose_header("expect", "100-continue"))
    .collect();
    let begun: Vec<_> = requests
        .iter()
        .map(|request| {
            let (head, body) = request.encode();
            let mut wire = Wire::connect(server.bootstrap.s3).unwrap();
            wire.send(&head).unwrap();
            assert_eq!(wire.head().unwrap().status, 100, "it was permitted");
            let rest = body.len() / 2;
            wire.send(&body[..rest]).unwrap();
            (wire, body.slice(rest..))
        })
        .collect();
    std::fs::write(&certificate, "").unwrap();
    let probe = || s3.object("PUT", "here", "probe").body("v").send().status;
    until("writes are refused", || (probe() == 403).then_some(()));
    for (mut wire, rest) in begun {
        wire.send(&rest).unwrap();
        let answer = wire.answer("PUT").unwrap().refused(403, "AccessDenied");
        let message = answer.xml("Message");
        assert!(message.contains("residency.unknown-place") && message.contains("PIPA Art. 28-8"), "{message}");
    }
    std::fs::write(&certificate, good).unwrap();
    until("writes are taken again", || (probe() == 200).then_some(()));
    s3.get("here", "small").refused(404, "NoSuchKey").done();
    s3.get("here", "large").refused(404, "NoSuchKey").done();
    let parts = s3.object("GET", "here", "parts").query("uploadId", &upload).send().status(200);
    assert!(parts.xml_all("PartNumber").is_empty());
    let denied = |operation| server.records_of(operation).into_iter().filter(|r| r["decision"] == "deny").count();
    assert!(denied("PutObject") >= 3 && denied("UploadPart") == 1);
}

#[test]
fn a_bucket_may_be_narrowed_and_never_widened() {
    let store = Store::new();
    let server = store.start_with(&["--site", "pangyo-1"]);
    let s3 = server.client();
    s3.make_bucket("narrow");
    server.command(&["bucket", "narrow", "narrow", "--site", "pangyo-1"]);
    s3.put("narrow", "k", "v").done();
    assert!(!server.try_command(&["bucket", "narrow", "narrow", "--site", "pangyo-2"]).status.success());
    server.stop();
    let server = store.start_with(&["--site", "elsewhere"]);
    let answer = server.client().object("PUT", "narrow", "k2").body("v").send().refused(403, "AccessDenied");
    assert!(answer.xml("Message").contains("residency.bucket-narrowing"));
    assert!(!server.try_command(&["bucket", "narrow", "narrow", "--subdivision", "JP-13"]).status.success());
}
