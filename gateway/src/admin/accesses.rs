//! Emergency access of the platform, as two of its persons bring it about and as the tenant sees and ends it.

use http::StatusCode;
use policy::id::AccessId;
use policy::name::BucketName;
use policy::reason::Reason;
use policy::time::UtcMillis;
use serde_json::{Value, json};

use super::accounts::{bad, tenant_id};
use super::approvals::{EXPIRES_DAYS, asking, conflict, named_in_path, signed, with_document, words};
use super::keys::of_tenant;
use super::{Admin, Call, Failure, Outcome, Then, named};
use crate::access::{HOURS, REASONS, REQUEST, Request};
use crate::approval::{Asked, DAY_MS, Named, digest_of};
use crate::clock::{now, rfc3339};
use crate::control::{AccessRow, AccessState, Bucket, Standing, TenantKeyRow, TenantRow};
use crate::error::Error;
use crate::keys::Behind;
use crate::seal::key::random;

const HOUR_MS: u64 = 3600 * 1000;
/// Accesses that are shown.
const SHOWN_MAX: usize = 10_000;
/// Requests that wait for an approval.
const OPEN_MAX: usize = 100;

/// Writes the request down, to be signed by whoever asks. It is in the tenant's own log from now on, and so is one that is refused.
pub(super) async fn request(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let tenant = of_tenant(admin, tenant_id(admin, call.text("tenant")?).await?).await?.row;
    let log = Some(tenant.id);
    asked(admin, call, tenant).await.map_err(|failure| Failure { log, ..failure })
}

async fn asked(admin: &Admin, call: &Call<'_>, tenant: TenantRow) -> Result<Outcome, Failure> {
    let name: BucketName = call.text("bucket")?.parse().map_err(|_| bad("not a bucket name"))?;
    let bucket = admin.gateway.control.bucket(&name).await?.filter(|bucket| bucket.tenant == tenant.id);
    let bucket =
        bucket.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, format!("the tenant has no bucket {name}")))?;
    let (reason, hours) = (reason_of(call)?, hours_of(call)?);
    not_refused(admin, &bucket, reason).await?;
    let now = now();
    let open = |row: &AccessRow| row.tenant == tenant.id && row.state_at(now) == "requested";
    if admin.gateway.control.rows(OPEN_MAX, open).await?.len() >= OPEN_MAX {
        return Err(conflict(format!("{OPEN_MAX} requests wait for an approval: have them approved, or end some")));
    }
    let person = asking(admin, call).await?.row;
    let id = AccessId::time_ordered(now.0, random().map_err(Error::from)?);
    let request = Request {
        format: REQUEST.to_owned(),
        id,
        installation: admin.gateway.installation.clone(),
        tenant: Named { id: tenant.id.to_string(), name: tenant.name.clone() },
        bucket: Named { id: bucket.id.to_string(), name: bucket.name.to_string() },
        reason_code: reason,
        legal_basis: words(call, "legal_basis")?,
        reason: words(call, "reason")?,
        hours,
        requested_by: Named { id: person.id.to_string(), name: person.name.clone() },
        requested_at: rfc3339(now),
        expires_at: rfc3339(UtcMillis(now.0 + EXPIRES_DAYS * DAY_MS)),
    };
    let document = serde_json::to_string(&request).map_err(|e| Error::Corrupt(e.to_string()))?;
    let row = AccessRow {
        id,
        tenant: tenant.id,
        bucket: bucket.id,
        bucket_name: bucket.name.clone(),
        reason,
        hours,
        asked: Asked::new(document, person.id, now),
        state: AccessState::Requested,
    };
    let rows = vec![admin.gateway.control.create(&row)?];
    Ok(about(&row, Outcome::rows(rows, shown(&row))))
}

/// A signature under a request. With the second one whoever asked may read the bucket, until it is over.
pub(super) async fn sign(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let known = access(admin, call).await?;
    if known.row.state != AccessState::Requested {
        return Err(conflict("it is not waiting for a signature"));
    }
    // Nobody is spared the week here: what is read cannot be unread.
    let asked = signed(admin, call, &known.row.asked, false).await?;
    let mut row = AccessRow { asked, ..known.row.clone() };
    if row.asked.is_approved() {
        row.state = AccessState::Open { until: UtcMillis(now().0 + u64::from(row.hours) * HOUR_MS) };
    }
    let rows = vec![admin.gateway.control.replace(&known, &row)?];
    Ok(about(&row, Outcome::rows(rows, shown(&row))))
}

