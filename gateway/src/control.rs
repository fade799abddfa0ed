//! Control rows: tenants, principals, credentials, tenant keys. The catalog keeps them as opaque
//! bytes; their secrets are wrapped under the root key, and each proves that it was written here ([`ControlState`]).

use policy::id::{AccessKeyId, KeyId, PrincipalId, TenantId};
use policy::principal::Role;
use policy::reason::Reasons;
use policy::residency::Residency;
use policy::time::UtcMillis;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use storage::catalog::ControlKind;

use crate::provider::{NewKey, ProviderKind};
use crate::seal::{SealError, Suite};

mod access;
mod destruction;
mod machine;
mod reseating;
mod rewrap;
pub(crate) mod state;
mod transport;

pub use access::{AccessRow, AccessState};
pub use destruction::{Contents, DestructionRow, DestructionState, KeyAnswer};
pub use machine::{MachineCertificate, MachineRow};
pub use reseating::{ReseatingRow, ReseatingState};
pub use rewrap::{RewrapRow, RewrapState};
pub use state::{Bucket, ControlState, Standing};
pub use transport::TransportRow;

/// An organisation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TenantRow {
    /// Its id, which is also its S3 canonical user id.
    pub id: TenantId,
    /// Its unique name.
    pub name: String,
    /// When it was made.
    pub created: UtcMillis,
    /// Where its data may rest.
    pub residency: Residency,
    /// The tenant key that new bucket keys are wrapped by.
    pub key: KeyId,
    /// Its log key, wrapped under the root key.
    pub log_key: Vec<u8>,
    /// Its first administrator has enrolled: from then on only the tenant makes principals and credentials in it.
    #[serde(default)]
    pub seated: bool,
}

/// A named key of a tenant. Bucket keys are wrapped by it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TenantKeyRow {
    /// Its id.
    pub id: KeyId,
    /// Its owner.
    pub tenant: TenantId,
    /// Its name, unique in its tenant. It names, and proves nothing: envelopes hold the id.
    pub name: String,
    /// Whether it may be used.
    pub state: KeyState,
    /// Who holds it.
    pub provider: ProviderKind,
    /// The suite of all that hangs on it.
    pub suite: Suite,
    /// When it was made.
    pub created: UtcMillis,
    /// Its versions, oldest first. The last one wraps, the others still unwrap.
    pub versions: Vec<KeyVersionRow>,
    /// Days from one rotation to the next, when it is rotated by schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_days: Option<u32>,
    /// Reasons for which it opens nothing.
    #[serde(default, skip_serializing_if = "Reasons::is_empty")]
    pub refuses: Reasons,
}

/// Whether a tenant key may be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// It may.
    Active,
    /// It may not: nothing that hangs on it opens or is sealed, until it is resumed.
    Suspended {
        /// From then on.
        since: UtcMillis,
        /// Why, in the words of whoever ordered it.
        reason: String,
    },
    /// It may not, and when it is due it is destroyed.
    PendingDestruction {
        /// When it is due.
        due: UtcMillis,
        /// Of a key that was suspended before: since when, and why.
        suspended: Option<(UtcMillis, String)>,
    },
    /// There is no such key any more: what hung on it opens never again.
    Destroyed {
        /// Since then.
        at: UtcMillis,
    },
}

impl KeyState {
    /// Whether the key is gone.
    #[must_use]
    pub const fn is_destroyed(&self) -> bool {
        matches!(self, Self::Destroyed { .. })
    }

    /// Its name, as administrators see it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended { .. } => "suspended",
            Self::PendingDestruction { .. } => "pending destruction",
            Self::Destroyed { .. } => "destroyed",
        }
    }
}

/// One version of a tenant key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyVersionRow {
    /// Its number, from 1.
    pub number: u32,
    /// When it was made.
    pub created: UtcMillis,
    /// What may be shown of it: 32 hex digits that are others for every other key.
    pub fingerprint: String,
    /// What its provider keeps here: the wrapped key, or nothing.
    pub wrapped: Vec<u8>,
    /// Where it comes from.
    #[serde(default)]
    pub origin: Origin,
    /// Since when it is destroyed; what hung on it opens never again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroyed: Option<UtcMillis>,
}

