//! The meaning of a catalog on ordered maps: every change is tried on a copy, so a refused one leaves no trace.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use policy::id::{BodyId, BucketId, TenantId, UploadId, VersionId};
use policy::name::{BucketName, ObjectKey};
use ring::digest::{SHA256, digest};
use storage::catalog::{
    After, Before, BucketRow, BucketUpdate, Change, ControlKind, ControlPut, CurrentRow, GarbageRow, ListQuery,
    Location, NewBody, NewUpload, PartRow, Precondition, PutVersion, Refusal, UploadItem, UploadQuery, UploadRow,
    VersionRow,
};
use storage::log::{LogEntry, LogPosition, Record, leaf_hash};

use crate::rows::{Listed, digest_of};

/// Who holds a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// So many versions or parts of one object.
    Live { refs: u32, object: (BucketId, ObjectKey), location: Location, inline: Option<Bytes> },
    /// The collector.
    Condemned,
    /// Nobody any more, as a garbage row says.
    Released,
}

/// A visible version and the sequence of its commit.
#[derive(Debug, Clone)]
pub struct Object {
    pub sequence: u64,
    pub row: VersionRow,
}

/// What a change did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effect {
    pub replaced: Option<VersionId>,
    pub stayed: Vec<(usize, Refusal)>,
    pub digest: Option<[u8; 32]>,
}

#[derive(Debug, Clone, Default)]
pub struct Model {
    pub buckets: BTreeMap<BucketName, BucketRow>,
    pub objects: BTreeMap<(BucketId, ObjectKey), Object>,
    pub uploads: BTreeMap<(BucketId, ObjectKey, UploadId), UploadRow>,
    pub parts: BTreeMap<(UploadId, u32), PartRow>,
    pub bodies: BTreeMap<BodyId, Held>,
    pub garbage: BTreeSet<(u64, BodyId)>,
    pub controls: BTreeMap<(u8, Vec<u8>), Vec<u8>>,
    pub log: Vec<LogEntry>,
    pub stream: u64,
    heads: BTreeMap<Option<TenantId>, (u64, [u8; 32])>,
}

type Outcome = Result<Effect, Refusal>;

impl Model {
    /// The next session begins: a stream of its own, chains from their start.
    pub fn reopen(&mut self) {
        self.stream += 1;
        self.heads.clear();
    }

    /// Where the next record goes.
    pub fn next_position(&self) -> LogPosition {
        let last = self.log.last().map(|e| e.position).filter(|p| p.stream == self.stream);
        LogPosition { stream: self.stream, sequence: last.map_or(1, |p| p.sequence + 1) }
    }

    /// Applies a change whole, or refuses it whole.
    pub fn apply(&mut self, change: &Change, sequence: u64) -> Outcome {
        let mut next = self.clone();
        let effect = next.change(change, sequence)?;
        *self = next;
        Ok(effect)
    }

    /// Appends the record of a change that was made.
    pub fn record(&mut self, record: Record, row_digest: Option<[u8; 32]>) {
        let (count, prev) = self.heads.get(&record.tenant).copied().unwrap_or_default();
        let mut entry = LogEntry {
            position: self.next_position(),
            leaf: [0; 32],
            salt: record.salt,
            time: record.time,
            tenant: record.tenant,
            kind: record.kind,
            tenant_count: count + 1,
            tenant_prev: prev,
            row_digest,
            sealed: record.sealed,
        };
        entry.leaf = leaf_of(&entry);
        self.heads.insert(entry.tenant, (entry.tenant_count, entry.leaf));
        self.log.push(entry);
    }

