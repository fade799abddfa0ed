//! Emergency access: two persons of the platform, for hours, to read one bucket, in the tenant's own log.

use std::path::PathBuf;

use integration_tests::clock::{Moment, until};
use integration_tests::clocked::{Clocked, DAY};
use integration_tests::keeper::Keeper;
use integration_tests::noise::body;
use integration_tests::{Account, Client};
use serde_json::Value;

/// Two administrators of the platform, whom its first one made, with approval keys.
struct Platform {
    clocked: Clocked,
    keeper: Keeper,
    officer: Account,
    persons: [(Account, PathBuf); 2],
}

impl Platform {
    fn new() -> Self {
        let clocked = Clocked::new();
        let keeper = Keeper::new(clocked.store.start(), "demo");
        let officer = keeper.server.make_account_as("demo", "officer", "compliance-officer");
        let persons = ["one", "two"].map(|name| {
            let server = &keeper.server;
            let made = server.json(&["principal", "create", name, "--role", "platform-administrator"]);
            let principal = made["id"].as_str().unwrap().to_owned();
            let given = server.json(&["credential", "create", "--principal", &principal]);
            let text = |field: &str| given[field].as_str().unwrap().to_owned();
            let (access, secret) = (text("access_key_id"), text("secret_access_key"));
            let account = Account { tenant: String::new(), principal, access, secret };
            let file = clocked.store.home().join(format!("{name}.approval"));
            let _enrolled = server.json_as(&account, &["access", "approver", file.to_str().unwrap()]);
            (account, file)
        });
        keeper.s3().make_bucket("theirs");
        keeper.s3().make_bucket("other");
        keeper.s3().put("theirs", "k", "secret").done();
        keeper.s3().put("theirs", "large", body(1, 64 << 20)).done();
        keeper.s3().put("other", "k", "secret").done();
        Self { clocked, keeper, officer, persons }
    }

    fn asking<'a>(&'a self, code: &'a str) -> Vec<&'a str> {
        let key = self.persons[0].1.to_str().unwrap();
        let basis = "형사소송법 제215조";
        let mut out = vec!["access", "request", "--tenant", "demo", "--bucket", "theirs", "--reason-code", code];
        out.extend(["--legal-basis", basis, "--reason", "warrant 2026-77", "--hours", "4", "--sign-with", key]);
        out
    }

    fn approving<'a>(&'a self, id: &'a str) -> Vec<&'a str> {
        vec!["access", "approve", id, "--sign-with", self.persons[1].1.to_str().unwrap(), "--confirm", id]
    }

    /// Asks, and approves a week after everybody was made.
    fn opened(&self) -> String {
        let asked = self.clocked.json(&self.persons[0].0, &self.asking("legal-request"));
        assert_eq!((asked["state"].as_str(), asked["signed_by"].as_str()), (Some("requested"), Some("one")));
        let id = asked["id"].as_str().unwrap().to_owned();
        let open = self.clocked.json(&self.persons[1].0, &self.approving(&id));
        assert_eq!((open["state"].as_str(), open["signed_by"].as_str()), (Some("open"), Some("one, two")));
        id
    }

    fn reader(&self) -> Client {
        self.keeper.server.client_of(&self.persons[0].0.access, &self.persons[0].0.secret)
    }

