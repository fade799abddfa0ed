//! `docs/compatibility.md` is written from the code: what is served, and what answers 501.

use super::OPERATIONS;

/// Every other operation that the protocol layer parses; it answers 501 NotImplemented.
#[rustfmt::skip]
const NOT_YET: &[&str] = &[
    "create_bucket_metadata_table_configuration", "create_session", "delete_bucket_analytics_configuration",
    "delete_bucket_cors", "delete_bucket_encryption", "delete_bucket_intelligent_tiering_configuration",
    "delete_bucket_inventory_configuration", "delete_bucket_lifecycle",
    "delete_bucket_metadata_table_configuration", "delete_bucket_metrics_configuration",
    "delete_bucket_ownership_controls", "delete_bucket_policy", "delete_bucket_replication",
    "delete_bucket_tagging", "delete_bucket_website", "delete_object_tagging", "delete_public_access_block",
    "get_bucket_accelerate_configuration", "get_bucket_acl", "get_bucket_analytics_configuration",
    "get_bucket_cors", "get_bucket_encryption", "get_bucket_intelligent_tiering_configuration",
    "get_bucket_inventory_configuration", "get_bucket_lifecycle_configuration", "get_bucket_logging",
    "get_bucket_metadata_table_configuration", "get_bucket_metrics_configuration",
    "get_bucket_notification_configuration", "get_bucket_ownership_controls", "get_bucket_policy",
    "get_bucket_policy_status", "get_bucket_replication", "get_bucket_request_payment", "get_bucket_tagging",
    "get_bucket_website", "get_object_acl", "get_object_attributes",
    "get_object_legal_hold", "get_object_lock_configuration", "get_object_retention", "get_object_tagging",
    "get_object_torrent", "get_public_access_block", "list_bucket_analytics_configurations",
    "list_bucket_intelligent_tiering_configurations", "list_bucket_inventory_configurations",
    "list_bucket_metrics_configurations", "list_directory_buckets", "list_object_versions", "post_object",
    "put_bucket_accelerate_configuration", "put_bucket_acl", "put_bucket_analytics_configuration",
    "put_bucket_cors", "put_bucket_encryption", "put_bucket_intelligent_tiering_configuration",
    "put_bucket_inventory_configuration", "put_bucket_lifecycle_configuration", "put_bucket_logging",
    "put_bucket_metrics_configuration", "put_bucket_notification_configuration",
    "put_bucket_ownership_controls", "put_bucket_policy", "put_bucket_replication",
    "put_bucket_request_payment", "put_bucket_tagging", "put_bucket_versioning", "put_bucket_website",
    "put_object_acl", "put_object_legal_hold", "put_object_lock_configuration", "put_object_retention",
    "put_object_tagging", "put_public_access_block", "restore_object", "select_object_content",
    "write_get_object_response",
];

fn camel(name: &str) -> String {
    let part = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('_').map(part).collect()
}

fn page() -> String {
    let list = |names: &[&str]| names.iter().map(|n| format!("- {}\n", camel(n))).collect::<String>();
    format!(
        "# What of S3 is served\n\n\
         Written by a test (`compatibility`); run it with `GOTGAN_WRITE_DOCS=1` to write it anew.\n\n\
         ## Served\n{}\n\
         Path and virtual-host style, Signature Version 4 in headers and presigned URLs, signed and unsigned chunked bodies with\n\
         trailers, CRC32, CRC32C, CRC64NVME, SHA1, SHA256 and Content-MD5, conditional reads, writes and deletes.\n\
         A frame (chunk) of an `aws-chunked` body may be as long as the body; a signed one is verified at its end, and nothing is\n\
         stored unless all are what was signed. A line of the framing has at most 1,024 bytes, and there are at most 16 trailers.\n\
         A Range that is none, and a date of a read's condition that is none, are not there; an Expires comes back as it was given.\n\n\
         ## Refused inside served operations\n\
         SSE-C, SSE-KMS, Object Lock, tags, website redirects and appends: 501 NotImplemented. ACLs that are not private: 400.\n\
         Signature Version 2: 400. An XML document in `aws-chunked` frames: 501.\n\n\
         ## Answered with 501 NotImplemented\n{}",
        list(OPERATIONS),
        list(NOT_YET),
    )
}

#[test]
fn compatibility_page_says_what_the_code_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/compatibility.md");
    if std::env::var_os("GOTGAN_WRITE_DOCS").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), page(), "run with GOTGAN_WRITE_DOCS=1");
    assert!(NOT_YET.iter().all(|name| !OPERATIONS.contains(name)));
}