    fn change(&mut self, change: &Change, sequence: u64) -> Outcome {
        match change {
            Change::None => Ok(Effect::default()),
            Change::CreateBucket(row) => match self.buckets.get(&row.name) {
                Some(taken) => Err(Refusal::BucketExists { owner: taken.tenant }),
                None => Ok(self.keep_bucket(row)),
            },
            Change::DeleteBucket { bucket } => self.delete_bucket(*bucket),
            Change::PutVersion(put) => self.put_version(put, sequence),
            Change::DeleteVersion { bucket, key, precondition } => {
                self.open(*bucket)?;
                self.delete_version(*bucket, key, *precondition, sequence)
            }
            Change::DeleteVersions { bucket, objects } => self.delete_versions(*bucket, objects, sequence),
            Change::CreateUpload(NewUpload { row, .. }) => {
                self.open(row.bucket)?;
                self.uploads.insert((row.bucket, row.key.clone(), row.id), row.clone());
                Ok(Effect { digest: Some(digest_of(row)), ..Effect::default() })
            }
            Change::PutPart { bucket, key, upload, part, new_body } => {
                self.put_part((*bucket, key.clone(), *upload), part, new_body, sequence)
            }
            Change::AbortUpload { bucket, key, upload } => {
                let at = (*bucket, key.clone(), *upload);
                let digest = self.uploads.get(&at).map(digest_of);
                self.drop_upload(at, &[], sequence)?;
                Ok(Effect { digest, ..Effect::default() })
            }
            Change::PutControl { rows, buckets } => self.put_control(rows, buckets),
            Change::Rewrap(_) => panic!("not among the random changes: `rewrap` has its behaviours"),
            Change::Condemn(body) => match self.bodies.get(body) {
                Some(Held::Live { .. } | Held::Released) => Err(Refusal::Exists),
                _ => {
                    self.bodies.insert(*body, Held::Condemned);
                    Ok(Effect::default())
                }
            },
            Change::Forget(rows) => Ok(self.forget(rows)),
        }
    }

    fn open(&self, bucket: BucketId) -> Result<(), Refusal> {
        if self.buckets.values().any(|row| row.id == bucket) { Ok(()) } else { Err(Refusal::BucketGone) }
    }

    fn keep_bucket(&mut self, row: &BucketRow) -> Effect {
        self.buckets.insert(row.name.clone(), row.clone());
        Effect { digest: Some(digest_of(row)), ..Effect::default() }
    }

    fn delete_bucket(&mut self, bucket: BucketId) -> Outcome {
        self.open(bucket)?;
        let holds = self.objects.keys().any(|(id, _)| *id == bucket);
        if holds || self.uploads.keys().any(|(id, _, _)| *id == bucket) {
            return Err(Refusal::BucketNotEmpty);
        }
        let digest = self.buckets.values().find(|row| row.id == bucket).map(digest_of);
        self.buckets.retain(|_, row| row.id != bucket);
        Ok(Effect { digest, ..Effect::default() })
    }

    fn holds(&self, at: &(BucketId, ObjectKey), precondition: Precondition) -> Result<(), Refusal> {
        match (precondition, self.objects.get(at)) {
            (Precondition::None, _) | (Precondition::Absent, None) => Ok(()),
            (Precondition::Version(wanted), Some(object)) if object.row.version == wanted => Ok(()),
            (Precondition::Version(_), None) => Err(Refusal::NotFound),
            (Precondition::Absent | Precondition::Version(_), Some(_)) => Err(Refusal::PreconditionFailed),
        }
    }

    fn put_version(&mut self, put: &PutVersion, sequence: u64) -> Outcome {
        self.open(put.bucket)?;
        let at = (put.bucket, put.key.clone());
        self.holds(&at, put.precondition)?;
        let kept: Vec<BodyId> = put.row.bodies.iter().map(|b| b.body).collect();
        let mut parts = Vec::new();
        if let Some(upload) = put.completes {
            parts = self.drop_upload((put.bucket, put.key.clone(), upload), &kept, sequence)?;
        }
        for body in &kept {
            // What is neither new nor a part's is held once more.
            if !put.new_bodies.iter().any(|n| n.id == *body) && !parts.contains(body) {
                match self.bodies.get_mut(body) {
                    Some(Held::Live { refs, object, .. }) if *object == at => *refs += 1,
                    _ => return Err(Refusal::BodyGone),
                }
            }
        }
        for body in &put.new_bodies {
            self.add_body(&at, body)?;
        }
        let old = self.objects.insert(at, Object { sequence, row: put.row.clone() });
        for body in old.iter().flat_map(|o| &o.row.bodies) {
            self.release(body.body, sequence);
        }
        let replaced = old.map(|o| o.row.version);
        Ok(Effect { replaced, digest: Some(digest_of(&put.row)), ..Effect::default() })
    }

    fn delete_versions(&mut self, bucket: BucketId, objects: &[(ObjectKey, Precondition)], sequence: u64) -> Outcome {
        self.open(bucket)?;
        let mut stayed = Vec::new();
        let mut removed = Vec::new();
        for (place, (key, precondition)) in objects.iter().enumerate() {
            match self.delete_version(bucket, key, *precondition, sequence) {
                Ok(effect) => removed.extend(effect.digest.into_iter().flatten()),
                Err(refusal) => stayed.push((place, refusal)),
            }
        }
        let digest = (!removed.is_empty()).then(|| digest(&SHA256, &removed).as_ref().try_into().unwrap());
        Ok(Effect { stayed, digest, ..Effect::default() })
    }

