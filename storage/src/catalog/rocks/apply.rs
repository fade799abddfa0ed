//! Changes, applied to the batch in hand: each is checked against what the batch already did and what
//! the database holds, and leaves no trace when it is refused. Here are the batch, buckets and control rows.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use policy::id::{BodyId, BucketId, UploadId, VersionId};
use policy::name::BucketName;
use ring::digest::{Context, SHA256, digest};
use rocksdb::{ColumnFamily, ErrorKind, ReadOptions, WriteBatch};
use serde::Serialize;

use super::Shared;
use super::writer::{SEQUENCE_KEY, synced, unread};
use crate::catalog::rows::encode;
use crate::catalog::{
    Before, BodyRow, BucketRow, BucketUpdate, CatalogError, Change, CommitError, ControlPut, CurrentRow, PartRow,
    Refusal, UploadRow, VersionRow, keys,
};
use crate::log::LogPosition;

mod bodies;
mod objects;
mod rewrap;
mod uploads;

/// What a change did.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub replaced: Option<VersionId>,
    pub digest: Option<[u8; 32]>,
    pub stayed: Vec<(usize, Refusal)>,
}

impl Applied {
    /// A row was written.
    fn row(digest: [u8; 32]) -> Self {
        Self { digest: Some(digest), ..Self::default() }
    }
}

pub(super) type Overlay<K, V> = HashMap<K, Option<V>>;

/// The batch in hand and what it changed so far.
pub(super) struct Batch<'a> {
    pub(super) shared: &'a Shared,
    pub(super) write: WriteBatch,
    pub(super) current: Overlay<(BucketId, Vec<u8>), CurrentRow>,
    pub(super) versions: HashMap<(BucketId, u64), VersionRow>,
    pub(super) bodies: Overlay<BodyId, BodyRow>,
    /// Bodies whose rows make no sense.
    pub(super) unreadable: HashSet<BodyId>,
    pub(super) uploads: Overlay<Vec<u8>, UploadRow>,
    pub(super) parts: Overlay<(UploadId, u32), PartRow>,
    pub(super) controls: Overlay<Vec<u8>, Vec<u8>>,
    pub(super) buckets: Overlay<BucketName, Arc<BucketRow>>,
}

pub(super) type Outcome<T> = Result<T, CommitError>;

pub(super) fn refuse<T>(refusal: Refusal) -> Outcome<T> {
    Err(CommitError::Refused(refusal))
}

