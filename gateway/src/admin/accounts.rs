//! Tenants and bucket residency.

use http::StatusCode;
use policy::id::TenantId;
use policy::name::BucketName;
use policy::residency::Residency;
use serde_json::{Value, json};
use storage::catalog::{BucketRow, ControlKind};

use super::{Admin, Call, Failure, Outcome};
use crate::accounts::{is_name, new_tenant};
use crate::approval::is_plain;
use crate::clock::{now, rfc3339};
use crate::control::TenantRow;

/// Sites that a bucket is narrowed to.
const SITES_MAX: usize = 100;
/// Bytes of the name of one.
const SITE_MAX: usize = 63;
/// Lines of one list.
pub(super) const LIST_MAX: usize = 10_000;

pub(super) fn create_tenant(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let name = name_of(call)?;
    let (tenant, rows) = new_tenant(&admin.gateway.control, &admin.gateway.keys, name, now())?;
    Ok(Outcome::rows(rows, tenant_json(&tenant)))
}

pub(super) async fn list_tenants(admin: &Admin) -> Result<Outcome, Failure> {
    let rows: Vec<TenantRow> = admin.gateway.control.rows(LIST_MAX, |_| true).await?;
    Ok(Outcome::answer(json!({ "tenants": rows.iter().map(tenant_json).collect::<Vec<_>>() })))
}

/// A bucket's residency can be narrowed, never widened.
pub(super) async fn narrow_bucket(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let name: BucketName = call.path.get(1).copied().unwrap_or("").parse().map_err(|_| bad("not a bucket name"))?;
    let known = admin.gateway.control.bucket(&name).await?;
    // To a tenant's administrator the bucket of another is not there.
    let known = known.filter(|bucket| call.tenant.is_none_or(|tenant| bucket.tenant == tenant));
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
    let bucket = Some(update.row.name.clone());
    Ok(Outcome { bucket, log: Some(known.tenant), buckets: vec![update], ..Outcome::answer(answer) })
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

pub(super) fn name_of<'a>(call: &'a Call<'_>) -> Result<&'a str, Failure> {
    let name = call.text("name")?;
    if is_name(name) {
        Ok(name)
    } else {
        Err(bad("a name has 1 to 63 of a-z 0-9 . _ @ - and begins with a letter or digit"))
    }
}

fn texts(call: &Call<'_>, field: &str) -> Result<Vec<String>, Failure> {
    let Some(value) = call.body.get(field) else { return Ok(Vec::new()) };
    serde_json::from_value(value.clone()).map_err(|_| bad(&format!("{field:?} is a list of texts")))
}

pub(super) fn bad(why: &str) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, why)
}

fn tenant_json(row: &TenantRow) -> Value {
    json!({
        "id": row.id.to_string(),
        "name": row.name,
        "created": rfc3339(row.created),
        "residency": row.residency,
        "seated": row.seated,
    })
}
