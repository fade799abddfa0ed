//! Machines of the platform: invited with what they are, joined by themselves, certified for a day, ended for good.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use integration_tests::clock::{until, within};
use integration_tests::clocked::{Clocked, DAY};
use integration_tests::machines::{Platform, fails, gotgan};
use integration_tests::{Account, Server, Store};
use serde_json::{Value, json};

/// What openssl says of a chain, as somebody would who does not trust our own verifier.
fn openssl(folder: &Path, more: &[&str]) -> (bool, String) {
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let output = Command::new("openssl")
        .args(["verify", "-CAfile", &at("ca.pem"), "-untrusted", &at("machine.pem")])
        .args(more)
        .arg(at("machine.pem"))
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    (output.status.success(), said)
}

#[test]
fn a_machine_joins_once_renews_by_itself_and_ends_for_good() {
    use std::os::unix::fs::PermissionsExt;
    let case = Platform::new();
    let id = case.invite("n1", "node");
    let invitation = case.text("n1.invitation");
    assert_eq!(std::fs::metadata(&invitation).unwrap().permissions().mode() & 0o777, 0o600);
    case.join("n1");
    let first = case.shown("n1");
    assert_eq!((first["name"].as_str(), &first["roles"]), (Some("n1"), &json!(["node"])));
    assert_eq!((first["country"].as_str(), first["site"].as_str()), (Some("KR"), Some("pangyo-1")));
    assert_eq!(first["assurance"], "self-declared");
    assert_eq!(case.listed(&id)["state"], "enrolled");
    for secret in ["n1/machine.json", "n1/machine.pem"] {
        assert_eq!(std::fs::metadata(case.at(secret)).unwrap().permissions().mode() & 0o777, 0o600, "{secret}");
    }
    let (good, said) = openssl(&case.at("n1"), &[]);
    assert!(good, "{said}");
    fails(&["certs", "join", &invitation, "--dir", &case.text("again")], "not known");
    assert!(!case.at("again").exists(), "nothing is left of it");
    fails(&["certs", "join", &invitation, "--dir", &case.text("n1")], "not empty");
    gotgan(&["certs", "renew", "--dir", &case.text("n1")]);
    let second = case.shown("n1");
    assert_ne!(first["serial"], second["serial"]);
    assert_eq!(case.listed(&id)["serial"], second["serial"]);

    case.server.command(&["certs", "revoke", &id, "--confirm", &id]);
    assert_eq!(case.listed(&id)["state"], "revoked");
    until("the list names both certificates", || {
        gotgan(&["certs", "refresh", "--dir", &case.text("n1")]).contains("no longer: 2").then_some(())
    });
    fails(&["certs", "show", &case.text("n1")], "revoked");
    let list = case.text("n1/revocations.pem");
    let (good, said) = openssl(&case.at("n1"), &["-crl_check", "-CRLfile", &list]);
    assert!(!good && said.contains("certificate revoked"), "{said}");
    fails(&["certs", "renew", "--dir", &case.text("n1")], "not known");
    let again = case.server.try_command(&["certs", "revoke", &id, "--confirm", &id]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("revoked before"));
    let log = case.server.command(&["audit", "list", "--all", "--json"]);
    for operation in ["admin:MachineInvite", "admin:Enrol", "admin:CertificateIssue", "admin:MachineRevoke"] {
        assert!(log.contains(operation), "{operation} is not on record");
    }
}

/// The credential of a machine, as it lies in its folder.
fn credential(case: &Platform, name: &str) -> Account {
    let text = std::fs::read_to_string(case.at(name).join("machine.json")).unwrap();
    let access: Value = serde_json::from_str(&text).unwrap();
    let text = |field: &str| access[field].as_str().unwrap().to_owned();
    let (access, secret) = (text("access_key_id"), text("secret_access_key"));
    Account { tenant: String::new(), principal: String::new(), access, secret }
}

