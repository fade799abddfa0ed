//! What must hold of any bytes that a request or a row can bring to the S3 front: each check is run by
//! a property test on random bytes and by a fuzz target on guided ones (`integration-tests/fuzz`).

use std::fmt::Debug;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use s3s::dto::{CopySource, Range};
use serde::Serialize;
use serde::de::DeserializeOwned;
use storage::catalog::After;

use super::checks::Promises;
use super::framing::{Decoder, FramingError};
use super::host::Domains;
use super::lenient::range_meant;
use super::list::{read_token, write_token};
use super::metadata::{ListValues, ListedValues, ObjectMetadata, without_chunked};
use super::multipart::{PartValues, UploadChecksum, copy_range};
use super::put::{decode, encode};
use crate::fuzz::Check;
use crate::record::Content;

/// Every check of the S3 front.
pub const CHECKS: &[(&str, Check)] = &[
    ("aws_chunked", aws_chunked),
    ("list_token", list_token),
    ("promises", promises),
    ("stored_values", stored_values),
    ("ranges", ranges),
    ("copy_source", copy_source),
    ("host", host),
];

/// Framing means the same however the network cuts it, and what comes out can be framed again.
pub fn aws_chunked(data: &[u8]) {
    let Some((cut, framed)) = data.split_first() else { return };
    let whole = unframe(framed, framed.len());
    assert_eq!(unframe(framed, usize::from(*cut)), whole);
    if let Ok((content, trailers)) = whole {
        let mut again = match content.len() {
            0 => Vec::new(),
            length => [format!("{length:x}\r\n").as_bytes(), &content, b"\r\n"].concat(),
        };
        again.extend_from_slice(b"0\r\n");
        for (name, value) in &trailers {
            again.extend_from_slice(&[name.as_str().as_bytes(), b":", value.as_bytes(), b"\r\n"].concat());
        }
        again.extend_from_slice(b"\r\n");
        assert_eq!(unframe(&again, 7), Ok((content, trailers)));
    }
}

fn unframe(framed: &[u8], cut: usize) -> Result<(Vec<u8>, HeaderMap), FramingError> {
    let mut decoder = Decoder::default();
    let mut out = Vec::new();
    for piece in framed.chunks(cut.max(1)) {
        let mut piece = Bytes::copy_from_slice(piece);
        while let Some(content) = decoder.piece(&mut piece)? {
            out.extend_from_slice(&content);
        }
    }
    Ok((out, decoder.finish()?))
}

/// A token that is read names the place that it was written for, raw or encoded.
pub fn list_token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for token in [text.to_owned(), BASE64_URL_SAFE_NO_PAD.encode(text)] {
        if let Ok(after) = read_token(&token) {
            assert_eq!(read_token(&write_token(&after)).ok(), Some(after));
        }
    }
    let after = After::Prefix(text.to_owned());
    assert_eq!(read_token(&write_token(&after)).ok(), Some(after));
}

/// Lines of headers: the first byte names one, the rest is its value. A promise is kept by its value only.
pub fn promises(data: &[u8]) {
    const NAMES: [&str; 8] = [
        "content-md5",
        "x-amz-checksum-crc32",
        "x-amz-checksum-crc32c",
        "x-amz-checksum-crc64nvme",
        "x-amz-checksum-sha1",
        "x-amz-checksum-sha256",
        "x-amz-trailer",
        "x-amz-sdk-checksum-algorithm",
    ];
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(16) {
        let Some((name, value)) = line.split_first() else { continue };
        let name = NAMES.get(usize::from(*name) % NAMES.len()).copied().unwrap_or_default();
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    let Ok(read) = Promises::read(&headers, None) else { return };
    let md5 = read.md5.unwrap_or_default();
    match &read.checksum {
        None => assert!(!read.in_trailer && read.verify(md5, None, None).is_ok()),
        Some((algorithm, value)) => {
            assert!(value.as_ref().map_or(read.in_trailer, |value| value.len() == algorithm.length()));
            assert!(read.verify(md5, None, None).is_err(), "kept by nothing");
        }
    }
    let other = md5.map(|byte| !byte);
    assert!(read.md5.is_none() || read.verify(other, None, None).is_err());
}

/// Values that decode are written again as ones that decode as the same, and can be shown.
pub fn stored_values(data: &[u8]) {
    if let Ok(metadata) = ObjectMetadata::decode(data) {
        let again = metadata.encode().ok().and_then(|bytes| ObjectMetadata::decode(&bytes).ok());
        assert_eq!(again.as_ref(), Some(&metadata));
        assert!(metadata.expires_dto().is_none() || metadata.expires.is_some());
        assert!(without_chunked(metadata.content_encoding).is_none_or(|kept| !kept.is_empty()));
    }
    let (listed, values) = (ListedValues::decode(data).ok(), value::<ListValues>(data));
    let said = listed.map(|v| (v.etag, v.checksum.map(|c| (c.algorithm.to_owned(), c.kind().to_owned()))));
    let kept = values.clone().map(|v| (v.etag, v.checksum.map(|c| (c.kind().as_str().to_owned(), c.algorithm))));
    assert_eq!(said, kept.map(|(etag, c)| (etag, c.map(|(kind, algorithm)| (algorithm, kind)))));
    if let Some(values) = values {
        assert!(values.etag.text().len() >= 32);
        assert!(values.checksum.is_none_or(|c| c.text().len() >= c.value.len()));
    }
    value::<Content>(data);
    value::<PartValues>(data);
    if let Some(checksum) = value::<UploadChecksum>(data) {
        assert!(checksum.algorithm().is_ok_and(|a| a.name() == checksum.algorithm) || checksum.algorithm().is_err());
    }
}

fn value<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) -> Option<T> {
    let value: T = decode(data).ok()?;
    let again = encode(&value).ok().and_then(|bytes| decode::<T>(&bytes).ok());
    assert_eq!(again.as_ref(), Some(&value));
    Some(value)
}

