//! ListObjects and ListObjectsV2 over one page of the catalog.

use std::sync::Arc;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use s3s::dto::{
    self, CommonPrefix, EncodingType, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output,
    Object,
};
use s3s::{S3Request, S3Response, S3Result};
use storage::catalog::{After, BucketRow, ListItem, ListPage, ListQuery};

use super::bucket::owner;
use super::checks::StoredChecksum;
use super::conditions::open_values;
use super::{Call, signed, timestamp};
use crate::error::Error;
use crate::gateway::Gateway;

/// Keys of one page, as in S3.
const PAGE: i32 = 1000;

/// A page as both answers want it.
struct Listed {
    contents: Vec<Object>,
    prefixes: Vec<CommonPrefix>,
    last: Option<String>,
    next: Option<After>,
}

pub(super) async fn list_objects_v2(
    gateway: &Arc<Gateway>,
    call: &Call,
    req: S3Request<ListObjectsV2Input>,
) -> S3Result<S3Response<ListObjectsV2Output>> {
    let input = req.input;
    let limit = page_size(input.max_keys)?;
    let encode = url_encoding(input.encoding_type.as_ref())?;
    let after = match (&input.continuation_token, &input.start_after) {
        (Some(token), _) if !token.is_empty() => Some(read_token(token)?),
        (_, Some(start)) if !start.is_empty() => Some(After::Key(start.clone())),
        _ => None,
    };
    let bucket = call.bucket()?;
    let with_owner = input.fetch_owner.unwrap_or(false);
    let query = query(bucket, input.prefix.as_deref(), input.delimiter.as_deref(), after, limit);
    let page = page(gateway, bucket, &query, encode, with_owner).await?;
    let text = |s: String| if encode { url_encode(&s) } else { s };
    let count = page.contents.len() + page.prefixes.len();
    let output = ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(text(input.prefix.unwrap_or_default())),
        max_keys: Some(limit),
        key_count: i32::try_from(count).ok(),
        continuation_token: input.continuation_token,
        is_truncated: Some(page.next.is_some()),
        next_continuation_token: page.next.as_ref().map(write_token),
        contents: Some(page.contents),
        common_prefixes: Some(page.prefixes),
        delimiter: input.delimiter.filter(|d| !d.is_empty()).map(text),
        encoding_type: input.encoding_type,
        start_after: input.start_after.map(text),
        ..ListObjectsV2Output::default()
    };
    Ok(S3Response::new(output))
}

pub(super) async fn list_objects(
    gateway: &Arc<Gateway>,
    call: &Call,
    req: S3Request<ListObjectsInput>,
) -> S3Result<S3Response<ListObjectsOutput>> {
    let input = req.input;
    let limit = page_size(input.max_keys)?;
    let encode = url_encoding(input.encoding_type.as_ref())?;
    let after = input.marker.clone().filter(|m| !m.is_empty()).map(After::Key);
    let bucket = call.bucket()?;
    let query = query(bucket, input.prefix.as_deref(), input.delimiter.as_deref(), after, limit);
    let page = page(gateway, bucket, &query, encode, true).await?;
    let text = |s: String| if encode { url_encode(&s) } else { s };
    let truncated = page.next.is_some();
    let output = ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(text(input.prefix.unwrap_or_default())),
        marker: Some(text(input.marker.unwrap_or_default())),
        max_keys: Some(limit),
        is_truncated: Some(truncated),
        // S3 names the next marker only when there is a delimiter; clients else take the last key.
        next_marker: page.last.filter(|_| truncated && input.delimiter.is_some()).map(text),
        contents: Some(page.contents),
        common_prefixes: Some(page.prefixes),
        delimiter: input.delimiter.filter(|d| !d.is_empty()).map(text),
        encoding_type: input.encoding_type,
        ..ListObjectsOutput::default()
    };
    Ok(S3Response::new(output))
}

fn query(
    bucket: &BucketRow,
    prefix: Option<&str>,
    delimiter: Option<&str>,
    after: Option<After>,
    limit: i32,
) -> ListQuery {
    ListQuery {
        bucket: bucket.id,
        prefix: prefix.unwrap_or_default().to_owned(),
        delimiter: delimiter.filter(|d| !d.is_empty()).map(str::to_owned),
        after,
        limit: usize::try_from(limit).unwrap_or(0),
    }
}

