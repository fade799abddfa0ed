//! Rotations of bucket keys, as the key administrators of a tenant ask for them and watch them.

use http::StatusCode;
use policy::name::BucketName;
use policy::reason::Reason;
use serde_json::{Value, json};
use storage::catalog::BucketRow;

use super::accounts::bad;
use super::keys::key;
use super::{Admin, Call, Failure, Outcome, Then};
use crate::clock::{now, rfc3339};
use crate::control::{RewrapRow, RewrapState};
use crate::error::Error;

/// Envelopes a second of the slowest rotation: it shall end.
const SLOWEST: u32 = 10;
/// Rotations that are shown.
const ROTATIONS_MAX: usize = 10_000;
/// Versions of a bucket key that something may hang on: a rotation that is held back by damage holds back no other for long.
const VERSIONS_MAX: usize = 8;

/// One more version of the key of a bucket, in one commit that closes the others for new envelopes.
pub(super) async fn begin(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let gateway = &admin.gateway;
    let name: BucketName = call.path.get(1).copied().unwrap_or("").parse().map_err(|_| bad("not a bucket name"))?;
    let bucket = gateway.control.bucket(&name).await?.filter(|bucket| Some(bucket.tenant) == call.tenant);
    let bucket =
        bucket.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, format!("the tenant has no bucket {name}")))?;
    let per_second = match call.body.get("per_second") {
        None | Some(Value::Null) => None,
        Some(rate) => {
            let rate = rate.as_u64().and_then(|rate| u32::try_from(rate).ok()).filter(|rate| *rate >= SLOWEST);
            Some(rate.ok_or_else(|| bad(&format!("per_second is a number of envelopes, at least {SLOWEST}")))?)
        }
    };
    if bucket.closed {
        return Err(Error::BucketClosed(bucket.id).into());
    }
    if bucket.keys.len() >= VERSIONS_MAX {
        let why = "earlier rotations of the bucket have not ended: see the list of rotations";
        return Err(Failure::new(StatusCode::CONFLICT, why));
    }
    let total = gateway.catalog.count(bucket.id).await.map_err(Error::from)?;
    let under = match call.body.get("key") {
        None | Some(Value::Null) => None,
        Some(named) => {
            let named = named.as_str().ok_or_else(|| bad("key is a name or id"))?;
            Some(key(admin, call, named).await?.row.id)
        }
    };
    // What hangs on the key that it has must open to be wrapped anew: nothing is moved away from a key that is suspended.
    gateway.keys.bucket_key_now(&bucket, gateway.own_purpose(Reason::Rewrap)).await?;
    let (key, held) = gateway.keys.next_bucket_key(&bucket, under).await?;
    let row = RewrapRow {
        bucket: bucket.id,
        name,
        tenant: bucket.tenant,
        key: key.id,
        to: key.version,
        began: now(),
        total,
        done: 0,
        after: None,
        per_second,
        state: RewrapState::Running,
    };
    let put = match gateway.control.standing::<RewrapRow>(bucket.id.as_bytes()).await? {
        Some(known) => gateway.control.replace(&known, &row)?,
        None => gateway.control.create(&row)?,
    };
    let about = Some((key.id, key.version));
    let mut rotated = BucketRow::clone(&bucket);
    rotated.keys.push(key);
    // Copies of the catalog keep what hung on the key before: whoever destroys it must know.
    let all = gateway.keys.ever_hung_on(&bucket).map_err(Error::from)?;
    rotated.hung_on = all.into_iter().collect();
    let buckets = vec![gateway.control.update(&bucket, rotated)?];
    let outcome = Outcome {
        buckets,
        key: about,
        then: Then::Rewrap { _held: Some(held) },
        ..Outcome::rows(vec![put], shown(&row))
    };
    Ok(Outcome { bucket: Some(row.name), ..outcome })
}

/// The last rotation of each bucket that the tenant has.
pub(super) async fn list(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let tenant = call.tenant.ok_or(Error::Missing("tenant"))?;
    let rows = admin.gateway.control.rows(ROTATIONS_MAX, |row: &RewrapRow| row.tenant == tenant).await?;
    let wanted = call.query("bucket");
    let mut rotations = Vec::new();
    for row in rows.iter().filter(|row| wanted.as_deref().is_none_or(|name| row.name.as_str() == name)) {
        // That of a bucket that was deleted is in the log.
        let known = admin.gateway.control.bucket(&row.name).await?;
        if known.is_some_and(|bucket| bucket.id == row.bucket) {
            rotations.push(shown(row));
        }
    }
    Ok(Outcome::answer(json!({ "rotations": rotations })))
}

fn shown(row: &RewrapRow) -> Value {
    let (state, detail) = match &row.state {
        RewrapState::Running => ("running", Value::Null),
        RewrapState::Held { damaged } => ("held", json!(format!("{damaged} envelopes do not open"))),
        RewrapState::Done { older, versions, uploads, .. } => {
            let older = older.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            (
                "done",
                json!(format!(
                    "0 envelopes under version {older}; {versions} versions and {uploads} uploads looked at"
                )),
            )
        }
    };
    let ended = match &row.state {
        RewrapState::Done { at, .. } => Some(rfc3339(*at)),
        RewrapState::Running | RewrapState::Held { .. } => None,
    };
    json!({
        "bucket": row.name.to_string(),
        "key_id": row.key.to_string(),
        "version": row.to,
        "state": state,
        "began": rfc3339(row.began),
        "ended": ended,
        "objects": row.total,
        "rewrapped": row.done,
        "proof": detail,
    })
}
