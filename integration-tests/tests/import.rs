//! Keys that a tenant brings: wrapped by it to a public key of ours with nothing but OpenSSL, or to the provider's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use integration_tests::keeper::Keeper;
use integration_tests::noise::body;
use integration_tests::openbao::OpenBao;
use integration_tests::softhsm::SoftHsm;
use integration_tests::{Account, Store};
use serde_json::Value;

const OAEP: &str = "RSA-OAEP-SHA256";
const KWP: &str = "RSA-AES-KWP-SHA256";

/// `docs/wrap_key.sh`, as the documents tell customers to run it.
fn wrap(home: &Path, public: &Path, fingerprint: &str, key: &Path, method: &str) -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/wrap_key.sh");
    let done = Command::new("bash").arg(script).arg(public).args([fingerprint]).arg(key).arg(method).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let out = home.join("wrapped");
    fs::write(&out, done.stdout).unwrap();
    out
}

struct Transport {
    id: String,
    fingerprint: String,
    public: PathBuf,
}

fn transport(keeper: &Keeper, home: &Path, provider: &str) -> Transport {
    let public = home.join("transport.pem");
    let made = keeper.key(&["transport", "--provider", provider, "--out", public.to_str().unwrap()]);
    let text = |field: &str| made[field].as_str().unwrap_or_default().to_owned();
    Transport { id: text("transport"), fingerprint: text("fingerprint"), public }
}

fn import<'a>(name: &'a str, provider: &'a str, wrapped: &'a Path, id: &'a str, method: &'a str) -> Vec<&'a str> {
    let mut out = vec!["create", name, "--provider", provider, "--import", wrapped.to_str().unwrap()];
    out.extend(["--method", method]);
    if !id.is_empty() {
        out.extend(["--transport", id]);
    }
    out
}

/// A bucket that hangs on the key, before and after the server starts anew and the key is rotated.
fn serves(keeper: Keeper, store: &Store, name: &str) -> Keeper {
    let bucket = format!("of-{name}");
    keeper.key(&["default", name]);
    keeper.s3().make_bucket(&bucket);
    keeper.s3().put(&bucket, "k", body(1, 300_000)).done();
    let keeper = keeper.killed(store);
    keeper.s3().must_hold(&bucket, "k", &body(1, 300_000));
    let rotated = keeper.key(&["rotate", name]);
    assert_eq!(rotated["version"], 2);
    keeper.s3().must_hold(&bucket, "k", &body(1, 300_000));
    let shown = keeper.key(&["show", name]);
    let origins: Vec<_> = shown["versions"].as_array().unwrap().iter().map(|v| v["origin"].clone()).collect();
    assert_eq!((shown["origin"].as_str(), origins), (Some("imported"), vec!["imported".into(), "generated".into()]));
    keeper
}

fn random_key(home: &Path) -> PathBuf {
    let key = home.join("key");
    let made = Command::new("openssl").args(["rand", "-out", key.to_str().unwrap(), "32"]).status().unwrap();
    assert!(made.success());
    key
}

#[test]
fn a_tenant_brings_its_key_to_the_sealed_file() {
    let store = Store::new();
    let (mut keeper, home) = (Keeper::new(store.start(), "demo"), store.home().to_owned());
    let key = random_key(&home);
    let mut fingerprints = Vec::new();
    for (name, method) in [("by-oaep", OAEP), ("by-kwp", KWP)] {
        let to = transport(&keeper, &home, "sealed-file");
        let wrapped = wrap(&home, &to.public, &to.fingerprint, &key, method);
        let made = keeper.key(&import(name, "sealed-file", &wrapped, &to.id, method));
        assert_eq!((made["origin"].as_str(), made["version"].as_u64()), (Some("imported"), Some(1)));
        fingerprints.push(made["fingerprint"].clone());
        // A transport key is for one key.
        let again = import("again", "sealed-file", &wrapped, &to.id, method);
        keeper.refused(&[&["key"], again.as_slice()].concat(), "was used");
        keeper = serves(keeper, &store, name);
    }
    assert_ne!(fingerprints[0], fingerprints[1], "a fingerprint says of which key it is, whatever it was made of");
}

