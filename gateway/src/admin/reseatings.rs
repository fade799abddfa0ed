//! A tenant whose administrators are lost is given another: two persons of the platform sign, three days pass in which the tenant may
//! call it off, and all of it is in the tenant's own log (SECURITY.md rule 20).

use policy::id::ReseatingId;
use policy::principal::Role;
use policy::time::UtcMillis;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::accounts::{name_of, tenant_id};
use super::approvals::{EXPIRES_DAYS, asking, conflict, named_in_path, signed, with_document, words};
use super::keys::of_tenant;
use super::persons::{invited, made, name_is_free};
use super::{Admin, Call, Failure, Outcome};
use crate::approval::{Asked, DAY_MS, Named, digest_of};
use crate::clock::{now, rfc3339};
use crate::control::{PrincipalRow, ReseatingRow, ReseatingState, Standing, TenantRow};
use crate::error::Error;
use crate::seal::key::random;

/// The format of requests.
pub const REQUEST: &str = "gotgan-reseating-request/1";
/// From the approval until the invitation.
const WAITING_MS: u64 = 3 * DAY_MS;
/// Re-seatings that are shown.
const SHOWN_MAX: usize = 10_000;

/// What is asked for, as it is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// [`REQUEST`].
    pub format: String,
    /// Its id: a signature under it is for it alone.
    pub id: ReseatingId,
    /// The installation.
    pub installation: String,
    /// The tenant.
    pub tenant: Named,
    /// Name of the administrator that is to be invited.
    pub administrator: String,
    /// The law, order or contract that asks for it.
    pub legal_basis: String,
    /// Why, in the words of whoever asks.
    pub reason: String,
    /// Who asks.
    pub requested_by: Named,
    /// When, RFC 3339.
    pub requested_at: String,
    /// Void without an approval by then, RFC 3339.
    pub expires_at: String,
}

/// Writes the request down, to be signed by whoever asks.
pub(super) async fn request(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let known = of_tenant(admin, tenant_id(admin, call.text("tenant")?).await?).await?;
    let log = Some(known.row.id);
    asked(admin, call, &known).await.map_err(|failure| Failure { log, ..failure })
}

async fn asked(admin: &Admin, call: &Call<'_>, known: &Standing<TenantRow>) -> Result<Outcome, Failure> {
    let tenant = &known.row;
    if !tenant.seated {
        return Err(conflict("the tenant has had no administrator of its own: gotgan tenant invite"));
    }
    let (now, name) = (now(), name_of(call)?);
    let open =
        |row: &ReseatingRow| row.tenant == tenant.id && matches!(row.state_at(now), "requested" | "scheduled" | "due");
    if !admin.gateway.control.rows(1, open).await?.is_empty() {
        return Err(conflict("one is under way already: gotgan tenant reseatings"));
    }
    // Now rather than when three days are over.
    name_is_free(admin, Some(tenant.id), name).await?;
    let person = asking(admin, call).await?.row;
    let id = ReseatingId::time_ordered(now.0, random().map_err(Error::from)?);
    let request = Request {
        format: REQUEST.to_owned(),
        id,
        installation: admin.gateway.installation.clone(),
        tenant: Named { id: tenant.id.to_string(), name: tenant.name.clone() },
        administrator: name.to_owned(),
        legal_basis: words(call, "legal_basis")?,
        reason: words(call, "reason")?,
        requested_by: Named { id: person.id.to_string(), name: person.name.clone() },
        requested_at: rfc3339(now),
        expires_at: rfc3339(UtcMillis(now.0 + EXPIRES_DAYS * DAY_MS)),
    };
    let document = serde_json::to_string(&request).map_err(|e| Error::Corrupt(e.to_string()))?;
    let (asked, state) = (Asked::new(document, person.id, now), ReseatingState::Requested);
    let row = ReseatingRow { id, tenant: tenant.id, name: name.to_owned(), asked, state };
    // The tenant's row as it is: of two that are asked for at once one is refused.
    let control = &admin.gateway.control;
    let rows = vec![control.create(&row)?, control.replace(known, tenant)?];
    Ok(about(&row, Outcome::rows(rows, shown(&row))))
}

