//! Bucket keys: how they are stored, and what they wrap.
//!
//! Stored in the bucket's row as `id 16 || version u32be || wrapped key`.

use std::sync::Arc;

use policy::id::{BucketId, KeyId, TenantId};

use super::gate::Gate;
use crate::provider::Wrapped;
use crate::seal::value::ListKey;
use crate::seal::wrap::{WrapContext, wrapped_by};
use crate::seal::{SealError, SecretKey, Suite, VersionKey};

/// An unwrapped bucket key, ready for use.
#[derive(Debug)]
pub struct BucketKey {
    /// Its id.
    pub id: KeyId,
    /// Its version.
    pub version: u32,
    /// The suite of the tenant key that it hangs on.
    pub suite: Suite,
    /// The bucket's list key.
    pub list: ListKey,
    /// The gate of that tenant key.
    pub gate: Arc<Gate>,
    pub(super) bucket: BucketId,
    tenant: TenantId,
    key: SecretKey,
}

/// A bucket key as it is stored, and where it belongs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored<'a> {
    id: [u8; 16],
    version: u32,
    suite: Suite,
    tenant: TenantId,
    bucket: BucketId,
    /// The tenant key that wraps it.
    pub(super) under: KeyId,
    /// That key's version.
    pub(super) under_version: u32,
    wrapped: &'a [u8],
}

impl<'a> Stored<'a> {
    pub(super) fn read(tenant: TenantId, bucket: BucketId, row: &'a [u8]) -> Result<Self, SealError> {
        const SHAPE: SealError = SealError::Malformed("bucket key");
        let (id, rest) = row.split_first_chunk::<16>().ok_or(SHAPE)?;
        let (version, wrapped) = rest.split_first_chunk::<4>().ok_or(SHAPE)?;
        let (suite, under, under_version) = wrapped_by(wrapped)?;
        let (version, under) = (u32::from_be_bytes(*version), KeyId::from_bytes(under));
        Ok(Self { id: *id, version, suite, tenant, bucket, under, under_version, wrapped })
    }

    /// Where it belongs under a version of its tenant key.
    pub(super) fn context(&self, wrapping_version: u32) -> WrapContext {
        context((self.tenant, self.bucket), self.id, (self.under, wrapping_version))
    }

    /// As its provider is asked to unwrap it.
    pub(super) fn wrapped(&self) -> Wrapped<'a> {
        (self.context(self.under_version), self.wrapped)
    }

    /// Ready for use, once its provider has unwrapped it.
    pub(super) fn open(&self, key: SecretKey, gate: Arc<Gate>) -> BucketKey {
        let Self { version, suite, tenant, bucket, .. } = *self;
        let (id, list) = (KeyId::from_bytes(self.id), ListKey::of(suite, &key));
        BucketKey { id, version, suite, list, gate, bucket, tenant, key }
    }

    /// The same key, wrapped otherwise.
    pub(super) fn with(&self, wrapped: &[u8]) -> Vec<u8> {
        stored(self.id, self.version, wrapped)
    }
}

/// Where a bucket key belongs: owner and bucket, its id, and the version of the tenant key that wraps it.
pub(super) fn context((tenant, bucket): (TenantId, BucketId), own: [u8; 16], under: (KeyId, u32)) -> WrapContext {
    WrapContext { tenant, bucket, own, wrapping: *under.0.as_bytes(), wrapping_version: under.1 }
}

/// A bucket key as it is stored.
pub(super) fn stored(id: [u8; 16], version: u32, wrapped: &[u8]) -> Vec<u8> {
    [&id, version.to_be_bytes().as_slice(), wrapped].concat()
}

impl BucketKey {
    fn context(&self, own: [u8; 16]) -> WrapContext {
        context((self.tenant, self.bucket), own, (self.id, self.version))
    }

    /// Wraps a version key for the version or upload `own`.
    ///
    /// # Errors
    /// `Random` without a salt.
    pub fn wrap(&self, key: &VersionKey, own: [u8; 16]) -> Result<Vec<u8>, SealError> {
        key.envelope(&self.key, &self.context(own))
    }

    /// Opens the envelope of the version or upload `own`.
    ///
    /// # Errors
    /// `Refused` when it belongs elsewhere.
    pub fn open(&self, envelope: &[u8], own: [u8; 16]) -> Result<VersionKey, SealError> {
        VersionKey::open(&self.key, &self.context(own), envelope)
    }
}

#[cfg(test)]
impl BucketKey {
    /// A random one.
    pub(crate) fn for_tests() -> Self {
        let (key, suite) = (SecretKey::random().unwrap(), Suite::Aes256Gcm);
        Self {
            id: KeyId::from_bytes([1; 16]),
            version: 1,
            suite,
            list: ListKey::of(suite, &key),
            gate: Arc::new(Gate::new(KeyId::from_bytes([4; 16]))),
            tenant: TenantId::from_bytes([2; 16]),
            bucket: BucketId::from_bytes([3; 16]),
            key,
        }
    }
}
