//! Bucket keys: how they are stored, what they wrap, and which of their versions something hangs on.
//!
//! List values are stored as `version of the bucket key u32be || sealed`.

use std::sync::Arc;
use std::time::Instant;

use policy::id::{BucketId, KeyId, TenantId, VersionId};
use policy::reason::Reason;
use storage::catalog::WrappedKey;

use super::gate::{Gates, HeldAll};
use crate::error::Error;
use crate::provider::Wrapped;
use crate::seal::value::{ListKey, ListOpener, Owner};
use crate::seal::wrap::{WrapContext, version_of, wrapped_by};
use crate::seal::{SealError, SecretKey, Suite, VersionKey};

/// The unwrapped key of a bucket, ready for use: its current version seals, older ones still open.
#[derive(Debug)]
pub struct BucketKey {
    /// Its id.
    pub id: KeyId,
    /// Its current version.
    pub version: u32,
    /// The suite of the tenant key that it hangs on.
    pub suite: Suite,
    /// Until when it may be used without its provider being asked again.
    pub until: Instant,
    /// The reason that it is for alone, when some version of it is refused for that.
    only: Option<Reason>,
    pub(super) bucket: BucketId,
    tenant: TenantId,
    /// Oldest first; never empty.
    versions: Vec<KeyVersion>,
    /// Older versions that hang on another tenant key, which cannot be used now, and why.
    shut: Vec<(u32, Arc<Error>)>,
}

#[derive(Debug)]
struct KeyVersion {
    number: u32,
    gates: Gates,
    list: ListKey,
    key: SecretKey,
}

/// What a provider unwrapped of a version of a bucket key.
#[derive(Debug)]
pub(super) enum Unwrapped {
    /// The key, and what stands before it.
    Key(SecretKey, Gates),
    /// The tenant key that it hangs on cannot be used, and no new envelope needs it.
    Shut(Arc<Error>),
}

/// A version of a bucket key as it is stored, and where it belongs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored<'a> {
    row: &'a WrappedKey,
    suite: Suite,
    tenant: TenantId,
    bucket: BucketId,
    /// The tenant key that wraps it.
    pub(super) under: KeyId,
    /// That key's version.
    pub(super) under_version: u32,
}

impl<'a> Stored<'a> {
    pub(super) fn read(tenant: TenantId, bucket: BucketId, row: &'a WrappedKey) -> Result<Self, SealError> {
        let (suite, under, under_version) = wrapped_by(&row.wrapped)?;
        Ok(Self { row, suite, tenant, bucket, under: KeyId::from_bytes(under), under_version })
    }

    /// Where it belongs under a version of its tenant key.
    pub(super) fn context(&self, wrapping_version: u32) -> WrapContext {
        context((self.tenant, self.bucket), (self.row.id, self.row.version), (self.under, wrapping_version))
    }

    /// As its provider is asked to unwrap it.
    pub(super) fn wrapped(&self) -> Wrapped<'a> {
        (self.context(self.under_version), &self.row.wrapped)
    }

    /// The same key, wrapped otherwise.
    pub(super) fn with(&self, wrapped: &[u8]) -> WrappedKey {
        WrappedKey { wrapped: wrapped.to_vec(), ..self.row.clone() }
    }
}

/// Where a version of a bucket key belongs: owner and bucket, its id and number, and the version of the tenant key that
/// wraps it. Its own id there is that of the bucket key with its number xored into the last four bytes, so that no version
/// opens in the place of another.
pub(super) fn context(
    (tenant, bucket): (TenantId, BucketId),
    (id, version): (KeyId, u32),
    under: (KeyId, u32),
) -> WrapContext {
    let mut own = *id.as_bytes();
    for (byte, of_version) in own.iter_mut().rev().zip(version.to_be_bytes().into_iter().rev()) {
        *byte ^= of_version;
    }
    WrapContext { tenant, bucket, own, wrapping: *under.0.as_bytes(), wrapping_version: under.1 }
}

/// The version of the bucket key that some stored list values hang on; 0, which no key has, when they are none.
#[must_use]
pub fn list_version(stored: &[u8]) -> u32 {
    stored.first_chunk().map_or(0, |version| u32::from_be_bytes(*version))
}