/// A signature under a request. With the second one the three days begin.
pub(super) async fn sign(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let known = reseating(admin, call).await?;
    if known.row.state != ReseatingState::Requested {
        return Err(conflict("it is not waiting for a signature"));
    }
    let asked = signed(admin, call, &known.row.asked, false).await?;
    let mut row = ReseatingRow { asked, ..known.row.clone() };
    if row.asked.is_approved() {
        row.state = ReseatingState::Scheduled { due: UtcMillis(now().0 + WAITING_MS) };
    }
    let rows = vec![admin.gateway.control.replace(&known, &row)?];
    Ok(about(&row, Outcome::rows(rows, shown(&row))))
}

/// Calls it off: the platform may, and so may whoever administers the tenant still.
pub(super) async fn cancel(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let known = reseating(admin, call).await?;
    if !matches!(known.row.state, ReseatingState::Requested | ReseatingState::Scheduled { .. }) {
        return Err(conflict("it is over"));
    }
    let row = ReseatingRow { state: ReseatingState::Cancelled { by: call.principal, at: now() }, ..known.row.clone() };
    let rows = vec![admin.gateway.control.replace(&known, &row)?];
    Ok(about(&row, Outcome::rows(rows, shown(&row))))
}

/// The invitation, once it is due; the signatures are verified again.
pub(super) async fn invite(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let known = reseating(admin, call).await?;
    match known.row.state {
        ReseatingState::Scheduled { due } if now() >= due => {}
        ReseatingState::Scheduled { due } => return Err(conflict(format!("it is due at {}", rfc3339(due)))),
        _ => return Err(conflict("it is not approved, or over")),
    }
    let mut persons = Vec::new();
    for approval in &known.row.asked.approvals {
        persons.extend(admin.gateway.control.row::<PrincipalRow>(approval.principal.as_bytes()).await?);
    }
    let of = |id| persons.iter().find(|person| person.id == id).cloned();
    known.row.asked.verify(None, of).map_err(conflict)?;
    let person = made(admin, call, (Some(known.row.tenant), &known.row.name, Role::TenantAdministrator)).await?;
    let mut outcome = invited(admin, call, person)?;
    let row = ReseatingRow { state: ReseatingState::Done { at: now() }, ..known.row.clone() };
    outcome.rows.push(admin.gateway.control.replace(&known, &row)?);
    Ok(about(&row, outcome))
}

/// Those of the tenant, or all for the platform.
pub(super) async fn list(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let mine = |row: &ReseatingRow| call.tenant.is_none_or(|tenant| row.tenant == tenant);
    let rows = admin.gateway.control.rows(SHOWN_MAX, mine).await?;
    Ok(Outcome::answer(json!({ "reseatings": rows.iter().map(shown).collect::<Vec<_>>() })))
}

/// One with its request and its signatures.
pub(super) async fn show(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let row = reseating(admin, call).await?.row;
    Ok(Outcome::answer(with_document(shown(&row), &row.asked)))
}

async fn reseating(admin: &Admin, call: &Call<'_>) -> Result<Standing<ReseatingRow>, Failure> {
    named_in_path(admin, call, "there is no re-seating", |row: &ReseatingRow| row.tenant).await
}

/// Its record is the tenant's.
fn about(row: &ReseatingRow, outcome: Outcome) -> Outcome {
    Outcome { subject: Some(format!("re-seating {}", row.id)), log: Some(row.tenant), ..outcome }
}

fn shown(row: &ReseatingRow) -> Value {
    let due = match row.state {
        ReseatingState::Scheduled { due } => Some(rfc3339(due)),
        _ => None,
    };
    let request: Option<Request> = serde_json::from_str(&row.asked.document).ok();
    json!({
        "id": row.id.to_string(),
        "state": row.state_at(now()),
        "tenant": request.as_ref().map(|request| request.tenant.name.clone()),
        "administrator": row.name,
        "legal_basis": request.as_ref().map(|request| request.legal_basis.clone()),
        "reason": request.as_ref().map(|request| request.reason.clone()),
        "due": due,
        "requested": rfc3339(row.asked.created),
        "requested_by": request.as_ref().map(|request| request.requested_by.name.clone()),
        "signed_by": row.asked.signed_by(),
        "digest": digest_of(&row.asked.document),
    })
}
