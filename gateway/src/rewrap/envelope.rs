//! One envelope, wrapped anew by the current version of the bucket key, with what else hangs on that key: the list values
//! are sealed again, and the manifest, which vouches for them. Bodies, their keys and the metadata stay as they are.

use policy::id::{BucketId, TenantId};
use storage::catalog::{Rewrapped, StoredVersion, UploadRow, VersionRow};

use crate::keys::{BucketKey, list_version};
use crate::seal::SealError;
use crate::seal::value::{ManifestFacts, Owner};
use crate::seal::wrap::version_of;

/// What became of a page.
#[derive(Debug)]
pub(super) struct Outcome<R> {
    /// Rows with another envelope.
    pub changed: Vec<R>,
    /// Rows that do not open.
    pub damaged: u64,
}

pub(super) fn versions(
    key: &BucketKey,
    place: (TenantId, BucketId),
    page: Vec<StoredVersion>,
) -> Outcome<Rewrapped<VersionRow>> {
    let mut out = Outcome { changed: Vec::new(), damaged: 0 };
    for StoredVersion { key: name, row } in page {
        let anew = row.map_err(|error| error.to_string()).and_then(|row| {
            let owner = Owner { tenant: place.0, bucket: place.1, name: name.as_bytes(), version: row.version };
            version(key, owner, &row).map_err(|error| error.to_string()).map(|anew| (row.envelope, anew))
        });
        match anew {
            Ok((_, None)) => {}
            Ok((was, Some(row))) => out.changed.push(Rewrapped { key: name, was, row }),
            Err(error) => {
                out.damaged += 1;
                tracing::error!(bucket = %place.1, error, "the envelope of a version is not wrapped anew");
            }
        }
    }
    out
}

pub(super) fn uploads(key: &BucketKey, rows: Vec<UploadRow>) -> Outcome<Rewrapped<UploadRow>> {
    let mut out = Outcome { changed: Vec::new(), damaged: 0 };
    for row in rows.into_iter().filter(|row| version_of(&row.envelope) != key.version) {
        let own = *row.id.as_bytes();
        match key.unwrap(&row.envelope, own).and_then(|version_key| key.wrap(&version_key, own)) {
            Ok(envelope) => {
                let was = row.envelope.clone();
                out.changed.push(Rewrapped { key: row.key.clone(), was, row: UploadRow { envelope, ..row } });
            }
            Err(error) => {
                out.damaged += 1;
                tracing::error!(bucket = %row.bucket, upload = %row.id, %error, "the envelope of an upload is not wrapped anew");
            }
        }
    }
    out
}

/// None when all of it hangs on the current version.
fn version(key: &BucketKey, owner: Owner<'_>, row: &VersionRow) -> Result<Option<VersionRow>, SealError> {
    if version_of(&row.envelope) == key.version && list_version(&row.list_values) == key.version {
        return Ok(None);
    }
    let own = *row.version.as_bytes();
    let version_key = key.unwrap(&row.envelope, own)?;
    let facts = ManifestFacts::of(owner, row);
    let content = version_key.open_manifest(&facts, &row.manifest)?;
    let values = key.open_list(&owner, row.size, row.modified.0, &row.list_values)?;
    let list_values = key.seal_list(&owner, row.size, row.modified.0, &values)?;
    let manifest = version_key.seal_manifest(&ManifestFacts { list_values: &list_values, ..facts }, &content)?;
    let envelope = key.wrap(&version_key, own)?;
    Ok(Some(VersionRow { envelope, manifest, list_values, ..row.clone() }))
}

#[cfg(test)]
mod tests {
    use policy::id::VersionId;
    use policy::time::UtcMillis;
    use storage::catalog::CatalogError;

    use super::*;
    use crate::seal::{SecretKey, Suite, VersionKey};

    const PLACE: (TenantId, BucketId) = (TenantId::from_bytes([2; 16]), BucketId::from_bytes([3; 16]));

    fn stored(key: &BucketKey, name: &str, number: u8) -> StoredVersion {
        let version_key = VersionKey::random(Suite::Aes256Gcm).unwrap();
        let mut row = VersionRow::empty(VersionId::from_bytes([number; 16]), UtcMillis(5));
        let owner = Owner { tenant: PLACE.0, bucket: PLACE.1, name: name.as_bytes(), version: row.version };
        row.envelope = key.wrap(&version_key, *row.version.as_bytes()).unwrap();
        row.list_values = key.seal_list(&owner, 0, 5, b"values").unwrap();
        row.manifest = version_key.seal_manifest(&ManifestFacts::of(owner, &row), b"parts").unwrap();
        row.metadata = version_key.seal_metadata(&owner, 0, b"meta").unwrap();
        StoredVersion { key: name.parse().unwrap(), row: Ok(row) }
    }

    #[test]
    fn a_version_opens_under_the_new_key_and_says_what_it_said() {
        let [one, two] = [1, 2].map(|n| SecretKey::from_bytes([n; 32]));
        let (before, during) =
            (BucketKey::for_tests_with(std::slice::from_ref(&one)), BucketKey::for_tests_with(&[one, two]));
        let olds: Vec<_> = (0..3).map(|n| stored(&before, &format!("k{n}"), n)).collect();
        let current = stored(&during, "new", 9);
        let mut damaged = stored(&before, "damaged", 10);
        if let Ok(row) = &mut damaged.row {
            row.manifest[40] ^= 1;
        }
        let unread =
            StoredVersion { key: "unread".parse().unwrap(), row: Err(CatalogError::Corrupt("not a row".to_owned())) };
        let page: Vec<_> = olds.iter().cloned().chain([current, damaged, unread]).collect();
        let outcome = versions(&during, PLACE, page);
        assert_eq!((outcome.changed.len(), outcome.damaged), (3, 2));
        for (old, Rewrapped { key: name, was, row }) in olds.into_iter().zip(&outcome.changed) {
            let old = old.row.unwrap();
            assert_eq!((was, &old.metadata, old.version), (&old.envelope, &row.metadata, row.version));
            assert_eq!((version_of(&row.envelope), list_version(&row.list_values)), (2, 2));
            let owner = Owner { tenant: PLACE.0, bucket: PLACE.1, name: name.as_bytes(), version: row.version };
            let key = during.unwrap(&row.envelope, *row.version.as_bytes()).unwrap();
            assert_eq!(key.open_manifest(&ManifestFacts::of(owner, row), &row.manifest).unwrap(), b"parts");
            assert_eq!(key.open_metadata(&owner, &row.metadata).unwrap(), b"meta");
            assert_eq!(during.open_list(&owner, 0, 5, &row.list_values).unwrap(), b"values");
            assert!(before.unwrap(&row.envelope, *row.version.as_bytes()).is_err());
            assert!(before.open_list(&owner, 0, 5, &row.list_values).is_err(), "nothing of it opens under the old key");
            let again = StoredVersion { key: name.clone(), row: Ok(row.clone()) };
            assert!(versions(&during, PLACE, vec![again]).changed.is_empty());
        }
    }
}
