//! Bucket keys: how they are stored, and what they wrap.
//!
//! Stored in the bucket's row as `id 16 || version u32be || wrapped key`.

use std::sync::Arc;

use policy::id::{BucketId, KeyId, TenantId};

use super::gate::Gate;
use crate::error::Error;
use crate::seal::key::random;
use crate::seal::value::ListKey;
use crate::seal::wrap::{WrapContext, unwrap, wrap, wrapped_by};
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

/// One version of a tenant key, unwrapped.
#[derive(Debug)]
pub(super) struct Outer {
    pub(super) id: KeyId,
    pub(super) version: u32,
    pub(super) suite: Suite,
    pub(super) key: SecretKey,
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

    fn context(&self, under: KeyId, version: u32) -> WrapContext {
        let (tenant, bucket) = (self.tenant, self.bucket);
        WrapContext { tenant, bucket, own: self.id, wrapping: *under.as_bytes(), wrapping_version: version }
    }

    fn unwrap(&self, outer: &Outer) -> Result<SecretKey, SealError> {
        Ok(unwrap(&outer.key, &self.context(self.under, self.under_version), self.wrapped)?.1)
    }

    /// Unwraps it for use.
    pub(super) fn open(&self, outer: &Outer, gate: Arc<Gate>) -> Result<BucketKey, SealError> {
        let key = self.unwrap(outer)?;
        let Self { version, suite, tenant, bucket, .. } = *self;
        let (id, list) = (KeyId::from_bytes(self.id), ListKey::of(suite, &key));
        Ok(BucketKey { id, version, suite, list, gate, bucket, tenant, key })
    }

    /// The same key, wrapped by another version of its tenant key.
    pub(super) fn rewrap(&self, from: &Outer, to: &Outer) -> Result<Vec<u8>, SealError> {
        let key = self.unwrap(from)?;
        stored(self.id, self.version, &wrap(self.suite, &to.key, &self.context(to.id, to.version), &key)?)
    }
}

/// A new bucket key as it is stored.
pub(super) fn create(tenant: TenantId, bucket: BucketId, outer: &Outer) -> Result<Vec<u8>, SealError> {
    let id: [u8; 16] = random()?;
    let context =
        WrapContext { tenant, bucket, own: id, wrapping: *outer.id.as_bytes(), wrapping_version: outer.version };
    stored(id, 1, &wrap(outer.suite, &outer.key, &context, &SecretKey::random()?)?)
}

fn stored(id: [u8; 16], version: u32, wrapped: &[u8]) -> Result<Vec<u8>, SealError> {
    Ok([&id, version.to_be_bytes().as_slice(), wrapped].concat())
}

impl BucketKey {
    fn context(&self, own: [u8; 16]) -> WrapContext {
        WrapContext {
            tenant: self.tenant,
            bucket: self.bucket,
            own,
            wrapping: *self.id.as_bytes(),
            wrapping_version: self.version,
        }
    }

    /// Wraps a version key for the version or upload `own`, whose commit follows.
    ///
    /// # Errors
    /// `KeySuspended` when its tenant key is meanwhile, `Seal` without a salt.
    pub fn wrap(&self, key: &VersionKey, own: [u8; 16]) -> Result<Vec<u8>, Error> {
        self.gate.pass()?;
        Ok(key.envelope(&self.key, &self.context(own))?)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn outer(version: u32) -> Outer {
        let (id, key) = (KeyId::from_bytes([7; 16]), SecretKey::from_bytes([u8::try_from(version).unwrap(); 32]));
        Outer { id, version, suite: Suite::ChaCha20Poly1305, key }
    }

    #[test]
    fn what_was_wrapped_anew_is_the_same_key_under_the_other_version_only() {
        let (tenant, bucket) = (TenantId::from_bytes([2; 16]), BucketId::from_bytes([3; 16]));
        let gate = || Arc::new(Gate::new(KeyId::from_bytes([7; 16])));
        let first = create(tenant, bucket, &outer(1)).unwrap();
        let stored = Stored::read(tenant, bucket, &first).unwrap();
        let again = stored.rewrap(&outer(1), &outer(2)).unwrap();
        let moved = Stored::read(tenant, bucket, &again).unwrap();
        assert_eq!((moved.under, moved.under_version, moved.suite), (outer(2).id, 2, Suite::ChaCha20Poly1305));
        let [before, after] = [stored.open(&outer(1), gate()), moved.open(&outer(2), gate())].map(Result::unwrap);
        let version = VersionKey::random(before.suite).unwrap();
        let envelope = before.wrap(&version, [9; 16]).unwrap();
        assert!(after.open(&envelope, [9; 16]).is_ok(), "objects need nothing");
        assert_eq!((before.id, before.version), (after.id, after.version));
        assert!(moved.open(&outer(1), gate()).is_err() && stored.rewrap(&outer(2), &outer(1)).is_err());
        for (tenant, bucket) in [(TenantId::from_bytes([1; 16]), bucket), (tenant, BucketId::from_bytes([1; 16]))] {
            assert!(Stored::read(tenant, bucket, &again).unwrap().open(&outer(2), gate()).is_err(), "elsewhere");
        }
    }
}
