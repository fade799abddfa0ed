//! Multipart uploads: create, upload, copy, complete, abort.

use std::sync::Arc;

use crate::digest::checksum::{Algorithm, Checksum, Hasher, combine};
use futures::StreamExt;
use policy::id::UploadId;
use policy::name::ObjectKey;
use s3s::dto::{
    self, AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CompletedPart, CopyPartResult, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, StdError};
use serde::{Deserialize, Serialize};
use storage::catalog::{BucketRow, Change, PartRow, UploadRow};

use super::checks::{Promises, StoredChecksum, StoredETag, put_checksum};
use super::conditions;
use super::conditions::ReadConditions;
use super::copy::{COPY_MAX, source_bucket, source_name};
use super::framing::Content;
use super::get::open_object;
use super::metadata::{ListValues, ObjectMetadata, read_metadata, refuse_unsupported};
use super::put::{Draft, aes256, commit, commit_recorded, commit_with_status, decode, encode, new_version, object_key};
use super::{Call, timestamp, unsupported};
use crate::clock;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::read;
use crate::seal::VersionKey;
use crate::seal::key::random;
use crate::write::{Received, Target, place, receive};

/// Part numbers run from 1 to this, as in S3.
const PARTS_MAX: u32 = 10_000;
/// Every part but the last has at least this, as in S3.
const PART_MIN: u64 = 5 << 20;
const PARTS_PAGE: usize = 1000;

/// What CreateMultipartUpload fixed about checksums.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PartValues {
    pub md5: [u8; 16],
    pub checksum: Option<StoredChecksum>,
}

/// An upload whose row has been read and opened.
pub(super) struct OpenUpload {
    pub row: UploadRow,
    pub key: VersionKey,
    pub checksum: UploadChecksum,
}

impl OpenUpload {
    /// AAD of part values: they belong to one part of one upload.
    fn context(&self, number: u32) -> Vec<u8> {
        [self.row.id.as_bytes().as_slice(), &number.to_be_bytes()].concat()
    }

    pub(super) fn values(&self, part: &PartRow) -> Result<PartValues, Error> {
        decode(&self.key.open_value("part", &self.context(part.number), &part.values)?)
    }
}

pub(super) async fn create_multipart_upload(
    gateway: &Arc<Gateway>,
    call: &Call,
    mut req: S3Request<CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    refuse_unsupported!(req.input)?;
    let checksum = checksum_of(&req.input)?;
    let metadata = read_metadata!(req.input)?;
    let bucket = call.bucket()?;
    let key = object_key(&req.input.key)?;
    let bucket_key = gateway.keys.bucket_key(bucket).await?;
    let version_key = VersionKey::random(bucket_key.suite).map_err(Error::from)?;
    let id = UploadId::time_ordered(clock::now().0, random().map_err(Error::from)?);
    let row = UploadRow {
        id,
        bucket: bucket.id,
        key,
        initiated: clock::now(),
        initiator: call.admitted.account.actor.principal,
        envelope: bucket_key.wrap(&version_key, *id.as_bytes()).map_err(Error::from)?,
        metadata: version_key.seal_value("upload", id.as_bytes(), &encode(&metadata)?).map_err(Error::from)?,
        checksum: encode(&checksum)?,
    };
    commit_recorded(gateway, &call.context, Change::CreateUpload(row)).await?;
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
    let algorithm: Algorithm = name
        .to_ascii_uppercase()
        .parse()
        .map_err(|_| s3s::s3_error!(InvalidRequest, "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]"))?;
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
    bucket: &BucketRow,
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
    let bucket_key = gateway.keys.bucket_key(bucket).await?;
    let version_key = bucket_key.open(&row.envelope, *id.as_bytes()).map_err(Error::from)?;
    let checksum = decode(&row.checksum)?;
    Ok(OpenUpload { row, key: version_key, checksum })
}