#[test]
fn a_machine_asks_for_its_own_certificates_and_for_nothing_else() {
    let case = Platform::new();
    case.server.client().make_bucket("grain");
    case.server.client().put("grain", "k", "v").done();
    let id = case.invite("n1", "node");
    case.join("n1");
    let machine = credential(&case, "n1");
    for words in [
        vec!["certs", "list"],
        vec!["certs", "revoke", &id, "--confirm", &id],
        vec!["principal", "list"],
        vec!["tenant", "list"],
        vec!["key", "list"],
        vec!["audit", "list"],
        vec!["root", "replace"],
    ] {
        let output = case.server.try_command_as(&machine, &words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("403"), "{words:?}: {said}");
    }
    let s3 = case.server.client_of(&machine.access, &machine.secret);
    s3.get("grain", "k").refused(403, "AccessDenied").done();
    s3.object("PUT", "grain", "k").body("x").send().refused(403, "AccessDenied").done();
    let refused = |words: &[&str], why: &str| {
        let output = case.server.try_command(words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(why), "{words:?}: {said}");
    };
    refused(&["principal", "create", "n2", "--role", "machine"], "machines");
    let japan = case.inviting("n3", "node", "JP");
    case.server.command(&japan.iter().map(String::as_str).collect::<Vec<_>>());
    let invitation = case.text("n3.invitation");
    fails(&["certs", "join", &invitation, "--dir", &case.text("n3")], "cannot vouch for machines in JP");
    let same = case.inviting("n1", "node", "KR");
    std::fs::remove_file(case.at("n1.invitation")).unwrap();
    refused(&same.iter().map(String::as_str).collect::<Vec<_>>(), "already");
    refused(&["principal", "disable", &id], "gotgan certs revoke");
    let engineer = case.server.make_account("demo", "curious");
    let output = case.server.try_command_as(&engineer, &["certs", "list"]);
    assert!(!output.status.success());
}

/// Two administrators of the platform, with approval keys in files.
fn administrators(clocked: &Clocked, server: &Server) -> [(Account, String); 2] {
    ["one", "two"].map(|name| {
        let made = server.json(&["principal", "create", name, "--role", "platform-administrator"]);
        let principal = made["id"].as_str().unwrap().to_owned();
        let given = server.json(&["credential", "create", "--principal", &principal]);
        let text = |field: &str| given[field].as_str().unwrap().to_owned();
        let (access, secret) = (text("access_key_id"), text("secret_access_key"));
        let account = Account { tenant: String::new(), principal, access, secret };
        let file = clocked.store.home().join(format!("{name}.approval")).to_str().unwrap().to_owned();
        let _enrolled = server.json_as(&account, &["access", "approver", &file]);
        (account, file)
    })
}

#[test]
fn two_persons_vouch_for_where_a_machine_stands() {
    let mut clocked = Clocked::new();
    // No shortcut of trials counts here.
    clocked.store.set("GOTGAN_DANGER_TRIAL_DESTRUCTION", "true");
    let server = clocked.store.start();
    let [(one, by_one), (two, by_two)] = &administrators(&clocked, &server);
    let [invitation, folder] =
        ["invitation", "n1"].map(|name| clocked.store.home().join(name).to_str().unwrap().to_owned());
    let words =
        ["certs", "invite", "n1", "--role", "node", "--country", "KR", "--site", "pangyo-1", "--out", &invitation];
    let made = clocked.json(one, &words);
    let id = made["id"].as_str().unwrap();
    clocked.alone(&["certs", "join", &invitation, "--dir", &folder]);
    let shown = || -> Value { serde_json::from_str(&clocked.alone(&["certs", "show", &folder, "--json"])).unwrap() };
    let approving = ["certs", "approve", id, "--sign-with", by_two, "--confirm", id];
    clocked.refused(two, &approving, "409");
    let _signed = clocked.json(one, &["certs", "sign", id, "--sign-with", by_one]);
    clocked.refused(one, &["certs", "approve", id, "--sign-with", by_one, "--confirm", id], "two persons");
    clocked.refused(two, &approving, "for a week");
    clocked.ahead(7 * DAY - 3600);
    clocked.refused(two, &approving, "for a week");
    // A machine that was invited when both had been there for a week.
    clocked.ahead(8 * DAY);
    let later = words.map(|word| if word == "n1" { "n2" } else { word });
    std::fs::remove_file(&invitation).unwrap();
    let made = clocked.json(one, &later);
    let id = made["id"].as_str().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    clocked.alone(&["certs", "join", &invitation, "--dir", &folder]);
    let _signed = clocked.json(one, &["certs", "sign", id, "--sign-with", by_one]);
    let approved = clocked.json(two, &["certs", "approve", id, "--sign-with", by_two, "--confirm", id]);
    assert_eq!(
        (approved["signed_by"].as_str(), approved["assurance"].as_str()),
        (Some("one, two"), Some("enrolled-by-two"))
    );
    assert_eq!(shown()["assurance"], "self-declared", "that certificate was issued before");
    clocked.alone(&["certs", "renew", "--dir", &folder]);
    assert_eq!(shown()["assurance"], "enrolled-by-two");
}

