//! Tenant keys that a real OpenBao server holds: nothing opens without it, and little is asked of it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use integration_tests::Store;
use integration_tests::clock::until;
use integration_tests::held::{self, REFUSED, SILENT, opens, opens_again, until_refused};
use integration_tests::keeper::Keeper;
use integration_tests::openbao::{OpenBao, write_private};
use integration_tests::server::binary;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::process::Signal;
use serde_json::json;

/// A store whose servers ask OpenBao anew after a second.
fn store_of(bao: &OpenBao) -> Store {
    let mut store = Store::new();
    bao.serve(&mut store);
    store.set("GOTGAN_KEYS_CACHE_SECONDS", "1");
    store
}

fn keeper_of(store: &Store) -> Keeper {
    held::keeper(store, "openbao")
}

#[test]
fn nothing_opens_while_the_provider_is_away() {
    let mut bao = OpenBao::new();
    let store = store_of(&bao);
    let keeper = keeper_of(&store);
    let s3 = keeper.s3();
    opens(&s3);
    bao.stop();
    until_refused(&s3, SILENT);
    keeper.refused(&["key", "create", "more", "--provider", "openbao"], "does not answer");
    keeper.refused(&["key", "rotate", "held"], "does not answer");
    // It starts without it, too.
    let keeper = keeper.killed(&store);
    let s3 = keeper.s3();
    until_refused(&s3, SILENT);
    bao.start();
    opens_again(&s3);

    // It keeps its port and says nothing: each answer comes in time all the same.
    bao.signal(Signal::STOP);
    until("the bucket key is forgotten", || (s3.get("theirs", "small").status == 503).then_some(()));
    let begun = Instant::now();
    s3.get("theirs", "small").refused(SILENT.0, SILENT.1).done();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    s3.must_hold("here", "k", b"here");
    bao.signal(Signal::CONT);
    opens_again(&s3);

    // Sealed, it answers, and will not.
    bao.call("PUT", "sys/seal", &json!(null));
    until_refused(&s3, SILENT);
    bao.stop();
    bao.start();
    opens_again(&s3);
}

#[test]
fn rotations_here_and_there_leave_every_object_as_it_is() {
    let bao = OpenBao::new();
    let store = store_of(&bao);
    let keeper = keeper_of(&store);
    let s3 = keeper.s3();
    let first = keeper.key(&["show", "held"]);
    let id = first["id"].as_str().unwrap();
    bao.call("POST", &format!("transit/keys/{id}/rotate"), &json!(null));
    s3.put("theirs", "between", "v").done();
    let rotated = keeper.key(&["rotate", "held"]);
    assert_eq!((rotated["version"].as_u64(), rotated["buckets_wrapped_anew"].as_u64()), (Some(3), Some(1)));
    assert_ne!(rotated["fingerprint"], first["fingerprint"]);
    let keeper = keeper.killed(&store);
    opens(&keeper.s3());
    keeper.s3().must_hold("theirs", "between", b"v");
    // Nothing here needs the first version any more.
    bao.call("POST", &format!("transit/keys/{id}/config"), &json!({ "min_decryption_version": 3 }));
    let keeper = keeper.killed(&store);
    opens(&keeper.s3());
    let shown = keeper.key(&["show", "held"]);
    let numbers: Vec<_> =
        shown["versions"].as_array().unwrap().iter().map(|v| v["version"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 3]);
    assert_eq!(shown["versions"][1]["fingerprint"], rotated["fingerprint"]);
}

/// A key that somebody made anew under the old name, no key at all, and a token that is not good.
#[test]
fn another_key_or_another_token_opens_nothing() {
    let bao = OpenBao::new();
    let store = store_of(&bao);
    let keeper = keeper_of(&store);
    let s3 = keeper.s3();
    let token = bao.token_file();
    let good = std::fs::read_to_string(&token).unwrap();
    write_private(&token, "s.nobody");
    until_refused(&s3, REFUSED);
    std::fs::remove_file(&token).unwrap();
    until_refused(&s3, SILENT);
    write_private(&token, &good);
    opens_again(&s3);
    let mode = |mode| std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0o644);
    until_refused(&s3, SILENT);
    assert!(keeper.server.said().contains("it must be 0600"));
    mode(0o600);
    opens_again(&s3);

    let id = keeper.key(&["show", "held"])["id"].as_str().unwrap().to_owned();
    let key = format!("transit/keys/{id}");
    bao.call("POST", &format!("{key}/config"), &json!({ "deletion_allowed": true }));
    bao.call("DELETE", &key, &json!(null));
    until_refused(&s3, REFUSED);
    bao.call("POST", &key, &json!({ "type": "aes256-gcm96" }));
    until_refused(&s3, REFUSED);
    keeper.refused(&["key", "rotate", "held"], "refuses");
    assert_eq!(keeper.key(&["show", "held"])["version"], 1, "no version was added");
    keeper.server.client().must_hold("here", "k", b"here");
}

