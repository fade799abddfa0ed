//! Rows of the catalog. What is sealed is opaque bytes here. Every stored value is a version byte and
//! then postcard.

use bytes::Bytes;
use policy::id::{BodyId, BucketId, KeyId, PrincipalId, SessionId, TenantId, UploadId, VersionId};
use policy::name::{BucketName, ObjectKey};
use policy::residency::Residency;
use policy::time::UtcMillis;
use ring::digest::{SHA256, digest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{CatalogError, keys};

const VERSION: u8 = 1;

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketRow {
    /// Its id.
    pub id: BucketId,
    /// Its name.
    pub name: BucketName,
    /// Its owner.
    pub tenant: TenantId,
    /// Who made it.
    pub owner: PrincipalId,
    /// When.
    pub created: UtcMillis,
    /// Where its data may rest.
    pub residency: Residency,
    /// Versions of its key that something may hang on, the current one last.
    pub keys: Vec<WrappedKey>,
    /// The tenant keys that it hung on before, by copies of the catalog from then. Whoever wraps looks at them.
    pub hung_on: Vec<KeyId>,
    /// It is to be destroyed: nothing in it is opened or sealed. Whoever opens and seals looks at it.
    pub closed: bool,
    /// What proves the row to whoever holds the control key; nothing here looks at it.
    pub proof: [u8; 32],
}

/// A version of a bucket's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey {
    /// The bucket key.
    pub id: KeyId,
    /// Its version, from 1.
    pub version: u32,
    /// The key, wrapped by a tenant key.
    #[serde(with = "serde_bytes")]
    pub wrapped: Vec<u8>,
}

impl BucketRow {
    /// The version of its key that new envelopes hang on; 0 without a key.
    #[must_use]
    pub fn key_version(&self) -> u32 {
        self.keys.last().map_or(0, |key| key.version)
    }

    /// The row as it is stored but for its proof: what the proof is over.
    ///
    /// # Errors
    /// `Corrupt` when it cannot be encoded.
    pub fn unproven(&self) -> Result<Vec<u8>, CatalogError> {
        let Self { id, name, tenant, owner, created, residency, keys, hung_on, closed, proof: _ } = self;
        encode(&(id, name, tenant, owner, created, residency, keys, hung_on, closed))
    }
}

/// The visible version of an object, as lists and preconditions need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurrentRow {
    /// The version.
    pub version: VersionId,
    /// Sequence of its commit.
    pub sequence: u64,
    /// Plaintext bytes.
    pub size: u64,
    /// When it was committed.
    pub modified: UtcMillis,
    /// Sealed ETag and checksums.
    #[serde(with = "serde_bytes")]
    pub list_values: Vec<u8>,
    /// SHA-256 of the version row's stored bytes.
    pub digest: [u8; 32],
}

/// What a list takes of a [`CurrentRow`], without copying.
#[derive(Debug)]
pub(super) struct ListedRow<'a> {
    pub version: VersionId,
    pub size: u64,
    pub modified: UtcMillis,
    pub list_values: &'a [u8],
}

impl<'a> ListedRow<'a> {
    /// Reads a stored [`CurrentRow`]. Ids and digests lie in it as they are; byte by byte, as serde reads
    /// an array, they would be most of the work.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, CatalogError> {
        let corrupt = || CatalogError::Corrupt("current: not a row".to_owned());
        let (version, rest) = versioned("current", bytes)?.split_first_chunk().ok_or_else(corrupt)?;
        let (facts, digest) = postcard::take_from_bytes(rest).map_err(|_| corrupt())?;
        let (_sequence, size, modified, list_values): (u64, u64, UtcMillis, &[u8]) = facts;
        if digest.len() != 32 {
            return Err(corrupt());
        }
        Ok(Self { version: VersionId::from_bytes(*version), size, modified, list_values })
    }
}

/// An object version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRow {
    /// Its id.
    pub version: VersionId,
    /// When it was committed.
    pub modified: UtcMillis,
    /// Plaintext bytes.
    pub size: u64,
    /// Wrapped version key.
    #[serde(with = "serde_bytes")]
    pub envelope: Vec<u8>,
    /// Its bodies, in order.
    pub bodies: Vec<ManifestBody>,
    /// Sealed manifest, which proves `bodies`.
    #[serde(with = "serde_bytes")]
    pub manifest: Vec<u8>,
    /// Sealed metadata.
    #[serde(with = "serde_bytes")]
    pub metadata: Vec<u8>,
    /// Sealed list values, as in the current row.
    #[serde(with = "serde_bytes")]
    pub list_values: Vec<u8>,
}

impl VersionRow {
    /// One of no bytes, sealed under nothing: what stands for a row that cannot be read, and what others are made from.
    #[must_use]
    pub const fn empty(version: VersionId, modified: UtcMillis) -> Self {
        Self {
            version,
            modified,
            size: 0,
            envelope: Vec::new(),
            bodies: Vec::new(),
            manifest: Vec::new(),
            metadata: Vec::new(),
            list_values: Vec::new(),
        }
    }
}

/// A body's place in a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestBody {
    /// Part number, from 1.
    pub number: u32,
    /// The body.
    pub body: BodyId,
    /// Plaintext bytes.
    pub length: u64,
    /// Where it lies.
    pub location: Location,
    /// Wrapped data key.
    #[serde(with = "serde_bytes")]
    pub envelope: Vec<u8>,
}

