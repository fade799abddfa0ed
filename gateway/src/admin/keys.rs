//! Tenant keys, as their key administrators manage them. Each request is for the tenant of whoever asks.

use http::StatusCode;
use policy::id::{KeyId, TenantId};
use policy::name::BucketName;
use serde_json::{Value, json};
use storage::catalog::ControlKind;

use super::accounts::{bad, name_of};
use super::{Admin, Call, Failure, Outcome, Then, named};
use crate::accounts::new_key;
use crate::approval::is_plain;
use crate::clock::{now, rfc3339};
use crate::control::{KeyState, Standing, TenantKeyRow, TenantRow};
use crate::error::Error;
use crate::keys::Behind;
use crate::rotation::{self, Rotation};
use crate::seal::Suite;

pub(super) mod import;
pub(super) mod uses;

/// Keys of one tenant.
const KEYS_MAX: usize = 1000;
/// Days from one rotation by schedule to the next.
const DAYS: std::ops::RangeInclusive<u32> = 1..=3650;
/// Buckets that are read at once.
const PAGE: usize = 256;
/// Characters of a reason.
const REASON_MAX: usize = 500;

pub(super) async fn create(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let (tenant, name) = (tenant(call)?, name_of(call)?);
    let suite = match call.body.get("algorithm") {
        None => Suite::Aes256Gcm,
        Some(name) => named(name)
            .ok_or_else(|| bad(&format!("the algorithm is one of {}", Suite::ALL.map(Suite::name).join(", "))))?,
    };
    let provider = import::provider_of(call)?;
    if keys_of(admin, tenant).await?.len() >= KEYS_MAX {
        return Err(Failure::new(
            StatusCode::CONFLICT,
            format!("the tenant has {KEYS_MAX} keys, and may not have more"),
        ));
    }
    // Before the provider makes one that nobody would know of; the commit decides.
    let before = uses::free_name(admin, tenant, name).await?;
    let (row, mut rows) = match call.body.get("import") {
        None | Some(Value::Null) => {
            (admin.gateway.keys.new_key((tenant, name), provider, suite, now()).await?, Vec::new())
        }
        Some(import) => import::brought(admin, call, name, (provider, suite), import).await?,
    };
    rows.extend(new_key(&admin.gateway.control, &row, before)?);
    let made = Some(Box::new(row.clone()));
    Ok(about(&row, Outcome { made, ..Outcome::rows(rows, key_json(&row, None)) })?)
}

pub(super) async fn list(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let tenant = tenant(call)?;
    let default = of_tenant(admin, tenant).await?.row.key;
    let keys = keys_of(admin, tenant).await?;
    let keys: Vec<Value> = keys.iter().map(|row| key_json(row, Some(default))).collect();
    Ok(Outcome::answer(json!({ "keys": keys })))
}

/// One key with its versions and the buckets that hang on it.
pub(super) async fn show(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let row = named_key(admin, call).await?.row;
    let default = of_tenant(admin, row.tenant).await?.row.key;
    let mut buckets = Vec::new();
    let mut after: Option<BucketName> = None;
    loop {
        let page = admin.gateway.control.buckets(row.tenant, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.name.clone());
        for bucket in &page {
            if admin.gateway.keys.hangs_on(bucket, row.id).map_err(Error::from)? {
                buckets.push(bucket.name.to_string());
            }
        }
    }
    let versions: Vec<Value> = row
        .versions
        .iter()
        .map(|v| {
            json!({
                "version": v.number,
                "created": rfc3339(v.created),
                "fingerprint": v.fingerprint,
                "origin": v.origin,
                "destroyed": v.destroyed.map(rfc3339),
            })
        })
        .collect();
    let mut answer = key_json(&row, Some(default));
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("versions".to_owned(), Value::Array(versions));
        fields.insert("buckets".to_owned(), json!(buckets));
        let aliases = uses::aliases(admin, row.tenant).await?.remove(&row.id).unwrap_or_default();
        fields.insert("aliases".to_owned(), json!(aliases));
    }
    Ok(about(&row, Outcome::answer(answer))?)
}

