//! Every version of a bucket, for whoever looks after all of them: two cursors go through listed rows and versions side
//! by side, for both lie in the order of names.

use policy::id::BucketId;
use policy::name::ObjectKey;
use rocksdb::ReadOptions;

use super::Shared;
use crate::catalog::rows::{decode, matches};
use crate::catalog::{CatalogError, CurrentRow, StoredVersion, VersionRow, keys};

/// Bytes of rows behind which a page ends: a row of ten thousand parts has two million.
const PAGE_BYTES: usize = 1 << 20;

impl Shared {
    /// A page ends early when its rows are long; only an empty one is the last.
    pub(super) fn versions_page(
        &self,
        bucket: BucketId,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<StoredVersion>, CatalogError> {
        let snapshot = self.db.snapshot();
        let bounded = || {
            let mut options = ReadOptions::default();
            options.set_snapshot(&snapshot);
            options.fill_cache(false);
            if let Some(end) = keys::behind(&keys::bucket_prefix(bucket)) {
                options.set_iterate_upper_bound(end);
            }
            options
        };
        let mut listed = self.db.raw_iterator_cf_opt(self.current_cf()?, bounded());
        let mut versions = self.db.raw_iterator_cf_opt(self.versions_cf()?, bounded());
        match after {
            None => listed.seek(keys::bucket_prefix(bucket)),
            Some(name) => {
                let mut from = keys::current(bucket, name.as_bytes());
                from.push(0);
                listed.seek(from);
            }
        }
        let (mut out, mut bytes) = (Vec::new(), 0);
        while out.len() < limit
            && bytes < PAGE_BYTES
            && let Some((at, value)) = listed.item()
        {
            let name = at.get(keys::BUCKET_PREFIX..).and_then(|name| std::str::from_utf8(name).ok());
            let name: ObjectKey = name
                .and_then(|name| name.parse().ok())
                .ok_or_else(|| CatalogError::Corrupt("object name".to_owned()))?;
            let row = decode::<CurrentRow>("current", value).and_then(|current| {
                let wanted = keys::version(bucket, name.as_bytes(), current.sequence);
                if versions.key() != Some(wanted.as_slice()) {
                    versions.seek(&wanted);
                }
                match versions.item() {
                    Some((at, bytes)) if at == wanted.as_slice() => version(&current, bytes),
                    _ => versions
                        .status()
                        .map_err(CatalogError::from)
                        .and_then(|()| Err(CatalogError::Corrupt("version row missing".to_owned()))),
                }
            });
            bytes += versions.value().map_or(0, <[u8]>::len);
            if versions.valid() {
                versions.next();
            }
            out.push(StoredVersion { key: name, row });
            listed.next();
        }
        listed.status()?;
        Ok(out)
    }

    pub(super) fn count(&self, bucket: BucketId) -> Result<u64, CatalogError> {
        let prefix = keys::bucket_prefix(bucket);
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        if let Some(end) = keys::behind(&prefix) {
            options.set_iterate_upper_bound(end);
        }
        let mut cursor = self.db.raw_iterator_cf_opt(self.current_cf()?, options);
        cursor.seek(&prefix);
        let mut count = 0;
        while cursor.valid() {
            count += 1;
            cursor.next();
        }
        cursor.status()?;
        Ok(count)
    }
}

fn version(current: &CurrentRow, bytes: &[u8]) -> Result<VersionRow, CatalogError> {
    let row: VersionRow = decode("version", bytes)?;
    if matches(current, &row, bytes) {
        Ok(row)
    } else {
        Err(CatalogError::Corrupt("version row differs from its digest".to_owned()))
    }
}
