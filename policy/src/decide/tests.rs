use proptest::prelude::*;

use super::*;
use crate::id::PrincipalId;
use crate::operation::AdminOperation;
use crate::place::{Assurance, Place};

pub(super) const MINE: TenantId = TenantId::from_bytes([1; 16]);
const OTHER: TenantId = TenantId::from_bytes([2; 16]);

fn engineer(tenant: TenantId) -> Actor {
    Actor {
        tenant: Some(tenant),
        principal: PrincipalId::from_bytes([3; 16]),
        role: Role::Engineer,
        active: true,
        invited: false,
    }
}

fn administrator() -> Actor {
    actor(Role::PlatformAdministrator)
}

/// A principal with a role, of the tenant if it is a role of tenants.
pub(super) fn actor(role: Role) -> Actor {
    Actor { tenant: role.is_of_a_tenant().then_some(MINE), role, ..engineer(MINE) }
}

pub(super) fn bucket(tenant: TenantId) -> BucketFacts {
    BucketFacts { id: BucketId::from_bytes([4; 16]), tenant, residency: Residency::korea() }
}

pub(super) fn place(country: &str) -> VerifiedPlace {
    VerifiedPlace::known(Place {
        country: country.parse().unwrap(),
        subdivision: None,
        site: None,
        rack: None,
        operator: None,
        assurance: Assurance::SelfDeclared,
    })
}

pub(super) fn ask<'a>(
    operation: Operation,
    actor: Option<&'a Actor>,
    bucket: Option<&'a BucketFacts>,
    places: &'a [VerifiedPlace],
) -> Request<'a> {
    Request {
        operation,
        actor,
        bucket,
        source: None,
        expected_owner: None,
        expected_source_owner: None,
        tenant_residency: None,
        places,
        access: None,
    }
}

fn operation() -> impl Strategy<Value = Operation> {
    proptest::sample::select(Operation::S3)
}

proptest! {
    #[test]
    fn nobody_is_permitted_without_identity(operation in operation()) {
        let (mine, places) = (bucket(MINE), [place("KR")]);
        let denial = decide(&ask(operation, None, Some(&mine), &places)).unwrap_err();
        prop_assert_eq!(denial.rule(), rules::IDENTITY.id);
        prop_assert!(!denial.told_to_caller());
        let disabled = Actor { active: false, ..engineer(MINE) };
        prop_assert!(decide(&ask(operation, Some(&disabled), Some(&mine), &places)).is_err());
    }

    #[test]
    fn another_tenants_bucket_is_out_of_reach(operation in operation(), as_source: bool) {
        prop_assume!(operation != Operation::CreateBucket);
        let (mine, theirs, places, actor) = (bucket(MINE), bucket(OTHER), [place("KR")], engineer(MINE));
        let mut request = ask(operation, Some(&actor), Some(&mine), &places);
        prop_assert!(decide(&request).is_ok());
        if as_source { request.source = Some(&theirs) } else { request.bucket = Some(&theirs) }
        let denial = decide(&request).unwrap_err();
        prop_assert_eq!(denial.rule(), rules::TENANT.id);
        prop_assert!(!denial.told_to_caller(), "nothing about another tenant is told");
    }

    #[test]
    fn one_bad_place_among_many_denies_in_any_order(good in 0..4_usize, at in 0..5_usize, abroad: bool) {
        let mut places = vec![place("KR"); good];
        let bad = if abroad { place("JP") } else { VerifiedPlace::unknown() };
        places.insert(at.min(good), bad);
        let (mine, actor) = (bucket(MINE), engineer(MINE));
        let denial = decide(&ask(Operation::PutObject, Some(&actor), Some(&mine), &places)).unwrap_err();
        prop_assert_eq!(denial.rule(), if abroad { rules::KOREA.id } else { rules::UNKNOWN_PLACE.id });
        prop_assert!(denial.message().contains("PIPA Art. 28-8(1)"));
    }

    #[test]
    fn platform_administrators_reach_no_object(operation in operation()) {
        let (mine, places) = (bucket(MINE), [place("KR")]);
        let denial = decide(&ask(operation, Some(&administrator()), Some(&mine), &places)).unwrap_err();
        prop_assert_eq!(denial.rule(), rules::TENANT_REQUIRED.id);
        prop_assert!(!denial.told_to_caller(), "they are of no tenant, so of none that owns it");
    }
}

