//! Tenants, principals, credentials and bucket residency.

use http::StatusCode;
use policy::id::{PrincipalId, TenantId};
use policy::name::BucketName;
use policy::principal::Role;
use policy::residency::Residency;
use serde_json::{Value, json};
use storage::catalog::{BucketRow, ControlKind};

use super::{Admin, Call, Failure, Outcome, Then};
use crate::accounts::{is_name, new_credential, new_principal, new_tenant};
use crate::clock::{now, rfc3339};
use crate::control::{CredentialRow, PrincipalRow, Standing, TenantRow};
use crate::destruction::is_plain;

/// Sites that a bucket is narrowed to.
const SITES_MAX: usize = 100;
/// Bytes of the name of one.
const SITE_MAX: usize = 63;
/// Lines of one list.
const LIST_MAX: usize = 10_000;

pub(super) fn create_tenant(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let name = name_of(call)?;
    let (tenant, rows) = new_tenant(&admin.gateway.control, &admin.gateway.keys, name, now())?;
    Ok(Outcome::rows(rows, tenant_json(&tenant)))
}

pub(super) async fn list_tenants(admin: &Admin) -> Result<Outcome, Failure> {
    let rows: Vec<TenantRow> = admin.gateway.control.rows(LIST_MAX, |_| true).await?;
    Ok(Outcome::answer(json!({ "tenants": rows.iter().map(tenant_json).collect::<Vec<_>>() })))
}

pub(super) async fn create_principal(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let name = name_of(call)?;
    let role = role_of(call)?;
    let named = match call.body.get("tenant") {
        None | Some(Value::Null) => None,
        Some(_) => Some(call.text("tenant")?),
    };
    let tenant = match (role.is_of_a_tenant(), named) {
        (false, None) => None,
        (false, Some(_)) => return Err(bad(&format!("a {} belongs to no tenant", role.name()))),
        (true, None) => return Err(bad(&format!("the role {} belongs to a tenant: name it", role.name()))),
        (true, Some(name)) => Some(tenant_id(admin, name).await?),
    };
    let same = |row: &PrincipalRow| row.tenant == tenant && row.name == name;
    if !admin.gateway.control.rows::<PrincipalRow>(1, same).await?.is_empty() {
        return Err(Failure::new(StatusCode::CONFLICT, format!("there is a principal {name} already")));
    }
    let row = new_principal(tenant, name, role, now())?;
    Ok(Outcome::rows(vec![admin.gateway.control.create(&row)?], principal_json(&row)))
}

pub(super) async fn list_principals(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let tenant = match call.query("tenant") {
        None => None,
        Some(name) => Some(tenant_id(admin, &name).await?),
    };
    let keep = |row: &PrincipalRow| tenant.is_none() || row.tenant == tenant;
    let rows: Vec<PrincipalRow> = admin.gateway.control.rows(LIST_MAX, keep).await?;
    Ok(Outcome::answer(json!({ "principals": rows.iter().map(principal_json).collect::<Vec<_>>() })))
}

pub(super) async fn disable_principal(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let known = principal(admin, call.path.get(1).copied().unwrap_or("")).await?;
    if known.row.role == Role::PlatformAdministrator {
        another_administrator(admin, |credential| credential.principal != known.row.id).await?;
    }
    let row = PrincipalRow { active: false, ..known.row.clone() };
    let rows = vec![admin.gateway.control.replace(&known, &row)?];
    Ok(Outcome { then: Then::ForgetAccounts, ..Outcome::rows(rows, principal_json(&row)) })
}

pub(super) async fn create_credential(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let row = principal(admin, call.text("principal")?).await?.row;
    if !row.active {
        return Err(Failure::new(StatusCode::CONFLICT, "the principal is disabled"));
    }
    let made = new_credential(&admin.gateway.keys, &row, now())?;
    let mut answer = credential_json(&made.row);
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("secret_access_key".to_owned(), Value::String(made.secret.to_string()));
    }
    Ok(Outcome::rows(vec![admin.gateway.control.create(&made.row)?], answer))
}

pub(super) async fn list_credentials(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let principal = match call.query("principal") {
        None => None,
        Some(id) => Some(id.parse::<PrincipalId>().map_err(|_| bad("the principal is named by its id"))?),
    };
    let keep = |row: &CredentialRow| principal.is_none_or(|id| row.principal == id);
    let rows: Vec<CredentialRow> = admin.gateway.control.rows(LIST_MAX, keep).await?;
    Ok(Outcome::answer(json!({ "credentials": rows.iter().map(credential_json).collect::<Vec<_>>() })))
}

pub(super) async fn revoke_credential(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let id = call.path.get(1).copied().unwrap_or("");
    let known = admin.gateway.control.standing::<CredentialRow>(id.as_bytes()).await?;
    let known = known.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "no such credential"))?;
    if known.row.tenant.is_none() {
        another_administrator(admin, |credential| credential.access_key != known.row.access_key).await?;
    }
    let row = CredentialRow { active: false, ..known.row.clone() };
    let rows = vec![admin.gateway.control.replace(&known, &row)?];
    Ok(Outcome { then: Then::ForgetAccounts, ..Outcome::rows(rows, credential_json(&row)) })
}

