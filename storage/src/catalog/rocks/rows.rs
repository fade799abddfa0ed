//! Single rows as a reader asks for them, each read checked against what names it.

use bytes::Bytes;
use policy::id::BucketId;
use rocksdb::{ColumnFamily, ReadOptions, ReadTier};

use super::Shared;
use crate::catalog::rows::{decode, matches};
use crate::catalog::{
    CatalogError, CurrentRow, Location, LogItem, ObjectView, PartRow, RecordQuery, UploadRow, VersionRow, keys,
};
use crate::log::{self, LogPosition};

/// An upload's row, which says itself where it lies.
pub(super) fn upload_row(key: &[u8], bytes: &[u8]) -> Result<UploadRow, CatalogError> {
    let row: UploadRow = decode("upload", bytes)?;
    if keys::upload(row.bucket, row.key.as_bytes(), row.id) == key { Ok(row) } else { Err(elsewhere("an upload")) }
}

/// A part's row, which says its number itself.
pub(super) fn part_row(key: &[u8], bytes: &[u8]) -> Result<PartRow, CatalogError> {
    let row: PartRow = decode("part", bytes)?;
    if key.ends_with(&row.number.to_be_bytes()) { Ok(row) } else { Err(elsewhere("a part")) }
}

fn elsewhere(what: &str) -> CatalogError {
    CatalogError::Corrupt(format!("the row of {what} lies under another's key"))
}

impl Shared {
    pub(super) fn get(
        &self,
        family: &ColumnFamily,
        key: &[u8],
        options: &ReadOptions,
    ) -> Result<Option<Vec<u8>>, CatalogError> {
        Ok(self.db.get_pinned_cf_opt(family, key, options)?.map(|v| v.to_vec()))
    }

    pub(super) fn current_at(
        &self,
        bucket: BucketId,
        name: &[u8],
        options: &ReadOptions,
    ) -> Result<Option<CurrentRow>, CatalogError> {
        let row = self.db.get_pinned_cf_opt(self.current_cf()?, keys::current(bucket, name), options)?;
        row.map(|bytes| decode("current", &bytes)).transpose()
    }

    /// The version behind a current row, checked against the digest there.
    pub(super) fn version_at(
        &self,
        bucket: BucketId,
        name: &[u8],
        current: &CurrentRow,
        options: &ReadOptions,
    ) -> Result<VersionRow, CatalogError> {
        let key = keys::version(bucket, name, current.sequence);
        let bytes = self.db.get_pinned_cf_opt(self.versions_cf()?, key, options)?;
        let bytes = bytes.ok_or_else(|| CatalogError::Corrupt("version row missing".to_owned()))?;
        let row: VersionRow = decode("version", &bytes)?;
        if !matches(current, &row, &bytes) {
            return Err(CatalogError::Corrupt("version row differs from its digest".to_owned()));
        }
        Ok(row)
    }

    pub(super) fn object_at(
        &self,
        bucket: BucketId,
        name: &[u8],
        tier: ReadTier,
    ) -> Result<Option<ObjectView>, CatalogError> {
        let snapshot = self.db.snapshot();
        let mut options = ReadOptions::default();
        options.set_snapshot(&snapshot);
        options.set_read_tier(tier);
        let Some(current) = self.current_at(bucket, name, &options)? else { return Ok(None) };
        let version = self.version_at(bucket, name, &current, &options)?;
        let mut inline = Vec::new();
        for body in version.bodies.iter().filter(|b| b.location == Location::Inline) {
            let bytes = self.get(self.inline_cf()?, body.body.as_bytes(), &options)?;
            let bytes = bytes.ok_or_else(|| CatalogError::Corrupt("inline body missing".to_owned()))?;
            inline.push((body.body, Bytes::from(bytes)));
        }
        Ok(Some(ObjectView { current, version, inline }))
    }

    pub(super) fn records_page(&self, query: &RecordQuery) -> Result<Vec<LogItem>, CatalogError> {
        let mut cursor = self.db.raw_iterator_cf(self.log_cf()?);
        match query.after {
            None => cursor.seek_to_first(),
            Some(position) => {
                let key = keys::log(position);
                cursor.seek(key);
                if cursor.key() == Some(key.as_slice()) {
                    cursor.next();
                }
            }
        }
        let mut out = Vec::new();
        while out.len() < query.limit
            && let Some((key, value)) = cursor.item()
        {
            if let Some(position) = keys::read_log(key) {
                let entry = log::decode(position, value);
                out.push(entry.map_or(LogItem::Damaged(position), LogItem::Entry));
            } else {
                // A key that is no position: one item for all that lie here, or a page of them would never end.
                let before = out.last().map(LogItem::position).or(query.after);
                let here = LogItem::Damaged(before.unwrap_or(LogPosition { stream: 0, sequence: 0 }));
                if out.last() != Some(&here) {
                    out.push(here);
                }
            }
            cursor.next();
        }
        cursor.status()?;
        Ok(out)
    }
}
