//! Wrapping one key under another.
//!
//! | offset | size | meaning |
//! |---|---|---|
//! | 0 | 1 | format, 1 |
//! | 1 | 1 | suite id |
//! | 2 | 16 | wrapping key id |
//! | 18 | 4 | wrapping key version, big-endian |
//! | 22 | 32 | salt, random |
//! | 54 | 48 | the key, sealed under derive(wrapping key, "wrap", salt), nonce zero |
//! | 102 | 32 | commitment: derive(wrapped key, "commit", context) |
//!
//! context (also the AAD) = "GTGN" || format || suite || tenant 16 || bucket 16 || own id 16 ||
//! wrapping key id 16 || wrapping key version u32be. The one-time key makes the fixed nonce safe;
//! the commitment binds the context even where a provider takes no AAD.

use policy::id::{BucketId, TenantId};
use subtle::ConstantTimeEq;

pub mod at_provider;

use super::key::{SecretKey, VersionKey, random};
use super::suite::TAG;
use super::{FORMAT, MAGIC, SealError, Suite};

/// Bytes of a wrapped key.
pub const WRAPPED_LEN: usize = 134;
const CONTEXT_LEN: usize = 4 + 2 + 16 * 4 + 4;
const NONCE_ZERO: [u8; 12] = [0; 12];

/// Where a wrapped key belongs: it opens nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct WrapContext {
    /// The tenant that owns it.
    pub tenant: TenantId,
    /// The bucket that it serves, all zero for a key above buckets.
    pub bucket: BucketId,
    /// Id of the wrapped key, or of the version, upload or body that it is the key of.
    pub own: [u8; 16],
    /// Id of the key that wraps.
    pub wrapping: [u8; 16],
    /// Version of the key that wraps.
    pub wrapping_version: u32,
}

impl WrapContext {
    /// The context as the AAD and the commitment have it.
    pub(crate) fn bytes(&self, suite: Suite) -> [u8; CONTEXT_LEN] {
        let mut out = [0; CONTEXT_LEN];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(MAGIC);
        put(&[FORMAT, suite.id()]);
        put(self.tenant.as_bytes());
        put(self.bucket.as_bytes());
        put(&self.own);
        put(&self.wrapping);
        put(&self.wrapping_version.to_be_bytes());
        out
    }
}

/// Wraps `key` under `wrapping`.
///
/// # Errors
/// `Random` when the system gives no salt.
pub fn wrap(suite: Suite, wrapping: &SecretKey, context: &WrapContext, key: &SecretKey) -> Result<Vec<u8>, SealError> {
    let salt = random::<32>()?;
    let aad = context.bytes(suite);
    let one_time = suite.derive(wrapping, "wrap", &salt);
    let mut out = Vec::with_capacity(WRAPPED_LEN);
    out.extend_from_slice(&[FORMAT, suite.id()]);
    out.extend_from_slice(&context.wrapping);
    out.extend_from_slice(&context.wrapping_version.to_be_bytes());
    out.extend_from_slice(&salt);
    let mut sealed = zeroize::Zeroizing::new(*key.expose());
    let tag = suite.cipher(&one_time)?.seal(NONCE_ZERO, &aad, sealed.as_mut_slice())?;
    out.extend_from_slice(sealed.as_slice());
    out.extend_from_slice(&tag);
    out.extend_from_slice(suite.derive(key, "commit", &aad).expose());
    Ok(out)
}

/// Which key wrapped these bytes, here or at a provider: (suite, key id, key version).
///
/// # Errors
/// `Malformed` when the bytes are not a wrapped key.
pub fn wrapped_by(bytes: &[u8]) -> Result<(Suite, [u8; 16], u32), SealError> {
    let (suite, id, version, _) = if at_provider::is(bytes) { head(bytes)? } else { split(bytes)? };
    Ok((suite, id, version))
}

/// The version of the key that wrapped these bytes; 0, which no key has, when they are no wrapped key.
#[must_use]
pub fn version_of(bytes: &[u8]) -> u32 {
    wrapped_by(bytes).map_or(0, |(_, _, version)| version)
}

