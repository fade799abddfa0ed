//! Who makes whom: the platform makes tenants, a tenant makes its persons, and a secret is seen by its holder alone.

use integration_tests::keeper::Keeper;
use integration_tests::{Account, Server, Store};
use serde_json::{Value, json};

/// An invitation, or a credential, as an account.
fn account(tenant: &str, principal: &Value, given: &Value) -> Account {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Account {
        tenant: tenant.to_owned(),
        principal: text(principal),
        access: text(&given["access_key_id"]),
        secret: text(&given["secret_access_key"]),
    }
}

fn enrolled(server: &Server, invited: &Account) -> (Account, Value) {
    let answer = server.json_as(invited, &["enrol"]);
    (account(&invited.tenant, &json!(invited.principal), &answer), answer)
}

/// A tenant whose first administrator was invited by the platform and has enrolled.
fn seated(server: &Server, tenant: &str) -> (Account, Value) {
    let made = server.json(&["tenant", "invite", tenant]);
    assert_eq!(made["role"], "tenant-administrator");
    enrolled(server, &account(tenant, &made["id"], &made["invitation"]))
}

fn refused(server: &Server, who: &Account, arguments: &[&str], why: &str) {
    let output = server.try_command_as(who, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains(why), "{arguments:?}: {said}");
}

/// Somebody whom an administrator of the tenant invites, and who enrols.
fn joins(server: &Server, administrator: &Account, name: &str, role: &str) -> Account {
    let made = server.json_as(administrator, &["principal", "create", name, "--role", role]);
    assert_eq!((made["role"].as_str(), made["secret_access_key"].as_str()), (Some(role), None));
    let invited = account(&administrator.tenant, &made["id"], &made["invitation"]);
    enrolled(server, &invited).0
}

#[test]
fn an_invitation_is_good_for_one_credential_and_nothing_else() {
    let store = Store::new();
    let server = store.start();
    server.make_tenant("acme");
    let made = server.json(&["tenant", "invite", "acme", "--name", "kim"]);
    let invited = account("acme", &made["id"], &made["invitation"]);
    refused(&server, &invited, &["principal", "list"], "exchanged for a credential");
    server.client_of(&invited.access, &invited.secret).bucket("GET", "").send().refused(403, "AccessDenied").done();
    let (administrator, _) = enrolled(&server, &invited);
    assert_ne!((&administrator.access, &administrator.secret), (&invited.access, &invited.secret));
    refused(&server, &invited, &["enrol"], "not known");
    refused(&server, &administrator, &["enrol"], "good for nothing else");
    let people = server.json_as(&administrator, &["principal", "list"]);
    assert_eq!(people.as_array().unwrap().len(), 1);
    assert!(server.command(&["audit", "list", "--all", "--tenant", "acme", "--json"]).contains("admin:Enrol"));
}

