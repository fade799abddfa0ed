//! Principals, their credentials and invitations. The platform makes tenants, not the people in them: the first administrator of a
//! tenant enrols by an invitation, and from then on only the tenant makes principals in it. A secret is seen by its holder alone:
//! what administrators hand on is an invitation, which is exchanged for a credential once (SECURITY.md rule 20).
//!
//! Until a tenant has an administrator the platform makes principals and credentials in it, as the first start does in `demo`.
//! None of what the platform handed out serves any more when its administrator has enrolled, unless that says otherwise.

use http::StatusCode;
use policy::decide::may_seat;
use policy::id::{PrincipalId, TenantId};
use policy::principal::Role;
use serde_json::{Value, json};
use storage::catalog::ControlPut;

use super::accounts::{LIST_MAX, bad, name_of, tenant_id};
use super::approvals::conflict;
use super::{Admin, Call, Failure, Outcome, Then, named};
use crate::accounts::{NewCredential, new_credential, new_invitation, new_principal};
use crate::clock::{now, rfc3339};
use crate::control::{ControlRow, CredentialRow, PrincipalRow, Standing, TenantRow};
use crate::error::Error;

/// Makes a principal. An administrator of a tenant is given an invitation for it.
pub(super) async fn create(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let (name, role) = (name_of(call)?, role_of(call)?);
    if role == Role::Machine {
        return Err(bad("a machine is invited with what it is and where it stands: POST /v1/machines"));
    }
    let tenant = tenant_of(admin, call, role).await?;
    let unseated = seats(admin, call, tenant).await?;
    let row = made(admin, call, (tenant, name, role)).await?;
    if call.tenant.is_some() {
        let mut outcome = invited(admin, call, row)?;
        outcome.rows.extend(unseated);
        return Ok(outcome);
    }
    let rows = unseated.into_iter().chain([admin.gateway.control.create(&row)?]).collect();
    Ok(Outcome { log: tenant, ..Outcome::rows(rows, principal_json(&row)) })
}

/// A principal of that name, which nobody has.
pub(super) async fn made(
    admin: &Admin,
    call: &Call<'_>,
    (tenant, name, role): (Option<TenantId>, &str, Role),
) -> Result<PrincipalRow, Failure> {
    name_is_free(admin, tenant, name).await?;
    Ok(new_principal(tenant, name, role, Some(call.principal), now())?)
}

/// Whether nobody of the tenant, or of the platform, has a name.
pub(super) async fn name_is_free(admin: &Admin, tenant: Option<TenantId>, name: &str) -> Result<(), Failure> {
    let same = |row: &PrincipalRow| row.tenant == tenant && row.name == name;
    match admin.gateway.control.rows::<PrincipalRow>(1, same).await?.is_empty() {
        true => Ok(()),
        false => Err(conflict(format!("there is a principal {name} already"))),
    }
}

/// A new principal and its invitation.
pub(super) fn invited(admin: &Admin, call: &Call<'_>, row: PrincipalRow) -> Result<Outcome, Failure> {
    let row = row.given_secret(call.principal, now());
    let invitation = new_invitation(&admin.gateway.keys, &row, now())?;
    let mut answer = principal_json(&row);
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("invitation".to_owned(), secret_json(&invitation));
    }
    let control = &admin.gateway.control;
    Ok(Outcome::rows(vec![control.create(&row)?, control.create(&invitation.row)?], answer))
}

/// The first administrator of a tenant, by an invitation. Until one enrols, another may be invited.
pub(super) async fn invite_first(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let (tenant, name) = (call.path.get(1).copied().unwrap_or(""), name_of(call)?);
    let tenant = tenant_id(admin, tenant).await?;
    let unseated = seats(admin, call, Some(tenant)).await?;
    let row = made(admin, call, (Some(tenant), name, Role::TenantAdministrator)).await?;
    let mut outcome = invited(admin, call, row)?;
    outcome.rows.extend(unseated);
    Ok(Outcome { log: Some(tenant), ..outcome })
}