/// Opens a wrapped key in its context.
///
/// # Errors
/// `Malformed` for another shape; `Refused` for another key, another context or changed bytes.
pub fn unwrap(wrapping: &SecretKey, context: &WrapContext, bytes: &[u8]) -> Result<(Suite, SecretKey), SealError> {
    let (suite, id, version, rest) = split(bytes)?;
    if id != context.wrapping || version != context.wrapping_version {
        return Err(SealError::Refused("wrapped key"));
    }
    let (salt, rest) = rest.split_at(32);
    let (sealed, commitment) = rest.split_at(32 + TAG);
    let aad = context.bytes(suite);
    let one_time = suite.derive(wrapping, "wrap", salt);
    let mut data = zeroize::Zeroizing::new([0_u8; 32 + TAG]);
    data.copy_from_slice(sealed);
    let plain = suite.cipher(&one_time)?.open(NONCE_ZERO, &aad, data.as_mut_slice(), "wrapped key")?;
    let mut key = [0; 32];
    key.copy_from_slice(plain);
    let key = SecretKey::from_bytes(key);
    let expected = suite.derive(&key, "commit", &aad);
    if bool::from(expected.expose().as_slice().ct_eq(commitment)) {
        Ok((suite, key))
    } else {
        Err(SealError::Refused("wrapped key"))
    }
}

/// The commitment inside a wrapped key, which a manifest names.
///
/// # Errors
/// `Malformed` when the bytes are not a wrapped key of format 1.
pub fn commitment(bytes: &[u8]) -> Result<&[u8], SealError> {
    split(bytes).map(|(_, _, _, rest)| rest.split_at(32 + 32 + TAG).1)
}

impl VersionKey {
    /// Wraps this key under a bucket key, for the version or upload `own`.
    ///
    /// # Errors
    /// As [`wrap`].
    pub fn envelope(&self, bucket_key: &SecretKey, context: &WrapContext) -> Result<Vec<u8>, SealError> {
        wrap(self.suite, bucket_key, context, &self.key)
    }

    /// Opens an envelope that [`Self::envelope`] made.
    ///
    /// # Errors
    /// As [`unwrap`].
    pub fn open(bucket_key: &SecretKey, context: &WrapContext, envelope: &[u8]) -> Result<Self, SealError> {
        unwrap(bucket_key, context, envelope).map(|(suite, key)| Self::from_key(suite, key))
    }

    /// The context of a data key that this key wraps.
    fn data_context(&self, tenant: TenantId, bucket: BucketId, body: [u8; 16]) -> WrapContext {
        WrapContext { tenant, bucket, own: body, wrapping: self.id, wrapping_version: 1 }
    }

    /// Wraps the data key of `body`.
    ///
    /// # Errors
    /// As [`wrap`].
    pub fn wrap_data_key(
        &self,
        tenant: TenantId,
        bucket: BucketId,
        body: [u8; 16],
        key: &SecretKey,
    ) -> Result<Vec<u8>, SealError> {
        wrap(self.suite, &self.key, &self.data_context(tenant, bucket, body), key)
    }

    /// Wraps anew the data key of `body`, which `before` wraps. Its suite stays: the body was sealed under it.
    ///
    /// # Errors
    /// As [`unwrap`] and [`wrap`].
    pub fn take_over_data_key(
        &self,
        before: &Self,
        tenant: TenantId,
        bucket: BucketId,
        body: [u8; 16],
        envelope: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let (suite, key) = before.open_data_key(tenant, bucket, body, envelope)?;
        wrap(suite, &self.key, &self.data_context(tenant, bucket, body), &key)
    }

    /// Opens the data key of `body`.
    ///
    /// # Errors
    /// As [`unwrap`].
    pub fn open_data_key(
        &self,
        tenant: TenantId,
        bucket: BucketId,
        body: [u8; 16],
        envelope: &[u8],
    ) -> Result<(Suite, SecretKey), SealError> {
        unwrap(&self.key, &self.data_context(tenant, bucket, body), envelope)
    }
}