#[test]
fn a_tenant_that_has_an_administrator_is_its_own() {
    let store = Store::new();
    let server = store.start();
    let before = server.make_account("demo", "before");
    let stranger = server.make_account("demo", "stranger");
    // Another invitation, which was handed to nobody, serves no more than what was handed out.
    let spare = server.json(&["tenant", "invite", "demo", "--name", "spare"]);
    let spare = account("demo", &spare["id"], &spare["invitation"]);
    // Nor has the platform a second name for the first administrator.
    let made = server.json(&["tenant", "invite", "demo"]);
    let given = server.json(&["credential", "create", "--principal", made["id"].as_str().unwrap()]);
    assert!(given["invited_until"].is_string(), "an invitation: {given}");
    let second_name = account("demo", &made["id"], &given);
    let (administrator, answer) = enrolled(&server, &account("demo", &made["id"], &made["invitation"]));
    refused(&server, &second_name, &["enrol"], "not known");
    refused(&server, &spare, &["enrol"], "not known");
    server
        .client_of(&stranger.access, &stranger.secret)
        .bucket("GET", "")
        .send()
        .refused(403, "InvalidAccessKeyId")
        .done();
    server.client().bucket("GET", "").send().refused(403, "InvalidAccessKeyId").done();
    let known: Vec<_> = answer["principals"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(known, ["engineer", "before", "stranger", "spare"], "those that the platform made are shown");

    // From now on the platform makes nobody in it.
    for arguments in [
        vec!["principal", "create", "spy", "--tenant", "demo"],
        vec!["credential", "create", "--principal", &before.principal],
        vec!["tenant", "invite", "demo", "--name", "another"],
        vec!["principal", "disable", &before.principal],
        vec!["credential", "revoke", &administrator.access],
    ] {
        let output = server.try_command(&arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("tenant.own-persons"), "{arguments:?}: {said}");
    }
    let denied = server.command(&["audit", "list", "--all", "--decision", "deny", "--json"]);
    assert!(denied.contains("tenant.own-persons"), "{denied}");

    // The tenant does, and what it is given is an invitation.
    let engineer = joins(&server, &administrator, "lee", "engineer");
    let s3 = server.client_of(&engineer.access, &engineer.secret);
    s3.make_bucket("mine");
    s3.put("mine", "k", "v").done();
    let again = server.json_as(&administrator, &["credential", "create", "--principal", &engineer.principal]);
    assert!(again["invited_until"].is_string(), "{again}");
    server.json_as(&administrator, &["principal", "disable", &before.principal]);
    server.client_of(&before.access, &before.secret).get("mine", "k").refused(403, "InvalidAccessKeyId").done();
    let narrowed = server.json_as(&administrator, &["bucket", "narrow", "mine", "--subdivision", "KR-41"]);
    assert_eq!(narrowed["bucket"], "mine");
}

#[test]
fn duties_are_separate() {
    let store = Store::new();
    let server = store.start();
    let (administrator, _) = seated(&server, "demo");
    let keeper = joins(&server, &administrator, "keeper", "key-administrator");
    let officer = joins(&server, &administrator, "officer", "compliance-officer");
    let auditor = joins(&server, &administrator, "auditor", "auditor");
    let keeper = Keeper { server, account: keeper };
    let engineer = joins(&keeper.server, &administrator, "lee", "engineer");
    let s3 = keeper.server.client_of(&engineer.access, &engineer.secret);
    s3.make_bucket("mine");
    s3.put("mine", "k", "v").done();
    let server = &keeper.server;
    for who in [&administrator, &keeper.account, &officer, &auditor] {
        server.client_of(&who.access, &who.secret).get("mine", "k").refused(403, "AccessDenied").done();
    }
    // Who makes persons manages no key and reads no log.
    for arguments in [["key", "list"], ["key", "ledger"], ["key", "rotations"]] {
        refused(server, &administrator, &arguments, "key.role");
    }
    refused(server, &administrator, &["audit", "list"], "admin.role");
    // Who watches reads log, ledger and keys, and changes none.
    for who in [&officer, &auditor] {
        let log = server.try_command_as(who, &["audit", "list", "--json"]);
        assert!(log.status.success() && String::from_utf8_lossy(&log.stdout).contains("PutObject"));
        let keys = server.json_as(who, &["key", "list"]);
        assert_eq!(keys.as_array().unwrap().len(), 1);
        assert!(server.json_as(who, &["key", "ledger"]).is_array());
        assert!(server.json_as(who, &["access", "list"]).is_array());
        for arguments in [vec!["key", "rotate", "default"], vec!["key", "create", "more"], vec!["principal", "list"]] {
            refused(server, who, &arguments, ".role");
        }
    }
    refused(server, &auditor, &["access", "end", "00000000-0000-0000-0000-000000000000"], ".role");
    refused(server, &officer, &["access", "end", "00000000-0000-0000-0000-000000000000"], "no access");
    keeper.key(&["rotate", "default"]);
}

#[test]
fn a_tenant_sees_and_touches_nobody_of_another() {
    let store = Store::new();
    let server = store.start();
    server.make_tenant("acme");
    let (ours, _) = seated(&server, "demo");
    let (theirs, _) = seated(&server, "acme");
    let engineer = joins(&server, &theirs, "lee", "engineer");
    server.client_of(&engineer.access, &engineer.secret).make_bucket("theirs");
    for arguments in [
        vec!["principal", "disable", &engineer.principal],
        vec!["credential", "create", "--principal", &engineer.principal],
        vec!["credential", "revoke", &engineer.access],
        vec!["bucket", "narrow", "theirs", "--subdivision", "KR-41"],
        vec!["principal", "create", "spy", "--tenant", "acme"],
    ] {
        refused(&server, &ours, &arguments, "no ");
    }
    refused(&server, &ours, &["principal", "create", "root", "--role", "platform-administrator"], "itself");
    refused(&server, &ours, &["tenant", "create", "more"], "denied");
    let seen = server.json_as(&ours, &["principal", "list", "--tenant", "acme"]);
    assert!(seen.as_array().unwrap().iter().all(|one| one["name"] != "lee"), "{seen}");
    let seen = server.json_as(&ours, &["credential", "list"]);
    assert!(seen.as_array().unwrap().iter().all(|one| one["access_key_id"] != engineer.access.as_str()), "{seen}");
    server.client_of(&engineer.access, &engineer.secret).put("theirs", "k", "v").done();
}

#[test]
fn the_last_way_in_stays() {
    let store = Store::new();
    let server = store.start();
    let (administrator, _) = seated(&server, "demo");
    let last = "last way in";
    refused(&server, &administrator, &["principal", "disable", &administrator.principal], last);
    refused(&server, &administrator, &["credential", "revoke", &administrator.access], last);
    // One that is only invited does not count.
    let made = server.json_as(&administrator, &["principal", "create", "second", "--role", "tenant-administrator"]);
    refused(&server, &administrator, &["credential", "revoke", &administrator.access], last);
    let invited = account("demo", &made["id"], &made["invitation"]);
    let (second, _) = enrolled(&server, &invited);
    server.json_as(&second, &["principal", "disable", &administrator.principal]);
    refused(&server, &second, &["principal", "disable", &second.principal], last);
}

/// A tenant that has worked before goes on, if its administrator says so.
#[test]
fn credentials_of_before_may_be_kept() {
    let store = Store::new();
    let server = store.start();
    let made = server.json(&["tenant", "invite", "demo"]);
    let invited = account("demo", &made["id"], &made["invitation"]);
    let _answer = server.json_as(&invited, &["enrol", "--keep-credentials"]);
    server.client().make_bucket("mine");
    let output = server.try_command(&["principal", "create", "spy", "--tenant", "demo"]);
    assert!(!output.status.success());
}
