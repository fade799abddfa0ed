//! PutObject, and the commit that every write of a version shares.

use std::sync::Arc;
use std::time::Instant;

use crate::control::Bucket;
use crate::digest::checksum::Algorithm;
use policy::id::{UploadId, VersionId};
use policy::name::ObjectKey;
use policy::time::UtcMillis;
use s3s::dto::{self, PutObjectInput, PutObjectOutput};
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result};
use storage::catalog::{Change, Commit, ManifestBody, NewBody, Precondition, PutVersion, VersionRow};

use super::checks::{Promises, StoredChecksum, StoredETag, put_checksum};
use super::conditions;
use super::framing::{Content, frames};
use super::metadata::{ListValues, ObjectMetadata, read_metadata, refuse_unsupported};
use super::{Call, unsupported};
use crate::clock;
use crate::context::RequestContext;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::keys::BucketKey;
use crate::seal::VersionKey;
use crate::seal::key::random;
use crate::seal::value::{ManifestFacts, Owner};
use crate::write::{Arriving, Target, place, receive};

/// Largest body of one PUT: 5 GiB, as in S3.
const PUT_MAX: u64 = 5 << 30;

/// A version about to be committed.
pub(super) struct Draft<'a> {
    pub bucket: &'a Bucket,
    pub bucket_key: &'a Arc<BucketKey>,
    pub name: &'a ObjectKey,
    pub version: VersionId,
    pub key: &'a VersionKey,
    pub bodies: Vec<ManifestBody>,
    pub new_bodies: Vec<NewBody>,
    pub metadata: &'a ObjectMetadata,
    pub values: &'a ListValues,
    /// Sealed content of the manifest: what parts were, for multipart.
    pub content: Vec<u8>,
    pub completes: Option<UploadId>,
    pub precondition: Precondition,
    pub modified: UtcMillis,
}

pub(super) async fn put_object(
    gateway: &Arc<Gateway>,
    call: &Call,
    mut req: S3Request<PutObjectInput>,
) -> S3Result<S3Response<PutObjectOutput>> {
    refuse_unsupported!(req.input)?;
    if req.input.write_offset_bytes.is_some() {
        return Err(unsupported("Appending to an object"));
    }
    let promises = Promises::read(&req.headers, req.input.content_md5.as_deref())?;
    let metadata = read_metadata!(req.input, req.extensions)?;
    let mut content = Content::of(&req.headers, req.input.body.take(), req.input.content_length, frames(&req)?)?;
    let bucket = call.bucket()?;
    let name = object_key(&req.input.key)?;
    let precondition = conditions::of_write(
        gateway,
        call,
        bucket,
        &name,
        req.input.if_match.as_ref(),
        req.input.if_none_match.as_ref(),
    )
    .await?;
    let bucket_key = gateway.keys.bucket_key(bucket, call.purpose(gateway)).await?;
    let key = VersionKey::random(bucket_key.suite).map_err(Error::from)?;
    let placement = place(gateway, &call.admitted.permit)?;
    let target = Target { tenant: bucket.tenant, bucket: bucket.id, key: &key, number: 1, placement: &placement };
    let algorithm = promises.checksum.as_ref().map_or(Algorithm::Crc64Nvme, |(a, _)| *a);
    let received =
        receive(gateway, &target, Arriving::of_client(&mut content.stream), content.length, Some(algorithm)).await?;
    promises.verify(received.md5, received.checksum.as_ref(), content.into_trailers().as_ref())?;
    let values = ListValues {
        etag: StoredETag { md5: received.md5, parts: None },
        checksum: received.checksum.as_ref().map(StoredChecksum::full),
    };
    let committed = commit(
        gateway,
        &call.context,
        Draft {
            bucket,
            bucket_key: &bucket_key,
            name: &name,
            version: new_version()?,
            key: &key,
            bodies: vec![received.manifest],
            new_bodies: vec![received.body],
            metadata: &metadata,
            values: &values,
            content: Vec::new(),
            completes: None,
            precondition,
            modified: clock::now(),
        },
    )
    .await;
    committed.map_err(|e| conditions::lost_race(e, req.input.if_match.is_some()))?;
    if let Some(claim) = received.claim {
        claim.settle();
    }
    let mut output = PutObjectOutput {
        e_tag: Some(values.etag.to_dto()),
        checksum_type: values.checksum.as_ref().map(StoredChecksum::kind),
        server_side_encryption: Some(aes256()),
        ..PutObjectOutput::default()
    };
    put_checksum!(output, &values.checksum);
    Ok(S3Response::new(output))
}

/// How often the key of a bucket may be rotated while one version is committed.
const ROTATIONS: usize = 3;