impl BucketKey {
    /// Ready for use, once their providers have unwrapped the versions; the current one is not shut.
    pub(super) fn open(
        stored: &[Stored<'_>],
        keys: Vec<Unwrapped>,
        (until, only): (Instant, Option<Reason>),
    ) -> Result<Self, SealError> {
        let current = stored.last().filter(|_| stored.len() == keys.len()).ok_or(SealError::Malformed("bucket key"))?;
        let (mut versions, mut shut) = (Vec::new(), Vec::new());
        for (stored, key) in stored.iter().zip(keys) {
            let number = stored.row.version;
            match key {
                Unwrapped::Shut(why) => shut.push((number, why)),
                Unwrapped::Key(key, gates) => {
                    versions.push(KeyVersion { number, gates, list: ListKey::of(stored.suite, &key), key });
                }
            }
        }
        Ok(Self {
            id: current.row.id,
            version: current.row.version,
            suite: current.suite,
            until,
            only,
            bucket: current.bucket,
            tenant: current.tenant,
            versions,
            shut,
        })
    }

    /// The gates before all that is sealed from now on.
    ///
    /// # Errors
    /// `Malformed` when there is no version.
    pub fn gates(&self) -> Result<&Gates, SealError> {
        Ok(&self.current()?.gates)
    }

    /// The gates before what hangs on a version of it.
    ///
    /// # Errors
    /// `Refused` when it is not there.
    pub fn gates_of(&self, version: u32) -> Result<&Gates, SealError> {
        Ok(&self.of(version)?.gates)
    }

    /// Asks before what hangs on a version of it is opened for a reason. A version that is not there is no matter of gates.
    ///
    /// # Errors
    /// `KeySuspended`, `KeyDestroyed` or `Provider` when its tenant key cannot be used, `BucketClosed`, `Denied` when the key
    /// refuses the reason.
    pub fn pass(&self, version: u32, reason: Reason) -> Result<(), Error> {
        if let Some((_, why)) = self.shut.iter().find(|(number, _)| *number == version) {
            return Err(why.of_key());
        }
        self.of(version).map_or(Ok(()), |version| version.gates.pass(reason))
    }

    /// Asks before anything that hangs on any version of it is opened and sealed, and keeps the gates open until that is
    /// committed.
    ///
    /// # Errors
    /// As [`Self::pass`].
    pub async fn hold_all(&self, reason: Reason) -> Result<HeldAll, Error> {
        if let Some((_, why)) = self.shut.first() {
            return Err(why.of_key());
        }
        Gates::hold_all(&self.versions.iter().map(|version| &version.gates).collect::<Vec<_>>(), reason).await
    }

    /// As [`Self::hold_all`], before it is opened.
    ///
    /// # Errors
    /// As [`Self::pass`].
    pub fn pass_all(&self, reason: Reason) -> Result<(), Error> {
        let shut = self.shut.first().map_or(Ok(()), |(_, why)| Err(why.of_key()));
        shut.and_then(|()| self.versions.iter().try_for_each(|version| version.gates.pass(reason)))
    }

    /// Whether it is for this reason.
    pub(super) fn serves(&self, reason: Reason) -> bool {
        self.only.is_none_or(|only| only == reason)
    }

    /// Whether it may be used without its provider being asked, for some reason at least.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        now < self.until && self.versions.iter().all(|version| version.gates.stand())
    }

    fn current(&self) -> Result<&KeyVersion, SealError> {
        self.versions.last().ok_or(SealError::Malformed("bucket key"))
    }

    fn of(&self, number: u32) -> Result<&KeyVersion, SealError> {
        let known = self.versions.iter().rev().find(|version| version.number == number);
        known.ok_or(SealError::Refused("what hangs on another version of the bucket key"))
    }

    fn context(&self, own: [u8; 16], version: u32) -> WrapContext {
        let Self { tenant, bucket, id, .. } = *self;
        WrapContext { tenant, bucket, own, wrapping: *id.as_bytes(), wrapping_version: version }
    }

    /// Wraps a version key for the version or upload `own`.
    ///
    /// # Errors
    /// `Random` without a salt.
    pub fn wrap(&self, key: &VersionKey, own: [u8; 16]) -> Result<Vec<u8>, SealError> {
        key.envelope(&self.current()?.key, &self.context(own, self.version))
    }

    /// Opens the envelope of the version or upload `own`.
    ///
    /// # Errors
    /// `Refused` when it belongs elsewhere, or hangs on a version that is not there.
    pub fn unwrap(&self, envelope: &[u8], own: [u8; 16]) -> Result<VersionKey, SealError> {
        let version = version_of(envelope);
        VersionKey::open(&self.of(version)?.key, &self.context(own, version), envelope)
    }

    /// Seals list values of a version.
    ///
    /// # Errors
    /// As [`ListKey::seal`].
    pub fn seal_list(&self, owner: &Owner<'_>, size: u64, modified: u64, content: &[u8]) -> Result<Vec<u8>, SealError> {
        let sealed = self.current()?.list.seal(owner, size, modified, content)?;
        Ok([self.version.to_be_bytes().as_slice(), &sealed].concat())
    }

    /// Opens list values of a version.
    ///
    /// # Errors
    /// As [`ListKey::open`], and `Refused` when they hang on a version that is not there.
    pub fn open_list(&self, owner: &Owner<'_>, size: u64, modified: u64, stored: &[u8]) -> Result<Vec<u8>, SealError> {
        let (version, sealed) = split(stored)?;
        self.of(version)?.list.open(owner, size, modified, sealed)
    }

