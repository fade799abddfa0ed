//! Machines: an administrator invites one with what it is and where it stands, a second one may vouch for that, and the machine
//! exchanges its invitation for a credential and asks for certificates, each for a day (SECURITY.md rule 23).

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use certs::authority::{Issued, MACHINE_LIFE, Machine};
use certs::files::CertError;
use certs::request::Request as CertificateRequest;
use certs::revocation::Revoked;
use certs::role::{Role as MachineRole, Roles};
use certs::validity::Validity;
use http::StatusCode;
use policy::id::PrincipalId;
use policy::place::{Assurance, Country, Place};
use policy::principal::Role;
use policy::time::UtcMillis;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::accounts::{bad, name_of};
use super::approvals::{EXPIRES_DAYS, asking, conflict, signed, with_document};
use super::keys::shortened;
use super::persons::{invited, made};
use super::{Admin, Call, Failure, Outcome, Then, named};
use crate::approval::{Asked, DAY_MS, Named, digest_of, is_plain};
use crate::authorities::Authorities;
use crate::clock::{now, rfc3339};
use crate::control::{CredentialRow, MachineCertificate, MachineRow, PrincipalRow, Standing};
use crate::error::Error;

/// The format of enrolments.
pub const REQUEST: &str = "gotgan-machine-enrolment/1";
/// How a request begins, and how long it is.
const PEM_BEGINS: &str = "-----BEGIN CERTIFICATE REQUEST-----";
const REQUEST_CHARACTERS: RangeInclusive<usize> = 100..=4096;
/// Certificates of one machine that may hold.
const CERTIFICATES_MAX: usize = 64;
/// Machines that are shown.
const MACHINES_MAX: usize = 100_000;
/// Characters of a site, rack or operator.
const PLACE_MAX: usize = 100;
/// A list of revocations serves for so long; whoever gets none that is later believes nobody then.
const FRESH: Duration = Duration::from_secs(600);
/// The same list is given out for so long: a revocation counts everywhere within 60 s.
const KEPT: Duration = Duration::from_secs(5);

/// An enrolment, as it is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// [`REQUEST`].
    pub format: String,
    /// The machine.
    pub id: PrincipalId,
    /// The installation.
    pub installation: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub roles: Roles,
    /// Where it stands.
    pub place: Place,
    /// Who invites it.
    pub requested_by: Named,
    /// When, RFC 3339.
    pub requested_at: String,
    /// Nobody vouches for it after that, RFC 3339.
    pub expires_at: String,
}

/// Writes the enrolment down, and makes the invitation. The machine may join at once; where it stands counts as its inviter's word
/// until two persons have signed.
pub(super) async fn invite(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let (now, name, roles, place) = (now(), name_of(call)?, roles_of(call)?, place_of(call)?);
    let principal = made(admin, call, (None, name, Role::Machine)).await?;
    let person = asking(admin, call).await?.row;
    let request = Request {
        format: REQUEST.to_owned(),
        id: principal.id,
        installation: admin.gateway.installation.clone(),
        name: name.to_owned(),
        roles: roles.clone(),
        place: place.clone(),
        requested_by: Named { id: person.id.to_string(), name: person.name.clone() },
        requested_at: rfc3339(now),
        expires_at: rfc3339(UtcMillis(now.0 + EXPIRES_DAYS * DAY_MS)),
    };
    let document = serde_json::to_string(&request).map_err(|e| Error::Corrupt(e.to_string()))?;
    let row = MachineRow {
        principal: principal.id,
        name: name.to_owned(),
        roles,
        place,
        asked: Asked::new(document, person.id, now),
        approved: None,
        certificates: Vec::new(),
        revoked: None,
    };
    let mut outcome = invited(admin, call, principal)?;
    outcome.rows.push(admin.gateway.control.create(&row)?);
    let mut answer = shown(&row);
    if let (Some(fields), Some(invitation)) = (answer.as_object_mut(), outcome.answer.get("invitation")) {
        fields.insert("invitation".to_owned(), invitation.clone());
        fields.insert("ca".to_owned(), Value::String(anchors(admin).await?));
    }
    Ok(about(&row, Outcome { answer, ..outcome }))
}

/// A signature under an enrolment. With the second one the next certificate says that two persons vouch for its place.
pub(super) async fn sign(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let known = in_path(admin, call).await?;
    if known.row.revoked.is_some() || known.row.approved.is_some() {
        return Err(conflict("it is not waiting for a signature"));
    }
    let asked = signed(admin, call, &known.row.asked, false).await?;
    let approved = asked.is_approved().then(now);
    let row = MachineRow { asked, approved, ..known.row.clone() };
    let rows = vec![admin.gateway.control.replace(&known, &row)?];
    Ok(about(&row, Outcome::rows(rows, shown(&row))))
}

