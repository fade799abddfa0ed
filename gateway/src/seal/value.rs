//! What describes an object version, sealed: manifest, metadata, list values.
//!
//! Manifest and metadata: `salt 32 || ciphertext || tag`, under derive(version key, purpose, salt),
//! nonce zero: the salt is fresh for each write, so no key ever seals twice.
//! List values are in `list`.

use policy::id::{BucketId, TenantId, UploadId, VersionId};
use policy::time::UtcMillis;
use ring::digest::{SHA256, digest};
use storage::catalog::{Location, ManifestBody, UploadRow, VersionRow};

use super::key::{VersionKey, random};
use super::wrap::commitment;
use super::{FORMAT, MAGIC, SealError, Suite};

mod list;

pub use list::{ListKey, ListOpener};

const NONCE_ZERO: [u8; 12] = [0; 12];
const SALT: usize = 32;

/// Whose version, under which name. Part of every AAD here.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The tenant that owns the bucket.
    pub tenant: TenantId,
    /// The bucket.
    pub bucket: BucketId,
    /// The object's name, as bytes.
    pub name: &'a [u8],
    /// The version.
    pub version: VersionId,
}

#[cfg(test)]
impl<'a> Owner<'a> {
    /// One of this name, the same each time.
    pub(crate) fn for_tests(name: &'a [u8]) -> Self {
        Self {
            tenant: TenantId::from_bytes([1; 16]),
            bucket: BucketId::from_bytes([2; 16]),
            name,
            version: VersionId::from_bytes([3; 16]),
        }
    }
}

impl Owner<'_> {
    fn aad(&self, suite: Suite) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.name.len());
        put_bucket(&mut out, suite, self.tenant, self.bucket);
        put_version(&mut out, self.name, self.version);
        out
    }
}

/// The facts that a manifest authenticates beside its sealed content.
#[derive(Debug, Clone, Copy)]
pub struct ManifestFacts<'a> {
    /// Whose version it is.
    pub owner: Owner<'a>,
    /// The bodies, in order.
    pub bodies: &'a [ManifestBody],
    /// Total plaintext length in bytes.
    pub length: u64,
    /// Time of the commit, milliseconds since 1970.
    pub modified: u64,
    /// Epoch of the residency that it was placed under; 0 until residency has epochs.
    pub residency_epoch: u64,
    /// The version's sealed list values.
    pub list_values: &'a [u8],
}

impl<'a> ManifestFacts<'a> {
    /// Those of a stored version.
    #[must_use]
    pub fn of(owner: Owner<'a>, row: &'a VersionRow) -> Self {
        Self {
            owner,
            bodies: &row.bodies,
            length: row.size,
            modified: row.modified.0,
            residency_epoch: 0,
            list_values: &row.list_values,
        }
    }

    /// Fixed order, every variable part with its length in front (SECURITY.md rule 4).
    fn aad(&self, suite: Suite) -> Result<Vec<u8>, SealError> {
        let mut out = self.owner.aad(suite);
        put_u32(&mut out, self.bodies.len())?;
        for body in self.bodies {
            put_body(&mut out, body)?;
        }
        out.extend_from_slice(&self.length.to_be_bytes());
        out.extend_from_slice(&self.modified.to_be_bytes());
        out.extend_from_slice(&self.residency_epoch.to_be_bytes());
        out.extend_from_slice(digest(&SHA256, self.list_values).as_ref());
        Ok(out)
    }
}

impl VersionKey {
    /// Seals the content of a manifest.
    ///
    /// # Errors
    /// `Random` without a salt, `Malformed` when a body's envelope is not one.
    pub fn seal_manifest(&self, facts: &ManifestFacts<'_>, content: &[u8]) -> Result<Vec<u8>, SealError> {
        self.seal_value("manifest", &facts.aad(self.suite)?, content)
    }

    /// Opens a manifest: proves the whole list of bodies, their order and lengths.
    ///
    /// # Errors
    /// `Refused` when anything of it differs from what was sealed.
    pub fn open_manifest(&self, facts: &ManifestFacts<'_>, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        self.open_value("manifest", &facts.aad(self.suite)?, sealed)
    }

    /// Seals metadata; `counter` grows with each change of one version's metadata.
    ///
    /// # Errors
    /// `Random` without a salt.
    pub fn seal_metadata(&self, owner: &Owner<'_>, counter: u64, content: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut out = counter.to_be_bytes().to_vec();
        out.extend(self.seal_value("metadata", &metadata_aad(self.suite, owner, counter), content)?);
        Ok(out)
    }