    /// Opens list values of many versions.
    #[must_use]
    pub const fn list_opener(&self) -> BucketListOpener<'_> {
        BucketListOpener { key: self, openers: Vec::new() }
    }
}

/// Opens the list values of a page, whichever versions of the bucket key they hang on.
#[derive(Debug)]
pub struct BucketListOpener<'a> {
    key: &'a BucketKey,
    openers: Vec<(u32, ListOpener<'a>)>,
}

impl BucketListOpener<'_> {
    /// Opens the values of one row.
    ///
    /// # Errors
    /// As [`BucketKey::open_list`].
    pub fn open(
        &mut self,
        name: &[u8],
        version: VersionId,
        size: u64,
        modified: u64,
        stored: &[u8],
    ) -> Result<&[u8], SealError> {
        let (of, sealed) = split(stored)?;
        let known = self.openers.iter().position(|(number, _)| *number == of);
        let place = match known {
            Some(place) => place,
            None => {
                let opener = self.key.of(of)?.list.opener(self.key.tenant, self.key.bucket);
                self.openers.push((of, opener));
                self.openers.len() - 1
            }
        };
        let (_, opener) = self.openers.get_mut(place).ok_or(SealError::Malformed("list values"))?;
        opener.open(name, version, size, modified, sealed)
    }
}

fn split(stored: &[u8]) -> Result<(u32, &[u8]), SealError> {
    let (version, sealed) = stored.split_first_chunk().ok_or(SealError::Malformed("list values"))?;
    Ok((u32::from_be_bytes(*version), sealed))
}

#[cfg(test)]
impl BucketKey {
    /// A random one, good until then.
    pub(super) fn for_tests_until(until: Instant) -> Self {
        Self { until, ..Self::for_tests() }
    }

    /// A random one.
    pub(crate) fn for_tests() -> Self {
        Self::for_tests_with(&[SecretKey::random().unwrap()])
    }

    /// One of these versions, from 1.
    pub(crate) fn for_tests_with(keys: &[SecretKey]) -> Self {
        let suite = Suite::Aes256Gcm;
        let version = |(number, key): (u32, &SecretKey)| {
            let (gates, list) = (Gates::for_tests(), ListKey::of(suite, key));
            KeyVersion { number, gates, list, key: key.clone() }
        };
        Self {
            id: KeyId::from_bytes([1; 16]),
            version: u32::try_from(keys.len()).unwrap(),
            suite,
            until: Instant::now() + std::time::Duration::from_secs(300),
            only: None,
            shut: Vec::new(),
            tenant: TenantId::from_bytes([2; 16]),
            bucket: BucketId::from_bytes([3; 16]),
            versions: (1..).zip(keys).map(version).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_versions_open_and_the_current_one_seals() {
        let [one, two] = [1, 2].map(|n| SecretKey::from_bytes([n; 32]));
        let before = BucketKey::for_tests_with(std::slice::from_ref(&one));
        let during = BucketKey::for_tests_with(&[one, two]);
        let key = VersionKey::random(Suite::Aes256Gcm).unwrap();
        let old = before.wrap(&key, [7; 16]).unwrap();
        let new = during.wrap(&key, [7; 16]).unwrap();
        assert_eq!((version_of(&old), version_of(&new)), (1, 2));
        assert!(during.unwrap(&old, [7; 16]).is_ok() && during.unwrap(&new, [7; 16]).is_ok());
        assert!(before.unwrap(&new, [7; 16]).is_err() && during.unwrap(&old, [8; 16]).is_err());

        let owner = Owner { tenant: before.tenant, bucket: before.bucket, ..Owner::for_tests(b"a") };
        let [old, new] = [&before, &during].map(|key| key.seal_list(&owner, 5, 6, b"values").unwrap());
        assert_eq!((list_version(&old), list_version(&new)), (1, 2));
        let mut opener = during.list_opener();
        for stored in [&old, &new, &old] {
            assert_eq!(during.open_list(&owner, 5, 6, stored).unwrap(), b"values");
            assert_eq!(opener.open(b"a", owner.version, 5, 6, stored).unwrap(), b"values");
        }
        assert!(before.open_list(&owner, 5, 6, &new).is_err());
        let mislabelled = [1_u32.to_be_bytes().as_slice(), &new[4..]].concat();
        assert!(during.open_list(&owner, 5, 6, &mislabelled).is_err());
    }

    #[test]
    fn no_version_of_a_bucket_key_opens_in_the_place_of_another() {
        let place = (TenantId::from_bytes([2; 16]), BucketId::from_bytes([3; 16]));
        let of = |version| context(place, (KeyId::from_bytes([1; 16]), version), (KeyId::from_bytes([4; 16]), 1)).own;
        let all: std::collections::HashSet<_> = (0..2000).map(of).collect();
        assert_eq!(all.len(), 2000);
    }
}