/// Where a body lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Location {
    /// In the catalog.
    Inline,
    /// In chunks of a pool.
    Chunks {
        /// The pool.
        pool: u16,
    },
}

/// An object, told from others by the digest of its bucket and name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectMark([u8; 16]);

impl ObjectMark {
    /// Of nothing: what the collector condemned.
    pub(super) const NONE: Self = Self([0; 16]);

    /// Of this object: the first half of the SHA-256 of its key in the table `current`.
    pub(super) fn of(bucket: BucketId, name: &[u8]) -> Self {
        let digest = digest(&SHA256, &keys::current(bucket, name));
        let (mark, _) = digest.as_ref().split_at(16);
        let mut out = [0; 16];
        out.copy_from_slice(mark);
        Self(out)
    }
}

/// Who holds a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodyState {
    /// So many versions or parts.
    Live {
        /// At least one.
        refs: u32,
    },
    /// Nobody: the collector claimed it first.
    Condemned,
    /// Nobody any more: its garbage row says since when.
    Released,
}

/// A body. Its insertion decides between a commit and the collector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyRow {
    /// Who holds it.
    pub state: BodyState,
    /// The object that it is of. Bodies are never shared between objects: a row of another one that names it
    /// takes nothing of it and gives nothing back.
    pub object: ObjectMark,
    /// Where it lies.
    pub location: Location,
    /// Sealed bytes.
    pub sealed_bytes: u64,
    /// Digest of its receipts; zero for inline bodies.
    pub digest: [u8; 32],
    /// The session that wrote it.
    pub session: SessionId,
}

impl BodyRow {
    pub(super) const fn is_live(&self) -> bool {
        matches!(self.state, BodyState::Live { .. })
    }
}

/// A body that a commit brings.
#[derive(Debug, Clone)]
pub struct NewBody {
    /// Its id.
    pub id: BodyId,
    /// Where it lies.
    pub location: Location,
    /// Sealed bytes.
    pub sealed_bytes: u64,
    /// Digest of its receipts; zero for inline bodies.
    pub digest: [u8; 32],
    /// The sealed bytes of an inline body.
    pub inline: Option<Bytes>,
}

/// A multipart upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRow {
    /// Its id.
    pub id: UploadId,
    /// Bucket.
    pub bucket: BucketId,
    /// Object name.
    pub key: ObjectKey,
    /// When it began.
    pub initiated: UtcMillis,
    /// Who began it.
    pub initiator: PrincipalId,
    /// Version key, wrapped for the upload.
    #[serde(with = "serde_bytes")]
    pub envelope: Vec<u8>,
    /// Sealed metadata of the object to be.
    #[serde(with = "serde_bytes")]
    pub metadata: Vec<u8>,
    /// What was fixed about checksums.
    #[serde(with = "serde_bytes")]
    pub checksum: Vec<u8>,
}

/// A part of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRow {
    /// Its number.
    pub number: u32,
    /// When it was uploaded.
    pub modified: UtcMillis,
    /// Plaintext bytes.
    pub size: u64,
    /// Its body.
    pub body: ManifestBody,
    /// Sealed MD5 and checksum.
    #[serde(with = "serde_bytes")]
    pub values: Vec<u8>,
}

/// A body that nothing references any more: all of it stands in the row's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GarbageRow {
    /// Sequence of the commit that released it; zero for a condemned one.
    pub retired: u64,
    /// The body.
    pub body: BodyId,
}

/// Whether a stored version is the one that a listed row led to.
pub(crate) fn matches(current: &CurrentRow, row: &VersionRow, stored: &[u8]) -> bool {
    digest(&SHA256, stored).as_ref() == current.digest && row.version == current.version
}

/// Encodes a row.
pub(crate) fn encode<T: Serialize>(row: &T) -> Result<Vec<u8>, CatalogError> {
    postcard::to_extend(row, vec![VERSION]).map_err(|e| CatalogError::Corrupt(e.to_string()))
}

/// Decodes a row of the table `what`.
pub(crate) fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, CatalogError> {
    match postcard::take_from_bytes(versioned(what, bytes)?) {
        Ok((row, [])) => Ok(row),
        Ok(_) => Err(CatalogError::Corrupt(format!("{what}: bytes behind the row"))),
        Err(e) => Err(CatalogError::Corrupt(format!("{what}: {e}"))),
    }
}

fn versioned<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a [u8], CatalogError> {
    bytes.strip_prefix(&[VERSION]).ok_or_else(|| CatalogError::Corrupt(format!("{what}: unknown version")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _bucket = decode::<BucketRow>("bucket", &bytes);
            let _version = decode::<VersionRow>("version", &bytes);
            let _part = decode::<PartRow>("part", &bytes);
        }

        #[test]
        fn current_rows_come_back(version: [u8; 16], sequence: u64, size: u64, modified: u64, list_values: Vec<u8>, digest: [u8; 32]) {
            let row = CurrentRow { version: VersionId::from_bytes(version), sequence, size, modified: UtcMillis(modified), list_values, digest };
            let bytes = encode(&row).unwrap();
            let listed = ListedRow::decode(&bytes).unwrap();
            prop_assert_eq!((listed.version, listed.size, listed.modified), (row.version, row.size, row.modified));
            prop_assert_eq!(listed.list_values, row.list_values.as_slice());
            prop_assert!(ListedRow::decode(&bytes[..bytes.len() - 1]).is_err(), "cut short");
            prop_assert_eq!(decode::<CurrentRow>("current", &bytes).unwrap(), row);
        }
    }
}
