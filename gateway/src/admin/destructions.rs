//! Destructions of tenant keys, as two key administrators of a tenant bring them about.

use http::StatusCode;
use policy::id::{DestructionId, KeyId, TenantId};
use policy::name::BucketName;
use policy::time::UtcMillis;
use serde_json::{Value, json};

use super::accounts::bad;
use super::keys::{key, keys_of, of_tenant, shortened, tenant};
use super::{Admin, Call, Failure, Outcome, Then};
use crate::clock::{now, rfc3339};
use crate::control::{ApprovalKey, DestructionRow, DestructionState, KeyState, PrincipalRow, Standing, TenantKeyRow};
use crate::destruction::certificate::Approved;
use crate::destruction::{
    DAY_MS, Named, REQUEST, Request, RequestedKey, RequestedVersion, Scope, WAITING_DAYS, digest_of, is_approval_key,
    is_plain,
};
use crate::error::Error;
use crate::seal::key::random;

/// Destructions that are shown.
const SHOWN_MAX: usize = 10_000;
/// Buckets that a request names.
const BUCKETS_MAX: usize = 1000;
/// Requests of a tenant that wait for an approval.
const OPEN_MAX: usize = 100;
/// Buckets read at once.
const PAGE: usize = 256;
/// Characters of a reason or a basis.
const WORDS_MAX: usize = 500;
/// Days after which a request that nobody approved is void.
const EXPIRES_DAYS: u64 = 7;

/// The key that a principal signs approvals with. Another one begins anew to be there for a week.
pub(super) async fn enrol(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let public_key = call.text("public_key")?;
    if hex::decode(public_key).map(|key| key.len()) != Ok(32) {
        return Err(bad("the public key is an Ed25519 one: 64 hexadecimal digits"));
    }
    if !is_approval_key(public_key) {
        let why = "under this public key one signature is good for every text: make another";
        return Err(Failure::new(StatusCode::CONFLICT, why));
    }
    let known = asking(admin, call).await?;
    let key = ApprovalKey { public_key: public_key.to_ascii_lowercase(), enrolled: now() };
    let row = PrincipalRow { approval_key: Some(key), ..known.row.clone() };
    let rows = vec![admin.gateway.control.replace(&known, &row)?];
    Ok(Outcome::rows(
        rows,
        json!({ "principal": row.id.to_string(), "name": row.name, "public_key": public_key.to_ascii_lowercase() }),
    ))
}

/// Writes the request down, to be signed by whoever asks. Nothing happens to the keys yet.
pub(super) async fn request(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let tenant = of_tenant(admin, tenant(call)?).await?.row;
    let keys = match call.body.get("key") {
        None | Some(Value::Null) => {
            let all = keys_of(admin, tenant.id).await?;
            all.into_iter().filter(|key| !key.state.is_destroyed()).collect()
        }
        Some(named) => vec![key(admin, call, named.as_str().unwrap_or_default()).await?.row],
    };
    if keys.is_empty() {
        return Err(Failure::new(StatusCode::CONFLICT, "the tenant has no key that is not destroyed"));
    }
    for key in &keys {
        free(key)?;
    }
    room(admin, tenant.id).await?;
    let scope = if call.body.get("key").is_some_and(Value::is_string) { Scope::Key } else { Scope::Tenant };
    let waiting_days = waiting_days(admin, call)?;
    let (person, now) = (asking(admin, call).await?.row, now());
    let id = DestructionId::time_ordered(now.0, random().map_err(Error::from)?);
    let expires = UtcMillis(now.0 + EXPIRES_DAYS * DAY_MS);
    let request = Request {
        format: REQUEST.to_owned(),
        id,
        installation: admin.gateway.installation.clone(),
        tenant: Named { id: tenant.id.to_string(), name: tenant.name.clone() },
        scope,
        keys: keys.iter().map(requested).collect(),
        buckets: buckets(admin, tenant.id, &keys).await?,
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
        keys: keys.iter().map(|key| key.id).collect(),
        document: serde_json::to_string(&request).map_err(|e| Error::Corrupt(e.to_string()))?,
        requester: person.id,
        created: now,
        waiting_days,
        approvals: Vec::new(),
        state: DestructionState::Requested,
    };
    let outcome = Outcome::rows(vec![admin.gateway.control.create(&row)?], shown(&row));
    Ok(Outcome { key: about(&keys), subject: Some(id.to_string()), ..outcome })
}

