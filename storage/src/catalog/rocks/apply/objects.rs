//! Objects: versions come with their bodies and go with what they replace.

use std::collections::HashSet;

use policy::id::{BodyId, BucketId};
use policy::name::ObjectKey;
use ring::digest::{Context, SHA256};

use super::super::Shared;
use super::super::writer::unread;
use super::{Applied, Batch, Outcome, finished, refuse};
use crate::catalog::{
    CommitError, CurrentRow, ObjectMark, PartRow, Precondition, PutVersion, Refusal, VersionRow, keys,
};

impl Batch<'_> {
    pub(super) fn put_version(&mut self, put: PutVersion, sequence: u64) -> Outcome<Applied> {
        self.open_under(put.bucket, put.under)?;
        let name = put.key.as_bytes();
        let old = self.current_of(put.bucket, name).map_err(unread)?;
        check(put.precondition, old.as_ref())?;
        let parts = match put.completes {
            None => Vec::new(),
            Some(upload) => self.parts_of_upload(put.bucket, name, upload)?,
        };
        let object = ObjectMark::of(put.bucket, name);
        let shared = self.shared_bodies(object, &put, &parts)?;
        let old_version = old.as_ref().map(|row| self.version_of(put.bucket, name, row)).transpose().map_err(unread)?;
        let kept: HashSet<BodyId> = put.row.bodies.iter().map(|b| b.body).collect();
        let dropped: Vec<BodyId> =
            parts.iter().map(|part| part.body.body).filter(|body| !kept.contains(body)).collect();
        self.foresee(dropped)?;
        self.foresee(old_version.iter().flat_map(|version| version.bodies.iter().map(|body| body.body)))?;
        // From here on nothing is refused, and nothing that could not be read is needed.
        for body in &put.new_bodies {
            self.new_body(object, body)?;
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

    /// Bodies of the manifest that are neither new nor parts of the completed upload: each must be live, and of
    /// this very object.
    fn shared_bodies(&mut self, object: ObjectMark, put: &PutVersion, parts: &[PartRow]) -> Outcome<Vec<BodyId>> {
        let brought = put.new_bodies.iter().map(|new| new.id);
        let own: HashSet<BodyId> = brought.chain(parts.iter().map(|part| part.body.body)).collect();
        let mut shared = Vec::new();
        for body in put.row.bodies.iter().map(|b| b.body).filter(|body| !own.contains(body)) {
            match self.body_of(body).map_err(unread)? {
                Some(row) if row.is_live() && row.object == object => shared.push(body),
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

    pub(super) fn delete_versions(
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
    pub(super) fn delete_version(
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

    fn drop_version(
        &mut self,
        bucket: BucketId,
        name: &[u8],
        current: Option<&CurrentRow>,
        version: Option<VersionRow>,
        sequence: u64,
    ) -> Outcome<()> {
        let (Some(current), Some(version)) = (current, version) else { return Ok(()) };
        let object = ObjectMark::of(bucket, name);
        for body in version.bodies {
            self.release(object, body.body, sequence)?;
        }
        let family = self.shared.versions_cf().map_err(unread)?;
        self.write.delete_cf(family, keys::version(bucket, name, current.sequence));
        self.versions.remove(&(bucket, current.sequence));
        Ok(())
    }
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
