//! `docs/roles.md` is written from the decision: who may do what.

use std::fmt::Write;

use super::tests::{actor, ask, bucket, place};
use super::*;

/// What a role is for, in the words of whoever is given it.
const fn meaning(role: Role) -> &'static str {
    match role {
        Role::PlatformAdministrator => {
            "Runs the platform: makes tenants, and principals in those that have no administrator yet, narrows where data may rest, reads the access log."
        }
        Role::TenantAdministrator => {
            "Makes the principals and credentials of its tenant, narrows where its data may rest, and sees whom the platform let in."
        }
        Role::Engineer => "Uses the S3 interface within its tenant.",
        Role::KeyAdministrator => {
            "Manages the keys of its tenant: makes, brings, rotates, moves buckets between, suspends and, by two persons, destroys them."
        }
        Role::ComplianceOfficer => {
            "Reads the access log of its tenant and the ledger of its keys, and ends what the platform was let in for."
        }
        Role::Auditor => "Reads what the compliance officer reads, and ends nothing.",
        Role::Machine => {
            "A gateway or storage node: asks for its own certificates. Made by `gotgan certs invite`, and by nothing else."
        }
    }
}

fn may(role: Role, operation: Operation) -> bool {
    let (mine, places) = (bucket(tests::MINE), [place("KR")]);
    let invited = operation == Operation::Admin(AdminOperation::Enrol);
    let actor = Actor { invited, ..actor(role) };
    decide(&ask(operation, Some(&actor), Some(&mine), &places)).is_ok()
}

fn page() -> String {
    let mut out = String::from(
        "# Roles\n\n\
         Written by a test (`roles`) from the decision itself; run it with `GOTGAN_WRITE_DOCS=1` to write it anew.\n\n\
         A principal has one role. `gotgan principal create NAME --tenant TENANT --role ROLE` makes one; a platform administrator\n\
         and a machine belong to no tenant, every other role to one, and reach nothing of another.\n\n\
         | role | for |\n|---|---|\n",
    );
    for role in Role::ALL {
        let _infallible = writeln!(out, "| `{}` | {} |", role.name(), meaning(role));
    }
    out.push_str(
        "\nDuties are separate: who manages keys reads no object, who reads objects sees no key, who runs the platform does neither,\n\
         who makes principals does neither, who watches changes nothing but that it may end what the platform was let in for,\n\
         and a machine does nothing but ask for certificates.\n\
         `admin:Enrol` is for whoever holds an invitation, and that is good for nothing else. Two platform administrators together\n\
         may read one bucket for some hours ([emergency access](keys.md#emergency-access)); it is in the tenant's own log.\n\n\
         | operation |",
    );
    out.extend(Role::ALL.map(|role| format!(" {} |", role.name())));
    out.push_str("\n|---|");
    out.push_str(&"---|".repeat(Role::ALL.len()));
    out.push('\n');
    let admin = AdminOperation::ALL.iter().map(|operation| Operation::Admin(*operation));
    for operation in Operation::S3.iter().copied().chain(admin) {
        out.push_str(&format!("| {} |", operation.name()));
        out.extend(Role::ALL.map(|role| if may(role, operation) { " yes |" } else { " |" }));
        out.push('\n');
    }
    out
}

#[test]
fn the_page_of_roles_says_what_the_decision_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/roles.md");
    if std::env::var_os("GOTGAN_WRITE_DOCS").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), page(), "run with GOTGAN_WRITE_DOCS=1");
}

#[test]
fn no_role_both_manages_keys_and_reads_objects_and_each_operation_is_somebodys() {
    let admin = AdminOperation::ALL.iter().map(|operation| Operation::Admin(*operation));
    for operation in Operation::S3.iter().copied().chain(admin.clone()) {
        assert!(Role::ALL.into_iter().any(|role| may(role, operation)), "{}", operation.name());
    }
    for operation in admin {
        let enrols = operation == Operation::Admin(AdminOperation::Enrol);
        assert!(enrols || !may(Role::Engineer, operation), "{}", operation.name());
        let reads = enrols || ["List", "Show", "Ledger"].iter().any(|end| operation.name().ends_with(end));
        assert!(reads || !may(Role::Auditor, operation), "{}", operation.name());
        let ends = operation == Operation::Admin(AdminOperation::AccessEnd);
        assert_eq!(may(Role::ComplianceOfficer, operation), may(Role::Auditor, operation) || ends);
        let key = operation.name().starts_with("admin:Key");
        for role in [Role::TenantAdministrator, Role::PlatformAdministrator] {
            assert!(!(key && may(role, operation)), "{}", operation.name());
        }
    }
    for operation in Operation::S3 {
        assert!(Role::ALL.into_iter().all(|role| may(role, *operation) == (role == Role::Engineer)));
    }
}
