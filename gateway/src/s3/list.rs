//! ListObjects and ListObjectsV2 over one page of the catalog.

use std::sync::Arc;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use bytes::Bytes;
use policy::name::KEY_BYTES_MAX;
use s3s::dto::{EncodingType, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output};
use s3s::{S3Request, S3Response, S3Result};
use storage::catalog::{After, ListItem, ListPage, ListQuery, ListedObject};

use super::conditions::report;
use super::metadata::ListedValues;
use super::{Call, asks_for};
use crate::control::Bucket;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::keys::list_version;

mod document;

use document::{Document, Row};

/// Keys of one page, as in S3.
const PAGE: i32 = 1000;

pub(super) async fn list_objects_v2(
    gateway: &Arc<Gateway>,
    call: &Call,
    req: S3Request<ListObjectsV2Input>,
) -> S3Result<S3Response<ListObjectsV2Output>> {
    let input = req.input;
    let limit = page_size(input.max_keys)?;
    let encode = url_encoding(input.encoding_type.as_ref())?;
    fit_keys([&input.prefix, &input.start_after])?;
    let after = match (&input.continuation_token, &input.start_after) {
        (Some(token), _) if !token.is_empty() => Some(given_token(token)?),
        (_, Some(start)) if !start.is_empty() => Some(After::Key(start.clone())),
        _ => None,
    };
    let bucket = call.bucket()?;
    let query = query(bucket, input.prefix.as_deref(), input.delimiter.as_deref(), after, limit);
    let document = async {
        let page = gateway.catalog.list(&query).await?;
        let mut list = begin(&input.bucket, &query, limit, encode, &page);
        list.plain("KeyCount", page.len());
        if let Some(token) = &input.continuation_token {
            list.text("ContinuationToken", token);
        }
        if let Some(next) = &page.next {
            list.plain("NextContinuationToken", write_token(next));
        }
        if let Some(start) = &input.start_after {
            list.name("StartAfter", start);
        }
        rows(gateway, call, bucket, &page, &mut list, input.fetch_owner.unwrap_or(false)).await?;
        Ok(list.finish())
    };
    answer(gateway, call, document).await?;
    Ok(S3Response::new(ListObjectsV2Output::default()))
}

pub(super) async fn list_objects(
    gateway: &Arc<Gateway>,
    call: &Call,
    req: S3Request<ListObjectsInput>,
) -> S3Result<S3Response<ListObjectsOutput>> {
    // `s3s` comes here with any type that is not 2.
    if asks_for(&req, &["list-type"]) {
        return Err(s3s::s3_error!(InvalidArgument, "Invalid List Type specified in Request"));
    }
    let input = req.input;
    let limit = page_size(input.max_keys)?;
    let encode = url_encoding(input.encoding_type.as_ref())?;
    fit_keys([&input.prefix, &input.marker])?;
    let after = input.marker.clone().filter(|m| !m.is_empty()).map(After::Key);
    let bucket = call.bucket()?;
    let query = query(bucket, input.prefix.as_deref(), input.delimiter.as_deref(), after, limit);
    let document = async {
        let page = gateway.catalog.list(&query).await?;
        let mut list = begin(&input.bucket, &query, limit, encode, &page);
        list.name("Marker", input.marker.as_deref().unwrap_or_default());
        // S3 names the next marker only when there is a delimiter; clients else take the last key.
        if let (Some(After::Key(next) | After::Prefix(next)), Some(_)) = (&page.next, &input.delimiter) {
            list.name("NextMarker", next);
        }
        rows(gateway, call, bucket, &page, &mut list, true).await?;
        Ok(list.finish())
    };
    answer(gateway, call, document).await?;
    Ok(S3Response::new(ListObjectsOutput::default()))
}

/// Makes the answer while its record is being synced: a page is read and written in the time of one sync.
/// Neither leaves without the other; a list that then fails gets a closing record that says so.
async fn answer(
    gateway: &Gateway,
    call: &Call,
    document: impl Future<Output = Result<Bytes, Error>>,
) -> Result<(), Error> {
    // What its key refuses is on record as refused.
    if let Some(bucket) = &call.admitted.bucket {
        gateway.keys.bucket_key(bucket, call.purpose(gateway)).await?;
    }
    let record = call.context.record(&gateway.recorder, 200, None);
    let (recorded, document) = futures::join!(record, document);
    recorded?;
    call.context.answer_with(document?);
    Ok(())
}

