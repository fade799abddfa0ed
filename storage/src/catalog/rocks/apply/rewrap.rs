//! Envelopes that are wrapped anew: rows stay where they are, and what changed meanwhile stays as it is.

use policy::id::BucketId;
use ring::digest::{Context, SHA256};

use super::super::Shared;
use super::super::writer::unread;
use super::{Applied, Batch, Outcome, finished};
use crate::catalog::{CatalogError, CurrentRow, Rewrap, Rewrapped, UploadRow, VersionRow, keys};

impl Batch<'_> {
    pub(super) fn rewrap(&mut self, rewrap: Rewrap) -> Outcome<Applied> {
        let Rewrap { bucket, versions, uploads, rows } = rewrap;
        self.open_bucket(bucket)?;
        rows.iter().try_for_each(|row| self.stands(row))?;
        // All is looked up before anything is written: what cannot be read then refuses the whole.
        let standing: Vec<_> =
            versions.into_iter().map(|new| Ok((self.standing_version(bucket, &new)?, new))).collect::<Outcome<_>>()?;
        let begun: Vec<_> =
            uploads.into_iter().map(|new| Ok((self.stands_upload(bucket, &new)?, new))).collect::<Outcome<_>>()?;
        let mut context = Context::new(&SHA256);
        for (current, Rewrapped { key, row, .. }) in standing {
            let Some(current) = current else { continue };
            let name = key.as_bytes();
            let digest = self.put(Shared::versions_cf, &keys::version(bucket, name, current.sequence), &row)?;
            context.update(&digest);
            let sequence = current.sequence;
            let current = CurrentRow { list_values: row.list_values.clone(), digest, ..current };
            self.put(Shared::current_cf, &keys::current(bucket, name), &current)?;
            self.versions.insert((bucket, sequence), row);
            self.current.insert((bucket, name.to_vec()), Some(current));
        }
        for (stands, Rewrapped { key, row, .. }) in begun {
            if stands {
                let at = keys::upload(bucket, key.as_bytes(), row.id);
                context.update(&self.put(Shared::uploads_cf, &at, &row)?);
                self.uploads.insert(at, Some(row));
            }
        }
        self.keep_controls(rows, &mut context)?;
        Ok(Applied::row(finished(context)))
    }

    /// The listed row of a version that is still as it was.
    fn standing_version(&self, bucket: BucketId, new: &Rewrapped<VersionRow>) -> Outcome<Option<CurrentRow>> {
        let Some(current) = self.current_of(bucket, new.key.as_bytes()).map_err(unread)? else { return Ok(None) };
        if current.version != new.row.version {
            return Ok(None);
        }
        let stored = match self.versions.get(&(bucket, current.sequence)) {
            Some(row) => Ok(row.clone()),
            None => self.shared.version_at(bucket, new.key.as_bytes(), &current, &rocksdb::ReadOptions::default()),
        };
        match stored {
            Ok(stored) => Ok((stored.envelope == new.was).then_some(current)),
            // It does not open either way: whoever looks for damage finds it.
            Err(CatalogError::Corrupt(_)) => Ok(None),
            Err(other) => Err(unread(other)),
        }
    }

    fn stands_upload(&self, bucket: BucketId, new: &Rewrapped<UploadRow>) -> Outcome<bool> {
        let known = self.upload_of(bucket, new.key.as_bytes(), new.row.id).map_err(unread)?;
        Ok(known.is_some_and(|row| row.envelope == new.was))
    }
}
