//! Buckets: create, head, list, delete, location.

use std::sync::Arc;

use policy::id::BucketId;
use policy::name::BucketName;
use policy::residency::Residency;
use s3s::dto::{
    self, CreateBucketInput, CreateBucketOutput, DeleteBucketInput, DeleteBucketOutput, GetBucketLocationInput,
    GetBucketLocationOutput, GetBucketVersioningInput, GetBucketVersioningOutput, HeadBucketInput, HeadBucketOutput,
    ListBucketsInput, ListBucketsOutput,
};
use s3s::{S3Error, S3Request, S3Response, S3Result};
use storage::catalog::{BucketRow, Change, CommitError, Refusal};

use super::put::{commit_recorded, commit_with_status};
use super::{Call, timestamp, unsupported};
use crate::clock;
use crate::control::TenantRow;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::seal::key::random;

/// Buckets that one tenant may own; AWS allows 10,000.
const BUCKETS_MAX: usize = 10_000;

pub(super) async fn create_bucket(
    gateway: &Arc<Gateway>,
    call: &Call,
    req: S3Request<CreateBucketInput>,
) -> S3Result<S3Response<CreateBucketOutput>> {
    refuse(&req.input)?;
    let name: BucketName = req
        .input
        .bucket
        .parse()
        .map_err(|_| s3s::s3_error!(InvalidBucketName, "The specified bucket is not valid."))?;
    let account = &call.admitted.account;
    let tenant = account.actor.tenant.ok_or_else(|| s3s::s3_error!(AccessDenied, "Access Denied"))?;
    if let Some(existing) = gateway.control.bucket(&name).await? {
        return Err(exists(existing.tenant == tenant));
    }
    let mine = gateway.control.buckets(tenant, None, BUCKETS_MAX).await?;
    if mine.len() >= BUCKETS_MAX {
        return Err(s3s::s3_error!(TooManyBuckets, "You have attempted to create more buckets than allowed"));
    }
    let id = BucketId::time_ordered(clock::now().0, random().map_err(Error::from)?);
    let (key, _held) = gateway.keys.new_bucket_key(tenant, id).await?;
    let row = gateway.control.prove(BucketRow {
        id,
        name: name.clone(),
        tenant,
        owner: account.actor.principal,
        created: clock::now(),
        residency: inherited(gateway, tenant).await?,
        keys: vec![key],
        hung_on: Vec::new(),
        closed: false,
        proof: [0; 32],
    })?;
    match commit_recorded(gateway, &call.context, Change::CreateBucket(row)).await {
        Ok(_) => Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{name}")) })),
        Err(Error::Commit(CommitError::Refused(Refusal::BucketExists { owner }))) => Err(exists(owner == tenant)),
        Err(other) => Err(other.into()),
    }
}

fn refuse(input: &CreateBucketInput) -> S3Result<()> {
    if input.object_lock_enabled_for_bucket == Some(true) {
        return Err(unsupported("Object Lock"));
    }
    let grants = input.grant_full_control.is_some()
        || input.grant_read.is_some()
        || input.grant_read_acp.is_some()
        || input.grant_write.is_some()
        || input.grant_write_acp.is_some();
    let acl = input.acl.as_ref().is_some_and(|a| a.as_str() != "private");
    if grants || acl {
        return Err(s3s::s3_error!(AccessControlListNotSupported, "The bucket does not allow ACLs"));
    }
    match input.object_ownership.as_ref().map(dto::ObjectOwnership::as_str) {
        None | Some("BucketOwnerEnforced") => Ok(()),
        Some(_) => Err(unsupported("An object ownership other than BucketOwnerEnforced")),
    }
}

/// A location constraint never chooses a place (S3.md trap 33): the tenant's residency does.
async fn inherited(gateway: &Gateway, tenant: policy::id::TenantId) -> Result<Residency, Error> {
    let row = gateway.control.row::<TenantRow>(tenant.as_bytes()).await?;
    Ok(row.ok_or(Error::Missing("tenant"))?.residency)
}