#[test]
fn reads_do_not_ask_where_bytes_would_rest() {
    let (mine, actor) = (bucket(MINE), engineer(MINE));
    assert!(decide(&ask(Operation::GetObject, Some(&actor), Some(&mine), &[])).is_ok());
    let denial = decide(&ask(Operation::PutObject, Some(&actor), Some(&mine), &[])).unwrap_err();
    assert_eq!(denial.rule(), rules::NOWHERE.id);
}

#[test]
fn an_expected_owner_is_enforced() {
    let (mine, places, actor) = (bucket(MINE), [place("KR")], engineer(MINE));
    let owner = MINE.to_string();
    let mut request = ask(Operation::GetObject, Some(&actor), Some(&mine), &places);
    request.expected_owner = Some(&owner);
    assert!(decide(&request).is_ok());
    for wrong in ["123456789012", ""] {
        request.expected_owner = Some(wrong);
        assert_eq!(decide(&request).unwrap_err().rule(), rules::OWNER.id);
    }
}

#[test]
fn the_admin_api_is_for_platform_administrators() {
    let operation = Operation::Admin(AdminOperation::TenantCreate);
    assert!(decide(&ask(operation, Some(&administrator()), None, &[])).is_ok());
    assert_eq!(decide(&ask(operation, Some(&engineer(MINE)), None, &[])).unwrap_err().rule(), rules::ADMIN_ROLE.id);
}

#[test]
fn keys_are_for_key_administrators_of_the_tenant() {
    let operation = Operation::Admin(AdminOperation::KeyRotate);
    let keeper = actor(Role::KeyAdministrator);
    assert_eq!(decide(&ask(operation, Some(&keeper), None, &[])).unwrap().tenant(), Some(MINE));
    let denial = decide(&ask(operation, Some(&engineer(MINE)), None, &[])).unwrap_err();
    assert!(denial.rule() == rules::KEY_ROLE.id && denial.told_to_caller());
    let denial = decide(&ask(operation, Some(&administrator()), None, &[])).unwrap_err();
    assert!(denial.rule() == rules::KEY_ROLE.id && !denial.told_to_caller());
    // A role of tenants without a tenant, and the other way round.
    for stray in [Actor { tenant: None, ..keeper.clone() }, Actor { tenant: Some(MINE), ..administrator() }] {
        let operations = AdminOperation::ALL.iter().map(|operation| Operation::Admin(*operation));
        assert!(operations.into_iter().all(|operation| decide(&ask(operation, Some(&stray), None, &[])).is_err()));
    }
    let (mine, places) = (bucket(MINE), [place("KR")]);
    let denial = decide(&ask(Operation::GetObject, Some(&keeper), Some(&mine), &places)).unwrap_err();
    assert_eq!(denial.rule(), rules::OBJECT_ROLE.id);
}

#[test]
fn a_narrowed_bucket_refuses_other_sites() {
    let narrow = Residency::within_korea(["KR-41".parse().unwrap()].into(), std::collections::BTreeSet::new()).unwrap();
    let (actor, places) = (engineer(MINE), [place("KR")]);
    let mine = BucketFacts { residency: narrow, ..bucket(MINE) };
    let denial = decide(&ask(Operation::PutObject, Some(&actor), Some(&mine), &places)).unwrap_err();
    assert_eq!(denial.rule(), rules::NARROWING.id);
}