/// A machine counts no longer: its certificates are on the next list, and it is given no others.
pub(super) async fn revoke(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let known = in_path(admin, call).await?;
    if known.row.revoked.is_some() {
        return Err(conflict("it was revoked before"));
    }
    let control = &admin.gateway.control;
    let row = MachineRow { revoked: Some(now()), ..known.row.clone() };
    let mut rows = vec![control.replace(&known, &row)?];
    if let Some(principal) = control.standing::<PrincipalRow>(row.principal.as_bytes()).await? {
        rows.push(control.replace(&principal, &PrincipalRow { active: false, ..principal.row.clone() })?);
    }
    let its = |credential: &CredentialRow| credential.principal == row.principal && credential.active;
    for credential in control.all_standing(its).await? {
        rows.push(control.replace(&credential, &CredentialRow { active: false, ..credential.row.clone() })?);
    }
    Ok(about(&row, Outcome { then: Then::ForgetAccounts, ..Outcome::rows(rows, shown(&row)) }))
}

pub(super) async fn list(admin: &Admin) -> Result<Outcome, Failure> {
    let rows: Vec<MachineRow> = admin.gateway.control.rows(MACHINES_MAX, |_| true).await?;
    Ok(Outcome::answer(json!({ "machines": rows.iter().map(shown).collect::<Vec<_>>() })))
}

/// One with its enrolment and its signatures.
pub(super) async fn show(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let row = in_path(admin, call).await?.row;
    Ok(Outcome::answer(with_document(shown(&row), &row.asked)))
}

/// A certificate for whoever asks, with what it needs to believe others.
pub(super) async fn issue(admin: &Admin, call: &Call<'_>) -> Result<Outcome, Failure> {
    let text = call.text("request")?;
    if !text.starts_with(PEM_BEGINS) || !REQUEST_CHARACTERS.contains(&text.chars().count()) {
        return Err(bad("request is a certification request in PEM (RFC 7468), of 100 to 4096 characters"));
    }
    let request = CertificateRequest::parse(text).map_err(|error| conflict(error.to_string()))?;
    let known = admin.gateway.control.standing::<MachineRow>(call.principal.as_bytes()).await?;
    let known =
        known.filter(|known| known.row.revoked.is_none()).ok_or_else(|| conflict("it is no machine, or revoked"))?;
    let now = now();
    let mut row = known.row.clone();
    row.certificates.retain(|certificate| certificate.may_hold(now));
    if row.certificates.len() >= CERTIFICATES_MAX {
        let why = format!("{CERTIFICATES_MAX} certificates of it hold already: it asks too often");
        return Err(Failure::new(StatusCode::TOO_MANY_REQUESTS, why));
    }
    let issued = certify(&admin.gateway.authorities, row.clone(), request, now).await?;
    row.certificates.push(MachineCertificate {
        serial: issued.serial.clone(),
        issued: now,
        ends: issued.validity.not_after,
    });
    let rows = vec![admin.gateway.control.replace(&known, &row)?];
    let answer = json!({
        "machine": row.name,
        "certificate": issued.chain,
        "serial": issued.serial,
        "ends": rfc3339(issued.validity.not_after),
        "renew_at": rfc3339(issued.validity.due()),
        "ca": anchors(admin).await?,
        "revocations": revocations(admin).await?,
    });
    Ok(about(&row, Outcome::rows(rows, answer)))
}

/// Signing asks the disk for the CA's key.
async fn certify(
    authorities: &Arc<Authorities>,
    row: MachineRow,
    request: CertificateRequest,
    now: UtcMillis,
) -> Result<Issued, Failure> {
    let authorities = Arc::clone(authorities);
    let sign = move || {
        let place = row.claim();
        let machine = Machine { name: &row.name, roles: &row.roles, place: Some(&place) };
        authorities.issuer(None, now)?.issue(&machine, &request, Validity::begun(now, MACHINE_LIFE))
    };
    match on_disk(sign).await? {
        Err(CertError::Elsewhere(country)) => Err(conflict(format!("the CA cannot vouch for machines in {country}"))),
        Err(error) => Err(Error::from(error).into()),
        Ok(issued) => Ok(issued),
    }
}

/// The list of revocations as it was signed last.
#[derive(Debug, Default)]
pub(super) struct Revocations(Mutex<Option<Kept>>);

#[derive(Debug)]
struct Kept {
    at: Instant,
    number: u64,
    fresh: Validity,
    list: String,
}