/// Eight bytes of size, then a header: a range lies inside what there is, or is refused.
pub fn ranges(data: &[u8]) {
    let Some((size, text)) = data.split_first_chunk::<8>() else { return };
    let size = u64::from_be_bytes(*size) >> (size[0] % 64);
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Ok(range) = copy_range(Some(text), size) {
        assert!(range.start < range.end && range.end <= size);
        assert!(text.trim_start_matches("bytes=").bytes().all(|b| b.is_ascii_digit() || b == b'-'), "{text:?}");
    }
    if let Some(meant) = range_meant(text) {
        assert!(Range::parse(meant.to_str().unwrap_or_default()).is_ok(), "{text:?}");
    }
    if let Some(range) = Range::parse(text).ok().and_then(|range| range.check(size).ok()) {
        assert!(range.start <= range.end && range.end <= size);
        assert!(range.start < range.end || size == 0);
    }
}

/// A copy source that is read names the same object when it is written again.
pub fn copy_source(data: &[u8]) {
    let Some(source) = std::str::from_utf8(data).ok().and_then(|text| CopySource::parse(text).ok()) else { return };
    let Ok((key, version)) = super::copy::source_name(&source) else { return };
    let again = CopySource::parse(&source.format_to_string()).ok();
    assert_eq!(again.and_then(|source| super::copy::source_name(&source).ok()), Some((key, version)));
}

