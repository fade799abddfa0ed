//! Admission: the signature's account and the one call of `policy::decide`, on headers, before any
//! byte of the body is asked for (so before `100 Continue`).

use std::sync::Arc;

use policy::decide::{Access, BucketFacts, Denial, Request, decide};
use policy::name::BucketName;
use policy::operation::Operation;
use policy::principal::Role;
use policy::residency::Residency;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::dto::CopySource;
use s3s::path::S3Path;
use s3s::{S3Error, S3ErrorCode, S3Result};

use super::lenient::Verified;
use crate::access;
use crate::context::{Admitted, RequestContext};
use crate::control::{Bucket, TenantRow};
use crate::gateway::Gateway;

/// SHA-256 of nothing.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The request brings no body.
#[derive(Debug, Clone, Copy)]
pub struct NoBody;

/// Gives `s3s` the secret of an access key and notes who claims to ask.
#[derive(Debug, Clone)]
pub struct Secrets(pub Arc<Gateway>);

#[async_trait::async_trait]
impl S3Auth for Secrets {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let context = current()?;
        context.claimed(access_key);
        match self.0.identities.account(access_key).await.map_err(S3Error::from)? {
            Some(account) => Ok(SecretKey::from(account.secret.as_str())),
            None => Err(S3Error::with_message(
                S3ErrorCode::InvalidAccessKeyId,
                "The AWS Access Key Id you provided does not exist in our records.",
            )),
        }
    }
}

/// Decides each request.
#[derive(Debug, Clone)]
pub struct Admission(pub Arc<Gateway>);

#[async_trait::async_trait]
impl S3Access for Admission {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let context = current()?;
        let operation = Operation::from_s3_name(cx.s3_op().name()).unwrap_or(Operation::Unimplemented);
        let name = match operation {
            Operation::Unimplemented => "Unimplemented",
            _ => operation.name(),
        };
        context.named(name, cx.s3_path().get_bucket_name(), cx.s3_path().get_object_key());
        let verified = cx.extensions_mut().get::<Verified>().map(|v| v.credentials.clone());
        let account = match verified.as_ref().or(cx.credentials()) {
            None => None,
            // `s3s` read a signature where none was seen: nobody looked at what it covers.
            Some(_) if !context.was_signed() => return Err(s3s::s3_error!(AccessDenied, "Access Denied")),
            Some(credentials) => self.0.identities.account(&credentials.access_key).await.map_err(S3Error::from)?,
        };
        if let Some(account) = &account {
            context.authenticated(account);
        }
        let bucket = self.bucket(cx.s3_path().get_bucket_name()).await?;
        let source = match copy_source(cx)? {
            None => None,
            Some(name) => Some(self.bucket(Some(&name)).await?),
        };
        let access = self.let_in(&context, account.as_deref(), bucket.as_ref()).await?;
        let tenant_residency = self.tenant_residency(&operation, account.as_deref()).await?;
        let permit = {
            let bucket_facts = bucket.as_ref().map(facts);
            let source_facts = source.as_ref().and_then(|s| s.as_ref().map(facts));
            let place = [self.0.place()];
            decide(&Request {
                operation,
                actor: account.as_ref().map(|a| &a.actor),
                bucket: bucket_facts.as_ref(),
                source: source_facts.as_ref(),
                expected_owner: header(cx, "x-amz-expected-bucket-owner"),
                expected_source_owner: header(cx, "x-amz-source-expected-bucket-owner"),
                tenant_residency: tenant_residency.as_ref(),
                places: &place,
                access: access.as_ref(),
            })
        };
        let permit = permit.map_err(|denial| {
            context.denied(&denial);
            answer(&denial)
        })?;
        let account = account.ok_or_else(|| s3s::s3_error!(AccessDenied, "Access Denied"))?;
        let names_bucket = !matches!(cx.s3_path(), S3Path::Root) && !matches!(operation, Operation::CreateBucket);
        let missing = (names_bucket && bucket.is_none()) || matches!(source, Some(None));
        if operation == Operation::Unimplemented {
            return Err(super::unsupported(cx.s3_op().name()));
        }
        super::subresource::check(cx.s3_op().name(), cx.uri().query())?;
        super::encryption::check(cx.method(), cx.headers())?;
        super::conditions::refuse_on_writes(cx.s3_op().name(), cx.method(), cx.headers())?;
        promises_no_other_body(cx)?;
        context.permitted(Admitted { permit, account, bucket, source: source.flatten() });
        if missing {
            return Err(s3s::s3_error!(NoSuchBucket, "The specified bucket does not exist"));
        }
        Ok(())
    }
}

