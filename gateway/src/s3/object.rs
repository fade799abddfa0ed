//! An object that is read: its rows opened and proved, from the catalog or from what was opened a moment ago.

use std::ops::Range;
use std::sync::Arc;

use policy::id::VersionId;
use policy::name::ObjectKey;
use s3s::S3Result;
use storage::catalog::{Location, ManifestBody, ObjectView, VersionRow};

use super::Call;
use super::checks::StoredChecksum;
use super::conditions::open_values;
use super::metadata::{ListValues, ObjectMetadata};
use super::multipart::PartValues;
use super::put::{decode, object_key};
use crate::control::Bucket;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::keys::{BucketKey, Passage};
use crate::opened::{InlineBodies, OpenedVersion};
use crate::read::Source;
use crate::seal::value::{ManifestFacts, Owner};
use crate::seal::wrap::version_of;

/// An object whose rows have been opened and proved.
pub(super) struct OpenObject {
    pub version: Arc<OpenedVersion>,
    pub values: ListValues,
    pub metadata: ObjectMetadata,
    inline: InlineBodies,
    passage: Passage,
}

/// Looks an object up and opens everything about it but its bytes.
pub(super) async fn open_object(
    gateway: &Gateway,
    call: &Call,
    bucket: &Bucket,
    key: &str,
    version: Option<&str>,
) -> S3Result<OpenObject> {
    let name = object_key(key)?;
    let visible = names_visible(version)?;
    let bucket_key = gateway.keys.bucket_key(bucket, call.purpose(gateway)).await?;
    let object = match again(gateway, call, bucket, &bucket_key, &name).await? {
        Some(object) => object,
        None => anew(gateway, call, bucket, &bucket_key, &name)
            .await?
            .ok_or_else(|| s3s::s3_error!(NoSuchKey, "The specified key does not exist."))?,
    };
    if !visible {
        return Err(s3s::s3_error!(NoSuchVersion, "The specified version does not exist."));
    }
    call.context.touched(&object.version().to_string(), bucket_key.id, version_of(&object.version.row.envelope));
    Ok(object)
}

/// Whether a version id names the one version that there is, rather than one that is not there.
pub(super) fn names_visible(version: Option<&str>) -> S3Result<bool> {
    match version {
        None | Some("null") => Ok(true),
        Some("") => Err(s3s::s3_error!(InvalidArgument, "Version id cannot be the empty string")),
        Some(id) if id.parse::<VersionId>().is_ok() => Ok(false),
        Some(_) => Err(s3s::s3_error!(InvalidArgument, "Invalid version id specified")),
    }
}

/// From what was opened a moment ago, if the listed row is still the same; none when it must be opened anew.
async fn again(
    gateway: &Gateway,
    call: &Call,
    bucket: &Bucket,
    bucket_key: &Arc<BucketKey>,
    name: &ObjectKey,
) -> Result<Option<OpenObject>, Error> {
    let Some(current) = gateway.catalog.current(bucket.id, name).await? else { return Ok(None) };
    let Some(version) = gateway.opened.get(name.as_bytes(), bucket_key, &current) else { return Ok(None) };
    let mut inline = Vec::new();
    for body in version.row.bodies.iter().filter(|b| b.location == Location::Inline) {
        // A body that went meanwhile belongs to a version that did: the catalog shows what is there now.
        let Some(bytes) = gateway.catalog.inline(body.body).await? else { return Ok(None) };
        inline.push((body.body, bytes));
    }
    let passage = passage(gateway, call, bucket, bucket_key, &version.row)?;
    Ok(Some(open(bucket, bucket_key, name, version, (inline, passage)).map_err(|error| refused(bucket, error))?))
}

/// From one snapshot of the catalog.
async fn anew(
    gateway: &Gateway,
    call: &Call,
    bucket: &Bucket,
    bucket_key: &Arc<BucketKey>,
    name: &ObjectKey,
) -> Result<Option<OpenObject>, Error> {
    let Some(view) = gateway.catalog.object(bucket.id, name).await? else { return Ok(None) };
    let bucket_key = &match version_of(&view.version.envelope) {
        version if version <= bucket_key.version => Arc::clone(bucket_key),
        _ => gateway.keys.bucket_key_now(bucket, call.purpose(gateway)).await?,
    };
    let passage = passage(gateway, call, bucket, bucket_key, &view.version)?;
    let prove = || {
        let ObjectView { current, version, inline } = view;
        let key = bucket_key.unwrap(&version.envelope, *version.version.as_bytes())?;
        let version = Arc::new(OpenedVersion::new(current, version, key));
        manifest(bucket, name, &version)?;
        open(bucket, bucket_key, name, version, (inline, passage))
    };
    let object = prove().map_err(|error| refused(bucket, error))?;
    if call.context.access().is_none() {
        gateway.opened.insert(name.as_bytes(), bucket_key, &object.version);
    }
    Ok(Some(object))
}

