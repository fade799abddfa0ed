//! Multipart uploads: create, upload, copy, complete, abort.

use std::sync::Arc;

use policy::id::UploadId;
use policy::name::ObjectKey;
use policy::time::UtcMillis;
use s3s::dto::{
    self, AbortMultipartUploadInput, AbortMultipartUploadOutput, CreateMultipartUploadInput,
    CreateMultipartUploadOutput,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use serde::{Deserialize, Serialize};
use storage::catalog::{Change, ManifestBody, NewUpload, PartRow, UploadRow};

use super::checks::{StoredChecksum, named_algorithm};
use super::metadata::{ObjectMetadata, read_metadata, refuse_unsupported};
use super::put::{aes256, commit_recorded, commit_with_status, decode, encode, object_key};
use super::{Call, unsupported};
use crate::clock;
use crate::control::Bucket;
use crate::digest::checksum::Algorithm;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::keys::{BucketKey, Passage};
use crate::seal::key::random;
use crate::seal::value::PartFacts;
use crate::seal::wrap::version_of;
use crate::seal::{SealError, VersionKey};
mod complete;
mod list;
mod part;

pub(super) use complete::complete_multipart_upload;
pub(super) use list::{list_multipart_uploads, list_parts};
#[cfg(any(test, fuzzing))]
pub(super) use part::copy_range;
pub(super) use part::{upload_part, upload_part_copy};

/// What CreateMultipartUpload fixed about checksums.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UploadChecksum {
    /// S3's name of the algorithm.
    pub algorithm: String,
    /// FULL_OBJECT, else COMPOSITE.
    pub full: bool,
    /// The client named it; else it is the default, told to nobody but the final answer.
    pub named: bool,
}

impl UploadChecksum {
    pub(super) fn algorithm(&self) -> Result<Algorithm, Error> {
        self.algorithm.parse().map_err(|_| Error::Corrupt("upload checksum".to_owned()))
    }
}

/// Sealed with each part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartValues {
    pub md5: [u8; 16],
    pub checksum: Option<StoredChecksum>,
}

/// An upload whose row has been read and opened.
pub(super) struct OpenUpload {
    pub row: UploadRow,
    pub key: VersionKey,
    pub checksum: UploadChecksum,
    /// Of the object that it will make.
    pub metadata: ObjectMetadata,
    /// Of the tenant key that it hangs on.
    passage: Passage,
}

impl OpenUpload {
    /// Opens an upload's row, which proves all that it says.
    pub(super) fn open(
        gateway: &Gateway,
        call: &Call,
        row: UploadRow,
        (bucket, bucket_key): (&Bucket, &BucketKey),
    ) -> Result<Self, Error> {
        let version = version_of(&row.envelope);
        bucket_key.pass(version, call.context.reason())?;
        let open = || {
            let key = bucket_key.unwrap(&row.envelope, *row.id.as_bytes())?;
            let metadata = key.open_upload(&row, bucket.tenant)?;
            Ok((key, metadata))
        };
        let (key, metadata) = open().inspect_err(|error: &SealError| {
            metrics::counter!("gotgan_rows_refused_total").increment(1);
            tracing::error!(bucket = %bucket.id, upload = %row.id, %error, "the row of an upload does not open");
        })?;
        let (checksum, metadata) = (decode(&row.checksum)?, ObjectMetadata::decode(&metadata)?);
        let passage = Passage::new(gateway, &call.context, bucket, bucket_key, version)?;
        Ok(Self { checksum, metadata, row, key, passage })
    }

    fn facts<'a>(&self, modified: UtcMillis, body: &'a ManifestBody) -> PartFacts<'a> {
        PartFacts { upload: self.row.id, modified, body }
    }

    pub(super) fn seal_values(
        &self,
        modified: UtcMillis,
        body: &ManifestBody,
        values: &PartValues,
    ) -> Result<Vec<u8>, Error> {
        Ok(self.key.seal_part(&self.facts(modified, body), &encode(values)?)?)
    }

    /// Opens what was sealed with a part, which proves its time and its body: number, id, length, key and place.
    pub(super) fn values(&self, part: &PartRow) -> Result<PartValues, Error> {
        let refused = |error: Error| {
            metrics::counter!("gotgan_rows_refused_total").increment(1);
            tracing::error!(upload = %self.row.id, part = part.number, %error, "the row of a part does not open");
            error
        };
        if (part.number, part.size) != (part.body.number, part.body.length) {
            return Err(refused(Error::Corrupt("part".to_owned())));
        }
        let values = self.key.open_part(&self.facts(part.modified, &part.body), &part.values);
        decode(&values.map_err(|error| refused(error.into()))?)
    }
}

