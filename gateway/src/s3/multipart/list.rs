//! ListParts and ListMultipartUploads.

use std::sync::Arc;

use policy::id::UploadId;
use s3s::dto::{
    self, ListMultipartUploadsInput, ListMultipartUploadsOutput, ListPartsInput, ListPartsOutput, MultipartUpload, Part,
};
use s3s::{S3Request, S3Response, S3Result};
use storage::catalog::{UploadItem, UploadQuery};

use super::{OpenUpload, checksum_type, open_upload};
use crate::error::Error;
use crate::gateway::Gateway;
use crate::s3::bucket::owner;
use crate::s3::checks::{StoredETag, put_checksum};
use crate::s3::list::{fit_keys, page_size, url_encode, url_encoding};
use crate::s3::put::object_key;
use crate::s3::{Call, signed, timestamp};
use crate::seal::wrap::version_of;

pub(in crate::s3) async fn list_parts(
    gateway: &Arc<Gateway>,
    call: &Call,
    req: S3Request<ListPartsInput>,
) -> S3Result<S3Response<ListPartsOutput>> {
    let input = req.input;
    let bucket = call.bucket()?;
    let key = object_key(&input.key)?;
    let upload = open_upload(gateway, call, bucket, &key, &input.upload_id).await?;
    let limit = page_size(input.max_parts)?;
    let wanted = usize::try_from(limit).unwrap_or(0);
    let after = u32::try_from(input.part_number_marker.unwrap_or(0)).map_err(|_| {
        s3s::s3_error!(InvalidArgument, "Argument part-number-marker must be an integer between 0 and 2147483647")
    })?;
    let mut rows = gateway.catalog.parts(upload.row.id, after, wanted + 1).await.map_err(Error::from)?;
    // No page of none could ever be followed by the next one.
    let truncated = wanted > 0 && rows.len() > wanted;
    rows.truncate(wanted);
    let mut parts = Vec::with_capacity(rows.len());
    for row in &rows {
        let values = upload.values(row)?;
        let mut part = Part {
            e_tag: Some(StoredETag { md5: values.md5, parts: None }.to_dto()),
            last_modified: Some(timestamp(row.modified)),
            part_number: i32::try_from(row.number).ok(),
            size: Some(signed(row.size)),
            ..Part::default()
        };
        put_checksum!(part, values.checksum.as_ref().filter(|_| upload.checksum.named));
        parts.push(part);
    }
    let initiator = dto::Initiator { display_name: None, id: Some(upload.row.initiator.to_string()) };
    let output = ListPartsOutput {
        bucket: Some(input.bucket),
        checksum_algorithm: upload
            .checksum
            .named
            .then(|| dto::ChecksumAlgorithm::from(upload.checksum.algorithm.clone())),
        checksum_type: upload.checksum.named.then(|| checksum_type(upload.checksum.full)),
        initiator: Some(initiator),
        is_truncated: Some(truncated),
        key: Some(input.key),
        max_parts: Some(limit),
        next_part_number_marker: rows.last().filter(|_| truncated).and_then(|row| i32::try_from(row.number).ok()),
        owner: Some(owner(bucket.tenant)),
        part_number_marker: Some(input.part_number_marker.unwrap_or(0)),
        parts: Some(parts),
        storage_class: Some(dto::StorageClass::from_static(dto::StorageClass::STANDARD)),
        upload_id: Some(input.upload_id),
        ..ListPartsOutput::default()
    };
    Ok(S3Response::new(output))
}

pub(in crate::s3) async fn list_multipart_uploads(
    gateway: &Arc<Gateway>,
    call: &Call,
    req: S3Request<ListMultipartUploadsInput>,
) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let input = req.input;
    let bucket = call.bucket()?;
    let limit = page_size(input.max_uploads)?;
    let encode = url_encoding(input.encoding_type.as_ref())?;
    fit_keys([&input.prefix, &input.key_marker])?;
    let text = |s: &str| if encode { url_encode(s) } else { s.to_owned() };
    let marker = input.upload_id_marker.as_deref().filter(|m| !m.is_empty() && input.key_marker.is_some());
    let upload_id_marker: Option<UploadId> = match marker {
        None => None,
        Some(id) => Some(id.parse().map_err(|_| s3s::s3_error!(InvalidArgument, "Invalid uploadId marker"))?),
    };
    let query = UploadQuery {
        bucket: bucket.id,
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone().filter(|d| !d.is_empty()),
        key_marker: input.key_marker.clone().filter(|m| !m.is_empty()),
        upload_id_marker,
        limit: usize::try_from(limit).unwrap_or(0),
    };
    let page = gateway.catalog.uploads(&query).await.map_err(Error::from)?;
    let bucket_key = gateway.keys.bucket_key_for(bucket, newest(&page.items), call.purpose(gateway)).await?;
    let mut uploads = Vec::new();
    let mut prefixes = Vec::new();
    let mut last = (None, None);
    for item in page.items {
        match item {
            UploadItem::Prefix(prefix) => {
                last = (Some(text(&prefix)), None);
                prefixes.push(dto::CommonPrefix { prefix: Some(text(&prefix)) });
            }
            UploadItem::Damaged(why) => return Err(Error::Corrupt(why).into()),
            UploadItem::Upload(row) => {
                let OpenUpload { row, checksum, .. } = OpenUpload::open(gateway, call, *row, (bucket, &bucket_key))?;
                last = (Some(text(row.key.as_str())), Some(row.id.to_string()));
                uploads.push(MultipartUpload {
                    checksum_algorithm: checksum
                        .named
                        .then(|| dto::ChecksumAlgorithm::from(checksum.algorithm.clone())),
                    checksum_type: checksum.named.then(|| checksum_type(checksum.full)),
                    initiated: Some(timestamp(row.initiated)),
                    initiator: Some(dto::Initiator { display_name: None, id: Some(row.initiator.to_string()) }),
                    key: Some(text(row.key.as_str())),
                    owner: Some(owner(bucket.tenant)),
                    storage_class: Some(dto::StorageClass::from_static(dto::StorageClass::STANDARD)),
                    upload_id: Some(row.id.to_string()),
                });
            }
        }
    }
    let (next_key, next_id) = if page.truncated { last } else { (None, None) };
    let output = ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        common_prefixes: Some(prefixes),
        delimiter: input.delimiter.as_deref().map(text),
        encoding_type: input.encoding_type,
        is_truncated: Some(page.truncated),
        key_marker: Some(text(input.key_marker.as_deref().unwrap_or(""))),
        max_uploads: Some(limit),
        next_key_marker: next_key,
        next_upload_id_marker: next_id,
        prefix: Some(text(input.prefix.as_deref().unwrap_or(""))),
        upload_id_marker: input.upload_id_marker,
        uploads: Some(uploads),
        ..ListMultipartUploadsOutput::default()
    };
    Ok(S3Response::new(output))
}

/// The newest version of the bucket key that an upload hangs on.
fn newest(items: &[UploadItem]) -> u32 {
    let version = |item: &UploadItem| match item {
        UploadItem::Prefix(_) | UploadItem::Damaged(_) => 0,
        UploadItem::Upload(row) => version_of(&row.envelope),
    };
    items.iter().map(version).max().unwrap_or(0)
}