    fn log(&self) -> Vec<Value> {
        let output = self.clocked.run(&self.officer, &["audit", "list", "--all"]);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[test]
fn two_persons_read_one_bucket_and_the_tenant_sees_it() {
    let platform = Platform::new();
    let (clocked, reader) = (&platform.clocked, platform.reader());
    reader.get("theirs", "k").refused(403, "AccessDenied").done();
    // Nobody who came this week approves.
    let asked = clocked.json(&platform.persons[0].0, &platform.asking("legal-request"));
    let early = asked["id"].as_str().unwrap().to_owned();
    clocked.refused(&platform.persons[1].0, &platform.approving(&early), "for a week");
    clocked.ahead(8 * DAY);
    clocked.refused(&platform.persons[1].0, &platform.approving(&early), "void");
    reader.get("theirs", "k").status(403).done();
    let id = platform.opened();
    clocked.ahead(0);

    reader.must_hold("theirs", "k", b"secret");
    reader.object("GET", "theirs", "large").header("range", "bytes=9-20").send().status(206).done();
    reader.head("theirs", "k").status(200).done();
    reader.bucket("HEAD", "theirs").send().status(200).done();
    let listed = reader.bucket("GET", "theirs").query("list-type", "2").send().status(200).xml_all("Key");
    assert_eq!(listed, ["k", "large"]);
    // To read, and that bucket, and whoever asked.
    for answer in [
        reader.object("PUT", "theirs", "new").body("v").send(),
        reader.object("DELETE", "theirs", "k").send(),
        reader.object("PUT", "theirs", "copy").header("x-amz-copy-source", "/theirs/k").send(),
        reader.bucket("GET", "theirs").query("uploads", "").send(),
        reader.get("other", "k"),
        platform
            .keeper
            .server
            .client_of(&platform.persons[1].0.access, &platform.persons[1].0.secret)
            .get("theirs", "k"),
    ] {
        answer.refused(403, "AccessDenied").done();
    }

    let log = platform.log();
    let of = |operation: &str| log.iter().filter(|line| line["operation"] == operation).collect::<Vec<_>>();
    for operation in ["admin:AccessRequest", "admin:AccessSign"] {
        assert!(of(operation).iter().any(|line| line["bucket"] == "theirs"), "{operation}");
    }
    let read = of("GetObject").into_iter().find(|line| line["access"] == id.as_str()).unwrap().clone();
    assert_eq!(
        (read["reason"].as_str(), read["principal"].as_str()),
        (Some("legal-request"), Some(platform.persons[0].0.principal.as_str()))
    );
    assert!(read["rules"].as_array().unwrap().iter().any(|rule| rule == "access.two-persons"), "{read}");
    assert!(
        log.iter().any(|line| line["decision"] == "deny" && line["access"] == id.as_str()),
        "what it was refused, too"
    );
    let seen = clocked.json(&platform.officer, &["access", "list"]);
    assert_eq!((seen[1]["state"].as_str(), seen[1]["requested_by"].as_str()), (Some("open"), Some("one")));
    assert_eq!(seen[1]["legal_basis"], "형사소송법 제215조");

    // It outlives a restart, and is over in time.
    let Platform { clocked, keeper, officer: _, persons } = platform;
    let keeper = keeper.killed(&clocked.store);
    let reader = keeper.server.client_of(&persons[0].0.access, &persons[0].0.secret);
    reader.must_hold("theirs", "k", b"secret");
    clocked.ahead(8 * DAY + 5 * 3600);
    let late = Moment::now().plus(i64::try_from(8 * DAY + 5 * 3600).unwrap());
    let target = reader.presign("GET", "/theirs/k", &[], (late, 60));
    reader.visit("GET", &target, b"").refused(403, "AccessDenied").done();
}

#[test]
fn the_tenant_ends_it_and_its_key_may_refuse_it() {
    let platform = Platform::new();
    let (clocked, reader) = (&platform.clocked, platform.reader());
    clocked.ahead(8 * DAY);
    let id = platform.opened();
    clocked.ahead(0);
    reader.must_hold("theirs", "k", b"secret");
    // A read under way breaks off.
    let (mut wire, head) = reader.object("GET", "theirs", "large").open().unwrap();
    assert_eq!(head.status, 200);
    let mut got = 0;
    let _broken = wire.body(&head, |bytes| {
        if got == 0 {
            let ended = clocked.json(&platform.officer, &["access", "end", &id]);
            assert_eq!(ended["state"], "ended");
        }
        got += bytes.len();
    });
    assert!(got < 64 << 20, "{got}");
    reader.get("theirs", "k").refused(403, "AccessDenied").done();
    clocked.refused(&platform.officer, &["access", "end", &id], "ended before");
    clocked.refused(&platform.persons[1].0, &platform.approving(&id), "not waiting");
    let mine = platform.persons[0].1.to_str().unwrap();

    // The key refuses the reason: who asks is told, and what is open opens nothing.
    clocked.ahead(8 * DAY);
    let id = platform.opened();
    clocked.ahead(0);
    reader.must_hold("theirs", "k", b"secret");
    platform.keeper.key(&["policy", "default", "--refuse", "legal-request"]);
    let refused = reader.get("theirs", "k").refused(403, "AccessDenied");
    assert!(!refused.text().contains("key.reason"), "the platform is told no rule of the tenant");
    let log = platform.log();
    let denied = log.iter().rev().find(|line| line["operation"] == "GetObject" && line["status"] == 403).unwrap();
    assert_eq!((denied["decision"].as_str(), denied["rules"][0].as_str()), (Some("deny"), Some("key.reason")));
    platform.keeper.s3().must_hold("theirs", "k", b"secret");
    clocked.refused(&platform.persons[0].0, &platform.asking("legal-request"), "refuses legal-request");
    platform.keeper.key(&["policy", "default", "--refuse-nothing"]);
    until("the policy is another", || (reader.get("theirs", "k").status == 200).then_some(()));
    let _ended = clocked.json(&platform.keeper.account, &["access", "end", &id]);

    // One person is not two, whoever gives it a second name.
    clocked.ahead(8 * DAY);
    let asked = clocked.json(&platform.persons[0].0, &platform.asking("emergency"));
    let id = asked["id"].as_str().unwrap().to_owned();
    let alone = ["access", "approve", &id, "--sign-with", mine, "--confirm", &id];
    clocked.refused(&platform.persons[0].0, &alone, "two persons");
    let server = &platform.keeper.server;
    let puppet =
        clocked.json(&platform.persons[0].0, &["principal", "create", "puppet", "--role", "platform-administrator"]);
    let principal = puppet["id"].as_str().unwrap().to_owned();
    let given = clocked.json(&platform.persons[0].0, &["credential", "create", "--principal", &principal]);
    let text = |field: &str| given[field].as_str().unwrap().to_owned();
    let puppet =
        Account { tenant: String::new(), principal, access: text("access_key_id"), secret: text("secret_access_key") };
    let file = clocked.store.home().join("puppet.approval");
    let _enrolled = clocked.json(&puppet, &["access", "approver", file.to_str().unwrap()]);
    clocked.ahead(14 * DAY);
    let by_puppet = ["access", "approve", &id, "--sign-with", file.to_str().unwrap(), "--confirm", &id];
    clocked.refused(&puppet, &by_puppet, "by the other");
    drop(server.said());
    clocked.refused(&platform.keeper.account, &platform.asking("emergency"), "denied");
    clocked.refused(&platform.persons[0].0, &platform.asking("customer-request"), "reason_code is one of");
}

#[test]
fn a_tenant_that_lost_its_administrators_is_given_another_in_three_days() {
    let platform = Platform::new();
    let clocked = &platform.clocked;
    let server = &platform.keeper.server;
    let invitation = |made: &Value| Account {
        tenant: "demo".to_owned(),
        principal: made["id"].as_str().unwrap().to_owned(),
        access: made["invitation"]["access_key_id"].as_str().unwrap().to_owned(),
        secret: made["invitation"]["secret_access_key"].as_str().unwrap().to_owned(),
    };
    let key = |which: usize| platform.persons[which].1.to_str().unwrap();
    let asking = |name: &'static str| {
        let mut out = vec!["tenant", "reseat", "request", "demo", "--name", name, "--legal-basis", "contract 9"];
        out.extend(["--reason", "she is gone", "--sign-with", key(0)]);
        out
    };
    let by = |which: usize| &platform.persons[which].0;
    clocked.refused(by(0), &asking("kim"), "gotgan tenant invite");
    let first = invitation(&server.json(&["tenant", "invite", "demo"]));
    let enrolled = server.json_as(&first, &["enrol", "--keep-credentials"]);
    let text = |field: &str| enrolled[field].as_str().unwrap().to_owned();
    let first = Account { access: text("access_key_id"), secret: text("secret_access_key"), ..first };

    clocked.ahead(8 * DAY);
    let asked = clocked.json(by(0), &asking("kim"));
    let id = asked["id"].as_str().unwrap().to_owned();
    let approving = ["tenant", "reseat", "approve", &id, "--sign-with", key(1), "--confirm", &id];
    clocked.refused(
        by(0),
        &["tenant", "reseat", "approve", &id, "--sign-with", key(0), "--confirm", &id],
        "two persons",
    );
    let approved = clocked.json(by(1), &approving);
    assert_eq!((approved["state"].as_str(), approved["signed_by"].as_str()), (Some("scheduled"), Some("one, two")));
    clocked.refused(by(0), &["tenant", "reseat", "invite", &id], "due at");
    // The tenant sees it, and calls it off.
    assert_eq!(clocked.json(&platform.officer, &["tenant", "reseat", "list"])[0]["state"], "scheduled");
    clocked.refused(&platform.officer, &["tenant", "reseat", "cancel", &id], ".role");
    let _cancelled = clocked.json(&first, &["tenant", "reseat", "cancel", &id]);
    clocked.ahead(12 * DAY);
    clocked.refused(by(0), &["tenant", "reseat", "invite", &id], "not approved, or over");

    let asked = clocked.json(by(0), &asking("lee"));
    let id = asked["id"].as_str().unwrap().to_owned();
    let approving = ["tenant", "reseat", "approve", &id, "--sign-with", key(1), "--confirm", &id];
    let _approved = clocked.json(by(1), &approving);
    clocked.ahead(15 * DAY + 60);
    let made = clocked.json(by(0), &["tenant", "reseat", "invite", &id]);
    assert_eq!((made["name"].as_str(), made["role"].as_str()), (Some("lee"), Some("tenant-administrator")));
    clocked.refused(by(0), &["tenant", "reseat", "invite", &id], "not approved, or over");
    let enrolled = clocked.json(&invitation(&made), &["enrol"]);
    assert_eq!(enrolled["name"], "lee");
    let log = platform.log();
    for operation in ["admin:TenantReseat", "admin:TenantReseatSign", "admin:TenantReseatInvite"] {
        assert!(log.iter().any(|line| line["operation"] == operation), "{operation}");
    }
}