/// Exchanges an invitation for a credential that nobody else has seen. A tenant whose administrator does so is its own from then on.
pub(super) async fn enrol(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let keep = match call.body.get("keep_credentials") {
        None | Some(Value::Null) => false,
        Some(keep) => keep.as_bool().ok_or_else(|| bad("keep_credentials is true or false"))?,
    };
    let control = &admin.gateway.control;
    let known = control.standing::<CredentialRow>(call.access_key.as_str().as_bytes()).await?;
    let known = known.ok_or(Error::Missing("the invitation"))?;
    // Once more, as it stands: others may have had their turn since it was looked at.
    if !known.row.active || known.row.invited_until.is_none_or(|until| until <= now()) {
        return Err(conflict("the invitation was exchanged or revoked meanwhile, or is over"));
    }
    let person = control.standing::<PrincipalRow>(call.principal.as_bytes()).await?;
    let person = person.ok_or(Error::Missing("principal"))?.row;
    let credential = new_credential(&admin.gateway.keys, &person, now())?;
    let spent = CredentialRow { active: false, ..known.row.clone() };
    let mut rows = vec![control.replace(&known, &spent)?, control.create(&credential.row)?];
    let mut answer = secret_json(&credential);
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("name".to_owned(), json!(person.name));
        fields.insert("role".to_owned(), json!(person.role));
        if let (Some(tenant), Role::TenantAdministrator) = (person.tenant, person.role) {
            let (more, others) = seat(admin, (tenant, keep), (&person, &known.row)).await?;
            rows.extend(more);
            fields.insert("principals".to_owned(), Value::Array(others.iter().map(principal_json).collect()));
        }
    }
    Ok(Outcome { then: Then::ForgetAccounts, ..Outcome::rows(rows, answer) })
}

/// A tenant has its first administrator: credentials that the platform has seen serve no longer, but for those that the
/// administrator keeps; invitations of the platform never. Gives the principals that there were, for it to look at.
async fn seat(
    admin: &Admin,
    (tenant, keep): (TenantId, bool),
    (first, spent): (&PrincipalRow, &CredentialRow),
) -> Result<(Vec<ControlPut>, Vec<PrincipalRow>), Failure> {
    let control = &admin.gateway.control;
    let known = control.standing::<TenantRow>(tenant.as_bytes()).await?.ok_or(Error::Missing("tenant"))?;
    if known.row.seated {
        return Ok((Vec::new(), Vec::new()));
    }
    let others = |row: &PrincipalRow| row.tenant == Some(tenant) && row.id != first.id && row.active;
    let others = control.rows(LIST_MAX, others).await?;
    let mut rows = vec![control.replace(&known, &TenantRow { seated: true, ..known.row.clone() })?];
    // Of the first administrator itself none is kept: whoever made it may have one.
    let ends = |row: &CredentialRow| {
        let kept = keep && row.invited_until.is_none() && row.principal != first.id;
        row.tenant == Some(tenant) && row.active && row.access_key != spent.access_key && !kept
    };
    for credential in control.all_standing(ends).await? {
        rows.push(control.replace(&credential, &CredentialRow { active: false, ..credential.row.clone() })?);
    }
    Ok((rows, others))
}

pub(super) async fn list(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let tenant = match (call.tenant, call.query("tenant")) {
        (None, Some(name)) => Some(tenant_id(admin, &name).await?),
        // A tenant's administrator sees its own, and is not told which others there are.
        (own, _) => own,
    };
    let keep = |row: &PrincipalRow| tenant.is_none() || row.tenant == tenant;
    let rows: Vec<PrincipalRow> = admin.gateway.control.rows(LIST_MAX, keep).await?;
    Ok(Outcome::answer(json!({ "principals": rows.iter().map(principal_json).collect::<Vec<_>>() })))
}

pub(super) async fn disable(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let known = principal(admin, call, call.path.get(1).copied().unwrap_or("")).await?;
    if known.row.role == Role::Machine {
        // Its certificates would go on being believed.
        return Err(conflict("a machine is ended with its certificates: gotgan certs revoke"));
    }
    let unseated = seats(admin, call, known.row.tenant).await?;
    another_administrator(admin, &known.row, |credential| credential.principal != known.row.id).await?;
    let row = PrincipalRow { active: false, ..known.row.clone() };
    let rows = unseated.into_iter().chain([admin.gateway.control.replace(&known, &row)?]).collect();
    Ok(Outcome { then: Then::ForgetAccounts, log: row.tenant, ..Outcome::rows(rows, principal_json(&row)) })
}

