//! Every use of a tenant key says why: the key may refuse by it, at once, and each time that a provider is asked is on record.

use integration_tests::clock::until;
use integration_tests::keeper::Keeper;
use integration_tests::noise::body;
use integration_tests::openbao::OpenBao;
use integration_tests::{Store, held};
use serde_json::{Value, json};

/// What the tenant's log says of uses of its keys.
fn uses(keeper: &Keeper) -> Vec<String> {
    let text = keeper.server.command(&["audit", "list", "--all", "--tenant", "demo", "--json"]);
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let used = lines.filter(|line| line["event"] == "tenant-key-used");
    used.map(|line| line["detail"].as_str().unwrap().to_owned()).collect()
}

/// A store whose servers ask OpenBao anew after a second.
fn asking_each_second(bao: &OpenBao) -> Store {
    let mut store = Store::new();
    bao.serve(&mut store);
    store.set("GOTGAN_KEYS_CACHE_SECONDS", "1");
    store
}

/// Calls to OpenBao that unwrap.
fn calls(keeper: &Keeper) -> f64 {
    keeper.server.metric("gotgan_key_provider_calls_total{provider=\"openbao\",operation=\"unwrap\"")
}

#[test]
fn a_key_refuses_by_reason_at_once_and_for_whatever_is_kept_unwrapped() {
    let store = Store::new();
    let keeper = Keeper::new(store.start(), "demo");
    let s3 = keeper.s3();
    s3.make_bucket("mine");
    s3.put("mine", "k", "v").done();
    s3.put("mine", "large", body(1, 5 << 20)).done();
    let upload = s3.begin("mine", "begun");
    s3.must_hold("mine", "k", b"v");
    let set = keeper.key(&[
        "policy",
        "default",
        "--refuse",
        "customer-request",
        "--refuse",
        "emergency",
        "--confirm",
        "default",
    ]);
    assert_eq!(set["refuses"], json!(["customer-request", "emergency"]));
    let refused = |answer: integration_tests::Answer| {
        let answer = answer.refused(403, "AccessDenied");
        assert!(
            answer.text().contains("key.reason") && answer.text().contains("customer-request"),
            "{}",
            answer.text()
        );
    };
    let every = |s3: &integration_tests::Client| {
        refused(s3.get("mine", "k"));
        refused(s3.object("GET", "mine", "large").header("range", "bytes=5-9").send());
        s3.head("mine", "k").status(403).done();
        refused(s3.bucket("GET", "mine").query("list-type", "2").send());
        refused(s3.object("PUT", "mine", "new").body("v").send());
        refused(s3.object("PUT", "mine", "copy").header("x-amz-copy-source", "/mine/k").send());
        refused(s3.object("POST", "mine", "other").query("uploads", "").send());
        refused(s3.part("mine", "begun", &upload, 1).body("part").send());
        refused(s3.object("PUT", "mine", "k").header("if-match", "\"x\"").body("v").send());
        refused(s3.bucket("PUT", "another").send());
    };
    every(&s3);
    // A refusal is on record with rule and reason, and outlives the process.
    let denied = keeper.server.records_of("GetObject").into_iter().rev().find(|line| line["status"] == 403).unwrap();
    assert_eq!((denied["error"].as_str(), denied["decision"].as_str()), (Some("AccessDenied"), Some("deny")));
    assert_eq!((denied["rules"].clone(), denied["citation"].is_string()), (json!(["key.reason"]), true));
    let keeper = keeper.killed(&store);
    every(&keeper.s3());
    // Rotations go on; and what is deleted needs no key.
    keeper.key(&["rotate", "default"]);
    keeper.s3().object("DELETE", "mine", "k").send().status(204).done();
    keeper.key(&["policy", "default", "--refuse", "rewrap"]);
    keeper.s3().must_hold("mine", "large", &body(1, 5 << 20));
    keeper.refused(&["key", "rotate-bucket", "mine"], "key.reason");
    keeper.key(&["policy", "default", "--refuse-nothing"]);
    keeper.key(&["rotate-bucket", "mine", "--wait"]);
    keeper.s3().must_hold("mine", "large", &body(1, 5 << 20));
    keeper.refused(&["key", "policy", "default", "--refuse", "customer-request"], "--confirm default");
    keeper.refused(&["key", "policy", "default", "--refuse", "curiosity"], "each one of customer-request");
    let ledger = keeper.key(&["ledger"]);
    let said = ledger.as_array().unwrap().iter().any(|line| {
        line["act"] == "policy" && line["detail"] == "refuses customer-request, emergency" && line["by"] == "keeper"
    });
    assert!(said, "{ledger}");
}