/// Where a version of a tenant key comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Its provider made it.
    #[default]
    Generated,
    /// The tenant brought it, and may have copies.
    Imported,
}

impl TenantKeyRow {
    /// A key that was made.
    #[must_use]
    pub fn new(name: &str, key: NewKey, provider: ProviderKind, first: KeyVersionRow) -> Self {
        let NewKey { id, tenant, suite } = key;
        let (name, created) = (name.to_owned(), first.created);
        Self {
            id,
            tenant,
            name,
            state: KeyState::Active,
            provider,
            suite,
            created,
            versions: vec![first],
            rotate_days: None,
            refuses: Reasons::default(),
        }
    }

    /// What it was made as.
    #[must_use]
    pub const fn facts(&self) -> NewKey {
        NewKey { id: self.id, tenant: self.tenant, suite: self.suite }
    }

    /// The version that wraps.
    ///
    /// # Errors
    /// `Malformed` when there is none.
    pub fn current(&self) -> Result<&KeyVersionRow, SealError> {
        self.versions.last().ok_or(SealError::Malformed("tenant key without a version"))
    }

    /// Where its name stands: names of one tenant are unique.
    #[must_use]
    pub fn name_id(tenant: TenantId, name: &str) -> Vec<u8> {
        [tenant.as_bytes(), name.as_bytes()].concat()
    }
}

/// A user or service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PrincipalRow {
    /// Its id.
    pub id: PrincipalId,
    /// Its tenant; none for the platform's own.
    pub tenant: Option<TenantId>,
    /// Its name, unique in its tenant.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// False once disabled.
    pub active: bool,
    /// When it was made.
    pub created: UtcMillis,
    /// The key that it signs approvals with, once it has enrolled one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_key: Option<ApprovalKey>,
    /// Who made it; none for the first ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<PrincipalId>,
    /// Who else had secrets or invitations made for it, each with the last time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_by: Vec<(PrincipalId, UtcMillis)>,
}

impl PrincipalRow {
    /// The same, for whom somebody has a secret made now.
    #[must_use]
    pub fn given_secret(mut self, by: PrincipalId, now: UtcMillis) -> Self {
        if by != self.id {
            self.secret_by.retain(|(known, _)| *known != by);
            self.secret_by.push((by, now));
        }
        self
    }
}

/// The public half of a key that a principal signs approvals with; the other half never leaves its holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalKey {
    /// Ed25519, 64 hex digits (RFC 8032).
    pub public_key: String,
    /// When it was enrolled.
    pub enrolled: UtcMillis,
}

/// An access key of a principal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CredentialRow {
    /// The public half.
    pub access_key: AccessKeyId,
    /// Whose it is.
    pub principal: PrincipalId,
    /// The principal's tenant.
    pub tenant: Option<TenantId>,
    /// The secret half, sealed under the root key.
    pub secret: Vec<u8>,
    /// False once revoked.
    pub active: bool,
    /// When it was made.
    pub created: UtcMillis,
    /// An invitation: until then it may be exchanged, once, for a credential that nobody else has seen, and for nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invited_until: Option<UtcMillis>,
}

/// A control row that can be stored.
pub trait ControlRow: Serialize + DeserializeOwned {
    /// Its key space.
    const KIND: ControlKind;
    /// Its key.
    fn id(&self) -> Vec<u8>;
}

impl ControlRow for TenantRow {
    const KIND: ControlKind = ControlKind::Tenant;
    fn id(&self) -> Vec<u8> {
        self.id.as_bytes().to_vec()
    }
}

impl ControlRow for TenantKeyRow {
    const KIND: ControlKind = ControlKind::TenantKey;
    fn id(&self) -> Vec<u8> {
        self.id.as_bytes().to_vec()
    }
}

impl ControlRow for PrincipalRow {
    const KIND: ControlKind = ControlKind::Principal;
    fn id(&self) -> Vec<u8> {
        self.id.as_bytes().to_vec()
    }
}

impl ControlRow for CredentialRow {
    const KIND: ControlKind = ControlKind::Credential;
    fn id(&self) -> Vec<u8> {
        self.access_key.as_str().as_bytes().to_vec()
    }
}