/// A credential for a principal: an invitation to one, where an administrator of a tenant asks.
pub(super) async fn create_credential(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let known = principal(admin, call, call.text("principal")?).await?;
    let unseated = seats(admin, call, known.row.tenant).await?;
    if !known.row.active {
        return Err(conflict("the principal is disabled"));
    }
    let now = now();
    // What an administrator of a tenant, or a machine, is known by, the platform does not see either.
    let made = match (call.tenant, known.row.role) {
        (None, role) if !matches!(role, Role::TenantAdministrator | Role::Machine) => {
            new_credential(&admin.gateway.keys, &known.row, now)?
        }
        _ => new_invitation(&admin.gateway.keys, &known.row, now)?,
    };
    let row = known.row.clone().given_secret(call.principal, now);
    let control = &admin.gateway.control;
    let mut rows = vec![control.replace(&known, &row)?, control.create(&made.row)?];
    rows.extend(unseated);
    Ok(Outcome { log: row.tenant, ..Outcome::rows(rows, secret_json(&made)) })
}

pub(super) async fn list_credentials(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let principal = match call.query("principal") {
        None => None,
        Some(id) => Some(id.parse::<PrincipalId>().map_err(|_| bad("the principal is named by its id"))?),
    };
    let mine = |row: &CredentialRow| call.tenant.is_none() || row.tenant == call.tenant;
    let keep = |row: &CredentialRow| mine(row) && principal.is_none_or(|id| row.principal == id);
    let rows: Vec<CredentialRow> = admin.gateway.control.rows(LIST_MAX, keep).await?;
    Ok(Outcome::answer(json!({ "credentials": rows.iter().map(credential_json).collect::<Vec<_>>() })))
}

pub(super) async fn revoke_credential(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let id = call.path.get(1).copied().unwrap_or("");
    let known =
        of_tenant(call, admin.gateway.control.standing::<CredentialRow>(id.as_bytes()).await?, |row| row.tenant);
    let known = known.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "no such credential"))?;
    let unseated = seats(admin, call, known.row.tenant).await?;
    let person = admin.gateway.control.row::<PrincipalRow>(known.row.principal.as_bytes()).await?;
    if let Some(person) = person {
        another_administrator(admin, &person, |credential| credential.access_key != known.row.access_key).await?;
    }
    let row = CredentialRow { active: false, ..known.row.clone() };
    let rows = unseated.into_iter().chain([admin.gateway.control.replace(&known, &row)?]).collect();
    Ok(Outcome { then: Then::ForgetAccounts, log: row.tenant, ..Outcome::rows(rows, credential_json(&row)) })
}

/// Whether somebody administers the platform, or the tenant, still, without what is taken away: nobody else could let them in
/// again.
async fn another_administrator(
    admin: &Admin,
    of: &PrincipalRow,
    left: impl Fn(&CredentialRow) -> bool,
) -> Result<(), Failure> {
    let seated = match of.tenant {
        Some(tenant) => admin.gateway.control.row::<TenantRow>(tenant.as_bytes()).await?.is_some_and(|row| row.seated),
        None => true,
    };
    if !matches!(of.role, Role::PlatformAdministrator | Role::TenantAdministrator) || !seated {
        return Ok(());
    }
    let is_one = |row: &PrincipalRow| row.active && row.role == of.role && row.tenant == of.tenant;
    let persons: Vec<PrincipalRow> = admin.gateway.control.rows(LIST_MAX, is_one).await?;
    let serves = |row: &CredentialRow| row.active && row.invited_until.is_none();
    let holds = |row: &CredentialRow| serves(row) && left(row) && persons.iter().any(|one| one.id == row.principal);
    match admin.gateway.control.rows::<CredentialRow>(1, holds).await?.is_empty() {
        false => Ok(()),
        true => Err(conflict(
            "it is the last way in for administrators there: make another administrator and credential first",
        )),
    }
}

