//! The decision. Every request needs a [`Permit`], and only [`decide`] makes one.
//!
//! ```compile_fail
//! let forged = policy::decide::Permit { operation: policy::operation::Operation::GetObject };
//! ```

use crate::id::{BucketId, TenantId};
use crate::operation::{AdminOperation, Operation};
use crate::place::VerifiedPlace;
use crate::principal::{Actor, Role};
use crate::reason::{Reason, Reasons};
use crate::residency::{Residency, ResidencyRefusal};
use crate::rules::{self, Citation, Rule, RuleId};

/// What the decision knows of a bucket.
#[derive(Debug, Clone)]
pub struct BucketFacts {
    /// Its id.
    pub id: BucketId,
    /// Its owner.
    pub tenant: TenantId,
    /// Where its data may rest.
    pub residency: Residency,
}

/// A request, as far as the decision depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What is asked.
    pub operation: Operation,
    /// Who asks; none when not authenticated.
    pub actor: Option<&'a Actor>,
    /// The bucket named, if it exists.
    pub bucket: Option<&'a BucketFacts>,
    /// The bucket that a copy reads, if it exists.
    pub source: Option<&'a BucketFacts>,
    /// `x-amz-expected-bucket-owner`.
    pub expected_owner: Option<&'a str>,
    /// `x-amz-source-expected-bucket-owner`.
    pub expected_source_owner: Option<&'a str>,
    /// The tenant's residency, which a new bucket inherits.
    pub tenant_residency: Option<&'a Residency>,
    /// Where bytes would rest, the catalog included.
    pub places: &'a [VerifiedPlace],
    /// What the platform's principal that asks was let in for, if it was.
    pub access: Option<&'a Access>,
}

/// The platform was let into a bucket by two of its persons, and it is not over.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    /// The bucket.
    pub bucket: BucketId,
    /// Why.
    pub reason: Reason,
}

/// Leave to do one thing once. Not `Clone`, made by [`decide`] alone.
#[derive(Debug)]
pub struct Permit {
    operation: Operation,
    tenant: Option<TenantId>,
    residency: Residency,
    reason: Reason,
    rules: Vec<RuleId>,
}

impl Permit {
    /// What is permitted.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        self.operation
    }

    /// For whom.
    #[must_use]
    pub const fn tenant(&self) -> Option<TenantId> {
        self.tenant
    }

    /// Where bytes may rest.
    #[must_use]
    pub const fn residency(&self) -> &Residency {
        &self.residency
    }

    /// Why keys are used for it.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// The rules that were asked and held.
    #[must_use]
    pub fn rules(&self) -> &[RuleId] {
        &self.rules
    }
}

/// A refusal, with the rule that decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    rule: Rule,
    detail: String,
    told: bool,
}

impl Denial {
    fn new(rule: Rule, detail: impl Into<String>, told: bool) -> Self {
        Self { rule, detail: detail.into(), told }
    }

    /// The rule that decided.
    #[must_use]
    pub const fn rule(&self) -> RuleId {
        self.rule.id
    }

    /// What the rule carries out.
    #[must_use]
    pub const fn citation(&self) -> Option<Citation> {
        self.rule.citation
    }

    /// For principals of the owning tenant: rule, reason, citation.
    #[must_use]
    pub fn message(&self) -> String {
        let citation = self.rule.citation.map(|c| format!(" ({c})")).unwrap_or_default();
        format!("Denied by rule {}: {}{citation}", self.rule.id, self.detail)
    }

    /// Whether the caller may read [`Self::message`]; others learn only that access is denied (SECURITY.md rule 9).
    #[must_use]
    pub const fn told_to_caller(&self) -> bool {
        self.told
    }
}

/// Decides a request: allow with a permit, or deny with the rule. What is unknown is denied.
///
/// # Errors
/// The [`Denial`].
pub fn decide(request: &Request<'_>) -> Result<Permit, Denial> {
    let mut held = Vec::with_capacity(5);
    let actor = identity(request, &mut held)?;
    if let Operation::Admin(operation) = request.operation {
        return admin(operation, actor, held);
    }
    let Some(tenant) = actor.tenant else {
        return let_in(request, actor, held);
    };
    held.push(rules::TENANT_REQUIRED.id);
    if actor.role != Role::Engineer {
        let why = format!("a {} reaches no objects", actor.role.name());
        return Err(Denial::new(rules::OBJECT_ROLE, why, true));
    }
    held.push(rules::OBJECT_ROLE.id);
    // Who makes a bucket decides nothing about one of that name: not even that it is narrowed is told.
    let request = match request.operation {
        Operation::CreateBucket => &Request { bucket: None, ..*request },
        _ => request,
    };
    for bucket in [request.bucket, request.source].into_iter().flatten() {
        if bucket.tenant != tenant {
            return Err(Denial::new(rules::TENANT, "the bucket belongs to another tenant", false));
        }
        held.push(rules::TENANT.id);
    }
    expected_owner(request, tenant, &mut held)?;
    let residency = residency(request);
    if request.operation.stores_bytes() {
        rests(&residency, request.places, &mut held)?;
    }
    held.dedup();
    let reason = Reason::CustomerRequest;
    Ok(Permit { operation: request.operation, tenant: Some(tenant), residency, reason, rules: held })
}

