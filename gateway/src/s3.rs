//! The S3 front: what `s3s` parsed meets the store. One file per concern; each handler takes what
//! admission left for it and gives back an answer or an [`crate::error::Error`].

use std::sync::Arc;

use s3s::{S3, S3Error, S3Request, S3Response, S3Result, dto};

use crate::context::{Admitted, RequestContext};
use crate::gateway::Gateway;
use crate::keys::Purpose;

pub mod admit;
mod bucket;
pub(crate) mod checks;
#[cfg(test)]
mod compatibility;
mod conditions;
mod copy;
mod delete;
mod encryption;
pub mod framing;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod get;
pub mod host;
pub mod lenient;
mod list;
mod metadata;
mod multipart;
mod object;
mod put;
mod query;
pub mod signing;
mod subresource;

pub use checks::{StoredChecksum, StoredETag};
pub use metadata::{ListValues, ObjectMetadata};

/// The store behind the S3 protocol.
#[derive(Debug, Clone)]
pub struct Front(pub Arc<Gateway>);

/// The request in hand with what admission left.
struct Call {
    context: Arc<RequestContext>,
    admitted: Admitted,
}

impl Call {
    /// Every handler begins here: without a permit there is nothing to take.
    fn begin() -> S3Result<Self> {
        let context = RequestContext::current().ok_or_else(|| s3s::s3_error!(InternalError, "no request context"))?;
        let admitted = context.take_admitted().ok_or_else(|| s3s::s3_error!(AccessDenied, "Access Denied"))?;
        Ok(Self { context, admitted })
    }

    /// What it uses keys for.
    fn purpose<'a>(&'a self, gateway: &'a Gateway) -> Purpose<'a> {
        gateway.purpose(&self.context)
    }

    fn bucket(&self) -> S3Result<&crate::control::Bucket> {
        self.admitted.bucket.as_ref().ok_or_else(|| s3s::s3_error!(NoSuchBucket, "The specified bucket does not exist"))
    }
}

macro_rules! operations {
    ($($name:ident: $input:ident -> $output:ident = $module:ident;)*) => {
        #[async_trait::async_trait]
        impl S3 for Front {
            $(
                async fn $name(&self, req: S3Request<dto::$input>) -> S3Result<S3Response<dto::$output>> {
                    let call = Call::begin()?;
                    $module::$name(&self.0, &call, req).await
                }
            )*
        }

        /// The operations that are served; everything else answers 501.
        pub const OPERATIONS: &[&str] = &[$(stringify!($name)),*];
    };
}

operations! {
    list_buckets: ListBucketsInput -> ListBucketsOutput = bucket;
    create_bucket: CreateBucketInput -> CreateBucketOutput = bucket;
    head_bucket: HeadBucketInput -> HeadBucketOutput = bucket;
    delete_bucket: DeleteBucketInput -> DeleteBucketOutput = bucket;
    get_bucket_location: GetBucketLocationInput -> GetBucketLocationOutput = bucket;
    get_bucket_versioning: GetBucketVersioningInput -> GetBucketVersioningOutput = bucket;
    put_object: PutObjectInput -> PutObjectOutput = put;
    get_object: GetObjectInput -> GetObjectOutput = get;
    head_object: HeadObjectInput -> HeadObjectOutput = get;
    delete_object: DeleteObjectInput -> DeleteObjectOutput = delete;
    delete_objects: DeleteObjectsInput -> DeleteObjectsOutput = delete;
    copy_object: CopyObjectInput -> CopyObjectOutput = copy;
    list_objects: ListObjectsInput -> ListObjectsOutput = list;
    list_objects_v2: ListObjectsV2Input -> ListObjectsV2Output = list;
    create_multipart_upload: CreateMultipartUploadInput -> CreateMultipartUploadOutput = multipart;
    upload_part: UploadPartInput -> UploadPartOutput = multipart;
    upload_part_copy: UploadPartCopyInput -> UploadPartCopyOutput = multipart;
    complete_multipart_upload: CompleteMultipartUploadInput -> CompleteMultipartUploadOutput = multipart;
    abort_multipart_upload: AbortMultipartUploadInput -> AbortMultipartUploadOutput = multipart;
    list_parts: ListPartsInput -> ListPartsOutput = multipart;
    list_multipart_uploads: ListMultipartUploadsInput -> ListMultipartUploadsOutput = multipart;
}

/// A parameter that the store would have to honour and does not: 501, never silence.
fn unsupported(what: &str) -> S3Error {
    S3Error::with_message(s3s::S3ErrorCode::NotImplemented, format!("{what} is not implemented"))
}

/// Whether the query has one of these parameters.
fn asks_for<T>(request: &S3Request<T>, names: &[&str]) -> bool {
    let query = request.uri.query().unwrap_or_default();
    query::parameters(query).any(|parameter| names.contains(&&*parameter.name()))
}

/// A size as S3 writes it.
fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// A time as S3 writes it.
fn timestamp(at: policy::time::UtcMillis) -> dto::Timestamp {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(at.0);
    dto::Timestamp::from(at)
}
