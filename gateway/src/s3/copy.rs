//! CopyObject. A self-copy that only changes metadata shares the bodies (SECURITY.md rule 7); every
//! other copy opens the source and seals anew under its own version key.

use std::sync::Arc;

use crate::control::Bucket;
use crate::digest::checksum::Algorithm;
use policy::name::ObjectKey;
use policy::time::UtcMillis;
use s3s::dto::{CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, MetadataDirective};
use s3s::{S3Error, S3Request, S3Response, S3Result};
use storage::catalog::{CommitError, ManifestBody, NewBody, Precondition, Refusal};

use super::checks::{StoredChecksum, StoredETag, named_algorithm, put_checksum};
use super::conditions::{ReadConditions, WriteConditions, lost_race, of_write};
use super::metadata::{ListValues, ObjectMetadata, read_metadata, refuse_unsupported};
use super::object::{OpenObject, open_object};
use super::put::{Draft, aes256, commit, new_version, object_key};
use super::{Call, timestamp, unsupported};
use crate::clock;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::read;
use crate::seal::VersionKey;
use crate::write::{Arriving, Target, place, receive};

/// Largest source of CopyObject: 5 GiB, as in S3; more goes by parts.
pub(super) const COPY_MAX: u64 = 5 << 30;

pub(super) async fn copy_object(
    gateway: &Arc<Gateway>,
    call: &Call,
    mut req: S3Request<CopyObjectInput>,
) -> S3Result<S3Response<CopyObjectOutput>> {
    refuse_unsupported!(req.input)?;
    let replace = directive(&req.input)?;
    let (source_key, source_version) = source_name(&req.input.copy_source)?;
    let bucket = call.bucket()?.clone();
    let source_bucket = source_bucket(call)?;
    let same = source_bucket.id == bucket.id && source_key == req.input.key;
    if same && !replace {
        return Err(s3s::s3_error!(
            InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes."
        ));
    }
    let wanted = WriteConditions::read(&req.headers)?;
    let key = object_key(&req.input.key)?;
    let precondition =
        of_write(gateway, call, &bucket, &key, wanted.if_match.as_ref(), wanted.if_none_match.as_ref()).await?;
    let guard = gateway.reads.open();
    let source = open_object(gateway, call, &source_bucket, &source_key, source_version.as_deref()).await?;
    conditions(&req.input).check(&source.values.etag, source.modified(), true)?;
    if source.size() > COPY_MAX {
        return Err(s3s::s3_error!(
            InvalidRequest,
            "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120"
        ));
    }
    let metadata = if replace { read_metadata!(req.input, req.extensions)? } else { source.metadata.clone() };
    let algorithm = req.input.checksum_algorithm.as_ref().map(|a| named_algorithm(a.as_str())).transpose()?;
    let shares = same
        && (algorithm.is_none() || source.values.checksum.as_ref().and_then(StoredChecksum::algorithm) == algorithm);
    let to = To { bucket: &bucket, name: &key, metadata: &metadata, precondition };
    let copied = if shares {
        share(gateway, call, to, &source).await
    } else {
        reseal(gateway, call, to, (&source_bucket, source), algorithm).await
    };
    let (values, modified) = copied.map_err(|error| match wanted.if_match {
        None if shares => changed(error),
        if_match => lost_race(error, if_match.is_some()),
    })?;
    drop(guard);
    let mut result = CopyObjectResult {
        e_tag: Some(values.etag.to_dto()),
        last_modified: Some(timestamp(modified)),
        ..Default::default()
    };
    put_checksum!(result, &values.checksum);
    result.checksum_type = values.checksum.as_ref().map(StoredChecksum::kind);
    Ok(S3Response::new(CopyObjectOutput {
        copy_object_result: Some(result),
        server_side_encryption: Some(aes256()),
        ..CopyObjectOutput::default()
    }))
}

/// What a copy makes.
struct To<'a> {
    bucket: &'a Bucket,
    name: &'a ObjectKey,
    metadata: &'a ObjectMetadata,
    precondition: Precondition,
}

/// New metadata over the same bodies: a new version key wraps their data keys again; no body moves.
/// The commit is by compare-and-swap on the version that was read.
async fn share(
    gateway: &Gateway,
    call: &Call,
    to: To<'_>,
    source: &OpenObject,
) -> Result<(ListValues, UtcMillis), Error> {
    let bucket_key = gateway.keys.bucket_key(to.bucket, call.purpose(gateway)).await?;
    let version_key = VersionKey::random(bucket_key.suite)?;
    let bodies = rewrap(to.bucket, source, &version_key)?;
    let modified = clock::now();
    let precondition = match to.precondition {
        Precondition::None => Precondition::Version(source.version()),
        wanted => wanted,
    };
    commit(
        gateway,
        &call.context,
        Draft {
            bucket: to.bucket,
            bucket_key: &bucket_key,
            name: to.name,
            version: new_version()?,
            key: &version_key,
            bodies,
            new_bodies: Vec::<NewBody>::new(),
            metadata: to.metadata,
            values: &source.values,
            content: source.content(to.bucket, to.name)?,
            completes: None,
            precondition,
            modified,
        },
    )
    .await?;
    Ok((source.values.clone(), modified))
}

