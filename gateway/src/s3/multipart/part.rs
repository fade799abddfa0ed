//! UploadPart and UploadPartCopy.

use std::sync::Arc;

use s3s::dto::{CopyPartResult, UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use storage::catalog::{Change, PartRow};

use super::{OpenUpload, PartValues, open_upload};
use crate::clock;
use crate::control::Bucket;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::read;
use crate::s3::checks::{Promises, StoredChecksum, StoredETag, put_checksum};
use crate::s3::conditions::ReadConditions;
use crate::s3::copy::{COPY_MAX, source_bucket, source_name};
use crate::s3::framing::{Content, frames};
use crate::s3::object::open_object;
use crate::s3::put::{aes256, commit_recorded, object_key};
use crate::s3::{Call, timestamp};
use crate::write::{Arriving, Received, Target, place, receive};

/// Part numbers run from 1 to this, as in S3.
const PARTS_MAX: u32 = 10_000;

fn part_number(number: i32) -> S3Result<u32> {
    u32::try_from(number)
        .ok()
        .filter(|n| (1..=PARTS_MAX).contains(n))
        .ok_or_else(|| s3s::s3_error!(InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive"))
}

pub(in crate::s3) async fn upload_part(
    gateway: &Arc<Gateway>,
    call: &Call,
    mut req: S3Request<UploadPartInput>,
) -> S3Result<S3Response<UploadPartOutput>> {
    let number = part_number(req.input.part_number)?;
    let promises = Promises::read(&req.headers, req.input.content_md5.as_deref())?;
    let mut content = Content::of(&req.headers, req.input.body.take(), req.input.content_length, frames(&req)?)?;
    let bucket = call.bucket()?;
    let key = object_key(&req.input.key)?;
    let upload = open_upload(gateway, call, bucket, &key, &req.input.upload_id).await?;
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
    let received =
        receive(gateway, &target, Arriving::of_client(&mut content.stream), content.length, Some(algorithm)).await?;
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
    bucket: &Bucket,
    upload: &OpenUpload,
    received: Received,
) -> Result<PartValues, Error> {
    let number = received.manifest.number;
    let size = received.manifest.length;
    let values = PartValues { md5: received.md5, checksum: received.checksum.as_ref().map(StoredChecksum::full) };
    let modified = clock::now();
    let sealed = upload.seal_values(modified, &received.manifest, &values)?;
    let part = PartRow { number, modified, size, body: received.manifest, values: sealed };
    call.context.bytes(size, None);
    let _held = upload.passage.hold().await?;
    let change = Change::PutPart {
        bucket: bucket.id,
        key: upload.row.key.clone(),
        upload: upload.row.id,
        part,
        new_body: received.body,
    };
    commit_recorded(gateway, &call.context, change).await?;
    if let Some(claim) = received.claim {
        claim.settle();
    }
    Ok(values)
}

pub(in crate::s3) async fn upload_part_copy(
    gateway: &Arc<Gateway>,
    call: &Call,
    req: S3Request<UploadPartCopyInput>,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let input = &req.input;
    let number = part_number(input.part_number)?;
    let bucket = call.bucket()?.clone();
    let key = object_key(&input.key)?;
    let upload = open_upload(gateway, call, &bucket, &key, &input.upload_id).await?;
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
    .check(&source.values.etag, source.modified(), true)?;
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
    let mut stream = read::patiently(gateway, source.into_source(gateway, &source_bucket), range)?;
    let arriving = Arriving::of_store(&mut stream);
    let received = receive(gateway, &target, arriving, length, Some(upload.checksum.algorithm()?)).await?;
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
pub(in crate::s3) fn copy_range(header: Option<&str>, size: u64) -> S3Result<std::ops::Range<u64>> {
    let Some(text) = header else { return Ok(0..size) };
    let bad = || {
        s3s::s3_error!(
            InvalidArgument,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy"
        )
    };
    let (first, last) = text.strip_prefix("bytes=").and_then(|t| t.split_once('-')).ok_or_else(bad)?;
    // `parse` alone would take a sign. What has more digits than a number is behind any source.
    let digits = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
        true if !text.is_empty() => Some(text.parse().unwrap_or(u64::MAX)),
        _ => None,
    };
    let (first, last) = digits(first).zip(digits(last)).ok_or_else(bad)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_ranges_are_strict() {
        assert_eq!(copy_range(None, 5).unwrap(), 0..5);
        assert_eq!(copy_range(Some("bytes=1-3"), 5).unwrap(), 1..4);
        for bad in ["bytes=1-", "bytes=-3", "1-3", "bytes=3-1", "bytes=0-5", "bytes=a-b", "bytes=+1-3"] {
            assert!(copy_range(Some(bad), 5).is_err(), "{bad}");
        }
        let far = copy_range(Some("bytes=0-99999999999999999999999"), 5).unwrap_err();
        assert_eq!(far.code(), &S3ErrorCode::InvalidRange, "it is a range, behind the end");
    }

    #[test]
    fn part_numbers_have_limits() {
        assert!(part_number(0).is_err() && part_number(10_001).is_err() && part_number(-1).is_err());
        assert_eq!(part_number(10_000).unwrap(), 10_000);
    }
}
