//! Lists. A common prefix costs one seek, whatever it holds: names are UTF-8, so no name that begins
//! with `prefix` sorts behind `prefix || 0xFF`.

use policy::id::{BodyId, BucketId, UploadId};
use policy::name::KEY_BYTES_MAX;
use rocksdb::{DB, DBRawIteratorWithThreadMode, ReadOptions, ReadTier};

use super::Shared;
use super::rows::{part_row, upload_row};
use crate::catalog::rows::{ListedRow, decode};
use crate::catalog::{
    After, BodyRow, BodyState, CatalogError, ControlKind, GarbagePage, ListPage, ListQuery, PartRow, UploadItem,
    UploadPage, UploadQuery, keys,
};

/// Deleted rows that the writer's own look at a bucket may pass.
const BRIEF: u64 = 10_000;
/// Deleted rows in one place that a list may pass on the calling task.
const PASSING: u64 = 100;

type Cursor<'a> = DBRawIteratorWithThreadMode<'a, DB>;

impl Shared {
    fn bounded(&self, family: &rocksdb::ColumnFamily, prefix: &[u8]) -> Cursor<'_> {
        let mut options = ReadOptions::default();
        if let Some(end) = keys::behind(prefix) {
            options.set_iterate_upper_bound(end);
        }
        self.db.raw_iterator_cf_opt(family, options)
    }

    fn tiered(&self, family: &rocksdb::ColumnFamily, prefix: &[u8], tier: ReadTier) -> Cursor<'_> {
        let mut options = super::tiered(tier);
        if matches!(tier, ReadTier::BlockCache) {
            options.set_max_skippable_internal_keys(PASSING);
        }
        if let Some(end) = keys::behind(prefix) {
            options.set_iterate_upper_bound(end);
        }
        self.db.raw_iterator_cf_opt(family, options)
    }

    /// A cursor over a prefix that gives up as `Incomplete` when too many deleted rows lie in its way.
    pub(super) fn brief(&self, family: &rocksdb::ColumnFamily, prefix: &[u8]) -> Cursor<'_> {
        let mut options = ReadOptions::default();
        options.set_max_skippable_internal_keys(BRIEF);
        if let Some(end) = keys::behind(prefix) {
            options.set_iterate_upper_bound(end);
        }
        self.db.raw_iterator_cf_opt(family, options)
    }

    /// Clears away what was deleted in a bucket, so that looking whether it is empty costs little.
    pub(super) fn tidy(&self, bucket: BucketId) -> Result<(), CatalogError> {
        let prefix = keys::bucket_prefix(bucket);
        let mut options = rocksdb::CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        // Else a file may be moved to the last level with the deleted rows still in it.
        options.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::Force);
        for family in [self.current_cf()?, self.uploads_cf()?] {
            self.db.compact_range_cf_opt(family, Some(&prefix), keys::behind(&prefix), &options);
        }
        Ok(())
    }

    /// From the cache alone it gives up as `Incomplete` on a block that is not there, and where it would
    /// have to pass many deleted rows.
    pub(super) fn list_page(&self, query: &ListQuery, tier: ReadTier) -> Result<ListPage, CatalogError> {
        if query.limit == 0 {
            return Ok(ListPage::default());
        }
        let mut page = ListPage::with_room(query.limit);
        let prefix = keys::current(query.bucket, query.prefix.as_bytes());
        let mut cursor = self.tiered(self.current_cf()?, &prefix, tier);
        start(&mut cursor, query, &prefix);
        while let Some((key, value)) = cursor.item() {
            page.steps += 1;
            let name = std::str::from_utf8(key.get(keys::BUCKET_PREFIX..).unwrap_or_default())
                .ok()
                .filter(|name| (1..=KEY_BYTES_MAX).contains(&name.len()))
                .ok_or_else(|| CatalogError::Corrupt("object name".to_owned()))?;
            let group = group_of(name, query);
            if let Some(group) = group
                && matches!(&query.after, Some(After::Key(after)) if after == group)
            {
                let behind = behind(query, group);
                cursor.seek(behind);
                continue;
            }
            if page.len() == query.limit {
                page.cut();
                break;
            }
            match group {
                Some(group) => {
                    page.push_prefix(group);
                    let behind = behind(query, group);
                    cursor.seek(behind);
                }
                None => {
                    page.push_object(name, &ListedRow::decode(value)?);
                    cursor.next();
                }
            }
        }
        cursor.status()?;
        Ok(page)
    }

    pub(super) fn parts_page(&self, upload: UploadId, after: u32, limit: usize) -> Result<Vec<PartRow>, CatalogError> {
        let mut out = Vec::new();
        let Some(from) = after.checked_add(1) else { return Ok(out) };
        let mut cursor = self.bounded(self.parts_cf()?, upload.as_bytes());
        cursor.seek(keys::part(upload, from));
        while out.len() < limit
            && let Some((key, value)) = cursor.item()
        {
            out.push(part_row(key, value)?);
            cursor.next();
        }
        cursor.status()?;
        Ok(out)
    }

    pub(super) fn controls_page(
        &self,
        kind: ControlKind,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<crate::catalog::ControlItem>, CatalogError> {
        let prefix = keys::control(kind, &[]);
        let mut cursor = self.bounded(self.control_cf()?, &prefix);
        match after {
            None => cursor.seek(&prefix),
            Some(after) => {
                let key = keys::control(kind, after);
                cursor.seek(&key);
                if cursor.key() == Some(key.as_slice()) {
                    cursor.next();
                }
            }
        }
        let mut out = Vec::new();
        while out.len() < limit
            && let Some((key, value)) = cursor.item()
        {
            out.push((key.get(1..).unwrap_or_default().to_vec(), value.to_vec()));
            cursor.next();
        }
        cursor.status()?;
        Ok(out)
    }

    pub(super) fn garbage_page(&self, horizon: u64, limit: usize) -> Result<GarbagePage, CatalogError> {
        let mut cursor = self.db.raw_iterator_cf(self.garbage_cf()?);
        cursor.seek_to_first();
        let mut page = GarbagePage::default();
        while page.due.len() + page.stray.len() < limit
            && let Some(key) = cursor.key()
        {
            let row = keys::read_garbage(key);
            if row.is_some_and(|row| row.retired > horizon) {
                break;
            }
            match row {
                Some(row) if self.was_released(row.body)? => page.due.push(row),
                Some(row) => page.stray.push(row),
                None => tracing::error!(key = %key.escape_ascii(), "a row of garbage names no body"),
            }
            cursor.next();
        }
        cursor.status()?;
        Ok(page)
    }

    fn was_released(&self, body: BodyId) -> Result<bool, CatalogError> {
        let row = self.db.get_pinned_cf(self.bodies_cf()?, body.as_bytes())?;
        let row = row.and_then(|bytes| decode::<BodyRow>("body", &bytes).ok());
        Ok(row.is_some_and(|row| row.state == BodyState::Released))
    }

    pub(super) fn uploads_page(&self, query: &UploadQuery) -> Result<UploadPage, CatalogError> {
        let mut page = UploadPage::default();
        let mut prefix = keys::bucket_prefix(query.bucket);
        keys::escape(query.prefix.as_bytes(), &mut prefix);
        let mut cursor = self.bounded(self.uploads_cf()?, &prefix);
        cursor.seek(&prefix);
        if let Some(marker) = &query.key_marker {
            let mut from = keys::escaped(query.bucket, marker.as_bytes());
            match query.upload_id_marker {
                Some(id) => {
                    from.extend_from_slice(id.as_bytes());
                    from.push(0);
                }
                None => from.extend_from_slice(&[0xff; 17]),
            }
            if from > prefix {
                cursor.seek(&from);
            }
        }
        while let Some((key, value)) = cursor.item() {
            page.steps += 1;
            let row = match upload_row(key, value) {
                Ok(row) => row,
                Err(CatalogError::Corrupt(why)) if page.items.len() < query.limit => {
                    page.items.push(UploadItem::Damaged(why));
                    cursor.next();
                    continue;
                }
                Err(error) => return Err(error),
            };
            let group = query.delimiter.as_deref().and_then(|d| group(row.key.as_str(), &query.prefix, d));
            let group = group.map(str::to_owned);
            if let Some(group) = &group
                && Some(group) == query.key_marker.as_ref()
            {
                cursor.seek(behind_uploads(query.bucket, group));
                continue;
            }
            if page.items.len() >= query.limit {
                page.truncated = query.limit > 0;
                break;
            }
            match group {
                Some(group) => {
                    cursor.seek(behind_uploads(query.bucket, &group));
                    page.items.push(UploadItem::Prefix(group));
                }
                None => {
                    page.items.push(UploadItem::Upload(Box::new(row)));
                    cursor.next();
                }
            }
        }
        cursor.status()?;
        Ok(page)
    }
}