/// Leave to read a version, if what it hangs on may be used.
fn passage(
    gateway: &Gateway,
    call: &Call,
    bucket: &Bucket,
    key: &BucketKey,
    row: &VersionRow,
) -> Result<Passage, Error> {
    let version = version_of(&row.envelope);
    key.pass(version, call.context.reason()).map_err(|error| call.purpose(gateway).told(error))?;
    Passage::new(gateway, &call.context, bucket, key, version).map_err(|error| refused(bucket, error))
}

/// Opens what is not kept open.
fn open(
    bucket: &Bucket,
    bucket_key: &BucketKey,
    name: &ObjectKey,
    version: Arc<OpenedVersion>,
    (inline, passage): (InlineBodies, Passage),
) -> Result<OpenObject, Error> {
    let values = open_values(bucket, bucket_key, name.as_bytes(), &version.current)?;
    let metadata = version.key.open_metadata(&owner(bucket, name, &version.row), &version.row.metadata)?;
    Ok(OpenObject { metadata: ObjectMetadata::decode(&metadata)?, version, values, inline, passage })
}

/// Opens the manifest, which proves the list of bodies and the list values; gives its content.
fn manifest(bucket: &Bucket, name: &ObjectKey, version: &OpenedVersion) -> Result<Vec<u8>, Error> {
    let row = &version.row;
    let facts =
        ManifestFacts { list_values: &version.current.list_values, ..ManifestFacts::of(owner(bucket, name, row), row) };
    Ok(version.key.open_manifest(&facts, &row.manifest)?)
}

fn owner<'a>(bucket: &Bucket, name: &'a ObjectKey, row: &VersionRow) -> Owner<'a> {
    Owner { tenant: bucket.tenant, bucket: bucket.id, name: name.as_bytes(), version: row.version }
}

fn refused(bucket: &Bucket, error: Error) -> Error {
    tracing::error!(bucket = %bucket.id, %error, "rows of an object do not open: not served");
    metrics::counter!("gotgan_rows_refused_total").increment(1);
    error
}

impl OpenObject {
    pub(super) fn size(&self) -> u64 {
        self.version.row.size
    }

    pub(super) fn version(&self) -> VersionId {
        self.version.row.version
    }

    pub(super) fn modified(&self) -> policy::time::UtcMillis {
        self.version.row.modified
    }

    /// Sealed content of the manifest: what parts were, for multipart.
    pub(super) fn content(&self, bucket: &Bucket, name: &ObjectKey) -> Result<Vec<u8>, Error> {
        manifest(bucket, name, &self.version)
    }

    /// The checksum of a part of it, if these bytes are one and its checksum is kept.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>
    pub(super) fn checksum_of(
        &self,
        bucket: &Bucket,
        name: &ObjectKey,
        bytes: &Range<u64>,
    ) -> Result<Option<StoredChecksum>, Error> {
        if self.values.etag.parts.is_none() {
            return Ok(self.values.checksum.clone().filter(|_| *bytes == (0..self.size())));
        }
        let Some(part) = part_at(&self.version.row.bodies, bytes) else { return Ok(None) };
        let parts: Vec<PartValues> = decode(&self.content(bucket, name)?)?;
        let own = parts.into_iter().nth(part).ok_or_else(|| Error::Corrupt("parts of a manifest".to_owned()))?;
        Ok(own.checksum)
    }

    /// Hands over what the read pipeline needs.
    pub(super) fn into_source(self, gateway: &Gateway, bucket: &Bucket) -> Source {
        Source {
            tenant: bucket.tenant,
            bucket: bucket.id,
            version: self.version,
            inline: self.inline,
            guard: Some(gateway.reads.open()),
            passage: self.passage,
        }
    }
}

/// Which of the bodies these bytes are.
fn part_at(bodies: &[ManifestBody], bytes: &Range<u64>) -> Option<usize> {
    let mut end = 0;
    bodies.iter().position(|body| {
        let start = end;
        end += body.length;
        *bytes == (start..end)
    })
}