/// Requests that nobody approved or called off yet.
async fn room(admin: &Admin, tenant: TenantId) -> Result<(), Failure> {
    let now = now();
    let open = |row: &DestructionRow| row.tenant == tenant && row.is_open(now);
    if admin.gateway.control.rows(OPEN_MAX, open).await?.len() < OPEN_MAX {
        return Ok(());
    }
    let why = format!("{OPEN_MAX} requests wait for an approval: have them approved, or cancel some");
    Err(Failure::new(StatusCode::CONFLICT, why))
}

/// A signature under a request. With the second one it is approved: the keys open nothing from then on.
pub(super) async fn sign(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let signature = call.text("signature")?;
    if hex::decode(signature).map(|bytes| bytes.len()) != Ok(64) {
        return Err(bad("the signature is an Ed25519 one: 128 hexadecimal digits"));
    }
    let (known, person) = (destruction(admin, call).await?, asking(admin, call).await?.row);
    let request: Request = serde_json::from_str(&known.row.document).map_err(|e| Error::Corrupt(e.to_string()))?;
    let conflict = |why: String| Failure::new(StatusCode::CONFLICT, why);
    // Only what says itself that it is a trial is one.
    let trial = request.trial && admin.gateway.trial_destruction;
    let approval = known.row.next_approval(&person, signature, trial, now());
    let mut row = known.row.clone();
    row.approvals.push(approval.map_err(conflict)?);
    let (mut rows, mut keys) = (Vec::new(), Vec::new());
    for id in &row.keys {
        let key = admin.gateway.control.standing::<TenantKeyRow>(id.as_bytes()).await?;
        keys.push(key.ok_or(Error::Missing("tenant key"))?);
    }
    let mut then = Then::Nothing;
    if row.is_approved() {
        let mut persons = Vec::new();
        for approval in &row.approvals {
            persons.extend(admin.gateway.control.row::<PrincipalRow>(approval.principal.as_bytes()).await?);
        }
        row.verify(|id| persons.iter().find(|person| person.id == id).cloned()).map_err(conflict)?;
        unchanged(admin, &request, row.tenant, &keys).await?;
        let due = row.due(now());
        row.state = DestructionState::Scheduled { due };
        for key in &keys {
            rows.push(admin.gateway.control.replace(key, &pending(&key.row, due)?)?);
        }
        then = Then::Suspend(row.keys.clone());
    }
    rows.push(admin.gateway.control.replace(&known, &row)?);
    let keys: Vec<TenantKeyRow> = keys.into_iter().map(|key| key.row).collect();
    let outcome = Outcome::rows(rows, shown(&row));
    Ok(Outcome { key: about(&keys), subject: Some(row.id.to_string()), then, ..outcome })
}

/// What is approved is what is there: keys and buckets that came since are in no request that was signed.
async fn unchanged(
    admin: &Admin,
    request: &Request,
    tenant: TenantId,
    keys: &[Standing<TenantKeyRow>],
) -> Result<(), Failure> {
    let now: Vec<TenantKeyRow> = match request.scope {
        Scope::Key => keys.iter().map(|key| key.row.clone()).collect(),
        Scope::Tenant => keys_of(admin, tenant).await?.into_iter().filter(|key| !key.state.is_destroyed()).collect(),
    };
    let same = now.iter().map(requested).collect::<Vec<_>>() == request.keys
        && buckets(admin, tenant, &now).await? == request.buckets;
    if same {
        return Ok(());
    }
    let why = "keys, their versions or their buckets are others than when it was asked for: cancel it and ask anew";
    Err(Failure::new(StatusCode::CONFLICT, why))
}

fn pending(key: &TenantKeyRow, due: UtcMillis) -> Result<TenantKeyRow, Failure> {
    free(key)?;
    let suspended = match &key.state {
        KeyState::Suspended { since, reason } => Some((*since, reason.clone())),
        KeyState::Active | KeyState::PendingDestruction { .. } | KeyState::Destroyed { .. } => None,
    };
    Ok(TenantKeyRow { state: KeyState::PendingDestruction { due, suspended }, ..key.clone() })
}