    /// Opens metadata.
    ///
    /// # Errors
    /// `Refused` when it belongs to another version or was changed.
    pub fn open_metadata(&self, owner: &Owner<'_>, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (counter, sealed) = sealed.split_first_chunk::<8>().ok_or(SealError::Malformed("metadata"))?;
        let counter = u64::from_be_bytes(*counter);
        self.open_value("metadata", &metadata_aad(self.suite, owner, counter), sealed)
    }

    /// Seals what is kept with a part of an upload, bound to the part's body.
    ///
    /// # Errors
    /// `Random` without a salt, `Malformed` when the body's envelope is not one.
    pub fn seal_part(&self, part: &PartFacts<'_>, content: &[u8]) -> Result<Vec<u8>, SealError> {
        self.seal_value("part", &part.aad()?, content)
    }

    /// Opens what [`Self::seal_part`] sealed.
    ///
    /// # Errors
    /// `Refused` for another upload or number, or for a body that is not the one that was uploaded.
    pub fn open_part(&self, part: &PartFacts<'_>, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        self.open_value("part", &part.aad()?, sealed)
    }

    /// Seals the metadata of the object that an upload will make, bound to everything that its row says in the clear.
    ///
    /// # Errors
    /// `Random` without a salt.
    pub fn seal_upload(&self, row: &UploadRow, tenant: TenantId, metadata: &[u8]) -> Result<Vec<u8>, SealError> {
        self.seal_value("upload", &upload_aad(self.suite, row, tenant), metadata)
    }

    /// Opens what [`Self::seal_upload`] sealed.
    ///
    /// # Errors
    /// `Refused` when the row says anything else than then.
    pub fn open_upload(&self, row: &UploadRow, tenant: TenantId) -> Result<Vec<u8>, SealError> {
        self.open_value("upload", &upload_aad(self.suite, row, tenant), &row.metadata)
    }

    /// Seals a small value under this key, bound to `context`.
    ///
    /// # Errors
    /// `Random` without a salt.
    pub fn seal_value(&self, purpose: &'static str, aad: &[u8], content: &[u8]) -> Result<Vec<u8>, SealError> {
        let salt = random::<SALT>()?;
        let key = self.suite.derive(&self.key, purpose, &salt);
        let mut out = Vec::with_capacity(SALT + content.len() + super::suite::TAG);
        out.extend_from_slice(&salt);
        out.extend_from_slice(content);
        let tag = self.suite.cipher(&key)?.seal(NONCE_ZERO, aad, &mut out[SALT..])?;
        out.extend_from_slice(&tag);
        Ok(out)
    }

    /// Opens what [`Self::seal_value`] sealed.
    ///
    /// # Errors
    /// `Refused` in another context or when changed.
    pub fn open_value(&self, purpose: &'static str, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (salt, data) = sealed.split_at_checked(SALT).ok_or(SealError::Malformed(purpose))?;
        let key = self.suite.derive(&self.key, purpose, salt);
        let mut data = data.to_vec();
        let plain = self.suite.cipher(&key)?.open(NONCE_ZERO, aad, &mut data, purpose)?.len();
        data.truncate(plain);
        Ok(data)
    }
}

/// The facts of a part that its sealed values authenticate: it belongs to one upload, and a body that is put into
/// its row does not.
#[derive(Debug, Clone, Copy)]
pub struct PartFacts<'a> {
    /// Its upload.
    pub upload: UploadId,
    /// When it was uploaded.
    pub modified: UtcMillis,
    /// Its body.
    pub body: &'a ManifestBody,
}

impl PartFacts<'_> {
    fn aad(&self) -> Result<Vec<u8>, SealError> {
        let mut aad = self.upload.as_bytes().to_vec();
        aad.extend_from_slice(&self.modified.0.to_be_bytes());
        put_body(&mut aad, self.body)?;
        Ok(aad)
    }
}

fn upload_aad(suite: Suite, row: &UploadRow, tenant: TenantId) -> Vec<u8> {
    let mut aad = Vec::with_capacity(160 + row.key.as_bytes().len());
    put_bucket(&mut aad, suite, tenant, row.bucket);
    put_bytes(&mut aad, row.key.as_bytes());
    aad.extend_from_slice(row.id.as_bytes());
    aad.extend_from_slice(&row.initiated.0.to_be_bytes());
    aad.extend_from_slice(row.initiator.as_bytes());
    put_bytes(&mut aad, &row.checksum);
    aad
}

/// A body as manifests and parts authenticate it, 62 bytes.
fn put_body(out: &mut Vec<u8>, body: &ManifestBody) -> Result<(), SealError> {
    let (wrapped_suite, _, _) = super::wrap::wrapped_by(&body.envelope)?;
    out.push(wrapped_suite.id());
    out.extend_from_slice(&body.number.to_be_bytes());
    out.extend_from_slice(body.body.as_bytes());
    out.extend_from_slice(&body.length.to_be_bytes());
    out.extend_from_slice(commitment(&body.envelope)?);
    out.push(match body.location {
        Location::Inline => 0,
        Location::Chunks { .. } => 1,
    });
    Ok(())
}