fn rewrap(bucket: &Bucket, source: &OpenObject, key: &VersionKey) -> Result<Vec<ManifestBody>, Error> {
    let mut out = Vec::with_capacity(source.version.row.bodies.len());
    for body in &source.version.row.bodies {
        let id = *body.body.as_bytes();
        let envelope = key.take_over_data_key(&source.version.key, bucket.tenant, bucket.id, id, &body.envelope)?;
        out.push(ManifestBody { envelope, ..body.clone() });
    }
    Ok(out)
}

/// Opens the source and seals it anew.
async fn reseal(
    gateway: &Arc<Gateway>,
    call: &Call,
    to: To<'_>,
    (source_bucket, source): (&Bucket, OpenObject),
    algorithm: Option<Algorithm>,
) -> Result<(ListValues, UtcMillis), Error> {
    let bucket = to.bucket;
    let size = source.size();
    let kept = source.values.checksum.as_ref().and_then(StoredChecksum::algorithm);
    let bucket_key = gateway.keys.bucket_key(bucket, call.purpose(gateway)).await?;
    let version_key = VersionKey::random(bucket_key.suite)?;
    let placement = place(gateway, &call.admitted.permit)?;
    let target =
        Target { tenant: bucket.tenant, bucket: bucket.id, key: &version_key, number: 1, placement: &placement };
    let mut stream = read::patiently(gateway, source.into_source(gateway, source_bucket), 0..size)?;
    let algorithm = algorithm.or(kept).unwrap_or(Algorithm::Crc64Nvme);
    let received = receive(gateway, &target, Arriving::of_store(&mut stream), size, Some(algorithm)).await?;
    let values = ListValues {
        etag: StoredETag { md5: received.md5, parts: None },
        checksum: received.checksum.as_ref().map(StoredChecksum::full),
    };
    let modified = clock::now();
    commit(
        gateway,
        &call.context,
        Draft {
            bucket,
            bucket_key: &bucket_key,
            name: to.name,
            version: new_version()?,
            key: &version_key,
            bodies: vec![received.manifest],
            new_bodies: vec![received.body],
            metadata: to.metadata,
            values: &values,
            content: Vec::new(),
            completes: None,
            precondition: to.precondition,
            modified,
        },
    )
    .await?;
    if let Some(claim) = received.claim {
        claim.settle();
    }
    Ok((values, modified))
}

fn directive(input: &CopyObjectInput) -> S3Result<bool> {
    match input.metadata_directive.as_ref().map(MetadataDirective::as_str) {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(_) => Err(s3s::s3_error!(InvalidArgument, "Unknown metadata directive.")),
    }
}

/// Key and version that a copy names.
pub(super) fn source_name(source: &CopySource) -> S3Result<(String, Option<String>)> {
    match source {
        CopySource::Bucket { key, .. } if key.is_empty() => {
            Err(s3s::s3_error!(InvalidArgument, "Invalid copy source object key"))
        }
        CopySource::Bucket { key, version_id, .. } => Ok((key.to_string(), version_id.as_deref().map(str::to_owned))),
        _ => Err(unsupported("A copy source that is an access point")),
    }
}

/// The bucket that a copy reads, as admission found it.
pub(super) fn source_bucket(call: &Call) -> S3Result<Bucket> {
    call.admitted.source.clone().ok_or_else(|| s3s::s3_error!(NoSuchBucket, "The specified bucket does not exist"))
}

fn conditions(input: &CopyObjectInput) -> ReadConditions<'_> {
    ReadConditions {
        if_match: input.copy_source_if_match.as_ref(),
        if_none_match: input.copy_source_if_none_match.as_ref(),
        if_modified_since: input.copy_source_if_modified_since.as_ref(),
        if_unmodified_since: input.copy_source_if_unmodified_since.as_ref(),
    }
}

/// The object changed between the read and the commit of a self-copy.
fn changed(error: Error) -> S3Error {
    match error {
        Error::Commit(CommitError::Refused(Refusal::PreconditionFailed | Refusal::NotFound)) => {
            s3s::s3_error!(OperationAborted, "The object changed while it was copied; please try again")
        }
        other => other.into(),
    }
}