async fn page(
    gateway: &Gateway,
    bucket: &BucketRow,
    query: &ListQuery,
    encode: bool,
    with_owner: bool,
) -> Result<Listed, Error> {
    let page: ListPage = gateway.catalog.list(query).await?;
    let key = gateway.keys.bucket_key(bucket).await?;
    let mut contents = Vec::with_capacity(page.items.len());
    let mut prefixes = Vec::new();
    let mut last = None;
    for item in page.items {
        match item {
            ListItem::Prefix(prefix) => {
                prefixes.push(CommonPrefix { prefix: Some(if encode { url_encode(&prefix) } else { prefix.clone() }) });
                last = Some(prefix);
            }
            ListItem::Object(name, row) => {
                let values = open_values(bucket, &key, name.as_bytes(), &row)?;
                contents.push(Object {
                    checksum_algorithm: values
                        .checksum
                        .as_ref()
                        .map(|c| vec![dto::ChecksumAlgorithm::from(c.algorithm.clone())]),
                    checksum_type: values.checksum.as_ref().map(StoredChecksum::kind),
                    e_tag: Some(values.etag.to_dto()),
                    key: Some(if encode { url_encode(name.as_str()) } else { name.as_str().to_owned() }),
                    last_modified: Some(timestamp(row.modified)),
                    owner: with_owner.then(|| owner(bucket.tenant)),
                    size: Some(signed(row.size)),
                    storage_class: Some(dto::ObjectStorageClass::from_static(dto::ObjectStorageClass::STANDARD)),
                    ..Object::default()
                });
                last = Some(name.as_str().to_owned());
            }
        }
    }
    Ok(Listed { contents, prefixes, last, next: page.next })
}

/// The page size; more than 1,000 is answered with 1,000.
pub(super) fn page_size(max: Option<i32>) -> S3Result<i32> {
    match max {
        None => Ok(PAGE),
        Some(n) if n < 0 => {
            Err(s3s::s3_error!(InvalidArgument, "Argument maxKeys must be an integer between 0 and 2147483647"))
        }
        Some(n) => Ok(n.min(PAGE)),
    }
}

pub(super) fn url_encoding(encoding: Option<&EncodingType>) -> S3Result<bool> {
    match encoding.map(EncodingType::as_str) {
        None | Some("") => Ok(false),
        Some("url") => Ok(true),
        Some(_) => Err(s3s::s3_error!(InvalidArgument, "Invalid Encoding Method specified in Request")),
    }
}

/// As S3 encodes names in lists: space is `+`, `/` stays, all else but unreserved is percent-encoded
/// (S3.md trap 15).
pub(super) fn url_encode(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => {
                out.push('%');
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    out
}

/// A token is opaque to clients: where the next page begins.
fn write_token(after: &After) -> String {
    let (tag, text) = match after {
        After::Key(key) => ('k', key),
        After::Prefix(prefix) => ('p', prefix),
    };
    BASE64_URL_SAFE_NO_PAD.encode(format!("{tag}{text}"))
}

fn read_token(token: &str) -> S3Result<After> {
    let bad = || s3s::s3_error!(InvalidArgument, "The continuation token provided is incorrect");
    let text = BASE64_URL_SAFE_NO_PAD.decode(token).ok().and_then(|b| String::from_utf8(b).ok()).ok_or_else(bad)?;
    match text.split_at_checked(1) {
        Some(("k", key)) => Ok(After::Key(key.to_owned())),
        Some(("p", prefix)) => Ok(After::Prefix(prefix.to_owned())),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_encoded_as_s3_does() {
        assert_eq!(url_encode("a b+c/한.txt"), "a+b%2Bc/%ED%95%9C.txt");
        assert_eq!(url_encode("~(x)"), "%7E%28x%29");
    }

    proptest! {
        #[test]
        fn tokens_come_back(text in ".{0,80}", prefix: bool) {
            let after = if prefix { After::Prefix(text.clone()) } else { After::Key(text.clone()) };
            match (read_token(&write_token(&after)).unwrap(), prefix) {
                (After::Prefix(t), true) | (After::Key(t), false) => prop_assert_eq!(t, text),
                _ => prop_assert!(false, "another kind"),
            }
        }

        #[test]
        fn any_token_is_no_panic(token in ".{0,100}") {
            let _answer = read_token(&token);
        }
    }
}