#[test]
fn what_was_not_wrapped_here_and_for_it_is_refused_and_makes_no_key() {
    let store = Store::new();
    let (keeper, home) = (Keeper::new(store.start(), "demo"), store.home().to_owned());
    let key = random_key(&home);
    let [one, two] = [transport(&keeper, &home, "sealed-file"), transport(&keeper, &home, "sealed-file")];
    let wrapped = wrap(&home, &two.public, &two.fingerprint, &key, KWP);
    let refused = |arguments: &[&str], why: &str| keeper.refused(&[&["key"], arguments].concat(), why);
    refused(&import("k", "sealed-file", &wrapped, &one.id, KWP), "does not open");
    refused(&import("k", "sealed-file", &wrapped, &two.id, OAEP), "has 512 bytes");
    refused(&import("k", "sealed-file", &wrapped, "00000000000000000000000000000000", KWP), "no such transport key");
    refused(&import("k", "sealed-file", &wrapped, &two.id, "ROT13"), "import has");
    let mut changed = fs::read(&wrapped).unwrap();
    changed[530] ^= 1;
    let other = home.join("changed");
    fs::write(&other, changed).unwrap();
    refused(&import("k", "sealed-file", &other, &two.id, KWP), "does not open");
    // Of another tenant it is not there.
    keeper.server.make_tenant("others");
    let stranger: Account = keeper.server.make_account_as("others", "keeper", "key-administrator");
    let arguments = [&["key"], import("k", "sealed-file", &wrapped, &two.id, KWP).as_slice()].concat();
    let output = keeper.server.try_command_as(&stranger, &arguments);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no such transport key"));
    let keys = keeper.key(&["list"]);
    assert_eq!(keys.as_array().unwrap().len(), 1, "{keys}");
    // What was refused used nothing up.
    let made: Value = keeper.key(&import("k", "sealed-file", &wrapped, &two.id, KWP));
    assert_eq!(made["name"], "k");
    let log = keeper.server.command(&["audit", "list", "--all", "--tenant", "demo", "--json"]);
    assert!(log.contains("admin:KeyImportBegin"), "{log}");
}

/// Wrapped to the key of OpenBao, the key passes here without being seen.
#[test]
fn a_tenant_brings_its_key_to_openbao() {
    let bao = OpenBao::new();
    let mut store = Store::new();
    bao.serve(&mut store);
    let (keeper, home) = (Keeper::new(store.start(), "demo"), store.home().to_owned());
    let (key, to) = (random_key(&home), transport(&keeper, &home, "openbao"));
    assert_eq!((to.id.as_str(), to.fingerprint.as_str()), ("", ""));
    let der =
        Command::new("openssl").args(["pkey", "-pubin", "-outform", "DER", "-in"]).arg(&to.public).output().unwrap();
    let fingerprint = hex::encode(ring::digest::digest(&ring::digest::SHA256, &der.stdout));
    let wrapped = wrap(&home, &to.public, &fingerprint, &key, KWP);
    keeper.refused(&[&["key"], import("k", "openbao", &wrapped, "", OAEP).as_slice()].concat(), "takes RSA-AES-KWP");
    keeper.key(&import("k", "openbao", &wrapped, "", KWP));
    serves(keeper, &store, "k");
}

#[test]
fn a_tenant_brings_its_key_to_a_token() {
    let hsm = SoftHsm::new();
    let mut store = Store::new();
    hsm.serve(&mut store);
    let (keeper, home) = (Keeper::new(store.start(), "demo"), store.home().to_owned());
    let (key, to) = (random_key(&home), transport(&keeper, &home, "pkcs11"));
    let wrapped = wrap(&home, &to.public, &to.fingerprint, &key, OAEP);
    keeper.key(&import("k", "pkcs11", &wrapped, &to.id, OAEP));
    serves(keeper, &store, "k");
}