/// Ends an access, or calls it off: reads under way break off. The platform may, and so may the tenant.
pub(super) async fn end(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let known = access(admin, call).await?;
    if matches!(known.row.state, AccessState::Ended { .. }) {
        return Err(conflict("it was ended before"));
    }
    let row = AccessRow { state: AccessState::Ended { by: call.principal, at: now() }, ..known.row.clone() };
    let rows = vec![admin.gateway.control.replace(&known, &row)?];
    let outcome = about(&row, Outcome::rows(rows, shown(&row)));
    Ok(Outcome { then: Then::Close(vec![Behind::Access(row.id)]), ..outcome })
}

/// Those to the tenant's buckets, or all for the platform.
pub(super) async fn list(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let wanted = match call.query("tenant") {
        Some(name) if call.tenant.is_none() => Some(tenant_id(admin, &name).await?),
        _ => call.tenant,
    };
    let rows =
        admin.gateway.control.rows(SHOWN_MAX, |row: &AccessRow| wanted.is_none_or(|id| row.tenant == id)).await?;
    Ok(Outcome::answer(json!({ "accesses": rows.iter().map(shown).collect::<Vec<_>>() })))
}

/// One with its request and its signatures.
pub(super) async fn show(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let row = access(admin, call).await?.row;
    Ok(Outcome::answer(with_document(shown(&row), &row.asked)))
}

async fn access(admin: &Admin, call: &Call<'_>) -> Result<Standing<AccessRow>, Failure> {
    named_in_path(admin, call, "there is no access", |row: &AccessRow| row.tenant).await
}

/// Whoever would be refused at each read is told before two persons sign for it, and no more than that.
async fn not_refused(admin: &Admin, bucket: &Bucket, reason: Reason) -> Result<(), Failure> {
    let refuses = |row: &TenantKeyRow| row.tenant == bucket.tenant && row.refuses.contains(reason);
    for key in admin.gateway.control.rows(SHOWN_MAX, refuses).await? {
        if admin.gateway.keys.hangs_on(bucket, key.id).map_err(Error::from)? {
            return Err(conflict(format!("the tenant's key refuses {}: ask the tenant", reason.code())));
        }
    }
    Ok(())
}

fn reason_of(call: &Call<'_>) -> Result<Reason, Failure> {
    let code: Option<Reason> = call.body.get("reason_code").and_then(named);
    code.filter(|reason| REASONS.contains(reason))
        .ok_or_else(|| bad(&format!("reason_code is one of {}", REASONS.map(Reason::code).join(", "))))
}

fn hours_of(call: &Call<'_>) -> Result<u32, Failure> {
    let hours = call.body.get("hours").and_then(Value::as_u64).and_then(|hours| u32::try_from(hours).ok());
    hours
        .filter(|hours| HOURS.contains(hours))
        .ok_or_else(|| bad(&format!("hours is {} to {}", HOURS.start(), HOURS.end())))
}

/// Its record is the tenant's, and names bucket and access.
fn about(row: &AccessRow, outcome: Outcome) -> Outcome {
    let subject = Some(format!("access {}", row.id));
    Outcome { bucket: Some(row.bucket_name.clone()), subject, log: Some(row.tenant), ..outcome }
}

fn shown(row: &AccessRow) -> Value {
    let until = match &row.state {
        AccessState::Open { until } => Some(rfc3339(*until)),
        AccessState::Requested | AccessState::Ended { .. } => None,
    };
    let request: Option<Request> = serde_json::from_str(&row.asked.document).ok();
    json!({
        "id": row.id.to_string(),
        "state": row.state_at(now()),
        "tenant": request.as_ref().map(|request| request.tenant.name.clone()),
        "bucket": row.bucket_name.to_string(),
        "reason_code": row.reason,
        "legal_basis": request.as_ref().map(|request| request.legal_basis.clone()),
        "reason": request.as_ref().map(|request| request.reason.clone()),
        "hours": row.hours,
        "until": until,
        "requested": rfc3339(row.asked.created),
        "requested_by": request.as_ref().map(|request| request.requested_by.name.clone()),
        "signed_by": row.asked.signed_by(),
        "digest": digest_of(&row.asked.document),
    })
}
