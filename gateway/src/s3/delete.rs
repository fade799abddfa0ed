//! DeleteObject and DeleteObjects. Deleting what is not there succeeds (S3.md trap 34).

use std::sync::Arc;

use policy::name::ObjectKey;
use s3s::dto::{self, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, ETagCondition};
use s3s::{S3Error, S3Request, S3Response, S3Result};
use storage::catalog::{Change, CommitError, Precondition};

use super::checks::Promises;
use super::conditions;
use super::object::names_visible;
use super::put::{commit_recorded, commit_with_status, object_key};
use super::{Call, unsupported};
use crate::control::Bucket;
use crate::error::Error;
use crate::gateway::Gateway;

/// Keys of one DeleteObjects request, as in S3.
const KEYS_MAX: usize = 1000;

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
    if !names_visible(input.version_id.as_deref())? {
        // An unversioned bucket has no other version; deleting one that is not there succeeds.
        return Ok(S3Response::new(DeleteObjectOutput {
            version_id: input.version_id.clone(),
            ..DeleteObjectOutput::default()
        }));
    }
    let name = object_key(&input.key)?;
    let precondition = match &input.if_match {
        None => Precondition::None,
        Some(condition) => match conditions::of_write(gateway, call, bucket, &name, Some(condition), None).await {
            Ok(precondition) => precondition,
            Err(error) if *error.code() == s3s::S3ErrorCode::NoSuchKey => Precondition::None,
            Err(error) => return Err(error),
        },
    };
    let change = Change::DeleteVersion { bucket: bucket.id, key: name, precondition };
    let committed = commit_with_status(gateway, &call.context, change, 204).await;
    committed.map_err(|e| conditions::lost_race(e, input.if_match.is_some()))?;
    Ok(S3Response::new(DeleteObjectOutput::default()))
}

pub(super) async fn delete_objects(
    gateway: &Arc<Gateway>,
    call: &Call,
    req: S3Request<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    check_body(&req.headers, &call.context.take_body())?;
    let bucket = call.bucket()?;
    let objects = req.input.delete.objects;
    if objects.is_empty() || objects.len() > KEYS_MAX || objects.iter().any(|object| object.key.is_empty()) {
        return Err(s3s::s3_error!(
            MalformedXML,
            "The XML you provided was not well-formed or did not validate against our published schema"
        ));
    }
    let quiet = req.input.delete.quiet.unwrap_or(false);
    call.context.names_many(objects.iter().map(|object| object.key.clone()).collect());
    let mut refusals: Vec<Option<S3Error>> = Vec::with_capacity(objects.len());
    let mut doomed = Vec::new();
    let mut places = Vec::new();
    for (place, object) in objects.iter().enumerate() {
        let refusal = match wanted(gateway, call, bucket, object).await {
            Ok(None) => None,
            Ok(Some(wanted)) => {
                doomed.push(wanted);
                places.push(place);
                None
            }
            Err(refusal) => Some(refusal),
        };
        refusals.push(refusal);
    }
    let change = Change::DeleteVersions { bucket: bucket.id, objects: doomed };
    let committed = commit_recorded(gateway, &call.context, change).await?;
    for (doomed, refusal) in committed.stayed {
        if let Some(answer) = places.get(doomed).and_then(|place| refusals.get_mut(*place)) {
            *answer = Some(Error::Commit(CommitError::Refused(refusal)).into());
        }
    }
    Ok(S3Response::new(answer(objects, refusals, quiet)))
}

fn answer(objects: Vec<dto::ObjectIdentifier>, refusals: Vec<Option<S3Error>>, quiet: bool) -> DeleteObjectsOutput {
    let mut deleted = Vec::new();
    let mut errors = Vec::new();
    for (object, refusal) in objects.into_iter().zip(refusals) {
        match refusal {
            None if quiet => {}
            None => deleted.push(dto::DeletedObject {
                key: Some(object.key),
                version_id: object.version_id,
                ..Default::default()
            }),
            Some(error) => errors.push(dto::Error {
                code: Some(error.code().as_str().to_owned()),
                key: Some(object.key),
                message: error.message().map(str::to_owned),
                version_id: object.version_id,
            }),
        }
    }
    DeleteObjectsOutput { deleted: Some(deleted), errors: Some(errors), ..DeleteObjectsOutput::default() }
}

/// What one entry asks of the catalog; nothing when it names a version that an unversioned bucket has not.
async fn wanted(
    gateway: &Gateway,
    call: &Call,
    bucket: &Bucket,
    object: &dto::ObjectIdentifier,
) -> S3Result<Option<(ObjectKey, Precondition)>> {
    if object.size.is_some() || object.last_modified_time.is_some() {
        return Err(unsupported("Size and LastModifiedTime conditions"));
    }
    let none = |_| s3s::s3_error!(NoSuchVersion, "The specified version does not exist.");
    if !names_visible(object.version_id.as_deref()).map_err(none)? {
        return Ok(None);
    }
    let key = object_key(&object.key)?;
    let precondition = match &object.e_tag {
        None => Precondition::None,
        Some(etag) => {
            conditions::of_write(gateway, call, bucket, &key, Some(&ETagCondition::ETag(etag.clone())), None).await?
        }
    };
    Ok(Some((key, precondition)))
}

/// DeleteObjects needs Content-MD5 or any one checksum, and it must match (S3.md traps 9 and 10).
fn check_body(headers: &http::HeaderMap, body: &[u8]) -> S3Result<()> {
    use crate::digest::checksum::Hasher;
    let promises = Promises::read(headers, None)?;
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