#[test]
fn little_is_asked_of_a_provider() {
    let bao = OpenBao::new();
    let mut store = Store::new();
    bao.serve(&mut store);
    let keeper = keeper_of(&store).killed(&store);
    let calls = |keeper: &Keeper| keeper.server.metric("gotgan_key_provider_calls_total");
    assert!(calls(&keeper) < 0.5, "none before it is needed");
    let readers: Vec<_> = (0..16)
        .map(|_| {
            let s3 = keeper.s3();
            thread::spawn(move || opens(&s3))
        })
        .collect();
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    for n in 0..50 {
        keeper.s3().put("theirs", &format!("k{n}"), "v").done();
        keeper.s3().must_hold("theirs", &format!("k{n}"), b"v");
    }
    assert!((calls(&keeper) - 1.0).abs() < 0.5, "one for the bucket: {}", calls(&keeper));
}

#[test]
fn a_provider_abroad_is_refused() {
    let bao = OpenBao::new();
    let mut store = Store::new();
    bao.serve(&mut store);
    let keeper = keeper_of(&store);
    keeper.server.stop();
    store.set("GOTGAN_OPENBAO_COUNTRY", "JP");
    let keeper = Keeper { server: store.start(), account: keeper.account };
    keeper.refused(&["key", "create", "more", "--provider", "openbao"], "PIPA Art. 28-8(1)");
    let refused = keeper.s3().get("theirs", "small").refused(403, "AccessDenied");
    assert!(refused.xml("Message").contains("residency.korea"));
    keeper.s3().must_hold("here", "k", b"here");
}

/// A CA, and files for a server of 127.0.0.1.
fn certificates(dir: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    std::fs::write(dir.join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let server = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&server, &issuer).unwrap();
    std::fs::write(dir.join("server.pem"), certificate.pem()).unwrap();
    std::fs::write(dir.join("server.key"), server.serialize_pem()).unwrap();
}

#[test]
fn its_certificate_is_verified() {
    let [ours, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    certificates(ours.path());
    certificates(other.path());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = |name: &str| ours.path().join(name).display().to_string();
    let bao = OpenBao::with(&format!(
        "listener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n tls_cert_file = \"{}\"\n tls_key_file = \"{}\"\n}}",
        file("server.pem"),
        file("server.key")
    ));
    let mut store = store_of(&bao);
    store.set("GOTGAN_OPENBAO_ADDRESS", &format!("https://127.0.0.1:{port}"));
    store.set("GOTGAN_OPENBAO_CA", &file("ca.pem"));
    let keeper = keeper_of(&store);
    opens(&keeper.s3());
    keeper.server.stop();
    store.set("GOTGAN_OPENBAO_CA", &other.path().join("ca.pem").display().to_string());
    let keeper = Keeper { server: store.start(), account: keeper.account };
    until_refused(&keeper.s3(), SILENT);
    assert!(keeper.server.said().contains("certificate"), "{}", keeper.server.said());
}

#[test]
fn a_killed_rotation_at_the_provider_is_whole_or_nothing() {
    let bao = OpenBao::new();
    let store = store_of(&bao);
    let mut keeper = keeper_of(&store);
    let mut versions = 1;
    for round in 0..10_u64 {
        let mut rotation = Command::new(binary());
        rotation.args(["key", "rotate", "held", "--data"]).arg(keeper.server.data());
        rotation.envs(keeper.account.variables()).stderr(Stdio::null()).stdout(Stdio::null());
        let mut rotation = rotation.spawn().unwrap();
        let (begun, delay) = (Instant::now(), Duration::from_millis(3 + 3 * round));
        while begun.elapsed() < delay {
            thread::yield_now();
        }
        keeper = keeper.killed(&store);
        let _answered = rotation.wait().unwrap();
        opens(&keeper.s3());
        let shown = keeper.key(&["show", "held"]);
        let now = shown["versions"].as_array().unwrap().len();
        assert!(now == versions || now == versions + 1, "{versions} -> {now}");
        versions = now;
    }
    let rotated = keeper.key(&["rotate", "held"]);
    assert_eq!(rotated["buckets_wrapped_anew"], 1);
    opens(&keeper.killed(&store).s3());
}