    fn delete_version(
        &mut self,
        bucket: BucketId,
        key: &ObjectKey,
        precondition: Precondition,
        sequence: u64,
    ) -> Outcome {
        let at = (bucket, key.clone());
        self.holds(&at, precondition)?;
        let old = self.objects.remove(&at);
        for body in old.iter().flat_map(|o| &o.row.bodies) {
            self.release(body.body, sequence);
        }
        let digest = old.as_ref().map(|o| digest_of(&o.row));
        Ok(Effect { replaced: old.map(|o| o.row.version), digest, ..Effect::default() })
    }

    fn put_part(
        &mut self,
        at: (BucketId, ObjectKey, UploadId),
        part: &PartRow,
        body: &NewBody,
        sequence: u64,
    ) -> Outcome {
        self.open(at.0)?;
        if !self.uploads.contains_key(&at) {
            return Err(Refusal::UploadGone);
        }
        self.add_body(&(at.0, at.1), body)?;
        if let Some(old) = self.parts.insert((at.2, part.number), part.clone()) {
            self.release(old.body.body, sequence);
        }
        Ok(Effect { digest: Some(digest_of(part)), ..Effect::default() })
    }

    /// An upload goes with its parts; their bodies too, but for those that are kept. Gives all of them.
    fn drop_upload(
        &mut self,
        at: (BucketId, ObjectKey, UploadId),
        kept: &[BodyId],
        sequence: u64,
    ) -> Result<Vec<BodyId>, Refusal> {
        self.uploads.remove(&at).ok_or(Refusal::UploadGone)?;
        let bodies: Vec<BodyId> =
            self.parts.iter().filter(|((id, _), _)| *id == at.2).map(|(_, part)| part.body.body).collect();
        self.parts.retain(|(id, _), _| *id != at.2);
        for body in bodies.iter().filter(|body| !kept.contains(body)) {
            self.release(*body, sequence);
        }
        Ok(bodies)
    }

    fn put_control(&mut self, rows: &[ControlPut], buckets: &[BucketUpdate]) -> Outcome {
        for row in rows {
            let known = self.controls.get(&(row.kind as u8, row.id.clone()));
            match &row.before {
                Before::Any => {}
                Before::Absent if known.is_some() => return Err(Refusal::Exists),
                Before::Is(before) if known != Some(before) => return Err(Refusal::Changed),
                Before::Absent | Before::Is(_) => {}
            }
        }
        for update in buckets {
            let known = self.buckets.get(&update.row.name).filter(|known| known.id == update.row.id);
            if known.ok_or(Refusal::BucketGone)?.proof != update.was {
                return Err(Refusal::Changed);
            }
        }
        for row in rows {
            self.controls.insert((row.kind as u8, row.id.clone()), row.value.clone());
        }
        let mut digested: Vec<u8> = rows.iter().flat_map(|row| row.value.clone()).collect();
        for update in buckets {
            digested.extend(self.keep_bucket(&update.row).digest.unwrap());
        }
        let digest = digest(&SHA256, &digested).as_ref().try_into().unwrap();
        Ok(Effect { digest: Some(digest), ..Effect::default() })
    }

    fn forget(&mut self, rows: &[GarbageRow]) -> Effect {
        for row in rows {
            self.garbage.remove(&(row.retired, row.body));
            let left = if row.retired == 0 { Held::Condemned } else { Held::Released };
            if self.bodies.get(&row.body) == Some(&left) {
                self.bodies.remove(&row.body);
            }
        }
        Effect::default()
    }

    fn add_body(&mut self, object: &(BucketId, ObjectKey), body: &NewBody) -> Result<(), Refusal> {
        if self.bodies.contains_key(&body.id) {
            return Err(Refusal::BodyGone);
        }
        let held = Held::Live { refs: 1, object: object.clone(), location: body.location, inline: body.inline.clone() };
        self.bodies.insert(body.id, held);
        Ok(())
    }

    fn release(&mut self, body: BodyId, sequence: u64) {
        let Some(Held::Live { refs, location, .. }) = self.bodies.get_mut(&body) else { return };
        *refs -= 1;
        if *refs == 0 {
            if matches!(location, Location::Chunks { .. }) {
                self.garbage.insert((sequence, body));
                self.bodies.insert(body, Held::Released);
            } else {
                self.bodies.remove(&body);
            }
        }
    }
}