fn start(cursor: &mut Cursor<'_>, query: &ListQuery, prefix: &[u8]) {
    let from = match &query.after {
        None => prefix.to_vec(),
        Some(After::Key(after)) => {
            let mut key = keys::current(query.bucket, after.as_bytes());
            key.push(0);
            key
        }
        Some(After::Prefix(after)) => {
            let mut key = keys::current(query.bucket, after.as_bytes());
            key.push(0xff);
            key
        }
    };
    cursor.seek(if from.as_slice() > prefix { &from } else { prefix });
}

/// Behind every name of a group.
fn behind(query: &ListQuery, group: &str) -> Vec<u8> {
    let mut behind = keys::current(query.bucket, group.as_bytes());
    behind.push(0xff);
    behind
}

/// The first key behind every upload whose name begins with `group`.
fn behind_uploads(bucket: BucketId, group: &str) -> Vec<u8> {
    let mut behind = keys::bucket_prefix(bucket);
    keys::escape(group.as_bytes(), &mut behind);
    behind.push(0xff);
    behind
}

fn group_of<'a>(name: &'a str, query: &ListQuery) -> Option<&'a str> {
    group(name, &query.prefix, query.delimiter.as_deref()?)
}

/// The common prefix of a name: up to the first delimiter behind the list's prefix.
fn group<'a>(name: &'a str, prefix: &str, delimiter: &str) -> Option<&'a str> {
    let rest = name.strip_prefix(prefix)?;
    let at = rest.find(delimiter)?;
    name.get(..prefix.len() + at + delimiter.len())
}
