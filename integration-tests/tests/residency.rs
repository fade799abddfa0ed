//! Data rests in Korea or nowhere.

use integration_tests::disk::files;
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
    let server = store.start();
    server.client().put("here", "k", "v").done();
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