/// Whether whoever asks may make, and end, principals and credentials in a tenant. Until the tenant has an administrator it gives
/// the tenant's row, to be committed as it is: not when one enrols meanwhile.
async fn seats(admin: &Admin, call: &Call<'_>, tenant: Option<TenantId>) -> Result<Option<ControlPut>, Failure> {
    let Some(tenant) = tenant else { return Ok(None) };
    let control = &admin.gateway.control;
    let known = control.standing::<TenantRow>(tenant.as_bytes()).await?.ok_or(Error::Missing("tenant"))?;
    may_seat(call.tenant, known.row.seated).map_err(Error::Denied)?;
    if known.row.seated { Ok(None) } else { Ok(Some(control.replace(&known, &known.row)?)) }
}

/// The tenant that a new principal is to belong to: that of whoever asks, when it has one.
async fn tenant_of(admin: &Admin, call: &Call<'_>, role: Role) -> Result<Option<TenantId>, Failure> {
    let named = match call.body.get("tenant") {
        None | Some(Value::Null) => None,
        Some(_) => Some(call.text("tenant")?),
    };
    match (role.is_of_a_tenant(), named, call.tenant) {
        (false, _, Some(_)) => Err(Failure::new(StatusCode::FORBIDDEN, "the platform makes its administrators itself")),
        (false, Some(_), None) => Err(bad(&format!("a {} belongs to no tenant", role.name()))),
        (false, None, None) => Ok(None),
        (true, None, None) => Err(bad(&format!("the role {} belongs to a tenant: name it", role.name()))),
        (true, Some(name), None) => Ok(Some(tenant_id(admin, name).await?)),
        (true, None, Some(own)) => Ok(Some(own)),
        (true, Some(name), Some(own)) => match tenant_id(admin, name).await {
            Ok(id) if id == own => Ok(Some(own)),
            _ => Err(Failure::new(StatusCode::NOT_FOUND, format!("no tenant {name:?} of yours"))),
        },
    }
}

/// A row of the tenant of whoever asks; that of another is not there. The platform sees all.
fn of_tenant<R: ControlRow>(
    call: &Call<'_>,
    known: Option<Standing<R>>,
    tenant: impl Fn(&R) -> Option<TenantId>,
) -> Option<Standing<R>> {
    known.filter(|known| call.tenant.is_none() || tenant(&known.row) == call.tenant)
}

async fn principal(admin: &Admin, call: &Call<'_>, id: &str) -> Result<Standing<PrincipalRow>, Failure> {
    let id: PrincipalId = id.parse().map_err(|_| bad("the principal is named by its id"))?;
    let row = admin.gateway.control.standing::<PrincipalRow>(id.as_bytes()).await?;
    let row = of_tenant(call, row, |row| row.tenant);
    row.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "no such principal"))
}

fn role_of(call: &Call<'_>) -> Result<Role, Failure> {
    let Some(role) = call.body.get("role") else { return Ok(Role::Engineer) };
    named(role).ok_or_else(|| bad(&format!("the role is one of {}", Role::ALL.map(Role::name).join(", "))))
}

/// A credential with the secret that is shown once.
fn secret_json(made: &NewCredential) -> Value {
    let mut answer = credential_json(&made.row);
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("secret_access_key".to_owned(), Value::String(made.secret.to_string()));
    }
    answer
}

fn principal_json(row: &PrincipalRow) -> Value {
    json!({
        "id": row.id.to_string(),
        "tenant": row.tenant.map(|t| t.to_string()),
        "name": row.name,
        "role": row.role,
        "active": row.active,
        "created": rfc3339(row.created),
    })
}

fn credential_json(row: &CredentialRow) -> Value {
    json!({
        "access_key_id": row.access_key.as_str(),
        "principal": row.principal.to_string(),
        "tenant": row.tenant.map(|t| t.to_string()),
        "active": row.active,
        "created": rfc3339(row.created),
        "invited_until": row.invited_until.map(rfc3339),
    })
}