fn metadata_aad(suite: Suite, owner: &Owner<'_>, counter: u64) -> Vec<u8> {
    let mut aad = owner.aad(suite);
    aad.extend_from_slice(&counter.to_be_bytes());
    aad
}

fn put_bucket(out: &mut Vec<u8>, suite: Suite, tenant: TenantId, bucket: BucketId) {
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[FORMAT, suite.id()]);
    out.extend_from_slice(tenant.as_bytes());
    out.extend_from_slice(bucket.as_bytes());
}

fn put_version(out: &mut Vec<u8>, name: &[u8], version: VersionId) {
    put_bytes(out, name);
    out.extend_from_slice(version.as_bytes());
}

fn put_u32(out: &mut Vec<u8>, n: usize) -> Result<(), SealError> {
    let n = u32::try_from(n).map_err(|_| SealError::Malformed("count"))?;
    out.extend_from_slice(&n.to_be_bytes());
    Ok(())
}

/// Names have at most 1024 bytes, so the cast cannot cut.
fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use policy::id::{BodyId, PrincipalId};
    use proptest::prelude::*;

    use super::*;
    use crate::seal::SecretKey;

    fn bodies(key: &VersionKey) -> Vec<ManifestBody> {
        (1..=2_u8)
            .map(|n| ManifestBody {
                number: u32::from(n),
                body: BodyId::from_bytes([n; 16]),
                length: 10,
                location: Location::Inline,
                envelope: key
                    .wrap_data_key(
                        TenantId::from_bytes([1; 16]),
                        BucketId::from_bytes([2; 16]),
                        [n; 16],
                        &SecretKey::random().unwrap(),
                    )
                    .unwrap(),
            })
            .collect()
    }

    #[test]
    fn a_manifest_proves_its_bodies() {
        let key = VersionKey::random(Suite::Aes256Gcm).unwrap();
        let bodies = bodies(&key);
        let facts = ManifestFacts {
            owner: Owner::for_tests(b"a"),
            bodies: &bodies,
            length: 20,
            modified: 5,
            residency_epoch: 0,
            list_values: b"lv",
        };
        let sealed = key.seal_manifest(&facts, b"content").unwrap();
        assert_eq!(key.open_manifest(&facts, &sealed).unwrap(), b"content");
        let swapped: Vec<_> = bodies.iter().rev().cloned().collect();
        assert!(key.open_manifest(&ManifestFacts { bodies: &swapped, ..facts }, &sealed).is_err());
        assert!(key.open_manifest(&ManifestFacts { bodies: &bodies[..1], ..facts }, &sealed).is_err());
        assert!(key.open_manifest(&ManifestFacts { owner: Owner::for_tests(b"b"), ..facts }, &sealed).is_err());
        assert!(key.open_manifest(&ManifestFacts { length: 21, ..facts }, &sealed).is_err());
        assert!(key.open_manifest(&ManifestFacts { list_values: b"lw", ..facts }, &sealed).is_err());
    }

    #[test]
    fn a_part_proves_its_body() {
        let key = VersionKey::random(Suite::Aes256Gcm).unwrap();
        let bodies = bodies(&key);
        let facts = PartFacts { upload: UploadId::from_bytes([7; 16]), modified: UtcMillis(5), body: &bodies[0] };
        let sealed = key.seal_part(&facts, b"md5").unwrap();
        assert_eq!(key.open_part(&facts, &sealed).unwrap(), b"md5");
        let elsewhere = PartFacts { upload: UploadId::from_bytes([8; 16]), ..facts };
        let later = PartFacts { modified: UtcMillis(6), ..facts };
        assert!(key.open_part(&elsewhere, &sealed).is_err() && key.open_part(&later, &sealed).is_err());
        // Another body under the right number, and each fact of it alone.
        let first = &bodies[0];
        for other in [
            ManifestBody { number: 1, ..bodies[1].clone() },
            ManifestBody { number: 2, ..first.clone() },
            ManifestBody { length: 11, ..first.clone() },
            ManifestBody { body: BodyId::from_bytes([9; 16]), ..first.clone() },
            ManifestBody { envelope: bodies[1].envelope.clone(), ..first.clone() },
            ManifestBody { location: Location::Chunks { pool: 0 }, ..first.clone() },
        ] {
            assert!(key.open_part(&PartFacts { body: &other, ..facts }, &sealed).is_err(), "{other:?}");
        }
    }

    #[test]
    fn an_upload_proves_what_its_row_says() {
        let key = VersionKey::random(Suite::Aes256Gcm).unwrap();
        let tenant = TenantId::from_bytes([1; 16]);
        let mut row = UploadRow {
            id: UploadId::from_bytes([7; 16]),
            bucket: BucketId::from_bytes([2; 16]),
            key: "a".parse().unwrap(),
            initiated: UtcMillis(5),
            initiator: PrincipalId::from_bytes([3; 16]),
            envelope: vec![1; 8],
            metadata: Vec::new(),
            checksum: vec![4; 3],
        };
        row.metadata = key.seal_upload(&row, tenant, b"meta").unwrap();
        assert_eq!(key.open_upload(&row, tenant).unwrap(), b"meta");
        assert!(key.open_upload(&row, TenantId::from_bytes([9; 16])).is_err());
        for other in [
            UploadRow { id: UploadId::from_bytes([8; 16]), ..row.clone() },
            UploadRow { bucket: BucketId::from_bytes([8; 16]), ..row.clone() },
            UploadRow { key: "b".parse().unwrap(), ..row.clone() },
            UploadRow { initiated: UtcMillis(6), ..row.clone() },
            UploadRow { initiator: PrincipalId::from_bytes([8; 16]), ..row.clone() },
            UploadRow { checksum: vec![4; 2], ..row.clone() },
        ] {
            assert!(key.open_upload(&other, tenant).is_err(), "{other:?}");
        }
    }

    #[test]
    fn metadata_and_list_values_are_bound_to_their_version() {
        let key = VersionKey::random(Suite::ChaCha20Poly1305).unwrap();
        let sealed = key.seal_metadata(&Owner::for_tests(b"a"), 4, b"meta").unwrap();
        assert_eq!(key.open_metadata(&Owner::for_tests(b"a"), &sealed).unwrap(), b"meta");
        assert!(key.open_metadata(&Owner::for_tests(b"ab"), &sealed).is_err());
        let mut rolled = sealed.clone();
        rolled[7] = 5;
        assert!(key.open_metadata(&Owner::for_tests(b"a"), &rolled).is_err());
        assert!(key.open_metadata(&Owner::for_tests(b"a"), &[]).is_err());

        let list = ListKey::of(Suite::Aes256Gcm, &SecretKey::from_bytes([9; 32]));
        let sealed = list.seal(&Owner::for_tests(b"a"), 7, 8, b"etag").unwrap();
        assert_eq!(list.open(&Owner::for_tests(b"a"), 7, 8, &sealed).unwrap(), b"etag");
        assert!(list.open(&Owner::for_tests(b"b"), 7, 8, &sealed).is_err());
        assert!(list.open(&Owner::for_tests(b"a"), 6, 8, &sealed).is_err());
        let moved = Owner { version: VersionId::from_bytes([4; 16]), ..Owner::for_tests(b"a") };
        assert!(list.open(&moved, 7, 8, &sealed).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn values_come_back_and_no_changed_bit_opens(name: Vec<u8>, content: Vec<u8>, at: prop::sample::Index, bit in 0..8_u32, numbers: (u64, u64)) {
            let flipped = |sealed: &[u8]| {
                let mut changed = sealed.to_vec();
                changed[at.index(sealed.len())] ^= 1_u8 << bit;
                changed
            };
            for suite in Suite::ALL {
                let key = VersionKey::random(suite).unwrap();
                let bodies = bodies(&key);
                let (length, modified) = numbers;
                let facts = ManifestFacts { owner: Owner::for_tests(&name), bodies: &bodies, length, modified, residency_epoch: 0, list_values: &content };
                let sealed = key.seal_manifest(&facts, &content).unwrap();
                prop_assert_eq!(key.open_manifest(&facts, &sealed).unwrap(), content.as_slice());
                prop_assert!(key.open_manifest(&facts, &flipped(&sealed)).is_err());
                let sealed = key.seal_metadata(&Owner::for_tests(&name), length, &content).unwrap();
                prop_assert_eq!(key.open_metadata(&Owner::for_tests(&name), &sealed).unwrap(), content.as_slice());
                prop_assert!(key.open_metadata(&Owner::for_tests(&name), &flipped(&sealed)).is_err());
                let list = ListKey::of(suite, &SecretKey::random().unwrap());
                let sealed = list.seal(&Owner::for_tests(&name), length, modified, &content).unwrap();
                prop_assert_eq!(list.open(&Owner::for_tests(&name), length, modified, &sealed).unwrap(), content.as_slice());
                prop_assert!(list.open(&Owner::for_tests(&name), length, modified, &flipped(&sealed)).is_err());
            }
        }
    }
}
