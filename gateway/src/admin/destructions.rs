//! Destructions of tenant keys, as two key administrators of a tenant bring them about.

use policy::id::{DestructionId, KeyId, TenantId};
use policy::time::UtcMillis;
use serde_json::{Value, json};
use storage::catalog::{BucketRow, BucketUpdate};

use super::accounts::bad;
use super::approvals::{EXPIRES_DAYS, asking, conflict, named_in_path, signed, with_document, words};
use super::keys::{of_tenant, tenant};
use super::{Admin, Call, Failure, Outcome, Then};
use crate::approval::{Asked, DAY_MS, Named, digest_of};
use crate::clock::{now, rfc3339};
use crate::control::{Bucket, DestructionRow, DestructionState, KeyState, Standing, TenantKeyRow};
use crate::destruction::{REQUEST, Request, WAITING_DAYS};
use crate::error::Error;
use crate::keys::Behind;
use crate::seal::key::random;

pub(super) use scope::Still;
use scope::Target;

mod scope;

/// Destructions that are shown.
const SHOWN_MAX: usize = 10_000;
/// Requests of a tenant that wait for an approval.
const OPEN_MAX: usize = 100;

/// Writes the request down, to be signed by whoever asks. Nothing happens to the keys yet.
pub(super) async fn request(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let tenant = of_tenant(admin, tenant(call)?).await?.row;
    let target = scope::of_call(admin, call, tenant.id).await?;
    room(admin, tenant.id).await?;
    let waiting_days = waiting_days(admin, call)?;
    let (person, now) = (asking(admin, call).await?.row, now());
    let id = DestructionId::time_ordered(now.0, random().map_err(Error::from)?);
    let expires = UtcMillis(now.0 + EXPIRES_DAYS * DAY_MS);
    let request = Request {
        format: REQUEST.to_owned(),
        id,
        installation: admin.gateway.installation.clone(),
        tenant: Named { id: tenant.id.to_string(), name: tenant.name.clone() },
        scope: target.scope,
        keys: target.keys.iter().map(scope::requested).collect(),
        buckets: target.buckets,
        legal_basis: words(call, "legal_basis")?,
        reason: words(call, "reason")?,
        waiting_days,
        requested_by: Named { id: person.id.to_string(), name: person.name.clone() },
        requested_at: rfc3339(now),
        expires_at: rfc3339(expires),
        trial: admin.gateway.trial_destruction,
    };
    let row = DestructionRow {
        id,
        tenant: tenant.id,
        keys: target.keys.iter().map(|key| key.id).collect(),
        bucket: target.bucket.as_ref().map(|bucket| (bucket.id, bucket.name.clone())),
        asked: Asked::new(serde_json::to_string(&request).map_err(|e| Error::Corrupt(e.to_string()))?, person.id, now),
        moved: Vec::new(),
        waiting_days,
        state: DestructionState::Requested,
    };
    let outcome = Outcome::rows(vec![admin.gateway.control.create(&row)?], shown(&row));
    Ok(Outcome { key: about(&target.keys), subject: Some(id.to_string()), ..outcome })
}

/// Requests that nobody approved or called off yet.
async fn room(admin: &Admin, tenant: TenantId) -> Result<(), Failure> {
    let now = now();
    let open = |row: &DestructionRow| row.tenant == tenant && row.is_open(now);
    if admin.gateway.control.rows(OPEN_MAX, open).await?.len() < OPEN_MAX {
        return Ok(());
    }
    let why = format!("{OPEN_MAX} requests wait for an approval: have them approved, or cancel some");
    Err(conflict(why))
}