/// Suite, id and version of the wrapping key, and what it wraps.
type Parts<'a> = (Suite, [u8; 16], u32, &'a [u8]);

fn split(bytes: &[u8]) -> Result<Parts<'_>, SealError> {
    if bytes.len() != WRAPPED_LEN || bytes.first() != Some(&FORMAT) {
        return Err(SealError::Malformed("wrapped key"));
    }
    head(bytes)
}

/// What stands in front of every wrapped key, whoever wrapped it, behind its first byte.
fn head(bytes: &[u8]) -> Result<Parts<'_>, SealError> {
    const SHAPE: SealError = SealError::Malformed("wrapped key");
    let (head, rest) = bytes.split_first_chunk::<2>().ok_or(SHAPE)?;
    let (id, rest) = rest.split_first_chunk::<16>().ok_or(SHAPE)?;
    let (version, rest) = rest.split_first_chunk::<4>().ok_or(SHAPE)?;
    Ok((Suite::from_id(head[1])?, *id, u32::from_be_bytes(*version), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn context() -> WrapContext {
        WrapContext {
            tenant: TenantId::from_bytes([1; 16]),
            bucket: BucketId::from_bytes([2; 16]),
            own: [3; 16],
            wrapping: [4; 16],
            wrapping_version: 7,
        }
    }

    #[test]
    fn a_wrapped_key_opens_in_its_context_only() {
        for suite in Suite::ALL {
            let outer = SecretKey::random().unwrap();
            let inner = SecretKey::random().unwrap();
            let bytes = wrap(suite, &outer, &context(), &inner).unwrap();
            assert_eq!(bytes.len(), WRAPPED_LEN);
            assert_eq!(wrapped_by(&bytes).unwrap(), (suite, [4; 16], 7));
            let (opened_suite, opened) = unwrap(&outer, &context(), &bytes).unwrap();
            assert_eq!((opened_suite, opened.expose()), (suite, inner.expose()));
            let others = [
                WrapContext { tenant: TenantId::from_bytes([9; 16]), ..context() },
                WrapContext { bucket: BucketId::from_bytes([9; 16]), ..context() },
                WrapContext { own: [9; 16], ..context() },
                WrapContext { wrapping: [9; 16], ..context() },
                WrapContext { wrapping_version: 8, ..context() },
            ];
            for other in others {
                assert!(unwrap(&outer, &other, &bytes).is_err(), "{other:?}");
            }
            assert!(unwrap(&inner, &context(), &bytes).is_err());
        }
    }

    #[test]
    fn a_data_key_keeps_its_suite_under_another_version_key() {
        let (tenant, bucket, body) = (TenantId::from_bytes([1; 16]), BucketId::from_bytes([2; 16]), [3; 16]);
        let [before, after] = [Suite::ChaCha20Poly1305, Suite::Aes256Gcm].map(|s| VersionKey::random(s).unwrap());
        let key = SecretKey::random().unwrap();
        let envelope = before.wrap_data_key(tenant, bucket, body, &key).unwrap();
        let again = after.take_over_data_key(&before, tenant, bucket, body, &envelope).unwrap();
        let (suite, opened) = after.open_data_key(tenant, bucket, body, &again).unwrap();
        assert_eq!((suite, opened.expose()), (Suite::ChaCha20Poly1305, key.expose()));
        assert!(before.open_data_key(tenant, bucket, body, &again).is_err());
    }

    proptest! {
        #[test]
        fn any_changed_byte_is_refused(at in 0..WRAPPED_LEN, bit in 0..8_u32) {
            let outer = SecretKey::from_bytes([5; 32]);
            let mut bytes = wrap(Suite::Aes256Gcm, &outer, &context(), &SecretKey::from_bytes([6; 32])).unwrap();
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(unwrap(&outer, &context(), &bytes).is_err());
        }

        #[test]
        fn any_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(unwrap(&SecretKey::from_bytes([5; 32]), &context(), &bytes).is_err());
            prop_assert!(commitment(&bytes).is_err() || bytes.len() == WRAPPED_LEN);
        }
    }
}