/// Every certificate that was revoked and may hold somewhere still (PEM).
pub(super) async fn revocations(admin: &Admin) -> Result<String, Error> {
    let (mut kept, now) = (admin.revocations.0.lock().await, now());
    // By the clock of the day, too, which may be set.
    if let Some(last) = &*kept
        && last.at.elapsed() < KEPT
        && !last.fresh.is_due(now)
    {
        return Ok(last.list.clone());
    }
    let held = |row: &MachineRow| row.revoked.is_some() && row.latest().is_some_and(|latest| latest.may_hold(now));
    // All of them, however many: one that were left out would be believed.
    let machines: Vec<MachineRow> = admin.gateway.control.rows(usize::MAX, held).await?;
    let of = |machine: &MachineRow| {
        let at = machine.revoked.unwrap_or(now);
        let held: Vec<_> = machine.certificates.iter().filter(|one| one.may_hold(now)).cloned().collect();
        held.into_iter().map(move |certificate| Revoked { serial: certificate.serial, at })
    };
    let revoked: Vec<Revoked> = machines.iter().flat_map(of).collect();
    // Never lower than before, whatever becomes of the clock.
    let number = (now.0 / 1000).max(kept.as_ref().map_or(0, |last| last.number));
    let authorities = Arc::clone(&admin.gateway.authorities);
    let fresh = Validity::begun(now, FRESH);
    let sign = move || authorities.issuer(None, now)?.revoke(&revoked, number, fresh);
    let list = on_disk(sign).await??;
    *kept = Some(Kept { at: Instant::now(), number, fresh, list: list.clone() });
    Ok(list)
}

/// The root's certificate (PEM).
pub(super) async fn anchors(admin: &Admin) -> Result<String, Error> {
    let authorities = Arc::clone(&admin.gateway.authorities);
    Ok(on_disk(move || authorities.anchors()).await??)
}

async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Missing("the CA's answer"))
}

fn roles_of(call: &Call<'_>) -> Result<Roles, Failure> {
    let none = || bad("roles is a list of `node` and `gateway`");
    let roles = call.body.get("roles").and_then(Value::as_array);
    let roles = roles.filter(|roles| roles.len() <= MachineRole::ALL.len()).ok_or_else(none)?;
    let roles: Option<Roles> = roles.iter().map(named::<MachineRole>).collect();
    roles.filter(|roles| !roles.is_empty()).ok_or_else(none)
}

/// Where whoever invites it says that it stands. There is no default: a place that nobody named is none.
fn place_of(call: &Call<'_>) -> Result<Place, Failure> {
    let text = |field: &str| match call.body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if (1..=PLACE_MAX).contains(&text.chars().count()) && is_plain(text) => {
            Ok(Some(text.clone()))
        }
        Some(_) => Err(bad(&format!("{field} has 1 to {PLACE_MAX} characters, none of which hides or turns others"))),
    };
    let country: Country = call.text("country")?.parse().map_err(|_| bad("country is two letters of ISO 3166-1"))?;
    let subdivision = text("subdivision")?.map(|code| code.parse()).transpose();
    let subdivision = subdivision.map_err(|_| bad("subdivision is a code of ISO 3166-2, such as KR-41"))?;
    let (site, rack, operator) =
        (Some(text("site")?.ok_or_else(|| bad("site is missing"))?), text("rack")?, text("operator")?);
    let place = Place { country, subdivision, site, rack, operator, assurance: Assurance::SelfDeclared };
    if place.is_consistent() { Ok(place) } else { Err(bad("the subdivision lies in another country")) }
}

async fn in_path(admin: &Admin, call: &Call<'_>) -> Result<Standing<MachineRow>, Failure> {
    let named = call.path.get(1).copied().unwrap_or("");
    let known = match named.parse::<PrincipalId>() {
        Ok(id) => admin.gateway.control.standing::<MachineRow>(id.as_bytes()).await?,
        Err(_) => None,
    };
    known.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, format!("there is no machine {:?}", shortened(named))))
}

fn about(row: &MachineRow, outcome: Outcome) -> Outcome {
    Outcome { subject: Some(format!("machine {} ({})", row.name, row.principal)), ..outcome }
}

fn shown(row: &MachineRow) -> Value {
    let (place, latest) = (row.claim(), row.latest());
    json!({
        "id": row.principal.to_string(),
        "name": row.name,
        "state": row.state_at(now()),
        "roles": row.roles,
        "country": place.country,
        "subdivision": place.subdivision,
        "site": place.site,
        "rack": place.rack,
        "operator": place.operator,
        "assurance": place.assurance,
        "invited": rfc3339(row.asked.created),
        "signed_by": row.asked.signed_by(),
        "serial": latest.map(|certificate| certificate.serial.clone()),
        "ends": latest.map(|certificate| rfc3339(certificate.ends)),
        "revoked": row.revoked.map(rfc3339),
        "digest": digest_of(&row.asked.document),
    })
}
