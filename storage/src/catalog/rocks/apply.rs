//! Changes, applied to the batch in hand: each is checked against what the batch already did and what
//! the database holds, and leaves no trace when it is refused.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use policy::id::{BodyId, BucketId, UploadId, VersionId};
use policy::name::{BucketName, ObjectKey};
use ring::digest::{Context, SHA256, digest};
use rocksdb::{ColumnFamily, ErrorKind, ReadOptions, WriteBatch};
use serde::Serialize;

use super::Shared;
use super::writer::{SEQUENCE_KEY, synced, unread};
use crate::catalog::rows::encode;
use crate::catalog::{
    BodyRow, BodyState, BucketRow, CatalogError, Change, CommitError, ControlPut, CurrentRow, GarbageRow, Location,
    NewBody, PartRow, Precondition, PutVersion, Refusal, UploadRow, VersionRow, keys,
};
use crate::log::LogPosition;

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
    pub(super) controls: Overlay<Vec<u8>, ()>,
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
            Change::UpdateBucket(row) => self.update_bucket(row),
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
            Change::PutControl(rows) => self.put_control(rows),
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

    fn update_bucket(&mut self, row: BucketRow) -> Outcome<Applied> {
        match self.bucket_named(&row.name) {
            Some(known) if known.id == row.id => self.keep_bucket(row),
            _ => refuse(Refusal::BucketGone),
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

    fn put_version(&mut self, put: PutVersion, sequence: u64) -> Outcome<Applied> {
        self.open_bucket(put.bucket)?;
        let name = put.key.as_bytes();
        let old = self.current_of(put.bucket, name).map_err(unread)?;
        check(put.precondition, old.as_ref())?;
        let parts = match put.completes {
            None => Vec::new(),
            Some(upload) => self.parts_of_upload(put.bucket, name, upload)?,
        };
        let shared = self.shared_bodies(&put, &parts)?;
        let old_version = old.as_ref().map(|row| self.version_of(put.bucket, name, row)).transpose().map_err(unread)?;
        let kept: HashSet<BodyId> = put.row.bodies.iter().map(|b| b.body).collect();
        let dropped: Vec<BodyId> =
            parts.iter().map(|part| part.body.body).filter(|body| !kept.contains(body)).collect();
        self.foresee(dropped)?;
        self.foresee(old_version.iter().flat_map(|version| version.bodies.iter().map(|body| body.body)))?;
        // From here on nothing is refused, and nothing that could not be read is needed.
        for body in &put.new_bodies {
            self.new_body(body)?;
        }
        for body in shared {
            self.reference(body)?;
        }
        if let Some(upload) = put.completes {
            self.drop_upload(put.bucket, name, upload, &parts, &kept, sequence)?;
        }
        self.drop_version(put.bucket, name, old.as_ref(), old_version, sequence)?;
        let digest = self.put(Shared::versions_cf, &keys::version(put.bucket, name, sequence), &put.row)?;
        let row = CurrentRow {
            version: put.row.version,
            sequence,
            size: put.row.size,
            modified: put.row.modified,
            list_values: put.row.list_values.clone(),
            digest,
        };
        self.put(Shared::current_cf, &keys::current(put.bucket, name), &row)?;
        self.versions.insert((put.bucket, sequence), put.row);
        self.current.insert((put.bucket, name.to_vec()), Some(row));
        Ok(Applied { replaced: old.map(|row| row.version), ..Applied::row(digest) })
    }

    /// Bodies of the manifest that are neither new nor parts of the completed upload: each must be live.
    fn shared_bodies(&mut self, put: &PutVersion, parts: &[PartRow]) -> Outcome<Vec<BodyId>> {
        let brought = put.new_bodies.iter().map(|new| new.id);
        let own: HashSet<BodyId> = brought.chain(parts.iter().map(|part| part.body.body)).collect();
        let mut shared = Vec::new();
        for body in put.row.bodies.iter().map(|b| b.body).filter(|body| !own.contains(body)) {
            match self.body_of(body).map_err(unread)? {
                Some(BodyRow { state: BodyState::Live { .. }, .. }) => shared.push(body),
                _ => return refuse(Refusal::BodyGone),
            }
        }
        for body in &put.new_bodies {
            if self.body_of(body.id).map_err(unread)?.is_some() {
                return refuse(Refusal::BodyGone);
            }
        }
        Ok(shared)
    }

    fn delete_versions(
        &mut self,
        bucket: BucketId,
        objects: &[(ObjectKey, Precondition)],
        sequence: u64,
    ) -> Outcome<Applied> {
        self.open_bucket(bucket)?;
        let mut stayed = Vec::new();
        let mut removed = None;
        for (place, (key, precondition)) in objects.iter().enumerate() {
            let before = self.changes();
            match self.delete_version(bucket, key, *precondition, sequence) {
                Ok(one) => {
                    if let Some(digest) = one.digest {
                        removed.get_or_insert_with(|| Context::new(&SHA256)).update(&digest);
                    }
                }
                Err(CommitError::Refused(refusal)) => stayed.push((place, refusal)),
                Err(CommitError::Failed(why)) if self.changes() == before => {
                    tracing::error!(why, "an object stays");
                    stayed.push((place, Refusal::Damaged));
                }
                Err(other) => return Err(other),
            }
        }
        Ok(Applied { stayed, digest: removed.map(finished), ..Applied::default() })
    }

    /// Of an open bucket. Nothing was changed when it refuses.
    fn delete_version(
        &mut self,
        bucket: BucketId,
        key: &ObjectKey,
        precondition: Precondition,
        sequence: u64,
    ) -> Outcome<Applied> {
        let name = key.as_bytes();
        let old = self.current_of(bucket, name).map_err(unread)?;
        if old.is_none() && precondition == Precondition::None {
            return Ok(Applied::default());
        }
        check(precondition, old.as_ref())?;
        let version = old.as_ref().map(|row| self.version_of(bucket, name, row)).transpose().map_err(unread)?;
        self.foresee(version.iter().flat_map(|version| version.bodies.iter().map(|body| body.body)))?;
        self.drop_version(bucket, name, old.as_ref(), version, sequence)?;
        let family = self.shared.current_cf().map_err(unread)?;
        self.write.delete_cf(family, keys::current(bucket, name));
        self.current.insert((bucket, name.to_vec()), None);
        let digest = old.as_ref().map(|row| row.digest);
        Ok(Applied { replaced: old.map(|row| row.version), digest, ..Applied::default() })
    }

    fn create_upload(&mut self, row: UploadRow) -> Outcome<Applied> {
        self.open_bucket(row.bucket)?;
        let key = keys::upload(row.bucket, row.key.as_bytes(), row.id);
        let digest = self.put(Shared::uploads_cf, &key, &row)?;
        self.uploads.insert(key, Some(row));
        Ok(Applied::row(digest))
    }

    fn put_part(
        &mut self,
        at: (BucketId, &ObjectKey, UploadId),
        part: PartRow,
        new_body: NewBody,
        sequence: u64,
    ) -> Outcome<Applied> {
        let (bucket, key, upload) = at;
        self.open_bucket(bucket)?;
        if self.upload_of(bucket, key.as_bytes(), upload).map_err(unread)?.is_none() {
            return refuse(Refusal::UploadGone);
        }
        if self.body_of(new_body.id).map_err(unread)?.is_some() {
            return refuse(Refusal::BodyGone);
        }
        let old = self.part_of(upload, part.number).map_err(unread)?;
        self.foresee(old.as_ref().map(|old| old.body.body))?;
        self.new_body(&new_body)?;
        if let Some(old) = old {
            self.release(old.body.body, sequence)?;
        }
        let digest = self.put(Shared::parts_cf, &keys::part(upload, part.number), &part)?;
        self.parts.insert((upload, part.number), Some(part));
        Ok(Applied::row(digest))
    }

    fn abort_upload(&mut self, bucket: BucketId, key: &ObjectKey, upload: UploadId, sequence: u64) -> Outcome<Applied> {
        let parts = self.parts_of_upload(bucket, key.as_bytes(), upload)?;
        let Some(row) = self.upload_of(bucket, key.as_bytes(), upload).map_err(unread)? else {
            return refuse(Refusal::UploadGone);
        };
        self.foresee(parts.iter().map(|part| part.body.body))?;
        let removed = digest_of(&row)?;
        self.drop_upload(bucket, key.as_bytes(), upload, &parts, &HashSet::new(), sequence)?;
        Ok(Applied::row(removed))
    }

    fn put_control(&mut self, rows: Vec<ControlPut>) -> Outcome<Applied> {
        let family = self.shared.control_cf().map_err(unread)?;
        for row in rows.iter().filter(|row| row.only_if_absent) {
            let key = keys::control(row.kind, &row.id);
            let known = match self.controls.get(&key) {
                Some(known) => known.is_some(),
                None => self.shared.get(family, &key, &ReadOptions::default()).map_err(unread)?.is_some(),
            };
            if known {
                return refuse(Refusal::Exists);
            }
        }
        let mut context = Context::new(&SHA256);
        for row in rows {
            let key = keys::control(row.kind, &row.id);
            context.update(&row.value);
            self.write.put_cf(family, &key, &row.value);
            self.controls.insert(key, Some(()));
        }
        Ok(Applied::row(finished(context)))
    }

    fn condemn(&mut self, body: BodyId) -> Outcome<Applied> {
        match self.body_of(body).map_err(unread)? {
            // A released one has its garbage row, which waits for reads in flight.
            Some(BodyRow { state: BodyState::Live { .. } | BodyState::Released, .. }) => refuse(Refusal::Exists),
            Some(BodyRow { state: BodyState::Condemned, .. }) => Ok(Applied::default()),
            None => {
                let row = BodyRow {
                    state: BodyState::Condemned,
                    location: Location::Chunks { pool: 0 },
                    sealed_bytes: 0,
                    digest: [0; 32],
                    session: self.shared.session.id,
                };
                self.keep_body(body, row)?;
                Ok(Applied::default())
            }
        }
    }

    fn forget(&mut self, rows: &[GarbageRow]) -> Outcome<Applied> {
        self.foresee(rows.iter().map(|row| row.body))?;
        for row in rows {
            let left = if row.retired == 0 { BodyState::Condemned } else { BodyState::Released };
            if !self.unreadable.contains(&row.body)
                && self.body_of(row.body).map_err(unread)?.is_some_and(|body| body.state == left)
            {
                let family = self.shared.bodies_cf().map_err(unread)?;
                self.write.delete_cf(family, row.body.as_bytes());
                self.bodies.insert(row.body, None);
            }
            if row.retired > 0 {
                let family = self.shared.garbage_cf().map_err(unread)?;
                self.write.delete_cf(family, keys::garbage(row.retired, row.body));
            }
        }
        Ok(Applied::default())
    }

    fn new_body(&mut self, body: &NewBody) -> Outcome<()> {
        if let Some(inline) = &body.inline {
            let family = self.shared.inline_cf().map_err(unread)?;
            self.write.put_cf(family, body.id.as_bytes(), inline);
        }
        let row = BodyRow {
            state: BodyState::Live { refs: 1 },
            location: body.location,
            sealed_bytes: body.sealed_bytes,
            digest: body.digest,
            session: self.shared.session.id,
        };
        self.keep_body(body.id, row)
    }

    fn reference(&mut self, body: BodyId) -> Outcome<()> {
        match self.body_of(body).map_err(unread)? {
            Some(BodyRow { state: BodyState::Live { refs }, location, sealed_bytes, digest, session }) => self
                .keep_body(
                    body,
                    BodyRow { state: BodyState::Live { refs: refs + 1 }, location, sealed_bytes, digest, session },
                ),
            _ => refuse(Refusal::BodyGone),
        }
    }

    /// One reference less; the last one makes garbage, read in this very step.
    fn release(&mut self, body: BodyId, sequence: u64) -> Outcome<()> {
        if self.unreadable.contains(&body) {
            return Ok(());
        }
        let Some(row) = self.body_of(body).map_err(unread)? else { return Ok(()) };
        match row.state {
            BodyState::Live { refs } if refs > 1 => {
                self.keep_body(body, BodyRow { state: BodyState::Live { refs: refs - 1 }, ..row })
            }
            BodyState::Live { .. } => match row.location {
                Location::Inline => {
                    self.write.delete_cf(self.shared.bodies_cf().map_err(unread)?, body.as_bytes());
                    self.bodies.insert(body, None);
                    self.write.delete_cf(self.shared.inline_cf().map_err(unread)?, body.as_bytes());
                    Ok(())
                }
                Location::Chunks { .. } => {
                    let garbage = GarbageRow { retired: sequence, body };
                    self.put(Shared::garbage_cf, &keys::garbage(sequence, body), &garbage)?;
                    self.keep_body(body, BodyRow { state: BodyState::Released, ..row })
                }
            },
            BodyState::Released | BodyState::Condemned => Ok(()),
        }
    }

    fn drop_version(
        &mut self,
        bucket: BucketId,
        name: &[u8],
        current: Option<&CurrentRow>,
        version: Option<VersionRow>,
        sequence: u64,
    ) -> Outcome<()> {
        let (Some(current), Some(version)) = (current, version) else { return Ok(()) };
        for body in version.bodies {
            self.release(body.body, sequence)?;
        }
        let family = self.shared.versions_cf().map_err(unread)?;
        self.write.delete_cf(family, keys::version(bucket, name, current.sequence));
        self.versions.remove(&(bucket, current.sequence));
        Ok(())
    }

    fn drop_upload(
        &mut self,
        bucket: BucketId,
        name: &[u8],
        upload: UploadId,
        parts: &[PartRow],
        kept: &HashSet<BodyId>,
        sequence: u64,
    ) -> Outcome<()> {
        for part in parts {
            if !kept.contains(&part.body.body) {
                self.release(part.body.body, sequence)?;
            }
            let family = self.shared.parts_cf().map_err(unread)?;
            self.write.delete_cf(family, keys::part(upload, part.number));
            self.parts.insert((upload, part.number), None);
        }
        let key = keys::upload(bucket, name, upload);
        self.write.delete_cf(self.shared.uploads_cf().map_err(unread)?, &key);
        self.uploads.insert(key, None);
        Ok(())
    }

    fn keep_body(&mut self, body: BodyId, row: BodyRow) -> Outcome<()> {
        self.put(Shared::bodies_cf, body.as_bytes(), &row)?;
        self.bodies.insert(body, Some(row));
        Ok(())
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

fn check(precondition: Precondition, current: Option<&CurrentRow>) -> Outcome<()> {
    match (precondition, current) {
        (Precondition::None, _) | (Precondition::Absent, None) => Ok(()),
        (Precondition::Absent, Some(_)) => refuse(Refusal::PreconditionFailed),
        (Precondition::Version(_), None) => refuse(Refusal::NotFound),
        (Precondition::Version(wanted), Some(row)) if row.version == wanted => Ok(()),
        (Precondition::Version(_), Some(_)) => refuse(Refusal::PreconditionFailed),
    }
}