fn part_number(number: i32) -> S3Result<u32> {
    u32::try_from(number)
        .ok()
        .filter(|n| (1..=PARTS_MAX).contains(n))
        .ok_or_else(|| s3s::s3_error!(InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive"))
}

pub(super) async fn upload_part(
    gateway: &Arc<Gateway>,
    call: &Call,
    mut req: S3Request<UploadPartInput>,
) -> S3Result<S3Response<UploadPartOutput>> {
    if req.input.sse_customer_algorithm.is_some() || req.input.sse_customer_key.is_some() {
        return Err(unsupported("SSE-C"));
    }
    let number = part_number(req.input.part_number)?;
    let promises = Promises::read(&req.headers, req.input.content_md5.as_deref())?;
    let mut content =
        Content::of(&req.headers, req.input.body.take(), req.input.content_length, req.trailing_headers.take())?;
    let bucket = call.bucket()?;
    let key = object_key(&req.input.key)?;
    let upload = open_upload(gateway, bucket, &key, &req.input.upload_id).await?;
    let algorithm = match (&promises.checksum, upload.checksum.algorithm()?) {
        (None, fixed) => fixed,
        (Some((sent, _)), fixed) if *sent == fixed || !upload.checksum.named => *sent,
        (Some((sent, _)), _) => {
            return Err(S3Error::with_message(
                S3ErrorCode::InvalidRequest,
                format!(
                    "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
                    upload.checksum.algorithm.to_ascii_lowercase(),
                    sent.name().to_ascii_lowercase()
                ),
            ));
        }
    };
    let placement = place(gateway, &call.admitted.permit)?;
    let target = Target { tenant: bucket.tenant, bucket: bucket.id, key: &upload.key, number, placement: &placement };
    let received = receive(gateway, &target, &mut content.stream, content.length, Some(algorithm)).await?;
    promises.verify(received.md5, received.checksum.as_ref(), content.into_trailers().as_ref())?;
    let values = keep_part(gateway, call, bucket, &upload, received).await?;
    let mut output = UploadPartOutput {
        e_tag: Some(StoredETag { md5: values.md5, parts: None }.to_dto()),
        server_side_encryption: Some(aes256()),
        ..UploadPartOutput::default()
    };
    put_checksum!(output, &values.checksum);
    Ok(S3Response::new(output))
}

/// Writes the part's row with the request's record; a part of the same number is replaced.
async fn keep_part(
    gateway: &Gateway,
    call: &Call,
    bucket: &BucketRow,
    upload: &OpenUpload,
    received: Received,
) -> Result<PartValues, Error> {
    let number = received.manifest.number;
    let size = received.manifest.length;
    let values = PartValues { md5: received.md5, checksum: received.checksum.as_ref().map(StoredChecksum::full) };
    let sealed = upload.key.seal_value("part", &upload.context(number), &encode(&values)?)?;
    let body = received.body.id;
    let part = PartRow { number, modified: clock::now(), size, body: received.manifest, values: sealed };
    call.context.bytes(size, None);
    let change = Change::PutPart {
        bucket: bucket.id,
        key: upload.row.key.clone(),
        upload: upload.row.id,
        part,
        new_body: received.body,
    };
    commit_recorded(gateway, &call.context, change).await?;
    gateway.chunks.settle(body);
    Ok(values)
}

pub(super) async fn upload_part_copy(
    gateway: &Arc<Gateway>,
    call: &Call,
    req: S3Request<UploadPartCopyInput>,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let input = &req.input;
    if input.sse_customer_algorithm.is_some() || input.copy_source_sse_customer_algorithm.is_some() {
        return Err(unsupported("SSE-C"));
    }
    let number = part_number(input.part_number)?;
    let bucket = Arc::clone(call.bucket()?);
    let key = object_key(&input.key)?;
    let upload = open_upload(gateway, &bucket, &key, &input.upload_id).await?;
    let source_bucket = source_bucket(call)?;
    let (source_key, source_version) = source_name(&input.copy_source)?;
    let guard = gateway.reads.open();
    let source = open_object(gateway, call, &source_bucket, &source_key, source_version.as_deref()).await?;
    ReadConditions {
        if_match: input.copy_source_if_match.as_ref(),
        if_none_match: input.copy_source_if_none_match.as_ref(),
        if_modified_since: input.copy_source_if_modified_since.as_ref(),
        if_unmodified_since: input.copy_source_if_unmodified_since.as_ref(),
    }
    .check(&source.values.etag, source.view.version.modified, true)?;
    let range = copy_range(input.copy_source_range.as_deref(), source.size())?;
    let length = range.end - range.start;
    if length > COPY_MAX {
        return Err(s3s::s3_error!(
            InvalidRequest,
            "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120"
        ));
    }
    let placement = place(gateway, &call.admitted.permit)?;
    let target = Target { tenant: bucket.tenant, bucket: bucket.id, key: &upload.key, number, placement: &placement };
    let stream = read::stream(&gateway.chunks, source.into_source(gateway, &source_bucket), range)?;
    let mut stream = Box::pin(stream.map(|piece| piece.map_err(|e| Box::new(e) as StdError)));
    let received = receive(gateway, &target, &mut stream, length, Some(upload.checksum.algorithm()?)).await?;
    drop(guard);
    let values = keep_part(gateway, call, &bucket, &upload, received).await?;
    let mut result = CopyPartResult {
        e_tag: Some(StoredETag { md5: values.md5, parts: None }.to_dto()),
        last_modified: Some(timestamp(clock::now())),
        ..CopyPartResult::default()
    };
    put_checksum!(result, values.checksum.as_ref().filter(|_| upload.checksum.named));
    Ok(S3Response::new(UploadPartCopyOutput {
        copy_part_result: Some(result),
        server_side_encryption: Some(aes256()),
        ..Default::default()
    }))
}

/// `bytes=first-last`, both given, inside the source.
fn copy_range(header: Option<&str>, size: u64) -> S3Result<std::ops::Range<u64>> {
    let Some(text) = header else { return Ok(0..size) };
    let bad = || {
        s3s::s3_error!(
            InvalidArgument,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy"
        )
    };
    let (first, last) = text.strip_prefix("bytes=").and_then(|t| t.split_once('-')).ok_or_else(bad)?;
    let first: u64 = first.parse().map_err(|_| bad())?;
    let last: u64 = last.parse().map_err(|_| bad())?;
    if first > last {
        return Err(bad());
    }
    if last >= size {
        return Err(S3Error::with_message(
            S3ErrorCode::InvalidRange,
            format!("Range specified is not valid for source object of size: {size}"),
        ));
    }
    Ok(first..last + 1)
}

pub(super) async fn complete_multipart_upload(
    gateway: &Arc<Gateway>,
    call: &Call,
    req: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let input = &req.input;
    let bucket = Arc::clone(call.bucket()?);
    let key = object_key(&input.key)?;
    let upload = open_upload(gateway, &bucket, &key, &input.upload_id).await?;
    let wanted = input.multipart_upload.as_ref().and_then(|u| u.parts.as_deref()).unwrap_or_default();
    if wanted.is_empty() {
        return Err(s3s::s3_error!(
            MalformedXML,
            "The XML you provided was not well-formed or did not validate against our published schema"
        ));
    }
    let precondition =
        conditions::of_write(gateway, &bucket, &key, input.if_match.as_ref(), input.if_none_match.as_ref()).await?;
    let parts = chosen_parts(gateway, &upload, wanted).await?;
    let size: u64 = parts.iter().map(|(row, _)| row.size).sum();
    if input.mpu_object_size.is_some_and(|n| u64::try_from(n) != Ok(size)) {
        return Err(s3s::s3_error!(
            InvalidRequest,
            "The provided 'x-amz-mp-object-size' header does not match what was computed"
        ));
    }
    let checksum = object_checksum(&upload, &parts)?;
    promised(input, checksum.as_ref())?;
    let values = ListValues { etag: combined_etag(&parts), checksum };
    let metadata: ObjectMetadata =
        decode(&upload.key.open_value("upload", upload.row.id.as_bytes(), &upload.row.metadata).map_err(Error::from)?)?;
    let content = encode(&parts.iter().map(|(_, values)| values).collect::<Vec<_>>())?;
    let bucket_key = gateway.keys.bucket_key(&bucket).await?;
    let committed = commit(
        gateway,
        &call.context,
        Draft {
            bucket: &bucket,
            bucket_key: &bucket_key,
            name: &key,
            version: new_version()?,
            key: &upload.key,
            bodies: parts.into_iter().map(|(row, _)| row.body).collect(),
            new_bodies: Vec::new(),
            metadata: &metadata,
            values: &values,
            content,
            completes: Some(upload.row.id),
            precondition,
            modified: clock::now(),
        },
    )
    .await;
    committed.map_err(|e| conditions::lost_race(e, input.if_match.is_some()))?;
    let mut output = CompleteMultipartUploadOutput {
        location: Some(format!("/{}/{}", input.bucket, super::list::url_encode(&input.key))),
        bucket: Some(input.bucket.clone()),
        key: Some(input.key.clone()),
        e_tag: Some(values.etag.to_dto()),
        checksum_type: values.checksum.as_ref().map(StoredChecksum::kind),
        server_side_encryption: Some(aes256()),
        ..CompleteMultipartUploadOutput::default()
    };
    put_checksum!(output, &values.checksum);
    Ok(S3Response::new(output))
}

type Part = (PartRow, PartValues);

/// The parts that the client lists: ascending, all there, ETags and checksums as uploaded, none but
/// the last too small.
async fn chosen_parts(gateway: &Gateway, upload: &OpenUpload, wanted: &[CompletedPart]) -> S3Result<Vec<Part>> {
    let invalid = || {
        s3s::s3_error!(
            InvalidPart,
            "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."
        )
    };
    let numbers: Vec<u32> =
        wanted.iter().map(|p| p.part_number.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)).collect();
    if numbers.windows(2).any(|pair| matches!(pair, [a, b] if a >= b)) {
        return Err(s3s::s3_error!(
            InvalidPartOrder,
            "The list of parts was not in ascending order. Parts must be ordered by part number."
        ));
    }
    let mut stored = std::collections::HashMap::new();
    let mut after = 0;
    loop {
        let page = gateway.catalog.parts(upload.row.id, after, PARTS_PAGE).await.map_err(Error::from)?;
        let full = page.len() == PARTS_PAGE;
        after = page.last().map_or(after, |row| row.number);
        stored.extend(page.into_iter().map(|row| (row.number, row)));
        if !full {
            break;
        }
    }
    let mut out = Vec::with_capacity(wanted.len());
    for (asked, number) in wanted.iter().zip(&numbers) {
        let row = stored.remove(number).ok_or_else(invalid)?;
        let values = upload.values(&row)?;
        let etag = asked.e_tag.as_ref().ok_or_else(invalid)?;
        if etag.value() != hex::encode(values.md5) {
            return Err(invalid());
        }
        if asked_checksum(asked).is_some_and(|(algorithm, text)| {
            values.checksum.as_ref().is_none_or(|c| c.algorithm != algorithm.name() || c.text() != text)
        }) {
            return Err(invalid());
        }
        out.push((row, values));
    }
    let count = out.len();
    if out.iter().take(count.saturating_sub(1)).any(|(row, _)| row.size < PART_MIN) {
        return Err(s3s::s3_error!(EntityTooSmall, "Your proposed upload is smaller than the minimum allowed size"));
    }
    Ok(out)
}

fn asked_checksum(part: &CompletedPart) -> Option<(Algorithm, &str)> {
    [
        (Algorithm::Crc32, &part.checksum_crc32),
        (Algorithm::Crc32c, &part.checksum_crc32c),
        (Algorithm::Crc64Nvme, &part.checksum_crc64nvme),
        (Algorithm::Sha1, &part.checksum_sha1),
        (Algorithm::Sha256, &part.checksum_sha256),
    ]
    .into_iter()
    .find_map(|(algorithm, value)| value.as_deref().map(|v| (algorithm, v)))
}

fn combined_etag(parts: &[Part]) -> StoredETag {
    let joined: Vec<u8> = parts.iter().flat_map(|(_, values)| values.md5).collect();
    StoredETag { md5: crate::digest::md5::md5_now(&joined), parts: u32::try_from(parts.len()).ok() }
}

/// FULL_OBJECT: the parts' CRCs combined; COMPOSITE: the checksum of the parts' checksums.
fn object_checksum(upload: &OpenUpload, parts: &[Part]) -> Result<Option<StoredChecksum>, Error> {
    let algorithm = upload.checksum.algorithm()?;
    let mut values = Vec::with_capacity(parts.len());
    for (row, part) in parts {
        match &part.checksum {
            Some(c) if c.algorithm == algorithm.name() => values.push((c.value.clone(), row.size)),
            // Parts of an upload that named no algorithm may bring their own; then there is none for the object.
            _ => return Ok(None),
        }
    }
    if upload.checksum.full {
        let mut whole: Option<Checksum> = None;
        for (bytes, size) in values {
            let part = Checksum { algorithm, bytes };
            whole = Some(match whole {
                None => part,
                Some(before) => combine(&before, &part, size).map_err(|e| Error::Corrupt(e.to_string()))?,
            });
        }
        return Ok(whole.as_ref().map(StoredChecksum::full));
    }
    let mut hasher = Hasher::new(algorithm);
    for (value, _) in &values {
        hasher.update(value);
    }
    Ok(Some(StoredChecksum {
        algorithm: algorithm.name().to_owned(),
        value: hasher.finish().bytes,
        composite: u32::try_from(values.len()).ok(),
    }))
}

/// A checksum sent with Complete must be the object's.
fn promised(input: &CompleteMultipartUploadInput, checksum: Option<&StoredChecksum>) -> S3Result<()> {
    let sent = [
        (Algorithm::Crc32, &input.checksum_crc32),
        (Algorithm::Crc32c, &input.checksum_crc32c),
        (Algorithm::Crc64Nvme, &input.checksum_crc64nvme),
        (Algorithm::Sha1, &input.checksum_sha1),
        (Algorithm::Sha256, &input.checksum_sha256),
    ]
    .into_iter()
    .find_map(|(algorithm, value)| value.as_deref().map(|v| (algorithm, v)));
    if let Some(kind) = &input.checksum_type
        && checksum.is_some_and(|c| c.kind().as_str() != kind.as_str())
    {
        return Err(s3s::s3_error!(
            InvalidRequest,
            "The upload was created using another checksum type. The complete request must include the same checksum type."
        ));
    }
    let Some((algorithm, text)) = sent else { return Ok(()) };
    let holds = checksum.is_some_and(|c| {
        let bare = c.text();
        let bare = bare.split('-').next().unwrap_or_default();
        c.algorithm == algorithm.name() && (c.text() == text || bare == text)
    });
    if holds {
        Ok(())
    } else {
        Err(S3Error::with_message(
            S3ErrorCode::BadDigest,
            format!("The {} you specified did not match the calculated checksum.", algorithm.name()),
        ))
    }
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
    let upload = open_upload(gateway, bucket, &key, &req.input.upload_id).await?;
    let change = Change::AbortUpload { bucket: bucket.id, key, upload: upload.row.id };
    commit_with_status(gateway, &call.context, change, 204).await?;
    Ok(S3Response::new(AbortMultipartUploadOutput::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_ranges_are_strict() {
        assert_eq!(copy_range(None, 5).unwrap(), 0..5);
        assert_eq!(copy_range(Some("bytes=1-3"), 5).unwrap(), 1..4);
        for bad in ["bytes=1-", "bytes=-3", "1-3", "bytes=3-1", "bytes=0-5", "bytes=a-b"] {
            assert!(copy_range(Some(bad), 5).is_err(), "{bad}");
        }
    }

    #[test]
    fn part_numbers_have_limits() {
        assert!(part_number(0).is_err() && part_number(10_001).is_err() && part_number(-1).is_err());
        assert_eq!(part_number(10_000).unwrap(), 10_000);
    }
}