/// What began before a policy was changed is bound by what comes after: a suspension, and another policy.
#[test]
fn a_policy_lets_nothing_slip_by() {
    let store = Store::new();
    let keeper = Keeper::new(store.start(), "demo");
    let s3 = keeper.s3();
    s3.make_bucket("mine");
    let large = body(7, 64 << 20);
    s3.put("mine", "large", large.clone()).done();
    let (mut wire, head) = s3.object("GET", "mine", "large").open().unwrap();
    let mut got = 0;
    let _broken = wire.body(&head, |bytes| {
        if got == 0 {
            keeper.key(&["policy", "default", "--refuse", "emergency"]);
            keeper.suspend("default");
        }
        got += bytes.len();
    });
    assert!(got < large.len(), "{got}");
    keeper.key(&["resume", "default"]);
    s3.must_hold("mine", "large", &large);
    s3.put("mine", "small", "v").done();
    keeper.key(&["policy", "default", "--refuse-nothing"]);
    s3.put("mine", "small", "w").done();
    s3.must_hold("mine", "small", b"w");
}

#[test]
fn each_unwrap_that_comes_to_a_provider_is_on_record_with_its_reason() {
    let mut bao = OpenBao::new();
    let store = asking_each_second(&bao);
    let keeper = held::keeper(&store, "openbao");
    let s3 = keeper.s3();
    held::opens(&s3);
    let of_bao = |keeper: &Keeper| uses(keeper).iter().filter(|line| line.contains("of openbao")).count();
    #[expect(clippy::cast_precision_loss, reason = "a handful of calls")]
    let counted = |keeper: &Keeper| of_bao(keeper) as f64;
    assert!(calls(&keeper) >= 1.0);
    assert!((counted(&keeper) - calls(&keeper)).abs() < 0.5, "{} {}", counted(&keeper), calls(&keeper));
    let used = uses(&keeper);
    let request = keeper.server.records_of("GetObject").pop().unwrap()["reason"].clone();
    assert_eq!(request, "customer-request");
    assert!(used.iter().all(|line| line.starts_with("reason customer-request: ") && line.contains("for request ")));
    keeper.key(&["rotate", "held"]);
    keeper.key(&["rotate-bucket", "theirs", "--wait"]);
    let used = uses(&keeper);
    assert!(used.iter().any(|line| line.starts_with("reason rewrap: ") && line.contains("the server itself")));
    let ledger = keeper.key(&["ledger", "--uses"]);
    let of_ledger = ledger.as_array().unwrap().iter().filter(|line| line["act"] == "tenant-key-used").count();
    assert_eq!(of_ledger, used.len());
    // Also what it refused, and what it did not answer.
    bao.stop();
    held::until_refused(&s3, held::SILENT);
    assert!(uses(&keeper).iter().any(|line| line.contains("not unwrapped: ") && line.contains("does not answer")));
    bao.start();
    held::opens_again(&s3);
}

/// A read that goes on for longer than a key may be kept asks the provider again, and ends when that does not unwrap.
#[test]
fn a_long_read_ends_when_the_provider_refuses() {
    let mut bao = OpenBao::new();
    let store = asking_each_second(&bao);
    let keeper = held::keeper(&store, "openbao");
    let s3 = keeper.s3();
    let large = body(7, 96 << 20);
    s3.put("theirs", "long", large.clone()).done();
    // Whatever is done once some of it has come.
    let read = |then: &mut dyn FnMut()| {
        let (mut wire, head) = s3.object("GET", "theirs", "long").open().unwrap();
        assert_eq!(head.status, 200);
        let mut got = 0;
        let _broken = wire.body(&head, |bytes| {
            if got == 0 {
                then();
            }
            got += bytes.len();
        });
        got
    };
    let before = calls(&keeper);
    let asked_again = || {
        until("the provider is asked again", || {
            s3.get("theirs", "small").status(200).done();
            (calls(&keeper) > before + 1.5).then_some(())
        });
    };
    assert_eq!(read(&mut || asked_again()), large.len(), "as long as it unwraps");
    let got = read(&mut || {
        bao.stop();
        until("the bucket key is forgotten", || (s3.get("theirs", "small").status == 503).then_some(()));
    });
    assert!(got < large.len(), "{got}");
    until("it is on record", || {
        let closed =
            keeper.server.records_of("GetObject").into_iter().any(|line| line["closing"]["outcome"] == "failed");
        closed.then_some(())
    });
}