pub(super) async fn create_multipart_upload(
    gateway: &Arc<Gateway>,
    call: &Call,
    mut req: S3Request<CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    refuse_unsupported!(req.input)?;
    let checksum = checksum_of(&req.input)?;
    let metadata = read_metadata!(req.input, req.extensions)?;
    let bucket = call.bucket()?;
    let key = object_key(&req.input.key)?;
    let bucket_key = gateway.keys.bucket_key(bucket, call.purpose(gateway)).await?;
    let version_key = VersionKey::random(bucket_key.suite).map_err(Error::from)?;
    let id = UploadId::time_ordered(clock::now().0, random().map_err(Error::from)?);
    let mut row = UploadRow {
        id,
        bucket: bucket.id,
        key,
        initiated: clock::now(),
        initiator: call.admitted.account.actor.principal,
        envelope: Vec::new(),
        metadata: Vec::new(),
        checksum: encode(&checksum)?,
    };
    row.metadata = version_key.seal_upload(&row, bucket.tenant, &metadata.encode()?).map_err(Error::from)?;
    match begin(gateway, call, &bucket_key, &version_key, row.clone()).await {
        Err(error) if error.is_rotation() => {
            let bucket_key = gateway.keys.bucket_key_now(bucket, call.purpose(gateway)).await?;
            begin(gateway, call, &bucket_key, &version_key, row).await?;
        }
        other => other?,
    }
    let output = CreateMultipartUploadOutput {
        bucket: Some(req.input.bucket),
        key: Some(req.input.key),
        upload_id: Some(id.to_string()),
        checksum_algorithm: checksum.named.then(|| dto::ChecksumAlgorithm::from(checksum.algorithm.clone())),
        checksum_type: checksum.named.then(|| checksum_type(checksum.full)),
        server_side_encryption: Some(aes256()),
        ..CreateMultipartUploadOutput::default()
    };
    Ok(S3Response::new(output))
}

/// Commits an upload, its version key wrapped for it.
async fn begin(
    gateway: &Gateway,
    call: &Call,
    bucket_key: &BucketKey,
    version_key: &VersionKey,
    row: UploadRow,
) -> Result<(), Error> {
    let _held = bucket_key.gates()?.hold(call.context.reason()).await?;
    let envelope = bucket_key.wrap(version_key, *row.id.as_bytes())?;
    let new = NewUpload { row: UploadRow { envelope, ..row }, under: bucket_key.version };
    commit_recorded(gateway, &call.context, Change::CreateUpload(new)).await?;
    Ok(())
}

/// CRC64NVME is FULL_OBJECT only, SHA-1 and SHA-256 COMPOSITE only; CRC32 and CRC32C may be either.
fn checksum_of(input: &CreateMultipartUploadInput) -> S3Result<UploadChecksum> {
    let kind = input.checksum_type.as_ref().map(dto::ChecksumType::as_str);
    let Some(name) = input.checksum_algorithm.as_ref().map(dto::ChecksumAlgorithm::as_str) else {
        return match kind {
            None => Ok(UploadChecksum { algorithm: Algorithm::Crc64Nvme.name().to_owned(), full: true, named: false }),
            Some(_) => Err(s3s::s3_error!(
                InvalidRequest,
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header."
            )),
        };
    };
    let algorithm = named_algorithm(name)?;
    let full = match (algorithm, kind) {
        (Algorithm::Crc64Nvme, None | Some("FULL_OBJECT"))
        | (Algorithm::Crc32 | Algorithm::Crc32c, Some("FULL_OBJECT")) => true,
        (Algorithm::Crc32 | Algorithm::Crc32c | Algorithm::Sha1 | Algorithm::Sha256, None | Some("COMPOSITE")) => false,
        (_, Some(kind)) => {
            return Err(S3Error::with_message(
                S3ErrorCode::InvalidRequest,
                format!("The {kind} checksum type cannot be used with the {} checksum algorithm.", algorithm.name()),
            ));
        }
    };
    Ok(UploadChecksum { algorithm: algorithm.name().to_owned(), full, named: true })
}

pub(super) fn checksum_type(full: bool) -> dto::ChecksumType {
    dto::ChecksumType::from_static(if full { dto::ChecksumType::FULL_OBJECT } else { dto::ChecksumType::COMPOSITE })
}

/// Finds an upload of this bucket and key; any other id is NoSuchUpload.
pub(super) async fn open_upload(
    gateway: &Gateway,
    call: &Call,
    bucket: &Bucket,
    key: &ObjectKey,
    id: &str,
) -> S3Result<OpenUpload> {
    let gone = || {
        s3s::s3_error!(
            NoSuchUpload,
            "The specified multipart upload does not exist. The upload ID might be invalid, or it might have been aborted or completed."
        )
    };
    let id: UploadId = id.parse().map_err(|_| gone())?;
    let row = gateway.catalog.upload(bucket.id, key, id).await.map_err(Error::from)?.ok_or_else(gone)?;
    let version = version_of(&row.envelope);
    let bucket_key = gateway.keys.bucket_key_for(bucket, version, call.purpose(gateway)).await?;
    Ok(OpenUpload::open(gateway, call, row, (bucket, &bucket_key))?)
}

pub(super) async fn abort_multipart_upload(
    gateway: &Arc<Gateway>,
    call: &Call,
    req: S3Request<AbortMultipartUploadInput>,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    if req.input.if_match_initiated_time.is_some() {
        return Err(unsupported("x-amz-if-match-initiated-time"));
    }
    let bucket = call.bucket()?;
    let key = object_key(&req.input.key)?;
    let upload = open_upload(gateway, call, bucket, &key, &req.input.upload_id).await?;
    let change = Change::AbortUpload { bucket: bucket.id, key, upload: upload.row.id };
    commit_with_status(gateway, &call.context, change, 204).await?;
    Ok(S3Response::new(AbortMultipartUploadOutput::default()))
}