/// Seals what describes the version and commits row, bodies and access record together. When the key of the bucket was
/// rotated while the body came, the version hangs on the new one.
pub(super) async fn commit(gateway: &Gateway, context: &RequestContext, draft: Draft<'_>) -> Result<(), Error> {
    let mut bucket_key = Arc::clone(draft.bucket_key);
    if bucket_key.until <= Instant::now() {
        // The body took longer to come than a key may be kept: its provider is asked once more.
        bucket_key = gateway.keys.bucket_key_now(draft.bucket, gateway.purpose(context)).await?;
    }
    let mut rotations = 0;
    loop {
        match commit_under(gateway, context, &bucket_key, &draft).await {
            Err(error) if error.is_rotation() && rotations < ROTATIONS => rotations += 1,
            other => return other,
        }
        bucket_key = gateway.keys.bucket_key_now(draft.bucket, gateway.purpose(context)).await?;
    }
}

async fn commit_under(
    gateway: &Gateway,
    context: &RequestContext,
    bucket_key: &BucketKey,
    draft: &Draft<'_>,
) -> Result<(), Error> {
    let owner = Owner {
        tenant: draft.bucket.tenant,
        bucket: draft.bucket.id,
        name: draft.name.as_bytes(),
        version: draft.version,
    };
    let size = draft.bodies.iter().map(|b| b.length).sum();
    let list_values = bucket_key.seal_list(&owner, size, draft.modified.0, &encode(draft.values)?)?;
    let facts = ManifestFacts {
        owner,
        bodies: &draft.bodies,
        length: size,
        modified: draft.modified.0,
        residency_epoch: 0,
        list_values: &list_values,
    };
    let _held = bucket_key.gates()?.hold(context.reason()).await?;
    let manifest = draft.key.seal_manifest(&facts, &draft.content)?;
    let metadata = draft.key.seal_metadata(&owner, 0, &draft.metadata.encode()?)?;
    let envelope = bucket_key.wrap(draft.key, *draft.version.as_bytes())?;
    let row = VersionRow {
        version: draft.version,
        modified: draft.modified,
        size,
        envelope,
        bodies: draft.bodies.clone(),
        manifest,
        metadata,
        list_values,
    };
    context.touched(&draft.version.to_string(), bucket_key.id, bucket_key.version);
    context.bytes(size, None);
    let change = Change::PutVersion(Box::new(PutVersion {
        bucket: draft.bucket.id,
        key: draft.name.clone(),
        precondition: draft.precondition,
        row,
        new_bodies: draft.new_bodies.clone(),
        completes: draft.completes,
        under: bucket_key.version,
    }));
    commit_recorded(gateway, context, change).await?;
    Ok(())
}

/// Commits a change together with the request's opening record: one batch, one sync.
pub(super) async fn commit_recorded(
    gateway: &Gateway,
    context: &RequestContext,
    change: Change,
) -> Result<storage::catalog::Committed, Error> {
    commit_with_status(gateway, context, change, 200).await
}

/// As [`commit_recorded`], for answers that are not 200.
pub(super) async fn commit_with_status(
    gateway: &Gateway,
    context: &RequestContext,
    change: Change,
    status: u16,
) -> Result<storage::catalog::Committed, Error> {
    // A credential may end while a body streams in: what it began is not committed.
    if let Some(account) = context.account()
        && !gateway.identities.holds(&account).await?
    {
        let why = "The AWS Access Key Id that signed this request was revoked while the request ran.";
        return Err(Error::client(S3ErrorCode::InvalidAccessKeyId, why));
    }
    // So may the proof of the place where it would rest.
    if change.adds() {
        context.rests_in(gateway.place())?;
    }
    let record = gateway.recorder.seal(context.tenant(), context.time, &context.opening(status, None)).await?;
    let committed = gateway.catalog.commit(Commit { change, record: Some(record) }).await?;
    context.recorded(status);
    Ok(committed)
}

/// A fresh, time-ordered version id; never reused, so list values never share a nonce.
pub(super) fn new_version() -> Result<VersionId, Error> {
    Ok(VersionId::time_ordered(clock::now().0, random()?))
}

pub(super) fn object_key(key: &str) -> S3Result<ObjectKey> {
    key.parse().map_err(|_| s3s::s3_error!(KeyTooLongError, "Your key is too long"))
}

pub(super) fn length_of(length: Option<i64>) -> S3Result<u64> {
    let length = length
        .ok_or_else(|| s3s::s3_error!(MissingContentLength, "You must provide the Content-Length HTTP header."))?;
    let length =
        u64::try_from(length).map_err(|_| s3s::s3_error!(InvalidArgument, "Content-Length is not a length"))?;
    if length > PUT_MAX {
        return Err(s3s::s3_error!(EntityTooLarge, "Your proposed upload exceeds the maximum allowed size"));
    }
    Ok(length)
}

pub(super) fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    postcard::to_stdvec(value).map_err(|e| Error::Corrupt(e.to_string()))
}

pub(super) fn decode<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Error> {
    postcard::from_bytes(bytes).map_err(|e| Error::Corrupt(e.to_string()))
}

/// Every object is sealed; S3 clients know that under this name.
pub(super) fn aes256() -> dto::ServerSideEncryption {
    dto::ServerSideEncryption::from_static(dto::ServerSideEncryption::AES256)
}