#[test]
fn the_root_may_lie_in_a_safe() {
    let case = Platform::new();
    let Platform { server, store } = case;
    let root = store.root_key().with_file_name("ca.key");
    let safe = store.home().join("safe");
    server.stop();
    std::fs::rename(&root, &safe).unwrap();
    let case = Platform::of(store);
    case.invite("n1", "gateway");
    case.join("n1");
    assert_eq!(case.shown("n1")["roles"], json!(["gateway"]));
    case.server.client().make_bucket("grain");
    case.server.client().put("grain", "k", "v").done();
    // A store of before there were intermediates has the root alone: it signs one at the start.
    let Platform { server, store } = case;
    server.stop();
    std::fs::rename(&safe, &root).unwrap();
    for file in ["issuer.pem", "issuer.key", "node.json"] {
        std::fs::remove_file(root.with_file_name(file)).unwrap();
    }
    let case = Platform::of(store);
    case.server.client().must_hold("grain", "k", b"v");
    case.invite("n2", "node");
    case.join("n2");
    let _shown = case.shown("n2");
}

/// An identity that ended while the server was down, or stood still, is renewed as what it was.
#[test]
fn an_identity_is_renewed_day_by_day() {
    let clocked = Clocked::new();
    let server = clocked.store.start();
    let s3 = server.client();
    s3.make_bucket("grain");
    let serial = || {
        let node = clocked.store.data().join("certs/node.pem");
        let output = Command::new("openssl").args(["x509", "-noout", "-serial", "-in"]).arg(&node).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let first = serial();
    clocked.ahead(20 * 3600);
    until("it is renewed when a third of its life is left", || (serial() != first).then_some(()));
    until("it is told", || server.said().contains("identity changed").then_some(()));
    let second = serial();
    server.stop();
    clocked.ahead(30 * DAY);
    let server = clocked.store.start();
    assert_ne!(serial(), second, "at the start");
    let third = serial();
    clocked.ahead(60 * DAY);
    within(Duration::from_secs(30), "after a jump of the clock", || (serial() != third).then_some(()));
    assert!(server.said().contains("identity changed"), "{}", server.said());
}

#[test]
fn a_machine_joins_over_tls_and_believes_no_other_server() {
    let mut store = Store::new();
    store.set("GOTGAN_TLS_NAMES", "localhost,127.0.0.1");
    let case = Platform::of(store);
    case.invite("n1", "node");
    case.join("n1");
    gotgan(&["certs", "renew", "--dir", &case.text("n1")]);
    gotgan(&["certs", "refresh", "--dir", &case.text("n1")]);
    let other = Platform::new();
    other.invite("x", "node");
    other.join("x");
    std::fs::copy(other.at("x").join("ca.pem"), case.at("n1").join("ca.pem")).unwrap();
    fails(&["certs", "renew", "--dir", &case.text("n1")], "invalid peer certificate");
    fails(&["certs", "show", &case.text("n1")], "not signed by a CA of this installation");
}
