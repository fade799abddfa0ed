//! What a client promises about its body (checksums, Content-MD5, length), and what is stored of it.

use std::io::Write as _;

use crate::digest::checksum::{Algorithm, Checksum};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::HeaderMap;
use s3s::dto::{self, ETag};
use s3s::{S3Error, S3ErrorCode, S3Result};
use serde::{Deserialize, Serialize};

/// An ETag as kept: an MD5, or an MD5 of part MD5s with their count. A compatibility value, never integrity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredETag {
    /// The MD5.
    pub md5: [u8; 16],
    /// Number of parts of a multipart upload.
    pub parts: Option<u32>,
}

impl StoredETag {
    /// The text between the quotes.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = Vec::with_capacity(40);
        self.write(&mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    /// Appends [`Self::text`].
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut digits = [0; 32];
        // There is as much room as digits, and writing to memory cannot fail.
        let _written = hex::encode_to_slice(self.md5, &mut digits).is_ok();
        out.extend_from_slice(&digits);
        if let Some(parts) = self.parts {
            let _written = write!(out, "-{parts}").is_ok();
        }
    }

    pub(super) fn to_dto(&self) -> ETag {
        ETag::Strong(self.text())
    }
}

/// The algorithm that a client names for a checksum that the server makes.
pub(super) fn named_algorithm(name: &str) -> S3Result<Algorithm> {
    name.to_ascii_uppercase().parse().map_err(|_| {
        s3s::s3_error!(
            InvalidRequest,
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]"
        )
    })
}

/// A checksum as kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredChecksum {
    /// S3's name of the algorithm.
    pub algorithm: String,
    /// The raw value.
    pub value: Vec<u8>,
    /// `Some(parts)` for COMPOSITE, none for FULL_OBJECT.
    pub composite: Option<u32>,
}

impl StoredChecksum {
    pub(super) fn full(checksum: &Checksum) -> Self {
        Self { algorithm: checksum.algorithm.name().to_owned(), value: checksum.bytes.clone(), composite: None }
    }

    /// The header's text: base64, with `-N` for a composite one.
    #[must_use]
    pub fn text(&self) -> String {
        let value = BASE64_STANDARD.encode(&self.value);
        match self.composite {
            None => value,
            Some(parts) => format!("{value}-{parts}"),
        }
    }

    pub(super) fn kind(&self) -> dto::ChecksumType {
        dto::ChecksumType::from_static(kind(self.composite))
    }

    pub(super) fn algorithm(&self) -> Option<Algorithm> {
        self.algorithm.parse().ok()
    }
}

/// What a list says of a [`StoredChecksum`], read without copying.
#[derive(Debug, Deserialize)]
pub(super) struct ListedChecksum<'a> {
    pub algorithm: &'a str,
    /// Lists do not tell it; it stands between the other two.
    _value: &'a [u8],
    composite: Option<u32>,
}

impl ListedChecksum<'_> {
    pub(super) fn kind(&self) -> &'static str {
        kind(self.composite)
    }
}

const fn kind(composite: Option<u32>) -> &'static str {
    if composite.is_some() { dto::ChecksumType::COMPOSITE } else { dto::ChecksumType::FULL_OBJECT }
}

/// Sets the checksum fields of any output that has them.
macro_rules! put_checksum {
    ($output:expr, $checksum:expr) => {
        if let Some(stored) = $checksum {
            let text = Some(stored.text());
            match stored.algorithm() {
                Some(crate::digest::checksum::Algorithm::Crc32) => $output.checksum_crc32 = text,
                Some(crate::digest::checksum::Algorithm::Crc32c) => $output.checksum_crc32c = text,
                Some(crate::digest::checksum::Algorithm::Crc64Nvme) => $output.checksum_crc64nvme = text,
                Some(crate::digest::checksum::Algorithm::Sha1) => $output.checksum_sha1 = text,
                Some(crate::digest::checksum::Algorithm::Sha256) => $output.checksum_sha256 = text,
                None => {}
            }
        }
    };
}
pub(super) use put_checksum;

/// The promises of one body.
#[derive(Debug, Default)]
pub(super) struct Promises {
    /// Content-MD5.
    pub md5: Option<[u8; 16]>,
    /// The checksum algorithm to compute, with the value when it came in a header.
    pub checksum: Option<(Algorithm, Option<Vec<u8>>)>,
    /// The value comes in a trailer.
    pub in_trailer: bool,
}

impl Promises {
    /// Reads the promises from headers.
    pub(super) fn read(headers: &HeaderMap, content_md5: Option<&str>) -> S3Result<Self> {
        // An empty header is a wrong promise, not none; `s3s` drops it.
        let content_md5 = content_md5.or_else(|| headers.get("content-md5").map(|v| v.to_str().unwrap_or("")));
        let mut promises = Self { md5: content_md5.map(parse_md5).transpose()?, ..Self::default() };
        for algorithm in Algorithm::ALL {
            let Some(value) = headers.get(algorithm.header()) else { continue };
            if promises.checksum.is_some() {
                return Err(s3s::s3_error!(
                    InvalidRequest,
                    "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
                ));
            }
            let text = value.to_str().unwrap_or("");
            let parsed = Checksum::parse(algorithm, text).map_err(|_| invalid_value(algorithm))?;
            promises.checksum = Some((algorithm, Some(parsed.bytes)));
        }
        if headers.keys().any(|name| unknown_checksum(name.as_str())) {
            return Err(s3s::s3_error!(
                InvalidRequest,
                "The algorithm type you specified in x-amz-checksum- header is invalid."
            ));
        }
        promises.trailer(headers)?;
        promises.named(headers)?;
        Ok(promises)
    }

