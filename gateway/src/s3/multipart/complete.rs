//! CompleteMultipartUpload.

use std::sync::Arc;

use policy::id::UploadId;
use policy::name::ObjectKey;
use s3s::dto::{CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use storage::catalog::{CommitError, PartRow, Refusal};

use super::{OpenUpload, PartValues, open_upload};
use crate::clock;
use crate::control::Bucket;
use crate::digest::checksum::{Algorithm, Checksum, Hasher, combine};
use crate::error::Error;
use crate::gateway::Gateway;
use crate::keys::list_version;
use crate::s3::Call;
use crate::s3::checks::{StoredChecksum, StoredETag, put_checksum};
use crate::s3::conditions;
use crate::s3::metadata::ListValues;
use crate::s3::put::{Draft, aes256, commit, encode, new_version, object_key};

/// Every part but the last has at least this, as in S3.
const PART_MIN: u64 = 5 << 20;
/// Parts of one object, as in S3.
const PARTS_MAX: usize = 10_000;
const PARTS_PAGE: usize = 1000;

pub(in crate::s3) async fn complete_multipart_upload(
    gateway: &Arc<Gateway>,
    call: &Call,
    req: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let input = &req.input;
    let bucket = call.bucket()?.clone();
    let key = object_key(&input.key)?;
    let upload = match open_upload(gateway, call, &bucket, &key, &input.upload_id).await {
        Err(gone) if *gone.code() == S3ErrorCode::NoSuchUpload => {
            return completed_before(gateway, call, (&bucket, &key), input).await?.ok_or(gone);
        }
        other => other?,
    };
    let wanted = input.multipart_upload.as_ref().and_then(|u| u.parts.as_deref()).unwrap_or_default();
    if !(1..=PARTS_MAX).contains(&wanted.len()) {
        return Err(s3s::s3_error!(
            MalformedXML,
            "The XML you provided was not well-formed or did not validate against our published schema"
        ));
    }
    let precondition =
        conditions::of_write(gateway, call, &bucket, &key, input.if_match.as_ref(), input.if_none_match.as_ref())
            .await?;
    let parts = chosen_parts(gateway, &bucket, &upload, wanted).await?;
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
    let content = encode(&parts.iter().map(|(_, values)| values).collect::<Vec<_>>())?;
    let bucket_key = gateway.keys.bucket_key(&bucket, call.purpose(gateway)).await?;
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
            metadata: &upload.metadata,
            values: &values,
            content,
            completes: Some(upload.row.id),
            precondition,
            modified: clock::now(),
        },
    )
    .await;
    match committed {
        Err(gone @ Error::Commit(CommitError::Refused(Refusal::UploadGone))) => {
            completed_before(gateway, call, (&bucket, &key), input).await?.ok_or_else(|| gone.into())
        }
        other => {
            other.map_err(|e| conditions::lost_race(e, input.if_match.is_some()))?;
            Ok(answer(input, &values))
        }
    }
}

/// A client that lost the answer asks again, as SDKs do by themselves: what it asks for is there, if the current
/// object is that of its parts and came after its upload began. Its conditions held the first time.
async fn completed_before(
    gateway: &Gateway,
    call: &Call,
    (bucket, key): (&Bucket, &ObjectKey),
    input: &CompleteMultipartUploadInput,
) -> S3Result<Option<S3Response<CompleteMultipartUploadOutput>>> {
    let parts = input.multipart_upload.as_ref().and_then(|u| u.parts.as_deref()).unwrap_or_default();
    let (Ok(upload), Some(etag)) = (input.upload_id.parse::<UploadId>(), promised_etag(parts)) else { return Ok(None) };
    let Some(row) = gateway.catalog.current(bucket.id, key).await.map_err(Error::from)? else { return Ok(None) };
    let version = list_version(&row.list_values);
    let bucket_key = gateway.keys.bucket_key_for(bucket, version, call.purpose(gateway)).await?;
    let values = conditions::open_values(bucket, &bucket_key, key.as_bytes(), &row)?;
    let same = values.etag == etag && row.modified >= upload.made();
    call.context.touched(&row.version.to_string(), bucket_key.id, bucket_key.version);
    Ok(same.then(|| answer(input, &values)))
}

fn answer(input: &CompleteMultipartUploadInput, values: &ListValues) -> S3Response<CompleteMultipartUploadOutput> {
    let mut output = CompleteMultipartUploadOutput {
        location: Some(format!("/{}/{}", input.bucket, crate::s3::list::url_encode(&input.key))),
        bucket: Some(input.bucket.clone()),
        key: Some(input.key.clone()),
        e_tag: Some(values.etag.to_dto()),
        checksum_type: values.checksum.as_ref().map(StoredChecksum::kind),
        server_side_encryption: Some(aes256()),
        ..CompleteMultipartUploadOutput::default()
    };
    put_checksum!(output, &values.checksum);
    S3Response::new(output)
}

type Part = (PartRow, PartValues);

/// The parts that the client lists: ascending, all there, ETags and checksums as uploaded, none but
/// the last too small.
async fn chosen_parts(
    gateway: &Gateway,
    bucket: &Bucket,
    upload: &OpenUpload,
    wanted: &[CompletedPart],
) -> S3Result<Vec<Part>> {
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
        // What is acknowledged must open: its values prove which key it is, not that the key is whole.
        let (body, envelope) = (*row.body.body.as_bytes(), &row.body.envelope);
        upload.key.open_data_key(bucket.tenant, bucket.id, body, envelope).map_err(Error::from)?;
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
    etag_of(&parts.iter().map(|(_, values)| values.md5).collect::<Vec<_>>())
}

fn etag_of(parts: &[[u8; 16]]) -> StoredETag {
    StoredETag { md5: crate::digest::md5::md5_now(parts.as_flattened()), parts: u32::try_from(parts.len()).ok() }
}

/// The ETag of an object of these parts; none unless each part has one that an MD5 can be.
fn promised_etag(parts: &[CompletedPart]) -> Option<StoredETag> {
    let md5 = |part: &CompletedPart| {
        let mut md5 = [0; 16];
        hex::decode_to_slice(part.e_tag.as_ref()?.value(), &mut md5).ok().map(|()| md5)
    };
    let parts = parts.iter().map(md5).collect::<Option<Vec<_>>>()?;
    (!parts.is_empty()).then(|| etag_of(&parts))
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