/// A new version, and every bucket key that hangs on the key wrapped by it, in one commit. Objects stay as they are.
pub(super) async fn rotate(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let known = named_key(admin, call).await?;
    active(&known.row)?;
    let Rotation { row, buckets } = rotation::rotate(&admin.gateway, &known.row).await?;
    let mut answer = key_json(&row, None);
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("buckets_wrapped_anew".to_owned(), json!(buckets.len()));
    }
    let rows = vec![admin.gateway.control.replace(&known, &row)?];
    Ok(about(&row, Outcome { buckets, ..Outcome::rows(rows, answer) })?)
}

/// Rotates it every so many days from then on, or no more.
pub(super) async fn schedule(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let known = named_key(admin, call).await?;
    if known.row.state.is_destroyed() {
        return Err(destroyed());
    }
    let rotate_days = match call.body.get("days") {
        None | Some(Value::Null) => None,
        Some(days) => {
            let days = days.as_u64().and_then(|days| u32::try_from(days).ok()).filter(|days| DAYS.contains(days));
            Some(days.ok_or_else(|| bad(&format!("days is {} to {}", DAYS.start(), DAYS.end())))?)
        }
    };
    let row = TenantKeyRow { rotate_days, ..known.row.clone() };
    let rows = vec![admin.gateway.control.replace(&known, &row)?];
    Ok(about(&row, Outcome::rows(rows, key_json(&row, None)))?)
}

/// From its commit on nothing that hangs on the key is opened or sealed.
pub(super) async fn suspend(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let known = named_key(admin, call).await?;
    let reason = call.text("reason")?.trim();
    if reason.is_empty() || reason.chars().count() > REASON_MAX || !is_plain(reason) {
        return Err(bad(&format!(
            "a suspension needs a reason of 1 to {REASON_MAX} characters, none of which hides others"
        )));
    }
    active(&known.row)?;
    let state = KeyState::Suspended { since: now(), reason: reason.to_owned() };
    let id = known.row.id;
    Ok(Outcome { then: Then::Close(vec![Behind::Key(id)]), ..set(admin, &known, state)? })
}

pub(super) async fn resume(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let known = named_key(admin, call).await?;
    match known.row.state {
        KeyState::Active => Err(Failure::new(StatusCode::CONFLICT, "the key is not suspended")),
        KeyState::PendingDestruction { .. } => {
            Err(Failure::new(StatusCode::CONFLICT, "the key is to be destroyed: cancel that first"))
        }
        KeyState::Destroyed { .. } => Err(destroyed()),
        // Rotations of its buckets waited for it.
        KeyState::Suspended { .. } => {
            Ok(Outcome { then: Then::Rewrap { _held: None }, ..set(admin, &known, KeyState::Active)? })
        }
    }
}

/// New buckets hang on it from then on.
pub(super) async fn make_default(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let row = named_key(admin, call).await?.row;
    active(&row)?;
    let known = of_tenant(admin, row.tenant).await?;
    let changed = TenantRow { key: row.id, ..known.row.clone() };
    let rows = vec![admin.gateway.control.replace(&known, &changed)?];
    Ok(about(&row, Outcome::rows(rows, key_json(&row, Some(row.id))))?)
}

fn set(admin: &Admin, known: &Standing<TenantKeyRow>, state: KeyState) -> Result<Outcome, Failure> {
    let row = TenantKeyRow { state, ..known.row.clone() };
    let rows = vec![admin.gateway.control.replace(known, &row)?];
    Ok(about(&row, Outcome::rows(rows, key_json(&row, None)))?)
}

/// Its record names the key.
fn about(row: &TenantKeyRow, outcome: Outcome) -> Result<Outcome, Error> {
    Ok(Outcome { key: Some((row.id, row.current()?.number)), ..outcome })
}

