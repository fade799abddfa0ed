//! The cost of one decision.
#![expect(missing_docs, clippy::unwrap_used, reason = "a bench")]

use criterion::{Criterion, criterion_group, criterion_main};
use policy::decide::{BucketFacts, Request, decide};
use policy::id::{BucketId, PrincipalId, TenantId};
use policy::operation::Operation;
use policy::place::{Assurance, Place, VerifiedPlace};
use policy::principal::{Actor, Role};
use policy::residency::Residency;

fn bench(c: &mut Criterion) {
    let tenant = TenantId::from_bytes([1; 16]);
    let actor = Actor {
        tenant: Some(tenant),
        principal: PrincipalId::from_bytes([2; 16]),
        role: Role::Engineer,
        active: true,
        invited: false,
    };
    let bucket = BucketFacts { id: BucketId::from_bytes([3; 16]), tenant, residency: Residency::korea() };
    let places = [VerifiedPlace::known(Place {
        country: "KR".parse().unwrap(),
        subdivision: Some("KR-41".parse().unwrap()),
        site: None,
        rack: None,
        operator: None,
        assurance: Assurance::SelfDeclared,
    })];
    let request = Request {
        operation: Operation::PutObject,
        actor: Some(&actor),
        bucket: Some(&bucket),
        source: None,
        expected_owner: None,
        expected_source_owner: None,
        tenant_residency: None,
        places: &places,
        access: None,
    };
    assert!(decide(&request).is_ok(), "a permit is measured, not a denial");
    c.bench_function("decide put", |b| b.iter(|| decide(std::hint::black_box(&request)).map(|p| p.rules().len())));
}

criterion_group!(benches, bench);
criterion_main!(benches);
