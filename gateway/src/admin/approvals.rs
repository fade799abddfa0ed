//! What every request has that two persons must sign: whoever signs, its key, its words.

use http::StatusCode;
use policy::id::{DestructionId, TenantId};
use serde_json::{Value, json};

use super::accounts::bad;
use super::keys::shortened;
use super::{Admin, Call, Failure, Outcome};
use crate::approval::{Asked, is_approval_key, is_plain};
use crate::clock::now;
use crate::control::{ApprovalKey, ControlRow, PrincipalRow, Standing};
use crate::destruction::certificate::Approved;
use crate::error::Error;

/// Characters of a reason or a basis.
const WORDS_MAX: usize = 500;
/// Days after which a request that nobody approved is void.
pub(super) const EXPIRES_DAYS: u64 = 7;

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

/// Whoever asks, as its row stands.
pub(super) async fn asking(admin: &Admin, call: &Call<'_>) -> Result<Standing<PrincipalRow>, Failure> {
    let known = admin.gateway.control.standing::<PrincipalRow>(call.principal.as_bytes()).await?;
    Ok(known.ok_or(Error::Missing("principal"))?)
}

/// The next signature under a request, as it came.
///
/// # Errors
/// Why it may not be given; 409.
pub(super) async fn signed(admin: &Admin, call: &Call<'_>, asked: &Asked, trial: bool) -> Result<Asked, Failure> {
    let signature = call.text("signature")?;
    if hex::decode(signature).map(|bytes| bytes.len()) != Ok(64) {
        return Err(bad("the signature is an Ed25519 one: 128 hexadecimal digits"));
    }
    if admin.first_secret.is(call.access_key) {
        return Err(conflict("the administrator's secret of bootstrap.json signs nothing: use another credential"));
    }
    let person = asking(admin, call).await?.row;
    let everybody: Vec<PrincipalRow> = admin
        .gateway
        .control
        .rows(usize::MAX, |row: &PrincipalRow| row.tenant == person.tenant || row.tenant.is_none())
        .await?;
    let known = |id| everybody.iter().find(|row| row.id == id).cloned();
    let approval = asked.next_approval(&person, signature, known, (trial, now())).map_err(conflict)?;
    let mut next = asked.clone();
    next.approvals.push(approval);
    if next.is_approved() {
        next.verify(person.tenant, known).map_err(conflict)?;
    }
    Ok(next)
}

/// The request that a path names, of the tenant of whoever asks; the platform sees all.
///
/// # Errors
/// 404: `missing` says what there is not.
pub(super) async fn named_in_path<R: ControlRow>(
    admin: &Admin,
    call: &Call<'_>,
    missing: &str,
    tenant: impl Fn(&R) -> TenantId,
) -> Result<Standing<R>, Failure> {
    let named = call.path.get(1).copied().unwrap_or("");
    // Ids of all kinds are written alike.
    let known = match named.parse::<DestructionId>() {
        Ok(id) => admin.gateway.control.standing::<R>(id.as_bytes()).await?,
        Err(_) => None,
    };
    let known = known.filter(|known| call.tenant.is_none_or(|own| tenant(&known.row) == own));
    known.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, format!("{missing} {:?}", shortened(named))))
}

/// An answer with the request that it is about, byte for byte, and its signatures.
pub(super) fn with_document(mut answer: Value, asked: &Asked) -> Value {
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("document".to_owned(), json!(asked.document));
        let approvals: Vec<Approved> = asked.approvals.iter().map(Into::into).collect();
        fields.insert("approvals".to_owned(), json!(approvals));
    }
    answer
}

pub(super) fn conflict(why: impl Into<String>) -> Failure {
    Failure::new(StatusCode::CONFLICT, why)
}

/// Words of a request, which people read as they are written.
pub(super) fn words(call: &Call<'_>, field: &str) -> Result<String, Failure> {
    let text = call.text(field)?.trim();
    match (1..=WORDS_MAX).contains(&text.chars().count()) {
        true if is_plain(text) => Ok(text.to_owned()),
        _ => Err(bad(&format!("{field} has 1 to {WORDS_MAX} characters, none of which hides or turns others"))),
    }
}