/// Questions.
impl Model {
    pub fn current(&self, bucket: BucketId, key: &ObjectKey) -> Option<CurrentRow> {
        let object = self.objects.get(&(bucket, key.clone()))?;
        Some(CurrentRow {
            version: object.row.version,
            sequence: object.sequence,
            size: object.row.size,
            modified: object.row.modified,
            list_values: object.row.list_values.clone(),
            digest: digest_of(&object.row),
        })
    }

    /// Sealed bytes of the inline bodies of a version, in order.
    pub fn inline(&self, row: &VersionRow) -> Vec<(BodyId, Bytes)> {
        let inline = |body: BodyId| match self.bodies.get(&body) {
            Some(Held::Live { inline, .. }) => inline.clone(),
            _ => None,
        };
        row.bodies.iter().filter_map(|b| Some((b.body, inline(b.body)?))).collect()
    }

    pub fn controls(&self, kind: ControlKind, after: Option<&[u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let all =
            self.controls.iter().filter(|((k, id), _)| *k == kind as u8 && after.is_none_or(|a| id.as_slice() > a));
        all.map(|((_, id), value)| (id.clone(), value.clone())).collect()
    }

    /// The lines of a list and where it goes on.
    pub fn list(&self, query: &ListQuery) -> (Vec<Listed>, Option<After>) {
        let mut items: Vec<Listed> = Vec::new();
        let names = self.objects.keys().filter(|(bucket, _)| *bucket == query.bucket).map(|(_, key)| key);
        for key in names.filter(|key| is_behind(key.as_str(), query.after.as_ref())) {
            let Some(rest) = key.as_str().strip_prefix(&query.prefix) else { continue };
            match group(&query.prefix, rest, query.delimiter.as_deref()) {
                None => items.extend(self.current(query.bucket, key).map(|row| Listed::of(key.as_str(), &row))),
                Some(group) => {
                    let skipped = matches!(&query.after, Some(After::Key(after)) if *after == group);
                    if !skipped && !matches!(items.last(), Some(Listed::Prefix(last)) if *last == group) {
                        items.push(Listed::Prefix(group));
                    }
                }
            }
        }
        let more = items.len() > query.limit;
        items.truncate(query.limit);
        let next = items.last().filter(|_| more).map(|item| match item {
            Listed::Object { name, .. } => After::Key(name.clone()),
            Listed::Prefix(prefix) => After::Prefix(prefix.clone()),
        });
        (items, next)
    }

    /// The lines of a list of uploads and whether there is more.
    pub fn uploads(&self, query: &UploadQuery) -> (Vec<UploadItem>, bool) {
        let mut items: Vec<UploadItem> = Vec::new();
        for ((_, key, id), row) in self.uploads.iter().filter(|((bucket, _, _), _)| *bucket == query.bucket) {
            let Some(rest) = key.as_str().strip_prefix(&query.prefix) else { continue };
            let behind = match (&query.key_marker, query.upload_id_marker) {
                (None, _) => true,
                (Some(marker), None) => key.as_str() > marker.as_str(),
                (Some(marker), Some(last)) => (key.as_str(), *id) > (marker.as_str(), last),
            };
            if !behind {
                continue;
            }
            match group(&query.prefix, rest, query.delimiter.as_deref()) {
                None => items.push(UploadItem::Upload(Box::new(row.clone()))),
                Some(group) if Some(&group) == query.key_marker.as_ref() => {}
                Some(group) if matches!(items.last(), Some(UploadItem::Prefix(last)) if *last == group) => {}
                Some(group) => items.push(UploadItem::Prefix(group)),
            }
        }
        let more = items.len() > query.limit && query.limit > 0;
        items.truncate(query.limit);
        (items, more)
    }
}

fn is_behind(name: &str, after: Option<&After>) -> bool {
    match after {
        None => true,
        Some(After::Key(after)) => name > after.as_str(),
        Some(After::Prefix(prefix)) => name > prefix.as_str() && !name.starts_with(prefix.as_str()),
    }
}

fn group(prefix: &str, rest: &str, delimiter: Option<&str>) -> Option<String> {
    let (front, _) = rest.split_once(delimiter?)?;
    Some([prefix, front, delimiter?].concat())
}

/// The leaf hash of an entry: its stored bytes are a version byte, then postcard of these fields in order.
pub fn leaf_of(entry: &LogEntry) -> [u8; 32] {
    let LogEntry { salt, time, tenant, kind, tenant_count, tenant_prev, row_digest, sealed, .. } = entry;
    let fields = (salt, time, tenant, kind, tenant_count, tenant_prev, row_digest, sealed);
    leaf_hash(&postcard::to_extend(&fields, vec![1]).unwrap())
}