/// Calls a destruction off, until the keys are being destroyed: they are what they were.
pub(super) async fn cancel(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let (known, person) = (destruction(admin, call).await?, asking(admin, call).await?.row);
    let mut rows = Vec::new();
    match &known.row.state {
        DestructionState::Requested => {}
        DestructionState::Scheduled { .. } => {
            for id in &known.row.keys {
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
            return Err(Failure::new(StatusCode::CONFLICT, "it is too late: the keys are being destroyed, or are"));
        }
        DestructionState::Cancelled { .. } => {
            return Err(Failure::new(StatusCode::CONFLICT, "it was cancelled before"));
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
    Ok(Outcome { then: Then::Rewrap { _held: None }, ..outcome })
}

pub(super) async fn list(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let tenant = tenant(call)?;
    let rows = admin.gateway.control.rows(SHOWN_MAX, |row: &DestructionRow| row.tenant == tenant).await?;
    Ok(Outcome::answer(json!({ "destructions": rows.iter().map(shown).collect::<Vec<_>>() })))
}

/// One with its request, its signatures and its certificate.
pub(super) async fn show(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let row = destruction(admin, call).await?.row;
    let mut answer = shown(&row);
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("document".to_owned(), json!(row.document));
        let approvals: Vec<Approved> = row.approvals.iter().map(Into::into).collect();
        fields.insert("approvals".to_owned(), json!(approvals));
        if let DestructionState::Done { certificate, .. } = &row.state {
            fields.insert("certificate".to_owned(), json!(certificate));
        }
    }
    Ok(Outcome::answer(answer))
}

/// Whoever asks, as its row stands.
async fn asking(admin: &Admin, call: &Call<'_>) -> Result<Standing<PrincipalRow>, Failure> {
    let known = admin.gateway.control.standing::<PrincipalRow>(call.principal.as_bytes()).await?;
    Ok(known.ok_or(Error::Missing("principal"))?)
}

async fn destruction(admin: &Admin, call: &Call<'_>) -> Result<Standing<DestructionRow>, Failure> {
    let (tenant, named) = (tenant(call)?, call.path.get(1).copied().unwrap_or(""));
    let known = match named.parse::<DestructionId>() {
        Ok(id) => admin.gateway.control.standing::<DestructionRow>(id.as_bytes()).await?,
        Err(_) => None,
    };
    known.filter(|known| known.row.tenant == tenant).ok_or_else(|| {
        Failure::new(StatusCode::NOT_FOUND, format!("the tenant has no destruction {:?}", shortened(named)))
    })
}

/// Whether a key may be destroyed, as far as it is not being so already.
fn free(key: &TenantKeyRow) -> Result<(), Failure> {
    let name = &key.name;
    match key.state {
        KeyState::Active | KeyState::Suspended { .. } => Ok(()),
        KeyState::PendingDestruction { .. } => {
            Err(Failure::new(StatusCode::CONFLICT, format!("the key {name} is to be destroyed already")))
        }
        KeyState::Destroyed { .. } => {
            Err(Failure::new(StatusCode::CONFLICT, format!("the key {name} was destroyed already")))
        }
    }
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

fn words(call: &Call<'_>, field: &str) -> Result<String, Failure> {
    let text = call.text(field)?.trim();
    match (1..=WORDS_MAX).contains(&text.chars().count()) {
        true if is_plain(text) => Ok(text.to_owned()),
        _ => Err(bad(&format!("{field} has 1 to {WORDS_MAX} characters, none of which hides or turns others"))),
    }
}

async fn buckets(admin: &Admin, tenant: TenantId, keys: &[TenantKeyRow]) -> Result<Vec<String>, Failure> {
    let (mut out, mut after) = (Vec::new(), None::<BucketName>);
    loop {
        let page = admin.gateway.control.buckets(tenant, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(out) };
        after = Some(last.name.clone());
        for bucket in &page {
            let hangs = keys.iter().map(|key| admin.gateway.keys.hangs_on(bucket, key.id));
            if hangs.collect::<Result<Vec<_>, _>>().map_err(Error::from)?.contains(&true) {
                out.push(bucket.name.to_string());
            }
        }
        if out.len() > BUCKETS_MAX {
            return Err(Failure::new(StatusCode::CONFLICT, format!("more than {BUCKETS_MAX} buckets hang on it")));
        }
    }
}

fn requested(key: &TenantKeyRow) -> RequestedKey {
    let versions = key.versions.iter().map(|version| RequestedVersion {
        version: version.number,
        fingerprint: version.fingerprint.clone(),
        created: rfc3339(version.created),
    });
    RequestedKey {
        id: key.id.to_string(),
        name: key.name.clone(),
        provider: key.provider.name().to_owned(),
        algorithm: key.suite.name().to_owned(),
        created: rfc3339(key.created),
        versions: versions.collect(),
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
    let request: Option<Request> = serde_json::from_str(&row.document).ok();
    let names = request.iter().flat_map(|request| &request.keys).map(|key| key.name.as_str()).collect::<Vec<_>>();
    let signed = row.approvals.iter().map(|approval| approval.name.as_str()).collect::<Vec<_>>();
    json!({
        "id": row.id.to_string(),
        "state": state,
        "keys": names.join(", "),
        "due": due,
        "waiting_days": row.waiting_days,
        "requested": rfc3339(row.created),
        "signed_by": signed.join(", "),
        "digest": digest_of(&row.document),
    })
}
