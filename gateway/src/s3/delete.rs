//! DeleteObject and DeleteObjects. Deleting what is not there succeeds (S3.md trap 34).

use std::sync::Arc;

use futures::StreamExt;
use s3s::dto::{self, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, ETagCondition};
use s3s::{S3Error, S3Request, S3Response, S3Result};
use storage::catalog::{BucketRow, Change, Commit, Precondition};

use super::checks::Promises;
use super::conditions;
use super::put::{commit_with_status, object_key};
use super::{unsupported, Call};
use crate::error::Error;
use crate::gateway::Gateway;

/// Keys of one DeleteObjects request, as in S3.
const KEYS_MAX: usize = 1000;
/// Deletions under way at once; they meet in the same group commit.
const AT_ONCE: usize = 64;

pub(super) async fn delete_object(
    gateway: &Arc<Gateway>,
    call: &Call,
    req: S3Request<DeleteObjectInput>,
) -> S3Result<S3Response<DeleteObjectOutput>> {
    let input = &req.input;
    if input.if_match_size.is_some() || input.if_match_last_modified_time.is_some() {
        return Err(unsupported("x-amz-if-match-size and x-amz-if-match-last-modified-time"));
    }
    let bucket = call.bucket()?;
    if !names_null(input.version_id.as_deref()) {
        // An unversioned bucket has no other version; deleting one that is not there succeeds.
        return Ok(S3Response::new(DeleteObjectOutput { version_id: input.version_id.clone(), ..DeleteObjectOutput::default() }));
    }
    let name = object_key(&input.key)?;
    let precondition = match &input.if_match {
        None => Precondition::None,
        Some(condition) => match conditions::of_write(gateway, bucket, &name, Some(condition), None).await {
            Ok(precondition) => precondition,
            Err(error) if *error.code() == s3s::S3ErrorCode::NoSuchKey => Precondition::None,
            Err(error) => return Err(error),
        },
    };
    let change = Change::DeleteVersion { bucket: bucket.id, key: name, precondition };
    commit_with_status(gateway, &call.context, change, 204).await?;
    Ok(S3Response::new(DeleteObjectOutput::default()))
}

pub(super) async fn delete_objects(
    gateway: &Arc<Gateway>,
    call: &Call,
    req: S3Request<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    check_body(&req.headers, &call.context.take_body())?;
    let bucket = Arc::clone(call.bucket()?);
    let objects = req.input.delete.objects;
    if objects.is_empty() || objects.len() > KEYS_MAX {
        return Err(s3s::s3_error!(MalformedXML, "The XML you provided was not well-formed or did not validate against our published schema"));
    }
    let quiet = req.input.delete.quiet.unwrap_or(false);
    let results: Vec<_> = futures::stream::iter(objects)
        .map(|object| {
            let bucket = Arc::clone(&bucket);
            async move {
                let outcome = delete_one(gateway, &bucket, &object).await;
                (object, outcome)
            }
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let mut deleted = Vec::new();
    let mut errors = Vec::new();
    for (object, outcome) in results {
        match outcome {
            Ok(()) if quiet => {}
            Ok(()) => deleted.push(dto::DeletedObject { key: Some(object.key), version_id: object.version_id, ..Default::default() }),
            Err(error) => errors.push(dto::Error {
                code: Some(error.code().as_str().to_owned()),
                key: Some(object.key),
                message: error.message().map(str::to_owned),
                version_id: object.version_id,
            }),
        }
    }
    let output = DeleteObjectsOutput { deleted: Some(deleted), errors: Some(errors), ..DeleteObjectsOutput::default() };
    Ok(S3Response::new(output))
}

/// One key of many: its own change; the request's record names the bucket and the request.
async fn delete_one(gateway: &Gateway, bucket: &BucketRow, object: &dto::ObjectIdentifier) -> Result<(), S3Error> {
    if object.size.is_some() || object.last_modified_time.is_some() {
        return Err(unsupported("Size and LastModifiedTime conditions"));
    }
    if !names_null(object.version_id.as_deref()) {
        return Ok(());
    }
    let key = object_key(&object.key)?;
    let precondition = match &object.e_tag {
        None => Precondition::None,
        Some(etag) => conditions::of_write(gateway, bucket, &key, Some(&ETagCondition::ETag(etag.clone())), None).await?,
    };
    let change = Change::DeleteVersion { bucket: bucket.id, key, precondition };
    gateway.catalog.commit(Commit { change, record: None }).await.map_err(Error::from)?;
    Ok(())
}

fn names_null(version: Option<&str>) -> bool {
    version.is_none_or(|v| v == "null" || v.is_empty())
}

/// DeleteObjects needs Content-MD5 or any one checksum, and it must match (S3.md traps 9 and 10).
fn check_body(headers: &http::HeaderMap, body: &[u8]) -> S3Result<()> {
    use crate::digest::checksum::Hasher;
    let promises = Promises::read(headers, None)?;
    if promises.in_trailer {
        return Ok(());
    }
    if promises.md5.is_none() && promises.checksum.is_none() {
        return Err(s3s::s3_error!(InvalidRequest, "Missing required header for this request: Content-MD5"));
    }
    let checksum = promises.checksum.as_ref().map(|(algorithm, _)| {
        let mut hasher = Hasher::new(*algorithm);
        hasher.update(body);
        hasher.finish()
    });
    promises.verify(crate::digest::md5::md5_now(body), checksum.as_ref(), None)
}
