//! Signature Version 4 for the admin API, for both ends: the signature covers method, path, query,
//! body, time and a nonce that is accepted once (AWS: "Signature Version 4 signing process").

use http::Uri;
use policy::time::UtcMillis;
use ring::{digest, hmac};

/// The service name in the scope: a signature for S3 opens nothing here.
pub const SERVICE: &str = "gotgan-admin";
/// The header that carries the nonce.
pub const NONCE: &str = "x-gotgan-nonce";
/// Headers that are signed, in order.
const SIGNED: &str = "host;x-amz-content-sha256;x-amz-date;x-gotgan-nonce";

/// What a signature covers.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// HTTP method.
    pub method: &'a str,
    /// Path and query.
    pub uri: &'a Uri,
    /// Host header.
    pub host: &'a str,
    /// `YYYYMMDDTHHMMSSZ`.
    pub date: &'a str,
    /// Once.
    pub nonce: &'a str,
    /// SHA-256 of the body, in hex.
    pub body: &'a str,
}

impl Signed<'_> {
    /// The signature, in hex.
    #[must_use]
    pub fn signature(&self, secret: &str, region: &str) -> String {
        let day = self.date.get(..8).unwrap_or_default();
        let scope = format!("{day}/{region}/{SERVICE}/aws4_request");
        let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{}", self.date, sha256_hex(self.canonical().as_bytes()));
        let mut key = zeroize::Zeroizing::new(format!("AWS4{secret}").into_bytes());
        for part in [day, region, SERVICE, "aws4_request"] {
            *key = mac(&key, part).as_ref().to_vec();
        }
        hex::encode(mac(&key, &text))
    }

    /// The `Authorization` header.
    #[must_use]
    pub fn authorization(&self, access_key: &str, secret: &str, region: &str) -> String {
        let day = self.date.get(..8).unwrap_or_default();
        let signature = self.signature(secret, region);
        format!(
            "AWS4-HMAC-SHA256 Credential={access_key}/{day}/{region}/{SERVICE}/aws4_request, SignedHeaders={SIGNED}, Signature={signature}"
        )
    }

    fn canonical(&self) -> String {
        let mut query = query_pairs(self.uri.query().unwrap_or(""));
        query.sort();
        let query: Vec<String> = query.iter().map(|(k, v)| format!("{}={}", escape(k), escape(v))).collect();
        format!(
            "{}\n{}\n{}\nhost:{}\nx-amz-content-sha256:{}\nx-amz-date:{}\n{NONCE}:{}\n\n{SIGNED}\n{}",
            self.method,
            self.uri.path(),
            query.join("&"),
            self.host,
            self.body,
            self.date,
            self.nonce,
            self.body
        )
    }
}

/// The parts of an `Authorization` header.
#[derive(Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    /// Access key.
    pub access_key: &'a str,
    /// Region name that was signed for.
    pub region: &'a str,
    /// Signature.
    pub signature: &'a str,
}

/// Reads an `Authorization` header; none when it is not one of this scheme.
#[must_use]
pub fn parse(header: &str) -> Option<Claim<'_>> {
    let rest = header.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let mut fields = rest.split(',').map(str::trim);
    let mut field = |name: &str| fields.next()?.strip_prefix(name);
    let credential = field("Credential=")?;
    let signed = field("SignedHeaders=")?;
    let signature = field("Signature=")?;
    let mut scope = credential.split('/');
    let claim = Claim { access_key: scope.next()?, region: scope.nth(1)?, signature };
    (signed == SIGNED && scope.next() == Some(SERVICE)).then_some(claim)
}

/// `YYYYMMDDTHHMMSSZ`.
#[must_use]
pub fn date(at: UtcMillis) -> String {
    let at = i64::try_from(at.0 / 1000).ok().and_then(|s| time::OffsetDateTime::from_unix_timestamp(s).ok());
    let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
    at.and_then(|at| at.format(format).ok()).unwrap_or_default()
}

/// The time of [`date`].
#[must_use]
pub fn parse_date(text: &str) -> Option<UtcMillis> {
    let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
    let at = time::PrimitiveDateTime::parse(text, format).ok()?.assume_utc();
    u64::try_from(at.unix_timestamp()).ok().map(|s| UtcMillis(s * 1000))
}

/// SHA-256 in hex.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

/// Decoded pairs of a query.
#[must_use]
pub fn query_pairs(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|p| !p.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(k, v)| (unescape(k), unescape(v)))
        .collect()
}

/// Percent-encodes all but unreserved characters (RFC 3986 section 2.3).
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Decodes percent escapes; others stay as they are.
#[must_use]
pub fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let decoded = if *first == b'%' { tail.get(..2).and_then(|h| hex::decode(h).ok()) } else { None };
        match decoded {
            Some(byte) => {
                out.extend(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_header_is_no_panic(text in ".{0,200}") {
            let _claim = parse(&text);
            let _pairs = query_pairs(&text);
        }

        #[test]
        fn escapes_come_back(text in ".{0,60}") {
            prop_assert_eq!(unescape(&escape(&text)), text);
        }

        #[test]
        fn dates_come_back(seconds in 0..4_000_000_000_u64) {
            prop_assert_eq!(parse_date(&date(UtcMillis(seconds * 1000))), Some(UtcMillis(seconds * 1000)));
        }
    }

    #[test]
    fn every_part_is_covered() {
        let uri: Uri = "/v1/audit?b=2&a=1".parse().unwrap();
        let signed = Signed { method: "GET", uri: &uri, host: "h", date: "20261124T000000Z", nonce: "n", body: "b" };
        let good = signed.signature("secret", "r");
        let other: Uri = "/v1/audit?b=2&a=2".parse().unwrap();
        let reordered: Uri = "/v1/audit?a=1&b=2".parse().unwrap();
        assert_eq!(Signed { uri: &reordered, ..signed }.signature("secret", "r"), good);
        for changed in [
            Signed { method: "PUT", ..signed },
            Signed { uri: &other, ..signed },
            Signed { host: "i", ..signed },
            Signed { date: "20261124T000001Z", ..signed },
            Signed { nonce: "m", ..signed },
            Signed { body: "c", ..signed },
        ] {
            assert_ne!(changed.signature("secret", "r"), good);
        }
        let header = signed.authorization("AK", "secret", "r");
        assert_eq!(parse(&header), Some(Claim { access_key: "AK", region: "r", signature: &good }));
    }
}