/// What both versions say in front of their rows.
fn begin(bucket: &str, query: &ListQuery, limit: i32, encode: bool, page: &ListPage) -> Document {
    let mut list = Document::new(page.len(), encode);
    list.text("Name", bucket);
    list.name("Prefix", &query.prefix);
    if let Some(delimiter) = &query.delimiter {
        list.name("Delimiter", delimiter);
    }
    list.plain("MaxKeys", limit);
    if encode {
        list.plain("EncodingType", EncodingType::URL);
    }
    list.plain("IsTruncated", page.next.is_some());
    list
}

/// Opens and writes the rows of a page.
async fn rows(
    gateway: &Gateway,
    call: &Call,
    bucket: &Bucket,
    page: &ListPage,
    list: &mut Document,
    with_owner: bool,
) -> Result<(), Error> {
    let version_of = |item: &ListItem<'_>| match item {
        ListItem::Prefix(_) => None,
        ListItem::Object(object) => Some(list_version(object.list_values)),
    };
    let newest = page.items().filter_map(|item| version_of(&item)).max().unwrap_or(0);
    let key = gateway.keys.bucket_key_for(bucket, newest, call.purpose(gateway)).await?;
    let mut passed = newest;
    let mut opener = key.list_opener();
    let owner = with_owner.then(|| bucket.tenant.to_string());
    let owner = owner.as_deref();
    for item in page.items() {
        match item {
            ListItem::Prefix(prefix) => list.prefix(prefix),
            ListItem::Object(ListedObject { name, version, size, modified, list_values }) => {
                if list_version(list_values) != passed {
                    passed = list_version(list_values);
                    key.pass(passed, call.context.reason()).map_err(|error| call.purpose(gateway).told(error))?;
                }
                let values = opener
                    .open(name.as_bytes(), version, size, modified.0, list_values)
                    .inspect_err(|error| report(bucket, version, error))?;
                let values = ListedValues::decode(values)?;
                list.object(&Row { name, size, modified, values: &values, owner });
            }
        }
    }
    Ok(())
}

fn query(
    bucket: &Bucket,
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

/// What begins a key, or stands before one, is no longer than a key may be.
pub(super) fn fit_keys<const N: usize>(texts: [&Option<String>; N]) -> S3Result<()> {
    match texts.into_iter().flatten().any(|text| text.len() > KEY_BYTES_MAX) {
        true => Err(s3s::s3_error!(KeyTooLongError, "Your key is too long")),
        false => Ok(()),
    }
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
    let mut out = Vec::with_capacity(text.len());
    url_encode_to(text, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// Appends what [`url_encode`] gives.
fn url_encode_to(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, byte) in bytes.iter().copied().enumerate() {
        if matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/') {
            continue;
        }
        out.extend_from_slice(&bytes[from..at]);
        from = at + 1;
        match byte {
            b' ' => out.push(b'+'),
            _ => out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
    out.extend_from_slice(&bytes[from..]);
}

/// A token is opaque to clients: where the next page begins.
pub(super) fn write_token(after: &After) -> String {
    let (tag, text) = match after {
        After::Key(key) => ('k', key),
        After::Prefix(prefix) => ('p', prefix),
    };
    BASE64_URL_SAFE_NO_PAD.encode(format!("{tag}{text}"))
}

pub(super) fn read_token(token: &str) -> S3Result<After> {
    let bad = || s3s::s3_error!(InvalidArgument, "The continuation token provided is incorrect");
    let text = BASE64_URL_SAFE_NO_PAD.decode(token).ok().and_then(|b| String::from_utf8(b).ok()).ok_or_else(bad)?;
    match text.split_at_checked(1) {
        Some(("k", key)) => Ok(After::Key(key.to_owned())),
        Some(("p", prefix)) => Ok(After::Prefix(prefix.to_owned())),
        _ => Err(bad()),
    }
}

/// A token that a page may have ended with: no key is longer.
fn given_token(token: &str) -> S3Result<After> {
    let after = read_token(token)?;
    let (After::Key(text) | After::Prefix(text)) = &after;
    if text.len() > KEY_BYTES_MAX {
        return Err(s3s::s3_error!(InvalidArgument, "The continuation token provided is incorrect"));
    }
    Ok(after)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_encoded_as_s3_does() {
        assert_eq!(url_encode("a b+c/한.txt"), "a+b%2Bc/%ED%95%9C.txt");
        assert_eq!(url_encode("~(x)"), "%7E%28x%29");
        assert_eq!(url_encode("한a글 "), "%ED%95%9Ca%EA%B8%80+");
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
