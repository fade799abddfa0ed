//! What is kept of an object's headers, and which headers are refused because nothing would honour them.

use std::collections::BTreeMap;

use s3s::dto;
use s3s::{S3Error, S3ErrorCode, S3Result};
use serde::{Deserialize, Serialize};

use super::checks::{ListedChecksum, StoredChecksum, StoredETag};
use super::put::{decode, encode};
use super::unsupported;
use crate::error::Error;

/// User metadata limit of S3: 2 KB of names and values.
const USER_METADATA_MAX: usize = 2048;

/// Sealed with each version: the headers that a GET gives back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectMetadata {
    /// Content-Type.
    pub content_type: Option<String>,
    /// Cache-Control.
    pub cache_control: Option<String>,
    /// Content-Disposition.
    pub content_disposition: Option<String>,
    /// Content-Encoding, without `aws-chunked`.
    pub content_encoding: Option<String>,
    /// Content-Language.
    pub content_language: Option<String>,
    /// Expires, milliseconds since 1970.
    pub expires: Option<i64>,
    /// `x-amz-meta-*`, names in lower case.
    pub user: BTreeMap<String, String>,
    /// Expires as it was given, when it is no date; written behind the others, if there is one.
    #[serde(skip)]
    pub expires_text: Option<String>,
}

/// Sealed in the listed row: what lists and conditions need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListValues {
    /// The ETag.
    pub etag: StoredETag,
    /// The checksum of the object.
    pub checksum: Option<StoredChecksum>,
}

/// What a list says of [`ListValues`], read without copying.
#[derive(Debug)]
pub(super) struct ListedValues<'a> {
    pub etag: StoredETag,
    pub checksum: Option<ListedChecksum<'a>>,
}

impl<'a> ListedValues<'a> {
    /// Reads encoded [`ListValues`]. The MD5 in front lies there as it is.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, Error> {
        let (md5, rest) = bytes.split_first_chunk().ok_or_else(|| Error::Corrupt("list values".to_owned()))?;
        let (parts, checksum) = decode(rest)?;
        Ok(Self { etag: StoredETag { md5: *md5, parts }, checksum })
    }
}

/// The fields that PutObject, CreateMultipartUpload and CopyObject share.
macro_rules! read_metadata {
    ($input:expr, $extensions:expr) => {
        $crate::s3::metadata::ObjectMetadata {
            expires_text: $extensions.get::<$crate::s3::lenient::GivenExpires>().map(|given| given.0.clone()),
            content_type: $input.content_type.take(),
            cache_control: $input.cache_control.take(),
            content_disposition: $input.content_disposition.take(),
            content_encoding: $crate::s3::metadata::without_chunked($input.content_encoding.take()),
            content_language: $input.content_language.take(),
            expires: $input.expires.take().map($crate::s3::metadata::expires_ms),
            user: $input
                .metadata
                .take()
                .unwrap_or_default()
                .into_iter()
                .map(|(k, v)| (k.to_ascii_lowercase(), v))
                .collect(),
        }
        .checked()
    };
}
pub(super) use read_metadata;

/// Refuses what the store would have to honour and does not yet.
macro_rules! refuse_unsupported {
    ($input:expr) => {
        $crate::s3::metadata::refuse(
            &[
                (
                    "Object Lock",
                    $input.object_lock_mode.is_some()
                        || $input.object_lock_legal_hold_status.is_some()
                        || $input.object_lock_retain_until_date.is_some(),
                ),
                ("Tagging", $input.tagging.is_some()),
                ("Website redirection", $input.website_redirect_location.is_some()),
                (
                    "A grant",
                    $input.grant_full_control.is_some()
                        || $input.grant_read.is_some()
                        || $input.grant_read_acp.is_some()
                        || $input.grant_write_acp.is_some(),
                ),
            ],
            $input.acl.as_ref().map(|a| a.as_str()),
            $input.storage_class.as_ref().map(|c| c.as_str()),
        )
    };
}
pub(super) use refuse_unsupported;

impl ObjectMetadata {
    pub(super) fn checked(self) -> S3Result<Self> {
        let size: usize = self.user.iter().map(|(k, v)| k.len() + v.len()).sum();
        if size > USER_METADATA_MAX {
            return Err(super::checks::custom(
                "MetadataTooLarge",
                "Your metadata headers exceed the maximum allowed metadata size",
            ));
        }
        Ok(self)
    }

    /// As it is sealed.
    pub(super) fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = encode(self)?;
        if let Some(text) = &self.expires_text {
            bytes.extend(encode(text)?);
        }
        Ok(bytes)
    }

    /// Reads what [`Self::encode`] wrote.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let (metadata, rest): (Self, _) =
            postcard::take_from_bytes(bytes).map_err(|e| Error::Corrupt(e.to_string()))?;
        let expires_text = if rest.is_empty() { None } else { Some(decode(rest)?) };
        Ok(Self { expires_text, ..metadata })
    }

    pub(super) fn expires_dto(&self) -> Option<dto::Timestamp> {
        let nanos = i128::from(self.expires?) * 1_000_000;
        time::OffsetDateTime::from_unix_timestamp_nanos(nanos).ok().map(dto::Timestamp::from)
    }
}

/// `aws-chunked` is framing, not content (S3.md trap 5).
pub(super) fn without_chunked(encoding: Option<String>) -> Option<String> {
    let kept: Vec<&str> = encoding
        .as_deref()?
        .split(',')
        .map(str::trim)
        .filter(|c| !c.is_empty() && !c.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    (!kept.is_empty()).then(|| kept.join(", "))
}

pub(super) fn expires_ms(at: dto::Timestamp) -> i64 {
    let at: time::OffsetDateTime = at.into();
    at.unix_timestamp().saturating_mul(1000)
}

pub(super) fn refuse(features: &[(&str, bool)], acl: Option<&str>, storage_class: Option<&str>) -> S3Result<()> {
    if let Some((name, _)) = features.iter().find(|(_, asked)| *asked) {
        return Err(unsupported(name));
    }
    match storage_class {
        None | Some("STANDARD") => {}
        Some(_) => {
            return Err(S3Error::with_message(
                S3ErrorCode::InvalidStorageClass,
                "The storage class you specified is not valid",
            ));
        }
    }
    match acl {
        None | Some("private" | "bucket-owner-full-control") => Ok(()),
        Some(_) => Err(s3s::s3_error!(AccessControlListNotSupported, "The bucket does not allow ACLs")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_is_not_kept_as_an_encoding() {
        let strip = |s: &str| without_chunked(Some(s.to_owned()));
        assert_eq!(strip("aws-chunked"), None);
        assert_eq!(strip("gzip,aws-chunked"), Some("gzip".to_owned()));
        assert_eq!(strip("AWS-Chunked, gzip"), Some("gzip".to_owned()));
        assert_eq!(strip(""), None);
        assert_eq!(without_chunked(None), None);
    }
}
