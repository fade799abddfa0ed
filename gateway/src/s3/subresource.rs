//! What a query names of a bucket or an object. `s3s` finds an operation by the names that belong to one, and takes a
//! request with any other for one on the bucket or the object itself: `DELETE /bucket?acl` would delete the bucket. So
//! it does with half of what names a part of an upload, or with an upload of an empty key.

use s3s::S3Result;

use super::query::{Parameter, parameters};
use super::unsupported;

/// Operations on a bucket, an object or the service itself.
const PLAIN: [&str; 11] = [
    "CopyObject",
    "CreateBucket",
    "DeleteBucket",
    "DeleteObject",
    "GetObject",
    "HeadBucket",
    "HeadObject",
    "ListBuckets",
    "ListObjects",
    "ListObjectsV2",
    "PutObject",
];
/// Parts of a bucket or an object that have operations of their own.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html>
const PARTS: [&str; 33] = [
    "accelerate",
    "acl",
    "analytics",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "session",
    "tagging",
    "torrent",
    "uploads",
    "versioning",
    "versions",
    "website",
];
/// Those that `s3s` knows nothing of.
const UNKNOWN: [&str; 5] =
    ["abac", "metadataConfiguration", "metadataInventoryTable", "metadataJournalTable", "renameObject"];

/// Refuses to take a request on a part for one on the whole.
pub(super) fn check(operation: &str, query: Option<&str>) -> S3Result<()> {
    let Some(query) = query.filter(|_| PLAIN.contains(&operation)) else { return Ok(()) };
    let reads_parts = matches!(operation, "GetObject" | "HeadObject");
    for name in parameters(query).map(Parameter::name) {
        if name == "uploadId" || (name == "partNumber" && !reads_parts) {
            return Err(s3s::s3_error!(InvalidArgument, "A part needs both partNumber and uploadId"));
        }
        if let Some(name) = UNKNOWN.iter().find(|unknown| **unknown == name) {
            return Err(unsupported(name));
        }
        if PARTS.iter().any(|part| *part == name) {
            return Err(s3s::s3_error!(MethodNotAllowed, "The specified method is not allowed against this resource."));
        }
    }
    Ok(())
}