/// Two lines, domains and a host: a bucket is what stands before a domain, and nothing else.
pub fn host(data: &[u8]) {
    let Some((domains, host)) = std::str::from_utf8(data).ok().and_then(|text| text.split_once('\n')) else { return };
    let parsed = Domains::parse(domains);
    let Some(bucket) = parsed.bucket(host) else { return };
    let rest = host.strip_prefix(bucket).and_then(|rest| rest.strip_prefix('.')).unwrap_or_default();
    let domain = rest.rsplit_once(':').map_or(rest, |(name, _)| name).to_ascii_lowercase();
    assert!(!domain.is_empty() && domains.to_ascii_lowercase().contains(&domain), "{bucket:?} of {host:?}");
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::s3::checks::{StoredChecksum, StoredETag};

    fn metadata() -> impl Strategy<Value = ObjectMetadata> {
        let text = || option::of(".{0,40}");
        let user = btree_map("[a-z0-9-]{1,12}", ".{0,40}", 0..4);
        ((text(), text(), text(), text(), text()), (option::of(any::<i64>()), option::of(".{1,40}")), user).prop_map(
            |(
                (content_type, cache_control, content_disposition, content_encoding, content_language),
                (expires, expires_text),
                user,
            )| {
                ObjectMetadata {
                    content_type,
                    cache_control,
                    content_disposition,
                    content_encoding,
                    content_language,
                    expires,
                    user,
                    expires_text,
                }
            },
        )
    }

    fn checksum() -> impl Strategy<Value = StoredChecksum> {
        (".{0,9}", vec(any::<u8>(), 0..40), option::of(any::<u32>()))
            .prop_map(|(algorithm, value, composite)| StoredChecksum { algorithm, value, composite })
    }

    proptest! {
        #[test]
        fn any_bytes_pass_every_check(data in vec(any::<u8>(), 0..300)) {
            for (_, check) in CHECKS {
                check(&data);
            }
        }

        #[test]
        fn framing_that_nearly_fits_passes(pieces in vec("[0-9a-f]{1,2}(;a=b)?|\r\n|\n|0\r\n|[a-z]{1,5}|x-amz-a:b\r\n|[a-c:]{9}", 0..12), cut: u8) {
            aws_chunked(&[&[cut], pieces.concat().as_bytes()].concat());
        }

        #[test]
        fn ranges_that_nearly_fit_pass(size in 0..300_u64, text in "bytes=[+-]?[0-9]{0,3}-[+]?[0-9]{0,3}|bytes=-[0-9]{1,20}|bytes=[0-9]{1,20}-[0-9]{1,20}") {
            // A first byte of zero shifts nothing.
            ranges(&[&size.to_be_bytes(), text.as_bytes()].concat());
        }

        #[test]
        fn a_range_is_the_bytes_that_it_names(size in 1..500_u64, a in 0..600_u64, b in 0..600_u64) {
            let whole: Vec<u64> = (0..size).collect();
            let named: Vec<u64> = whole.iter().copied().filter(|n| (a..=b).contains(n)).collect();
            let of = |range: std::ops::Range<u64>| range.collect::<Vec<_>>();
            let plain = Range::parse(&format!("bytes={a}-{b}")).ok().and_then(|r| r.check(size).ok());
            prop_assert_eq!(plain.map_or(Vec::new(), of), named.clone());
            let copied = copy_range(Some(&format!("bytes={a}-{b}")), size).ok();
            prop_assert_eq!(copied.map_or(Vec::new(), of), if b < size { named } else { Vec::new() });
            let suffix = Range::parse(&format!("bytes=-{a}")).ok().and_then(|r| r.check(size).ok());
            let tail = whole.iter().copied().skip(usize::try_from(size.saturating_sub(a)).unwrap());
            prop_assert_eq!(suffix.map_or(Vec::new(), of), tail.collect::<Vec<_>>());
            let open = Range::parse(&format!("bytes={a}-")).ok().and_then(|r| r.check(size).ok());
            prop_assert_eq!(open.map_or(Vec::new(), of), whole.into_iter().filter(|n| *n >= a).collect::<Vec<_>>());
        }

        #[test]
        fn copy_sources_name_their_key(bucket in "b[a-z0-9]{2,20}", key in "\\PC{1,40}", version in option::of("[0-9a-zA-Z]{1,32}"), slash: bool) {
            let version_id = version.as_deref().map(Box::from);
            let source = CopySource::Bucket { bucket: bucket.into(), key: key.as_str().into(), version_id };
            let text = [if slash { "/" } else { "" }, &source.format_to_string()].concat();
            let read = CopySource::parse(&text).unwrap();
            prop_assert_eq!(super::super::copy::source_name(&read).unwrap(), (key, version));
            copy_source(text.as_bytes());
        }

        #[test]
        fn values_come_back(metadata in metadata(), md5: [u8; 16], parts: Option<u32>, checksum in option::of(checksum())) {
            let written = metadata.encode().unwrap();
            prop_assert_eq!(ObjectMetadata::decode(&written).unwrap(), metadata);
            prop_assert!(ObjectMetadata::decode(&written[..written.len() - 1]).is_err(), "cut short");
            let values = ListValues { etag: StoredETag { md5, parts }, checksum: checksum.clone() };
            prop_assert_eq!(value::<ListValues>(&encode(&values).unwrap()), Some(values.clone()));
            let part = PartValues { md5, checksum };
            prop_assert_eq!(value::<PartValues>(&encode(&part).unwrap()), Some(part));
        }

        #[test]
        fn hosts_name_their_bucket(bucket in "[a-z0-9.-]{1,20}", port in option::of(1..65_535_u16)) {
            let port = port.map(|p| format!(":{p}")).unwrap_or_default();
            let domains = Domains::parse("localhost, s3.example.kr");
            for domain in ["localhost", "S3.Example.KR"] {
                let host = format!("{bucket}.{domain}{port}");
                prop_assert_eq!(domains.bucket(&host), Some(bucket.as_str()));
            }
        }
    }
}
