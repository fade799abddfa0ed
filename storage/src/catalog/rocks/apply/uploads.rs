//! Multipart uploads and their parts.

use std::collections::HashSet;

use policy::id::{BodyId, BucketId, UploadId};
use policy::name::ObjectKey;

use super::super::Shared;
use super::super::writer::unread;
use super::{Applied, Batch, Outcome, digest_of, refuse};
use crate::catalog::{NewBody, NewUpload, ObjectMark, PartRow, Refusal, keys};

impl Batch<'_> {
    pub(super) fn create_upload(&mut self, NewUpload { row, under }: NewUpload) -> Outcome<Applied> {
        self.open_under(row.bucket, under)?;
        let key = keys::upload(row.bucket, row.key.as_bytes(), row.id);
        let digest = self.put(Shared::uploads_cf, &key, &row)?;
        self.uploads.insert(key, Some(row));
        Ok(Applied::row(digest))
    }

    pub(super) fn put_part(
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
        let object = ObjectMark::of(bucket, key.as_bytes());
        self.new_body(object, &new_body)?;
        if let Some(old) = old {
            self.release(object, old.body.body, sequence)?;
        }
        let digest = self.put(Shared::parts_cf, &keys::part(upload, part.number), &part)?;
        self.parts.insert((upload, part.number), Some(part));
        Ok(Applied::row(digest))
    }

    pub(super) fn abort_upload(
        &mut self,
        bucket: BucketId,
        key: &ObjectKey,
        upload: UploadId,
        sequence: u64,
    ) -> Outcome<Applied> {
        let parts = self.parts_of_upload(bucket, key.as_bytes(), upload)?;
        let Some(row) = self.upload_of(bucket, key.as_bytes(), upload).map_err(unread)? else {
            return refuse(Refusal::UploadGone);
        };
        self.foresee(parts.iter().map(|part| part.body.body))?;
        let removed = digest_of(&row)?;
        self.drop_upload(bucket, key.as_bytes(), upload, &parts, &HashSet::new(), sequence)?;
        Ok(Applied::row(removed))
    }

    pub(super) fn drop_upload(
        &mut self,
        bucket: BucketId,
        name: &[u8],
        upload: UploadId,
        parts: &[PartRow],
        kept: &HashSet<BodyId>,
        sequence: u64,
    ) -> Outcome<()> {
        let object = ObjectMark::of(bucket, name);
        for part in parts {
            if !kept.contains(&part.body.body) {
                self.release(object, part.body.body, sequence)?;
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
}
