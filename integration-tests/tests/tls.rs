//! TLS: by the store's own CA or with given files, exchanged without a restart; HTTP/1.1 and HTTP/2 in it.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use integration_tests::clock::until;
use integration_tests::http2::Http2;
use integration_tests::noise::body;
use integration_tests::tls::{connect, shown, trusting};
use integration_tests::wire::Wire;
use integration_tests::{Outgoing, Payload, Server, Store};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// A CA of somebody else, and files for a server.
struct Files {
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Files {
    fn new(dir: &Path) -> Self {
        let at = |name: &str| dir.join(name);
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        std::fs::write(at("other-ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(params, key);
        let files = Self { ca: at("other-ca.pem"), certificate: at("server.pem"), key: at("server.key"), issuer };
        files.issue();
        files
    }

    fn issue(&self) {
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        std::fs::write(&self.certificate, params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        std::fs::write(&self.key, key.serialize_pem()).unwrap();
    }

    fn start(&self, store: &Store) -> Server {
        let [certificate, key] = [&self.certificate, &self.key].map(|path| path.to_str().unwrap());
        store.start_with(&["--tls-certificate", certificate, "--tls-key", key])
    }
}

/// Sends a request over HTTP/1.1 in TLS; gives all that came until the server closed.
fn over_tls(server: &Server, ca: &Path, request: &Outgoing<'_>) -> String {
    let (head, body) = request.clone().loose_header("connection", "close").encode();
    let mut stream = connect(server.bootstrap.s3, &trusting(ca)).unwrap();
    stream.write_all(&[&head[..], &body[..]].concat()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn the_stores_own_ca_signs_for_it() {
    let store = Store::new();
    let server = store.start_with(&["--tls-names", "localhost,127.0.0.1"]);
    assert!(server.bootstrap.text("s3_endpoint").starts_with("https://"));
    let ca = store.data().join("certs/ca.pem");
    let s3 = server.client();
    assert!(over_tls(&server, &ca, &s3.bucket("PUT", "sealed")).starts_with("HTTP/1.1 200"));
    let put = s3.object("PUT", "sealed", "k").body("in TLS");
    assert!(over_tls(&server, &ca, &put).starts_with("HTTP/1.1 200"));
    let answer = over_tls(&server, &ca, &s3.object("GET", "sealed", "k"));
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("in TLS"), "{answer}");
    // Its own commands trust it too.
    assert_eq!(server.records_of("GetObject").len(), 1);
    let elsewhere = Files::new(store.home());
    assert!(connect(server.bootstrap.s3, &trusting(&elsewhere.ca)).is_err(), "who trusts another CA");
    let mut plain = Wire::connect(server.bootstrap.s3).unwrap();
    plain.send(&s3.object("GET", "sealed", "k").encode().0).unwrap();
    assert!(plain.answer("GET").is_err(), "no plain HTTP beside it");
    server.stop();
}

#[test]
fn objects_come_and_go_over_http2() {
    let store = Store::new();
    let server = store.start_with(&["--tls-names", "127.0.0.1"]);
    let s3 = server.client();
    let mut http2 = Http2::connect_tls(server.bootstrap.s3, &trusting(&store.data().join("certs/ca.pem"))).unwrap();
    http2.send(&s3.bucket("PUT", "sealed")).unwrap().status(200).done();
    for (size, payload) in [(10, Payload::Whole), (100_000, Payload::SignedFrames), (9 << 20, Payload::Unsigned)] {
        let (key, data) = (format!("k-{size}"), body(size as u64, size));
        let put = s3.object("PUT", "sealed", &key).payload(payload).body(data.clone());
        http2.send(&put).unwrap().status(200).done();
        assert!(http2.send(&s3.object("GET", "sealed", &key)).unwrap().status(200).body == data, "{size}");
    }
    let list = http2.send(&s3.bucket("GET", "sealed").query("list-type", "2")).unwrap().status(200);
    assert_eq!(list.xml_all("Key"), ["k-10", "k-100000", "k-9437184"]);
}

#[test]
fn given_files_are_served_and_exchanged_without_a_restart() {
    let store = Store::new();
    let files = Files::new(store.home());
    let server = files.start(&store);
    let s3 = server.client();
    let trust = trusting(&files.ca);
    let now = || shown(server.bootstrap.s3, &trust).unwrap();
    let first = now();
    let mut stands = Http2::connect_tls(server.bootstrap.s3, &trust).unwrap();
    stands.send(&s3.bucket("PUT", "sealed")).unwrap().status(200).done();
    files.issue();
    let second = until("the new certificate", || Some(now()).filter(|shown| *shown != first));
    // A replacement that is none: the old one stays, and that is told.
    std::fs::write(&files.key, "none").unwrap();
    until("a complaint", || server.said().contains("not usable yet").then_some(()));
    assert_eq!(now(), second);
    // So does a key of another certificate.
    std::fs::write(&files.key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let complaints = || server.said().matches("not usable yet").count();
    let before = complaints();
    until("another complaint", || (complaints() > before).then_some(()));
    assert_eq!(now(), second);
    files.issue();
    let (left, week) = (seconds_left(&server, &trust), 7.0 * 86_400.0);
    assert!(left > week, "given files have an end too: {left}");
    let third = until("the next certificate", || Some(now()).filter(|shown| *shown != second));
    assert!(third != first);
    stands.send(&s3.bucket("HEAD", "sealed")).unwrap().status(200).done();
}

/// What `/metrics` says of a certificate's end, over TLS.
fn seconds_left(server: &Server, trust: &rustls::ClientConfig) -> f64 {
    let mut stream = connect(server.bootstrap.admin, trust).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let text = String::from_utf8(answer).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("gotgan_tls_certificate_expiry_seconds "));
    line.unwrap_or_else(|| panic!("no such metric in {text}")).parse().unwrap()
}

/// One that has ten days left of three hundred is put in the place of the first.
#[test]
fn the_stores_own_certificate_is_renewed_before_it_ends() {
    const DAY: f64 = 86_400.0;
    let store = Store::new();
    let server = store.start_with(&["--tls-names", "127.0.0.1"]);
    let certs = store.data().join("certs");
    let trust = trusting(&certs.join("ca.pem"));
    let s3 = server.client();
    let mut stands = Http2::connect_tls(server.bootstrap.s3, &trust).unwrap();
    stands.send(&s3.bucket("PUT", "sealed")).unwrap().status(200).done();
    let left = seconds_left(&server, &trust);
    assert!((364.0..365.1).contains(&(left / DAY)), "{left}");
    let ca_key = std::fs::read_to_string(store.root_key().with_file_name("ca.key")).unwrap();
    let ca = std::fs::read_to_string(certs.join("ca.pem")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&ca, KeyPair::from_pem(&ca_key).unwrap()).unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let now = time::OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now - time::Duration::days(290), now + time::Duration::days(10));
    let key = KeyPair::generate().unwrap();
    let old = params.signed_by(&key, &issuer).unwrap();
    std::fs::write(certs.join("server.key"), key.serialize_pem()).unwrap();
    std::fs::write(certs.join("server.pem"), old.pem()).unwrap();
    until("it is taken for the server's", || server.said().contains("a third of the life was left").then_some(()));
    until("it is renewed", || (seconds_left(&server, &trust) > 364.0 * DAY).then_some(()));
    assert_ne!(shown(server.bootstrap.s3, &trust).unwrap(), old.der().to_vec());
    assert!(over_tls(&server, &certs.join("ca.pem"), &s3.bucket("HEAD", "sealed")).starts_with("HTTP/1.1 200"));
    stands.send(&s3.bucket("HEAD", "sealed")).unwrap().status(200).done();
    server.stop();
}

/// A handshake that never ends, and a connection that asks nothing after it.
#[test]
fn who_says_nothing_in_tls_is_let_go() {
    let first = Duration::from_secs(2);
    let store = Store::new();
    let file = store.home().join("gotgan.toml");
    std::fs::write(&file, format!("[limits]\nfirst_request_seconds = {}\n", first.as_secs())).unwrap();
    let server = store.start_with(&["--config", file.to_str().unwrap(), "--tls-names", "127.0.0.1"]);
    let trust = trusting(&store.data().join("certs/ca.pem"));
    for protocols in [vec![], vec![b"h2".to_vec()]] {
        let mut config = trust.clone();
        config.alpn_protocols = protocols;
        let begun = Instant::now();
        let mut stream = connect(server.bootstrap.s3, &config).unwrap();
        let mut rest = Vec::new();
        let _ended = stream.read_to_end(&mut rest);
        assert!(begun.elapsed() < first + Duration::from_secs(8), "{:?}", begun.elapsed());
    }
    let begun = Instant::now();
    let mut silent = Wire::connect(server.bootstrap.s3).unwrap();
    silent.patience(Duration::from_secs(20)).unwrap();
    assert!(silent.closed());
    assert!(begun.elapsed() < Duration::from_secs(15), "no handshake: {:?}", begun.elapsed());
}

/// Off loopback there is TLS, or a flag that is named for its danger (`start` tests that there must be one).
#[test]
fn plain_http_off_loopback_needs_a_flag() {
    let store = Store::new();
    let mut child = std::process::Command::new(integration_tests::server::binary())
        .args(["serve", "--s3", "0.0.0.0:0", "--admin", "127.0.0.1:0", "--danger-plain-http", "--data"])
        .arg(store.data())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let status = until("an answer", || {
        let told: serde_json::Value =
            serde_json::from_slice(&std::fs::read(store.data().join("bootstrap.json")).ok()?).ok()?;
        let port = told["s3_endpoint"].as_str()?.strip_prefix("http://0.0.0.0:")?.parse().ok()?;
        let mut wire = Wire::connect(([127, 0, 0, 1], port).into()).ok()?;
        wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
        Some(wire.answer("GET").ok()?.status)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(status, 403);
}