/// A principal of the platform reads a bucket that it was let into, and nothing else.
fn let_in(request: &Request<'_>, actor: &Actor, mut held: Vec<RuleId>) -> Result<Permit, Denial> {
    let denied = || Denial::new(rules::TENANT_REQUIRED, "platform administrators reach no objects", false);
    let (Some(access), Some(bucket)) = (request.access, request.bucket) else { return Err(denied()) };
    if actor.role != Role::PlatformAdministrator || access.bucket != bucket.id || request.source.is_some() {
        return Err(denied());
    }
    if !request.operation.reads_bucket() {
        return Err(Denial::new(rules::TWO_PERSONS, "what was approved is to read, and no more", true));
    }
    held.push(rules::TWO_PERSONS.id);
    expected_owner(request, bucket.tenant, &mut held)?;
    Ok(Permit {
        operation: request.operation,
        tenant: Some(bucket.tenant),
        residency: residency(request),
        reason: access.reason,
        rules: held,
    })
}

/// Whether somebody of the platform may make principals and credentials in a tenant: until the tenant has an administrator.
///
/// # Errors
/// The [`Denial`].
pub fn may_seat(actor: Option<TenantId>, tenant_is_seated: bool) -> Result<(), Denial> {
    match actor.is_none() && tenant_is_seated {
        true => Err(Denial::new(rules::OWN_PERSONS, "the tenant has an administrator of its own: ask there", true)),
        false => Ok(()),
    }
}

fn identity<'a>(request: &Request<'a>, held: &mut Vec<RuleId>) -> Result<&'a Actor, Denial> {
    let Some(actor) = request.actor else {
        return Err(Denial::new(rules::IDENTITY, "the request is not signed", false));
    };
    if !actor.active {
        return Err(Denial::new(rules::IDENTITY, "the principal is disabled", false));
    }
    if actor.invited != (request.operation == Operation::Admin(AdminOperation::Enrol)) {
        let why = "an invitation is exchanged for a credential, once, and is good for nothing else";
        return Err(Denial::new(rules::IDENTITY, why, true));
    }
    held.push(rules::IDENTITY.id);
    Ok(actor)
}

fn admin(operation: AdminOperation, actor: &Actor, mut held: Vec<RuleId>) -> Result<Permit, Denial> {
    let roles = operation.roles();
    let platform = roles.iter().any(|role| !role.is_of_a_tenant());
    let rule = if platform { rules::ADMIN_ROLE } else { rules::KEY_ROLE };
    if !roles.contains(&actor.role) || actor.tenant.is_some() != actor.role.is_of_a_tenant() {
        let names: Vec<_> = roles.iter().map(|role| role.name()).collect();
        let why = format!("{} is for a {}, and the principal is none", operation.name(), names.join(" or "));
        // What is the platform's matter is not told to tenants.
        return Err(Denial::new(rule, why, operation.is_of_tenants() && actor.tenant.is_some()));
    }
    held.push(rule.id);
    Ok(Permit {
        operation: Operation::Admin(operation),
        tenant: actor.tenant,
        residency: Residency::korea(),
        reason: Reason::CustomerRequest,
        rules: held,
    })
}

fn expected_owner(request: &Request<'_>, tenant: TenantId, held: &mut Vec<RuleId>) -> Result<(), Denial> {
    let pairs = [(request.expected_owner, request.bucket), (request.expected_source_owner, request.source)];
    for (expected, bucket) in pairs {
        let Some(expected) = expected else { continue };
        let owner = bucket.map_or(tenant, |b| b.tenant);
        if expected.parse::<TenantId>() != Ok(owner) {
            return Err(Denial::new(rules::OWNER, "the bucket has another owner than expected", true));
        }
        held.push(rules::OWNER.id);
    }
    Ok(())
}

/// A bucket carries what it inherited; a new one inherits from its tenant; the floor is Korea.
fn residency(request: &Request<'_>) -> Residency {
    request.bucket.map(|b| &b.residency).or(request.tenant_residency).cloned().unwrap_or_else(Residency::korea)
}

/// Whether bytes that were permitted may still come to rest there: a place can change, or its proof end, while they
/// arrive (SECURITY.md rule 17).
///
/// # Errors
/// The [`Denial`] that a request for them would get now.
pub fn still_rests(residency: &Residency, places: &[VerifiedPlace]) -> Result<(), Denial> {
    rests(residency, places, &mut Vec::new())
}

/// Whether a tenant key that refuses some reasons may be used for this one. Asked at each use, and beside its provider.
///
/// # Errors
/// The [`Denial`].
pub fn may_use_key(refused: Reasons, reason: Reason) -> Result<(), Denial> {
    match refused.contains(reason) {
        true => {
            Err(Denial::new(rules::KEY_REASON, format!("the tenant key refuses the reason {}", reason.code()), true))
        }
        false => Ok(()),
    }
}

fn rests(residency: &Residency, places: &[VerifiedPlace], held: &mut Vec<RuleId>) -> Result<(), Denial> {
    if places.is_empty() {
        return Err(Denial::new(rules::NOWHERE, "no node is there to keep the data", true));
    }
    for place in places {
        residency.admits(place).map_err(|refusal| {
            let rule = match refusal {
                ResidencyRefusal::Unknown => rules::UNKNOWN_PLACE,
                ResidencyRefusal::Country => rules::KOREA,
                ResidencyRefusal::Narrowed => rules::NARROWING,
            };
            Denial::new(rule, refusal.to_string(), true)
        })?;
    }
    held.push(rules::KOREA.id);
    Ok(())
}

#[cfg(test)]
mod roles;
#[cfg(test)]
mod tests;
