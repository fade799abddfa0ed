//! Destruction of tenant keys, with proof: asked for and signed by one person, approved and signed by another (SECURITY.md
//! rule 20), done when it is due, and certified so that anybody can verify it without this server.

use policy::id::DestructionId;
use policy::time::UtcMillis;
use serde::{Deserialize, Serialize};

use crate::approval::{DAY_MS, Named};
use crate::control::{DestructionRow, DestructionState};

pub mod certificate;
mod bucket;
pub mod contents;
pub mod job;
pub mod pdf;

/// Days that may pass from the approval until it is due; 0 where the law says now.
pub const WAITING_DAYS: std::ops::RangeInclusive<u32> = 7..=30;
/// The format of requests.
pub const REQUEST: &str = "gotgan-destruction-request/1";

/// What is to be destroyed and why, as it is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// [`REQUEST`].
    pub format: String,
    /// Its id: a signature under it is for it alone.
    pub id: DestructionId,
    /// The installation.
    pub installation: String,
    /// Whose keys.
    pub tenant: Named,
    /// One key, or all of the tenant.
    pub scope: Scope,
    /// The keys.
    pub keys: Vec<RequestedKey>,
    /// The buckets that hang on them: all in them goes.
    pub buckets: Vec<String>,
    /// The law or contract that asks for it.
    pub legal_basis: String,
    /// Why, in the words of whoever asks.
    pub reason: String,
    /// Days from the approval until it is due; 0 where the law says now.
    pub waiting_days: u32,
    /// Who asks.
    pub requested_by: Named,
    /// When, RFC 3339.
    pub requested_at: String,
    /// Void without an approval by then, RFC 3339.
    pub expires_at: String,
    /// Made on a server that runs trials of the procedure: nobody was made to wait.
    pub trial: bool,
}

/// How far a destruction reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// One key.
    Key,
    /// Every key of the tenant.
    Tenant,
    /// One bucket: the versions of the keys that it hangs on go, and what survives is wrapped by another before.
    Bucket,
}

/// A key that is to be destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestedKey {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Who holds it.
    pub provider: String,
    /// The suite of what hangs on it.
    pub algorithm: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Its versions.
    pub versions: Vec<RequestedVersion>,
}

/// A version of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestedVersion {
    /// Its number.
    pub version: u32,
    /// What may be shown of it.
    pub fingerprint: String,
    /// When it was made, RFC 3339.
    pub created: String,
}

impl DestructionRow {
    /// Whether it still waits for signatures.
    #[must_use]
    pub fn is_open(&self, now: UtcMillis) -> bool {
        self.state == DestructionState::Requested && !self.asked.is_void(now)
    }

    /// When it is due, approved now.
    #[must_use]
    pub fn due(&self, now: UtcMillis) -> UtcMillis {
        UtcMillis(now.0.saturating_add(u64::from(self.waiting_days) * DAY_MS))
    }
}