impl<'a> Batch<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            write: WriteBatch::default(),
            current: HashMap::new(),
            versions: HashMap::new(),
            bodies: HashMap::new(),
            unreadable: HashSet::new(),
            uploads: HashMap::new(),
            parts: HashMap::new(),
            controls: HashMap::new(),
            buckets: HashMap::new(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.write.size_in_bytes()
    }

    /// Rows written or deleted so far.
    pub(super) fn changes(&self) -> usize {
        self.write.len()
    }

    pub(super) fn log(&mut self, position: LogPosition, entry: &[u8]) -> Result<(), CatalogError> {
        self.write.put_cf(self.shared.log_cf()?, keys::log(position), entry);
        Ok(())
    }

    /// Writes everything with one sync; returns the buckets that changed.
    pub(super) fn write(mut self, sequence: u64) -> Result<Overlay<BucketName, Arc<BucketRow>>, CatalogError> {
        if !self.write.is_empty() {
            self.write.put_cf(self.shared.sessions_cf()?, SEQUENCE_KEY, sequence.to_be_bytes());
            self.shared.db.write_opt(std::mem::take(&mut self.write), &synced())?;
        }
        Ok(self.buckets)
    }

    /// Applies one change at `sequence`.
    pub(super) fn apply(&mut self, change: Change, sequence: u64) -> Outcome<Applied> {
        match change {
            Change::None => Ok(Applied::default()),
            Change::CreateBucket(row) => self.create_bucket(row),
            Change::DeleteBucket { bucket } => self.delete_bucket(bucket),
            Change::PutVersion(put) => self.put_version(*put, sequence),
            Change::DeleteVersion { bucket, key, precondition } => {
                self.open_bucket(bucket)?;
                self.delete_version(bucket, &key, precondition, sequence)
            }
            Change::DeleteVersions { bucket, objects } => self.delete_versions(bucket, &objects, sequence),
            Change::CreateUpload(row) => self.create_upload(row),
            Change::PutPart { bucket, key, upload, part, new_body } => {
                self.put_part((bucket, &key, upload), part, new_body, sequence)
            }
            Change::AbortUpload { bucket, key, upload } => self.abort_upload(bucket, &key, upload, sequence),
            Change::PutControl { rows, buckets } => self.put_control(rows, buckets),
            Change::Rewrap(rewrap) => self.rewrap(*rewrap),
            Change::Condemn(body) => self.condemn(body),
            Change::Forget(rows) => self.forget(&rows),
        }
    }

    fn create_bucket(&mut self, row: BucketRow) -> Outcome<Applied> {
        if let Some(taken) = self.bucket_named(&row.name) {
            return refuse(Refusal::BucketExists { owner: taken.tenant });
        }
        self.keep_bucket(row)
    }

    /// Whether a bucket is still as an update of it supposes.
    fn unchanged(&self, update: &BucketUpdate) -> Outcome<()> {
        match self.bucket_named(&update.row.name) {
            Some(known) if known.id != update.row.id => refuse(Refusal::BucketGone),
            Some(known) if known.proof != update.was => refuse(Refusal::Changed),
            Some(_) => Ok(()),
            None => refuse(Refusal::BucketGone),
        }
    }

    fn keep_bucket(&mut self, row: BucketRow) -> Outcome<Applied> {
        let digest = self.put(Shared::buckets_cf, row.id.as_bytes(), &row)?;
        self.buckets.insert(row.name.clone(), Some(Arc::new(row)));
        Ok(Applied::row(digest))
    }

    fn delete_bucket(&mut self, bucket: BucketId) -> Outcome<Applied> {
        let Some(row) = self.bucket_by_id(bucket) else { return refuse(Refusal::BucketGone) };
        let occupied = self.has_objects(bucket).and_then(|objects| Ok(objects || self.has_uploads(bucket)?));
        match occupied {
            Ok(false) => {}
            Ok(true) => return refuse(Refusal::BucketNotEmpty),
            Err(CatalogError::Database(e)) if e.kind() == ErrorKind::Incomplete => return refuse(Refusal::Busy),
            Err(other) => return Err(unread(other)),
        }
        let removed = digest_of(&*row)?;
        let family = self.shared.buckets_cf().map_err(unread)?;
        self.write.delete_cf(family, bucket.as_bytes());
        self.buckets.insert(row.name.clone(), None);
        Ok(Applied::row(removed))
    }

    fn put_control(&mut self, rows: Vec<ControlPut>, buckets: Vec<BucketUpdate>) -> Outcome<Applied> {
        rows.iter().try_for_each(|row| self.stands(row))?;
        buckets.iter().try_for_each(|update| self.unchanged(update))?;
        let mut context = Context::new(&SHA256);
        self.keep_controls(rows, &mut context)?;
        for update in buckets {
            let kept = self.keep_bucket(update.row)?;
            context.update(&kept.digest.unwrap_or_default());
        }
        Ok(Applied::row(finished(context)))
    }

    fn keep_controls(&mut self, rows: Vec<ControlPut>, context: &mut Context) -> Outcome<()> {
        let family = self.shared.control_cf().map_err(unread)?;
        for row in rows {
            let key = keys::control(row.kind, &row.id);
            context.update(&row.value);
            self.write.put_cf(family, &key, &row.value);
            self.controls.insert(key, Some(row.value));
        }
        Ok(())
    }

    /// Whether what must stand in the place of a control row does.
    fn stands(&self, row: &ControlPut) -> Outcome<()> {
        if row.before == Before::Any {
            return Ok(());
        }
        let key = keys::control(row.kind, &row.id);
        let known = match self.controls.get(&key) {
            Some(known) => known.clone(),
            None => {
                let family = self.shared.control_cf().map_err(unread)?;
                self.shared.get(family, &key, &ReadOptions::default()).map_err(unread)?.map(|value| value.to_vec())
            }
        };
        match (&row.before, known) {
            (Before::Absent, Some(_)) => refuse(Refusal::Exists),
            (Before::Is(_), None) => refuse(Refusal::Changed),
            (Before::Is(before), Some(known)) if *before != known => refuse(Refusal::Changed),
            _ => Ok(()),
        }
    }

    fn put<T: Serialize>(
        &mut self,
        family: fn(&Shared) -> Result<&ColumnFamily, CatalogError>,
        key: &[u8],
        row: &T,
    ) -> Outcome<[u8; 32]> {
        let bytes = encode(row).map_err(unread)?;
        self.write.put_cf(family(self.shared).map_err(unread)?, key, &bytes);
        Ok(sha256(&bytes))
    }
}

/// Digest of a row as it is stored.
fn digest_of<T: Serialize>(row: &T) -> Outcome<[u8; 32]> {
    Ok(sha256(&encode(row).map_err(unread)?))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

fn finished(context: Context) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}