#[test]
fn whoever_makes_a_bucket_learns_nothing_of_one_that_is_there() {
    let (actor, places) = (engineer(MINE), [place("KR")]);
    let narrow = Residency::within_korea(["KR-41".parse().unwrap()].into(), std::collections::BTreeSet::new()).unwrap();
    let theirs = BucketFacts { residency: narrow, ..bucket(OTHER) };
    let owner = OTHER.to_string();
    for expected in [None, Some(MINE.to_string())] {
        let free = ask(Operation::CreateBucket, Some(&actor), None, &places);
        let taken = Request { bucket: Some(&theirs), ..free };
        let [free, taken] = [free, taken].map(|r| decide(&Request { expected_owner: expected.as_deref(), ..r }));
        assert!(free.is_ok() && taken.is_ok(), "{taken:?}");
    }
    let guessed =
        Request { expected_owner: Some(&owner), ..ask(Operation::CreateBucket, Some(&actor), Some(&theirs), &places) };
    assert_eq!(decide(&guessed).unwrap_err().rule(), rules::OWNER.id, "a right guess is told like a wrong one");
}

#[test]
fn the_platform_reads_what_it_was_let_into_and_nothing_else() {
    let (administrator, places) = (administrator(), [place("KR")]);
    let (theirs, other) = (bucket(OTHER), BucketFacts { id: BucketId::from_bytes([5; 16]), ..bucket(OTHER) });
    let access = Access { bucket: theirs.id, reason: Reason::LegalRequest };
    for operation in Operation::S3 {
        let asked = Request { access: Some(&access), ..ask(*operation, Some(&administrator), Some(&theirs), &places) };
        let permit = decide(&asked);
        assert_eq!(permit.is_ok(), operation.reads_bucket(), "{}", operation.name());
        if let Ok(permit) = permit {
            assert_eq!((permit.tenant(), permit.reason()), (Some(OTHER), Reason::LegalRequest));
            assert!(permit.rules().contains(&rules::TWO_PERSONS.id));
        }
        assert!(decide(&Request { access: None, ..asked }).is_err());
        assert!(decide(&Request { bucket: Some(&other), ..asked }).is_err(), "another bucket");
        assert!(decide(&Request { source: Some(&theirs), ..asked }).is_err());
        let engineer = engineer(MINE);
        let by_engineer = decide(&Request { actor: Some(&engineer), ..asked }).is_err();
        assert!(by_engineer || !operation.reads_bucket(), "who is of a tenant is let in nowhere");
    }
}

#[test]
fn an_invitation_is_good_for_a_credential_alone() {
    let (mine, places) = (bucket(MINE), [place("KR")]);
    for role in Role::ALL {
        let [invited, enrolled] = [true, false].map(|invited| Actor { invited, ..actor(role) });
        let admin = AdminOperation::ALL.iter().map(|operation| Operation::Admin(*operation));
        for operation in Operation::S3.iter().copied().chain(admin) {
            let may = |actor| decide(&ask(operation, Some(actor), Some(&mine), &places)).is_ok();
            let enrol = operation == Operation::Admin(AdminOperation::Enrol);
            assert_eq!(may(&invited), enrol, "{} {}", role.name(), operation.name());
            assert!(!(enrol && may(&enrolled)));
        }
    }
}

#[test]
fn a_key_refuses_by_reason_and_a_tenant_makes_its_own_persons() {
    for reason in Reason::ALL {
        let refused: Reasons = Reason::ALL.into_iter().filter(|other| *other != reason).collect();
        assert!(may_use_key(refused, reason).is_ok() && may_use_key(Reasons::default(), reason).is_ok());
        let denial = may_use_key([reason].into_iter().collect(), reason).unwrap_err();
        assert!(denial.rule() == rules::KEY_REASON.id && denial.message().contains(reason.code()));
    }
    assert!(may_seat(None, false).is_ok() && may_seat(Some(MINE), true).is_ok() && may_seat(Some(MINE), false).is_ok());
    assert_eq!(may_seat(None, true).unwrap_err().rule(), rules::OWN_PERSONS.id);
}
