//! What a change is checked against: the batch in hand first, then the database.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::{Arc, PoisonError};

use policy::id::{BodyId, BucketId, UploadId};
use policy::name::BucketName;
use rocksdb::ReadOptions;

use super::apply::{Batch, Outcome, Overlay, refuse};
use super::rows::{part_row, upload_row};
use super::writer::unread;
use crate::catalog::rows::decode;
use crate::catalog::{BodyRow, BucketRow, CatalogError, CurrentRow, PartRow, Refusal, UploadRow, VersionRow, keys};

impl Batch<'_> {
    pub(super) fn bucket_named(&self, name: &BucketName) -> Option<Arc<BucketRow>> {
        self.buckets.get(name).cloned().unwrap_or_else(|| {
            let known = self.shared.buckets.read().unwrap_or_else(PoisonError::into_inner);
            known.by_name.get(name).cloned()
        })
    }

    pub(super) fn bucket_by_id(&self, id: BucketId) -> Option<Arc<BucketRow>> {
        if let Some(row) = self.buckets.values().flatten().find(|row| row.id == id) {
            return Some(Arc::clone(row));
        }
        let known = self.shared.buckets.read().unwrap_or_else(PoisonError::into_inner);
        let row = known.by_id.get(&id)?;
        (!self.buckets.contains_key(&row.name)).then(|| Arc::clone(row))
    }

    pub(super) fn open_bucket(&self, id: BucketId) -> Outcome<()> {
        if self.bucket_by_id(id).is_some() { Ok(()) } else { refuse(Refusal::BucketGone) }
    }

    /// Whether a bucket is there, and this version of its key takes new envelopes (SECURITY.md rule 17).
    pub(super) fn open_under(&self, id: BucketId, key_version: u32) -> Outcome<()> {
        match self.bucket_by_id(id) {
            None => refuse(Refusal::BucketGone),
            Some(row) if row.key_version() != key_version => refuse(Refusal::KeyRotated),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn current_of(&self, bucket: BucketId, name: &[u8]) -> Result<Option<CurrentRow>, CatalogError> {
        if let Some(row) = self.current.get(&(bucket, name.to_vec())) {
            return Ok(row.clone());
        }
        self.shared.current_at(bucket, name, &ReadOptions::default())
    }

    pub(super) fn version_of(
        &self,
        bucket: BucketId,
        name: &[u8],
        current: &CurrentRow,
    ) -> Result<VersionRow, CatalogError> {
        if let Some(row) = self.versions.get(&(bucket, current.sequence)) {
            return Ok(row.clone());
        }
        // A corrupt version can still be replaced or deleted: its bodies are then left for the scrub to find.
        match self.shared.version_at(bucket, name, current, &ReadOptions::default()) {
            Err(CatalogError::Corrupt(why)) => {
                tracing::error!(why, version = %current.version, "a corrupt version is removed, its bodies stay");
                Ok(VersionRow::empty(current.version, current.modified))
            }
            other => other,
        }
    }

    /// Read once in a batch: what is asked here before a change begins cannot fail in the middle of it.
    pub(super) fn body_of(&mut self, body: BodyId) -> Result<Option<BodyRow>, CatalogError> {
        if let Some(known) = self.bodies.get(&body) {
            return Ok(known.clone());
        }
        let bytes = self.shared.get(self.shared.bodies_cf()?, body.as_bytes(), &ReadOptions::default())?;
        let row: Option<BodyRow> = bytes.map(|b| decode("body", &b)).transpose()?;
        self.bodies.insert(body, row.clone());
        Ok(row)
    }

    /// Reads the rows of bodies that are to be released. One that makes no sense is left where it is, so that
    /// whatever names it can still be replaced or deleted.
    pub(super) fn foresee(&mut self, bodies: impl IntoIterator<Item = BodyId>) -> Outcome<()> {
        for body in bodies {
            match self.body_of(body) {
                Err(CatalogError::Corrupt(why)) => {
                    tracing::error!(why, %body, "a corrupt body row stays");
                    self.unreadable.insert(body);
                }
                Err(other) => return Err(unread(other)),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    pub(super) fn upload_of(
        &self,
        bucket: BucketId,
        name: &[u8],
        upload: UploadId,
    ) -> Result<Option<UploadRow>, CatalogError> {
        let key = keys::upload(bucket, name, upload);
        looked(&self.uploads, &key, || {
            let bytes = self.shared.get(self.shared.uploads_cf()?, &key, &ReadOptions::default())?;
            bytes.map(|bytes| upload_row(&key, &bytes)).transpose()
        })
    }

    pub(super) fn part_of(&self, upload: UploadId, number: u32) -> Result<Option<PartRow>, CatalogError> {
        looked(&self.parts, &(upload, number), || {
            let key = keys::part(upload, number);
            let bytes = self.shared.get(self.shared.parts_cf()?, &key, &ReadOptions::default())?;
            bytes.map(|bytes| part_row(&key, &bytes)).transpose()
        })
    }

    /// Every part of an upload; refused when there is no such upload.
    pub(super) fn parts_of_upload(&self, bucket: BucketId, name: &[u8], upload: UploadId) -> Outcome<Vec<PartRow>> {
        if self.upload_of(bucket, name, upload).map_err(unread)?.is_none() {
            return refuse(Refusal::UploadGone);
        }
        let stored = self.shared.parts_page(upload, 0, usize::MAX).map_err(unread)?;
        let mut parts: BTreeMap<u32, PartRow> = stored.into_iter().map(|p| (p.number, p)).collect();
        for ((id, number), part) in &self.parts {
            if *id == upload {
                match part {
                    Some(part) => parts.insert(*number, part.clone()),
                    None => parts.remove(number),
                };
            }
        }
        Ok(parts.into_values().collect())
    }

    pub(super) fn has_objects(&self, bucket: BucketId) -> Result<bool, CatalogError> {
        if self.current.iter().any(|((id, _), row)| *id == bucket && row.is_some()) {
            return Ok(true);
        }
        let prefix = keys::bucket_prefix(bucket);
        let mut cursor = self.shared.brief(self.shared.current_cf()?, &prefix);
        cursor.seek(&prefix);
        while let Some(key) = cursor.key() {
            let name = key.get(keys::BUCKET_PREFIX..).unwrap_or_default().to_vec();
            if !matches!(self.current.get(&(bucket, name)), Some(None)) {
                return Ok(true);
            }
            cursor.next();
        }
        cursor.status()?;
        Ok(false)
    }

    pub(super) fn has_uploads(&self, bucket: BucketId) -> Result<bool, CatalogError> {
        if self.uploads.values().flatten().any(|row| row.bucket == bucket) {
            return Ok(true);
        }
        let prefix = keys::bucket_prefix(bucket);
        let mut cursor = self.shared.brief(self.shared.uploads_cf()?, &prefix);
        cursor.seek(&prefix);
        while let Some(key) = cursor.key() {
            if !matches!(self.uploads.get(key), Some(None)) {
                return Ok(true);
            }
            cursor.next();
        }
        cursor.status()?;
        Ok(false)
    }
}

fn looked<K: Eq + Hash, V: Clone>(
    overlay: &Overlay<K, V>,
    key: &K,
    stored: impl FnOnce() -> Result<Option<V>, CatalogError>,
) -> Result<Option<V>, CatalogError> {
    match overlay.get(key) {
        Some(known) => Ok(known.clone()),
        None => stored(),
    }
}
