//! Encryption that a request asks for, resolved once for all operations (S3.md trap 29). Every object is
//! sealed under its tenant's keys, which S3 clients know as `AES256`; nothing else is done, so nothing
//! else is accepted.

use http::{HeaderMap, Method};
use s3s::S3Result;

use super::unsupported;

const ASKED: &str = "x-amz-server-side-encryption";
const CUSTOMER: [&str; 2] =
    ["x-amz-server-side-encryption-customer-", "x-amz-copy-source-server-side-encryption-customer-"];
const KMS: [&str; 2] = ["x-amz-server-side-encryption-aws-kms-key-id", "x-amz-server-side-encryption-context"];

/// Refuses encryption other than that which is done anyway.
pub(super) fn check(method: &Method, headers: &HeaderMap) -> S3Result<()> {
    if headers.keys().any(|name| CUSTOMER.iter().any(|prefix| name.as_str().starts_with(prefix))) {
        return Err(unsupported("SSE-C"));
    }
    if KMS.iter().any(|name| headers.contains_key(*name)) {
        return Err(unsupported("SSE-KMS"));
    }
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match headers.get(ASKED).map(|v| v.to_str().unwrap_or_default()) {
        None => Ok(()),
        Some("aws:kms" | "aws:kms:dsse") => Err(unsupported("SSE-KMS")),
        Some(_) if reads => Err(s3s::s3_error!(
            InvalidArgument,
            "x-amz-server-side-encryption header is not supported for this operation."
        )),
        Some("AES256") => Ok(()),
        Some(_) => Err(s3s::s3_error!(InvalidArgument, "The encryption method specified is not supported")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(method: &Method, name: &str, value: &str) -> Option<String> {
        let headers = [(name.parse().unwrap(), value.parse().unwrap())].into_iter().collect();
        check(method, &headers).err().map(|e| e.code().as_str().to_owned())
    }

    #[test]
    fn only_what_is_done_is_accepted() {
        let refused = Some("NotImplemented".to_owned());
        assert_eq!(code(&Method::PUT, ASKED, "AES256"), None);
        assert_eq!(code(&Method::PUT, ASKED, "aws:kms"), refused);
        assert_eq!(code(&Method::PUT, ASKED, "ROT13"), Some("InvalidArgument".to_owned()));
        assert_eq!(code(&Method::GET, ASKED, "AES256"), Some("InvalidArgument".to_owned()));
        for prefix in CUSTOMER {
            assert_eq!(code(&Method::GET, &format!("{prefix}key-md5"), "x"), refused);
        }
        for name in KMS {
            assert_eq!(code(&Method::POST, name, "x"), refused);
        }
    }
}