/// A signature under a request. With the second one it is approved: the keys open nothing from then on.
pub(super) async fn sign(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let known = destruction(admin, call).await?;
    let request: Request =
        serde_json::from_str(&known.row.asked.document).map_err(|e| Error::Corrupt(e.to_string()))?;
    if known.row.state != DestructionState::Requested {
        return Err(conflict("it is not waiting for a signature"));
    }
    // Only what says itself that it is a trial is one.
    let trial = request.trial && admin.gateway.trial_destruction;
    let asked = signed(admin, call, &known.row.asked, trial).await?;
    let mut row = DestructionRow { asked, ..known.row.clone() };
    let (mut rows, mut keys) = (Vec::new(), Vec::new());
    for id in &row.keys {
        let key = admin.gateway.control.standing::<TenantKeyRow>(id.as_bytes()).await?;
        keys.push(key.ok_or(Error::Missing("tenant key"))?);
    }
    let bucket = bucket_of(admin, &row).await?;
    let (mut then, mut buckets, mut still) = (Then::Nothing, Vec::new(), None);
    let known_keys: Vec<TenantKeyRow> = keys.iter().map(|key| key.row.clone()).collect();
    if row.asked.is_approved() {
        row.moved = scope::moved(admin, &row).await?;
        if row.bucket.is_some() && bucket.is_none() {
            return Err(conflict("the bucket is not there any more: cancel it"));
        }
        let target = Target { scope: request.scope, keys: known_keys.clone(), buckets: Vec::new(), bucket };
        scope::again(admin, &request, &target, row.tenant).await?;
        // Once more when nothing is committed under them any more: what was made until then would go unsigned.
        still = Some(Box::new(Still { request: request.clone(), target: target.clone(), tenant: row.tenant }));
        let due = row.due(now());
        row.state = DestructionState::Scheduled { due };
        if let Some(bucket) = &target.bucket {
            then = Then::Close(vec![Behind::Bucket(bucket.id)]);
            buckets.push(set_closed(admin, bucket, true)?);
        } else {
            for key in &keys {
                rows.push(admin.gateway.control.replace(key, &scope::pending(&key.row, due)?)?);
            }
            then = Then::Close(row.keys.iter().copied().map(Behind::Key).collect());
        }
    }
    rows.push(admin.gateway.control.replace(&known, &row)?);
    let outcome = Outcome { buckets, still, ..Outcome::rows(rows, shown(&row)) };
    Ok(Outcome { key: about(&known_keys), subject: Some(row.id.to_string()), then, ..outcome })
}

/// The bucket that goes, if it is one and is there.
async fn bucket_of(admin: &Admin, row: &DestructionRow) -> Result<Option<Bucket>, Error> {
    let Some((id, name)) = &row.bucket else { return Ok(None) };
    Ok(admin.gateway.control.bucket(name).await?.filter(|bucket| bucket.id == *id))
}

/// A bucket that opens nothing, or opens again.
fn set_closed(admin: &Admin, bucket: &Bucket, closed: bool) -> Result<BucketUpdate, Error> {
    admin.gateway.control.update(bucket, BucketRow { closed, ..BucketRow::clone(bucket) })
}

/// Calls a destruction off, until the keys are being destroyed: they are what they were.
pub(super) async fn cancel(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let (known, person) = (destruction(admin, call).await?, asking(admin, call).await?.row);
    let (mut rows, mut buckets) = (Vec::new(), Vec::new());
    match &known.row.state {
        DestructionState::Requested => {}
        DestructionState::Scheduled { .. } => {
            if let Some(bucket) = bucket_of(admin, &known.row).await? {
                buckets.push(set_closed(admin, &bucket, false)?);
            }
            // A bucket's destruction has not touched its keys: another one may be about to destroy them.
            let keys = if known.row.bucket.is_some() { &[] } else { known.row.keys.as_slice() };
            for id in keys {
                let key = admin.gateway.control.standing::<TenantKeyRow>(id.as_bytes()).await?;
                let key = key.ok_or(Error::Missing("tenant key"))?;
                let KeyState::PendingDestruction { suspended, .. } = &key.row.state else { continue };
                let state = match suspended.clone() {
                    Some((since, reason)) => KeyState::Suspended { since, reason },
                    None => KeyState::Active,
                };
                rows.push(admin.gateway.control.replace(&key, &TenantKeyRow { state, ..key.row.clone() })?);
            }
        }
        DestructionState::Destroying { .. } | DestructionState::Removing { .. } | DestructionState::Done { .. } => {
            return Err(conflict("it is too late: the keys are being destroyed, or are"));
        }
        DestructionState::Cancelled { .. } => {
            return Err(conflict("it was cancelled before"));
        }
    }
    let state = DestructionState::Cancelled { by: person.id, at: now() };
    let row = DestructionRow { state, ..known.row.clone() };
    rows.push(admin.gateway.control.replace(&known, &row)?);
    let key = match row.keys.first() {
        Some(id) => admin.gateway.control.row::<TenantKeyRow>(id.as_bytes()).await?,
        None => None,
    };
    let outcome =
        Outcome { key: about(key.as_slice()), subject: Some(row.id.to_string()), ..Outcome::rows(rows, shown(&row)) };
    Ok(Outcome { buckets, then: Then::Rewrap { _held: None }, ..outcome })
}