impl Admission {
    async fn bucket(&self, name: Option<&str>) -> S3Result<Option<Bucket>> {
        let Some(name) = name else { return Ok(None) };
        let name: BucketName =
            name.parse().map_err(|_| s3s::s3_error!(InvalidBucketName, "The specified bucket is not valid."))?;
        self.0.control.bucket(&name).await.map_err(S3Error::from)
    }

    /// What the platform was let in for, if a principal of it asks; the request is then the tenant's to know of.
    async fn let_in(
        &self,
        context: &RequestContext,
        account: Option<&crate::identity::Account>,
        bucket: Option<&Bucket>,
    ) -> S3Result<Option<Access>> {
        let platform = account.filter(|account| account.actor.role == Role::PlatformAdministrator);
        let (Some(account), Some(bucket)) = (platform, bucket) else { return Ok(None) };
        let found = access::let_in(&self.0, account.actor.principal, bucket).await.map_err(S3Error::from)?;
        Ok(found.map(|(let_in, reason, tenant)| {
            context.let_in(let_in, tenant);
            Access { bucket: bucket.id, reason }
        }))
    }

    /// Only a new bucket inherits from its tenant; an old one carries what it inherited.
    async fn tenant_residency(
        &self,
        operation: &Operation,
        account: Option<&crate::identity::Account>,
    ) -> S3Result<Option<Residency>> {
        let (Operation::CreateBucket, Some(tenant)) = (operation, account.and_then(|a| a.actor.tenant)) else {
            return Ok(None);
        };
        let row = self.0.control.row::<TenantRow>(tenant.as_bytes()).await.map_err(S3Error::from)?;
        Ok(row.map(|r| r.residency))
    }
}

fn current() -> S3Result<Arc<RequestContext>> {
    RequestContext::current().ok_or_else(|| s3s::s3_error!(InternalError, "no request context"))
}

fn facts(row: &Bucket) -> BucketFacts {
    BucketFacts { id: row.id, tenant: row.tenant, residency: row.residency.clone() }
}

fn header<'a>(cx: &'a S3AccessContext<'_>, name: &str) -> Option<&'a str> {
    cx.headers().get(name).map(|v| v.to_str().unwrap_or("?"))
}

/// A digest of a body that does not come. Uploads read on and find that out themselves.
fn promises_no_other_body(cx: &mut S3AccessContext<'_>) -> S3Result<()> {
    let unread = !matches!(cx.s3_op().name(), "PutObject" | "UploadPart");
    let looked_at = unread && cx.extensions_mut().get::<NoBody>().is_some();
    let promised = header(cx, "x-amz-content-sha256").filter(|promised| looked_at && promised.len() == 64);
    match promised {
        Some(promised) if promised != EMPTY_SHA256 => Err(super::checks::custom(
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        )),
        _ => Ok(()),
    }
}

fn copy_source(cx: &S3AccessContext<'_>) -> S3Result<Option<String>> {
    let Some(value) = cx.headers().get("x-amz-copy-source") else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(|v| CopySource::parse(v).ok());
    match parsed {
        Some(CopySource::Bucket { bucket, .. }) => Ok(Some(bucket.into_string())),
        Some(_) => Err(super::unsupported("A copy source that is an access point")),
        None => Err(s3s::s3_error!(InvalidArgument, "The x-amz-copy-source header is not a valid bucket and key")),
    }
}

/// A denial tells rule and citation to the owning tenant's principals only (SECURITY.md rule 9).
fn answer(denial: &Denial) -> S3Error {
    if denial.told_to_caller() {
        S3Error::with_message(S3ErrorCode::AccessDenied, denial.message())
    } else {
        S3Error::with_message(S3ErrorCode::AccessDenied, "Access Denied")
    }
}