fn active(row: &TenantKeyRow) -> Result<(), Failure> {
    match row.state {
        KeyState::Active => Ok(()),
        KeyState::Suspended { .. } => Err(Failure::new(StatusCode::CONFLICT, "the key is suspended: resume it first")),
        KeyState::PendingDestruction { .. } => {
            Err(Failure::new(StatusCode::CONFLICT, "the key is to be destroyed: cancel that first"))
        }
        KeyState::Destroyed { .. } => Err(destroyed()),
    }
}

fn destroyed() -> Failure {
    Failure::new(StatusCode::CONFLICT, "the key was destroyed")
}

pub(super) fn tenant(call: &Call<'_>) -> Result<TenantId, Error> {
    call.tenant.ok_or(Error::Missing("tenant"))
}

pub(super) async fn of_tenant(admin: &Admin, tenant: TenantId) -> Result<Standing<TenantRow>, Error> {
    admin.gateway.control.standing(tenant.as_bytes()).await?.ok_or(Error::Missing("tenant"))
}

pub(super) async fn keys_of(admin: &Admin, tenant: TenantId) -> Result<Vec<TenantKeyRow>, Error> {
    admin.gateway.control.rows(KEYS_MAX, |row: &TenantKeyRow| row.tenant == tenant).await
}

async fn named_key(admin: &Admin, call: &Call<'_>) -> Result<Standing<TenantKeyRow>, Failure> {
    key(admin, call, call.path.get(1).copied().unwrap_or("")).await
}

/// A key by name or id. One of another tenant is not there.
pub(super) async fn key(admin: &Admin, call: &Call<'_>, named: &str) -> Result<Standing<TenantKeyRow>, Failure> {
    let tenant = tenant(call)?;
    let known = match by_name(admin, tenant, named).await?.or_else(|| named.parse().ok()) {
        Some(id) => admin.gateway.control.standing::<TenantKeyRow>(id.as_bytes()).await?,
        None => None,
    };
    known
        .filter(|known| known.row.tenant == tenant)
        .ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, format!("the tenant has no key {:?}", shortened(named))))
}

/// A name as messages say it, however long it was.
pub(super) fn shortened(name: &str) -> String {
    name.chars().take(80).collect()
}

async fn by_name(admin: &Admin, tenant: TenantId, name: &str) -> Result<Option<KeyId>, Error> {
    let known = admin.gateway.control.content(ControlKind::KeyName, &TenantKeyRow::name_id(tenant, name)).await?;
    Ok(known.and_then(|bytes| <[u8; 16]>::try_from(bytes.as_slice()).ok()).map(KeyId::from_bytes))
}

fn key_json(row: &TenantKeyRow, default: Option<KeyId>) -> Value {
    let current = row.versions.last();
    let (since, reason) = match &row.state {
        KeyState::Suspended { since, reason } => (Some(rfc3339(*since)), Some(reason)),
        KeyState::Active | KeyState::PendingDestruction { .. } | KeyState::Destroyed { .. } => (None, None),
    };
    let due = match &row.state {
        KeyState::PendingDestruction { due, .. } => Some(rfc3339(*due)),
        KeyState::Active | KeyState::Suspended { .. } | KeyState::Destroyed { .. } => None,
    };
    let mut out = json!({
        "id": row.id.to_string(),
        "name": row.name,
        "state": row.state.name(),
        "algorithm": row.suite.name(),
        "provider": row.provider.name(),
        "created": rfc3339(row.created),
        "version": current.map(|v| v.number),
        "rotated": current.map(|v| rfc3339(v.created)),
        "rotate_days": row.rotate_days,
        "rotation_due": row.rotation_due().map(rfc3339),
        "refuses": row.refuses,
        "origin": row.versions.first().map(|v| v.origin),
        "fingerprint": current.map(|v| v.fingerprint.clone()),
    });
    if let Some(fields) = out.as_object_mut() {
        fields.extend(default.map(|id| ("default".to_owned(), json!(id == row.id))));
        fields.extend(due.map(|due| ("destroyed_when".to_owned(), json!(due))));
        fields.extend(since.map(|since| ("suspended_since".to_owned(), json!(since))));
        fields.extend(reason.map(|reason| ("reason".to_owned(), json!(reason))));
    }
    out
}
