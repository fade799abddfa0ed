//! What hangs on keys that are destroyed: looked for, counted, removed.

use policy::id::{BucketId, DestructionId, TenantId, UploadId};
use policy::name::ObjectKey;
use storage::catalog::{
    CatalogError, Change, Commit, CommitError, Precondition, Refusal, StoredVersion, UploadItem, UploadQuery,
};

use crate::clock::now;
use crate::control::{Bucket, Contents, DestructionRow, DestructionState};
use crate::error::Error;
use crate::gateway::Gateway;
use crate::record::{Content, Control};

/// Objects that are removed in one commit.
const PAGE: usize = 256;

/// The buckets that hang on the keys, or the one that goes.
pub(crate) async fn buckets_of(gateway: &Gateway, row: &DestructionRow) -> Result<Vec<Bucket>, Error> {
    let (mut out, mut after) = (Vec::new(), None);
    loop {
        let page = gateway.control.buckets(row.tenant, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(out) };
        after = Some(last.name.clone());
        for bucket in page {
            let mut hangs = false;
            match &row.bucket {
                Some((id, _)) => hangs = bucket.id == *id,
                None => {
                    for key in &row.keys {
                        hangs |= gateway.keys.hangs_on(&bucket, *key)?;
                    }
                }
            }
            if hangs {
                out.push(bucket);
            }
        }
    }
}

/// Buckets of a tenant that are being destroyed, or were and have rows that stay, their keys staying: no key that stays may wrap
/// theirs any more, and what wrapped them is gone.
///
/// # Errors
/// `Catalog` when destructions cannot be read.
pub async fn doomed(gateway: &Gateway, tenant: TenantId) -> Result<Vec<BucketId>, Error> {
    let at_work = |row: &DestructionRow| {
        matches!(
            row.state,
            DestructionState::Destroying { .. } | DestructionState::Removing { .. } | DestructionState::Done { .. }
        )
    };
    let wanted = |row: &DestructionRow| row.tenant == tenant && row.bucket.is_some() && at_work(row);
    let rows = gateway.control.rows(usize::MAX, wanted).await?;
    Ok(rows.into_iter().filter_map(|row| row.bucket.map(|(id, _)| id)).collect())
}

/// What is in each. Nothing is added any more: the keys open nothing. Rows that cannot be read are not counted.
pub(super) async fn count(gateway: &Gateway, buckets: &[Bucket]) -> Result<Vec<Contents>, Error> {
    let mut out = Vec::new();
    for bucket in buckets {
        let mut contents = Contents { bucket: bucket.name.to_string(), ..Contents::default() };
        let mut after = None;
        while let Some(page) = versions(gateway, bucket, after.as_ref()).await? {
            after = page.last().map(|last| last.key.clone());
            contents.objects += u64::try_from(page.len()).unwrap_or(0);
            contents.bytes += page.iter().filter_map(|one| one.row.as_ref().ok()).map(|row| row.size).sum::<u64>();
        }
        let mut uploads = Uploads::default();
        while let Some(page) = uploads.next(gateway, bucket).await? {
            contents.uploads += u64::try_from(page.len()).unwrap_or(0);
        }
        out.push(contents);
    }
    Ok(out)
}

/// A page of versions; none at the end, and where what follows cannot be read.
async fn versions(
    gateway: &Gateway,
    bucket: &Bucket,
    after: Option<&ObjectKey>,
) -> Result<Option<Vec<StoredVersion>>, Error> {
    match gateway.catalog.versions(bucket.id, after, PAGE).await {
        Ok(page) => Ok((!page.is_empty()).then_some(page)),
        Err(CatalogError::Corrupt(why)) => {
            tracing::error!(bucket = %bucket.name, why, "rows of a bucket that is erased cannot be read");
            Ok(None)
        }
        Err(other) => Err(other.into()),
    }
}

/// Empties and removes a bucket, on record; false when rows of it cannot be removed.
pub(super) async fn empty(gateway: &Gateway, by: DestructionId, bucket: &Bucket) -> Result<bool, Error> {
    let (mut after, mut objects, mut begun) = (None, 0, 0);
    while let Some(page) = versions(gateway, bucket, after.as_ref()).await? {
        after = page.last().map(|last| last.key.clone());
        objects += page.len();
        let gone = page.into_iter().map(|one| (one.key, Precondition::None)).collect();
        let change = Change::DeleteVersions { bucket: bucket.id, objects: gone };
        gateway.catalog.commit(Commit { change, record: None }).await?;
    }
    let mut uploads = Uploads::default();
    while let Some(page) = uploads.next(gateway, bucket).await? {
        for (key, upload) in page {
            let change = Change::AbortUpload { bucket: bucket.id, key, upload };
            match gateway.catalog.commit(Commit { change, record: None }).await {
                Ok(_) => begun += 1,
                Err(CommitError::Refused(Refusal::UploadGone) | CommitError::Failed(_)) => {}
                Err(other) => return Err(other.into()),
            }
        }
    }
    let detail = format!(
        "destruction {by}: bucket {} ({}) was removed with {objects} objects and {begun} uploads that were left in it",
        bucket.name, bucket.id
    );
    let content = Content::Control(Control { event: "bucket-erased".to_owned(), detail });
    let record = gateway.recorder.seal(Some(bucket.tenant), now(), &content).await?;
    let change = Change::DeleteBucket { bucket: bucket.id };
    match gateway.catalog.commit(Commit { change, record: Some(record) }).await {
        Ok(_) | Err(CommitError::Refused(Refusal::BucketGone)) => Ok(true),
        Err(CommitError::Refused(Refusal::BucketNotEmpty) | CommitError::Failed(_)) => Ok(false),
        Err(other) => Err(other.into()),
    }
}

/// Pages of the uploads of a bucket that can be read.
#[derive(Debug, Default)]
struct Uploads(Option<(String, UploadId)>);

impl Uploads {
    async fn next(&mut self, gateway: &Gateway, bucket: &Bucket) -> Result<Option<Vec<(ObjectKey, UploadId)>>, Error> {
        let query = UploadQuery {
            bucket: bucket.id,
            prefix: String::new(),
            delimiter: None,
            key_marker: self.0.as_ref().map(|(key, _)| key.clone()),
            upload_id_marker: self.0.as_ref().map(|(_, id)| *id),
            limit: PAGE,
        };
        let page = gateway.catalog.uploads(&query).await?;
        let upload = |item| match item {
            UploadItem::Upload(row) => Some((row.key, row.id)),
            UploadItem::Prefix(_) | UploadItem::Damaged(_) => None,
        };
        let rows: Vec<_> = page.items.into_iter().filter_map(upload).collect();
        self.0 = rows.last().map(|(key, id)| (key.as_str().to_owned(), *id));
        Ok((!rows.is_empty()).then_some(rows))
    }
}