/// Whether somebody administers the platform still, without what is taken away: nobody else could let them in again.
async fn another_administrator(admin: &Admin, left: impl Fn(&CredentialRow) -> bool) -> Result<(), Failure> {
    let is_one = |row: &PrincipalRow| row.active && row.role == Role::PlatformAdministrator;
    let persons: Vec<PrincipalRow> = admin.gateway.control.rows(LIST_MAX, is_one).await?;
    let holds = |row: &CredentialRow| row.active && left(row) && persons.iter().any(|one| one.id == row.principal);
    match admin.gateway.control.rows::<CredentialRow>(1, holds).await?.is_empty() {
        false => Ok(()),
        true => Err(Failure::new(
            StatusCode::CONFLICT,
            "it is the last way in for administrators of the platform: make another administrator and credential first",
        )),
    }
}

/// A bucket's residency can be narrowed, never widened.
pub(super) async fn narrow_bucket(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let name: BucketName = call.path.get(1).copied().unwrap_or("").parse().map_err(|_| bad("not a bucket name"))?;
    let known = admin.gateway.control.bucket(&name).await?;
    let known = known.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "no such bucket"))?;
    let mut subdivisions = std::collections::BTreeSet::new();
    for code in texts(call, "subdivisions")? {
        subdivisions.insert(code.parse().map_err(|e| bad(&format!("{code:?} is no ISO 3166-2 code: {e}")))?);
    }
    let sites = texts(call, "sites")?;
    if sites.len() > SITES_MAX
        || sites.iter().any(|site| !(1..=SITE_MAX).contains(&site.trim().chars().count()) || !is_plain(site))
    {
        return Err(bad(&format!("sites are at most {SITES_MAX} names of 1 to {SITE_MAX} characters")));
    }
    let sites = sites.into_iter().collect();
    let inner = Residency::within_korea(subdivisions, sites).map_err(|e| bad(&e.to_string()))?;
    let residency = known.residency.narrow(&inner).map_err(|e| Failure::new(StatusCode::CONFLICT, e.to_string()))?;
    let update = admin.gateway.control.update(&known, BucketRow { residency, ..BucketRow::clone(&known) })?;
    let answer = json!({ "bucket": update.row.name.to_string(), "residency": update.row.residency });
    Ok(Outcome { buckets: vec![update], ..Outcome::answer(answer) })
}

/// The id of a tenant that is given by name or id.
pub(super) async fn tenant_id(admin: &Admin, name: &str) -> Result<TenantId, Failure> {
    let known = admin.gateway.control.content(ControlKind::TenantName, name.as_bytes()).await?;
    let by_name = known.and_then(|bytes| <[u8; 16]>::try_from(bytes.as_slice()).ok()).map(TenantId::from_bytes);
    let id = match by_name {
        Some(id) => Some(id),
        None => match name.parse::<TenantId>() {
            Ok(id) => admin.gateway.control.row::<TenantRow>(id.as_bytes()).await?.map(|row| row.id),
            Err(_) => None,
        },
    };
    id.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, format!("no tenant {name:?}")))
}

async fn principal(admin: &Admin, id: &str) -> Result<Standing<PrincipalRow>, Failure> {
    let id: PrincipalId = id.parse().map_err(|_| bad("the principal is named by its id"))?;
    let row = admin.gateway.control.standing::<PrincipalRow>(id.as_bytes()).await?;
    row.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "no such principal"))
}

pub(super) fn name_of<'a>(call: &'a Call<'_>) -> Result<&'a str, Failure> {
    let name = call.text("name")?;
    if is_name(name) {
        Ok(name)
    } else {
        Err(bad("a name has 1 to 63 of a-z 0-9 . _ @ - and begins with a letter or digit"))
    }
}

fn role_of(call: &Call<'_>) -> Result<Role, Failure> {
    let Some(role) = call.body.get("role") else { return Ok(Role::Engineer) };
    serde_json::from_value(role.clone())
        .map_err(|_| bad(&format!("the role is one of {}", Role::ALL.map(Role::name).join(", "))))
}

fn texts(call: &Call<'_>, field: &str) -> Result<Vec<String>, Failure> {
    let Some(value) = call.body.get(field) else { return Ok(Vec::new()) };
    serde_json::from_value(value.clone()).map_err(|_| bad(&format!("{field:?} is a list of texts")))
}

pub(super) fn bad(why: &str) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, why)
}

fn tenant_json(row: &TenantRow) -> Value {
    json!({ "id": row.id.to_string(), "name": row.name, "created": rfc3339(row.created), "residency": row.residency })
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
    })
}
