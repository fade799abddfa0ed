//! Emergency access: two persons of the platform, for hours, to read one bucket, for a reason that its tenant key may refuse, and
//! in the tenant's own log from the request on. Nothing else lets the platform read what a tenant keeps.

use policy::id::{AccessId, PrincipalId, TenantId};
use policy::reason::Reason;
use serde::{Deserialize, Serialize};

use crate::approval::Named;
use crate::clock::now;
use crate::context::LetIn;
use crate::control::{AccessRow, Bucket, PrincipalRow};
use crate::error::Error;
use crate::gateway::Gateway;
use crate::keys::Behind;

/// The format of requests.
pub const REQUEST: &str = "gotgan-access-request/1";
/// Hours from the approval until it is over.
pub const HOURS: std::ops::RangeInclusive<u32> = 1..=72;
/// Why the platform may ask to be let in.
pub const REASONS: [Reason; 2] = [Reason::LegalRequest, Reason::Emergency];

/// What is asked for, as it is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// [`REQUEST`].
    pub format: String,
    /// Its id: a signature under it is for it alone.
    pub id: AccessId,
    /// The installation.
    pub installation: String,
    /// Whose bucket it is.
    pub tenant: Named,
    /// The bucket.
    pub bucket: Named,
    /// The reason, by its code.
    pub reason_code: Reason,
    /// The law, order or contract that asks for it.
    pub legal_basis: String,
    /// Why, in the words of whoever asks.
    pub reason: String,
    /// Hours from the approval until it is over.
    pub hours: u32,
    /// Who asks, and reads.
    pub requested_by: Named,
    /// When, RFC 3339.
    pub requested_at: String,
    /// Void without an approval by then, RFC 3339.
    pub expires_at: String,
}

/// What lets a principal of the platform read a bucket now, with the reason.
///
/// # Errors
/// `Catalog` when accesses cannot be read.
pub async fn let_in(
    gateway: &Gateway,
    principal: PrincipalId,
    bucket: &Bucket,
) -> Result<Option<(LetIn, Reason, TenantId)>, Error> {
    let serves = |row: &AccessRow| row.tenant == bucket.tenant && row.serves(principal, bucket.id, now()).is_some();
    for found in gateway.control.rows(usize::MAX, serves).await? {
        // The gate before the row is read once more: an end that comes between closes it.
        let gate = gateway.keys.gate(Behind::Access(found.id));
        let Some(row) = gateway.control.row::<AccessRow>(found.id.as_bytes()).await? else { continue };
        let Some(until) = row.serves(principal, bucket.id, now()) else { continue };
        match still_approved(gateway, &row).await? {
            Ok(()) => return Ok(Some((LetIn { id: row.id, until, gate }, row.reason, row.tenant))),
            Err(why) => tracing::warn!(access = %row.id, why, "an access that is open is not used"),
        }
    }
    Ok(None)
}

/// The approvals are verified again beside what they permit; and nobody has had a secret made since for whoever asked, to read in
/// its place.
async fn still_approved(gateway: &Gateway, row: &AccessRow) -> Result<Result<(), String>, Error> {
    let mut persons = Vec::new();
    for approval in &row.asked.approvals {
        persons.extend(gateway.control.row::<PrincipalRow>(approval.principal.as_bytes()).await?);
    }
    let given_since = persons
        .iter()
        .filter(|person| person.id == row.asked.requester)
        .flat_map(|person| &person.secret_by)
        .any(|(_, at)| *at >= row.asked.created);
    if given_since {
        return Ok(Err("somebody had a secret made since for whoever asked".to_owned()));
    }
    let known = |id| persons.iter().find(|person| person.id == id).cloned();
    Ok(row.asked.verify(None, known))
}