fn exists(mine: bool) -> S3Error {
    if mine {
        s3s::s3_error!(
            BucketAlreadyOwnedByYou,
            "Your previous request to create the named bucket succeeded and you already own it."
        )
    } else {
        s3s::s3_error!(
            BucketAlreadyExists,
            "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again."
        )
    }
}

pub(super) async fn head_bucket(
    gateway: &Arc<Gateway>,
    call: &Call,
    _req: S3Request<HeadBucketInput>,
) -> S3Result<S3Response<HeadBucketOutput>> {
    call.bucket()?;
    let output = HeadBucketOutput { bucket_region: Some(gateway.region.clone()), ..HeadBucketOutput::default() };
    std::future::ready(Ok(S3Response::new(output))).await
}

pub(super) async fn get_bucket_location(
    gateway: &Arc<Gateway>,
    call: &Call,
    _req: S3Request<GetBucketLocationInput>,
) -> S3Result<S3Response<GetBucketLocationOutput>> {
    call.bucket()?;
    let location = dto::BucketLocationConstraint::from(gateway.region.clone());
    let output = GetBucketLocationOutput { location_constraint: Some(location) };
    std::future::ready(Ok(S3Response::new(output))).await
}

/// No bucket has versions, and this is how S3 says so; clients ask before they delete (s3fs).
pub(super) async fn get_bucket_versioning(
    _gateway: &Arc<Gateway>,
    call: &Call,
    _req: S3Request<GetBucketVersioningInput>,
) -> S3Result<S3Response<GetBucketVersioningOutput>> {
    call.bucket()?;
    std::future::ready(Ok(S3Response::new(GetBucketVersioningOutput::default()))).await
}

pub(super) async fn delete_bucket(
    gateway: &Arc<Gateway>,
    call: &Call,
    _req: S3Request<DeleteBucketInput>,
) -> S3Result<S3Response<DeleteBucketOutput>> {
    let bucket = call.bucket()?;
    commit_with_status(gateway, &call.context, Change::DeleteBucket { bucket: bucket.id }, 204).await?;
    Ok(S3Response::new(DeleteBucketOutput::default()))
}

pub(super) async fn list_buckets(
    gateway: &Arc<Gateway>,
    call: &Call,
    req: S3Request<ListBucketsInput>,
) -> S3Result<S3Response<ListBucketsOutput>> {
    let tenant = call.admitted.account.actor.tenant.ok_or_else(|| s3s::s3_error!(AccessDenied, "Access Denied"))?;
    let limit = req.input.max_buckets.map_or(BUCKETS_MAX, |n| usize::try_from(n).unwrap_or(0));
    if !(1..=BUCKETS_MAX).contains(&limit) {
        return Err(s3s::s3_error!(InvalidArgument, "Argument max-buckets must be an integer between 1 and 10000"));
    }
    let after: Option<BucketName> = match &req.input.continuation_token {
        None => None,
        Some(token) => Some(
            token
                .parse()
                .map_err(|_| s3s::s3_error!(InvalidArgument, "The continuation token provided is incorrect"))?,
        ),
    };
    let prefix = req.input.prefix.as_deref().unwrap_or("");
    let mut rows = gateway.control.buckets(tenant, after.as_ref(), BUCKETS_MAX).await?;
    rows.retain(|row| row.name.as_str().starts_with(prefix));
    let more = rows.len() > limit;
    rows.truncate(limit);
    let output = ListBucketsOutput {
        continuation_token: rows.last().filter(|_| more).map(|row| row.name.to_string()),
        owner: Some(owner(tenant)),
        prefix: req.input.prefix.clone(),
        buckets: Some(
            rows.iter()
                .map(|row| dto::Bucket {
                    bucket_region: Some(gateway.region.clone()),
                    creation_date: Some(timestamp(row.created)),
                    name: Some(row.name.to_string()),
                })
                .collect(),
        ),
    };
    Ok(S3Response::new(output))
}

/// A tenant as S3's canonical user.
pub(super) fn owner(tenant: policy::id::TenantId) -> dto::Owner {
    dto::Owner { display_name: None, id: Some(tenant.to_string()) }
}
