//! Control rows: tenants, principals, credentials, tenant keys. The catalog keeps them as opaque
//! bytes; their secrets are wrapped under the root key.

use policy::id::{AccessKeyId, KeyId, PrincipalId, TenantId};
use policy::principal::Role;
use policy::residency::Residency;
use policy::time::UtcMillis;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use storage::catalog::{Catalog, ControlKind, ControlPut};

use crate::error::Error;

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

    /// The change that stores it; `only_if_absent` refuses to overwrite.
    ///
    /// # Errors
    /// `Corrupt` when it cannot be encoded.
    fn put(&self, only_if_absent: bool) -> Result<ControlPut, Error> {
        let value = serde_json::to_vec(self).map_err(|e| Error::Corrupt(e.to_string()))?;
        Ok(ControlPut { kind: Self::KIND, id: self.id(), value, only_if_absent })
    }
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

/// Reads one row.
///
/// # Errors
/// `Catalog` when it cannot be read, `Corrupt` when it cannot be decoded.
pub async fn read<R: ControlRow>(catalog: &dyn Catalog, id: &[u8]) -> Result<Option<R>, Error> {
    catalog.control(R::KIND, id).await?.map(|bytes| decode(&bytes)).transpose()
}

/// Reads all rows of one kind, a page at a time, keeping those that `keep` wants, at most `limit`.
///
/// # Errors
/// As [`read`].
pub async fn scan<R: ControlRow>(
    catalog: &dyn Catalog,
    limit: usize,
    keep: impl Fn(&R) -> bool,
) -> Result<Vec<R>, Error> {
    const PAGE: usize = 256;
    let mut out = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = catalog.controls(R::KIND, after.as_deref(), PAGE).await?;
        let full = page.len() == PAGE;
        for (id, value) in page {
            let row = decode::<R>(&value)?;
            if keep(&row) {
                out.push(row);
                if out.len() == limit {
                    return Ok(out);
                }
            }
            after = Some(id);
        }
        if !full {
            return Ok(out);
        }
    }
}

pub(crate) fn decode<R: ControlRow>(bytes: &[u8]) -> Result<R, Error> {
    serde_json::from_slice(bytes).map_err(|e| Error::Corrupt(format!("control row: {e}")))
}