    fn trailer(&mut self, headers: &HeaderMap) -> S3Result<()> {
        let Some(names) = headers.get("x-amz-trailer").and_then(|v| v.to_str().ok()) else { return Ok(()) };
        for name in names.split(',').map(|n| n.trim().to_ascii_lowercase()) {
            if let Some(algorithm) = Algorithm::ALL.into_iter().find(|a| a.header() == name) {
                if self.checksum.is_some() {
                    return Err(s3s::s3_error!(
                        InvalidRequest,
                        "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
                    ));
                }
                self.checksum = Some((algorithm, None));
                self.in_trailer = true;
            } else if name.starts_with("x-amz-checksum-") {
                return Err(s3s::s3_error!(
                    InvalidRequest,
                    "The value specified in the x-amz-trailer header is not supported"
                ));
            }
        }
        Ok(())
    }

    /// `x-amz-sdk-checksum-algorithm` must agree with what was sent.
    fn named(&self, headers: &HeaderMap) -> S3Result<()> {
        let Some(name) = headers.get("x-amz-sdk-checksum-algorithm").and_then(|v| v.to_str().ok()) else {
            return Ok(());
        };
        let algorithm: Algorithm = name
            .to_ascii_uppercase()
            .parse()
            .map_err(|_| s3s::s3_error!(InvalidRequest, "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]"))?;
        match &self.checksum {
            Some((sent, _)) if *sent != algorithm => {
                Err(s3s::s3_error!(InvalidRequest, "Value for x-amz-sdk-checksum-algorithm header is invalid."))
            }
            Some(_) => Ok(()),
            None => Err(s3s::s3_error!(
                InvalidRequest,
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found."
            )),
        }
    }

    /// Compares the promises with what arrived. Nothing is stored unless this is `Ok`.
    pub(super) fn verify(
        &self,
        md5: [u8; 16],
        checksum: Option<&Checksum>,
        trailers: Option<&HeaderMap>,
    ) -> S3Result<()> {
        if self.md5.is_some_and(|promised| promised != md5) {
            return Err(s3s::s3_error!(BadDigest, "The Content-MD5 you specified did not match what we received."));
        }
        let Some((algorithm, promised)) = &self.checksum else { return Ok(()) };
        let promised = match promised {
            Some(value) => value.clone(),
            None => self.trailing(*algorithm, trailers)?,
        };
        if checksum.is_some_and(|c| c.bytes == promised) {
            return Ok(());
        }
        Err(S3Error::with_message(
            S3ErrorCode::BadDigest,
            format!("The {} you specified did not match the calculated checksum.", algorithm.name()),
        ))
    }

    fn trailing(&self, algorithm: Algorithm, trailers: Option<&HeaderMap>) -> S3Result<Vec<u8>> {
        let missing = || {
            custom(
                "MalformedTrailerError",
                "The request contained trailing data that was not well-formed or did not conform to our published schema.",
            )
        };
        let text = trailers
            .filter(|_| self.in_trailer)
            .and_then(|headers| headers.get(algorithm.header())?.to_str().ok())
            .ok_or_else(missing)?;
        Ok(Checksum::parse(algorithm, text.trim()).map_err(|_| invalid_value(algorithm))?.bytes)
    }
}

/// A checksum that nothing here would compare: refused, never ignored (S3.md trap 8).
fn unknown_checksum(header: &str) -> bool {
    header.strip_prefix("x-amz-checksum-").is_some_and(|name| !matches!(name, "algorithm" | "type" | "mode"))
        && !Algorithm::ALL.iter().any(|algorithm| algorithm.header() == header)
}

/// Content-MD5: base64 of 16 bytes.
pub(crate) fn parse_md5(text: &str) -> S3Result<[u8; 16]> {
    BASE64_STANDARD
        .decode(text.trim())
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| s3s::s3_error!(InvalidDigest, "The Content-MD5 you specified is not valid."))
}

/// A code that `s3s` does not list, as a 400.
pub(super) fn custom(code: &'static str, message: &'static str) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message);
    error.set_status_code(http::StatusCode::BAD_REQUEST);
    error
}

fn invalid_value(algorithm: Algorithm) -> S3Error {
    S3Error::with_message(S3ErrorCode::InvalidRequest, format!("Value for {} header is invalid.", algorithm.header()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (http::HeaderName::from_static(k), v.parse().unwrap())).collect()
    }

    #[test]
    fn promises_are_read_and_refused() {
        let none = Promises::read(&headers(&[]), None).unwrap();
        assert!(none.checksum.is_none() && none.md5.is_none());
        let crc = Promises::read(&headers(&[("x-amz-checksum-crc32", "y/Q5Jg==")]), None).unwrap();
        assert_eq!(crc.checksum.unwrap().1.unwrap(), [0xcb, 0xf4, 0x39, 0x26]);
        assert!(Promises::read(&headers(&[("x-amz-checksum-crc32", "short")]), None).is_err());
        let two = headers(&[("x-amz-checksum-crc32", "y/Q5Jg=="), ("x-amz-checksum-crc32c", "4waSgw==")]);
        assert!(Promises::read(&two, None).is_err());
        assert!(Promises::read(&headers(&[("x-amz-sdk-checksum-algorithm", "CRC32")]), None).is_err());
        assert!(parse_md5("nonsense").is_err());
        assert!(parse_md5("1B2M2Y8AsgTpgAmY7PhCfg==").is_ok());
    }

    #[test]
    fn a_trailer_that_never_came_is_refused() {
        let promised = Promises::read(&headers(&[("x-amz-trailer", "x-amz-checksum-crc32")]), None).unwrap();
        assert!(promised.in_trailer);
        assert!(promised.verify([0; 16], None, None).is_err());
    }
}