pub(super) async fn list(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let tenant = tenant(call)?;
    let rows = admin.gateway.control.rows(SHOWN_MAX, |row: &DestructionRow| row.tenant == tenant).await?;
    Ok(Outcome::answer(json!({ "destructions": rows.iter().map(shown).collect::<Vec<_>>() })))
}

/// One with its request, its signatures and its certificate.
pub(super) async fn show(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let row = destruction(admin, call).await?.row;
    let mut answer = with_document(shown(&row), &row.asked);
    if let (DestructionState::Done { certificate, .. }, Some(fields)) = (&row.state, answer.as_object_mut()) {
        fields.insert("certificate".to_owned(), json!(certificate));
    }
    Ok(Outcome::answer(answer))
}

async fn destruction(admin: &Admin, call: &Call<'_>) -> Result<Standing<DestructionRow>, Failure> {
    named_in_path(admin, call, "the tenant has no destruction", |row: &DestructionRow| row.tenant).await
}

fn waiting_days(admin: &Admin, call: &Call<'_>) -> Result<u32, Failure> {
    let days = call.body.get("waiting_days").and_then(Value::as_u64).and_then(|days| u32::try_from(days).ok());
    let days = days.ok_or_else(|| bad("waiting_days is missing or no number"))?;
    let (least, most) = (WAITING_DAYS.start(), WAITING_DAYS.end());
    match days == 0 || WAITING_DAYS.contains(&days) || (admin.gateway.trial_destruction && days <= *most) {
        true => Ok(days),
        false => Err(bad(&format!("waiting_days is {least} to {most}, or 0 where the law says now"))),
    }
}

/// The record names the first of the keys; the request names all.
fn about(keys: &[TenantKeyRow]) -> Option<(KeyId, u32)> {
    keys.first().map(|key| (key.id, key.versions.last().map_or(0, |version| version.number)))
}

fn shown(row: &DestructionRow) -> Value {
    let state = match &row.state {
        DestructionState::Requested => "requested",
        DestructionState::Scheduled { .. } => "scheduled",
        DestructionState::Destroying { .. } => "destroying",
        DestructionState::Removing { .. } => "removing",
        DestructionState::Done { .. } => "done",
        DestructionState::Cancelled { .. } => "cancelled",
    };
    let due = match &row.state {
        DestructionState::Scheduled { due } => Some(rfc3339(*due)),
        _ => None,
    };
    let request: Option<Request> = serde_json::from_str(&row.asked.document).ok();
    let names = request.iter().flat_map(|request| &request.keys).map(|key| key.name.as_str()).collect::<Vec<_>>();
    json!({
        "id": row.id.to_string(),
        "state": state,
        "keys": names.join(", "),
        "bucket": row.bucket.as_ref().map(|(_, name)| name.to_string()),
        "due": due,
        "waiting_days": row.waiting_days,
        "requested": rfc3339(row.asked.created),
        "signed_by": row.asked.signed_by(),
        "digest": digest_of(&row.asked.document),
    })
}
