//! Control rows: tenants, principals, credentials, tenant keys. The catalog keeps them as opaque
//! bytes; their secrets are wrapped under the root key, and each proves that it was written here ([`ControlState`]).

use policy::id::{AccessKeyId, KeyId, PrincipalId, TenantId};
use policy::principal::Role;
use policy::residency::Residency;
use policy::time::UtcMillis;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use storage::catalog::ControlKind;

pub(crate) mod state;

pub use state::{Bucket, ControlState};

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
}

/// A tenant key, wrapped under the root key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TenantKeyRow {
    /// Its id.
    pub id: KeyId,
    /// Its owner.
    pub tenant: TenantId,
    /// Its version, from 1.
    pub version: u32,
    /// When it was made.
    pub created: UtcMillis,
    /// The wrapped key.
    pub wrapped: Vec<u8>,
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
