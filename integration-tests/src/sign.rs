//! Signature Version 4 from its description, with nothing of the server's in it.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html>

use ring::hmac;

use crate::clock::Moment;
use crate::sums::sha256_hex;

/// Who signs.
#[derive(Debug, Clone)]
pub struct Signer {
    /// Access key id.
    pub access: String,
    /// Secret access key.
    pub secret: String,
    /// Region of the scope.
    pub region: String,
}

/// What is signed: everything as it goes over the wire.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// Method.
    pub method: &'a str,
    /// Path, encoded.
    pub path: &'a str,
    /// Query string, encoded, without `?`.
    pub query: &'a str,
    /// Headers that are signed.
    pub headers: &'a [(String, String)],
    /// Value of `x-amz-content-sha256`.
    pub payload: &'a str,
    /// When.
    pub at: Moment,
}

impl Signer {
    /// `20130524/us-east-1/s3/aws4_request`.
    #[must_use]
    pub fn scope(&self, at: Moment) -> String {
        self.scope_of("s3", at)
    }

    fn scope_of(&self, service: &str, at: Moment) -> String {
        format!("{}/{}/{service}/aws4_request", &at.amz()[..8], self.region)
    }

    fn key(&self, service: &str, at: Moment) -> hmac::Key {
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        let date = at.amz();
        for step in [&date[..8], self.region.as_str(), service, "aws4_request"] {
            key = mac(&hmac::Key::new(hmac::HMAC_SHA256, &key), step.as_bytes());
        }
        hmac::Key::new(hmac::HMAC_SHA256, &key)
    }

    /// The signature of a request, in hex.
    #[must_use]
    pub fn signature(&self, request: &Signed<'_>) -> String {
        self.signature_for("s3", request)
    }

    fn signature_for(&self, service: &str, request: &Signed<'_>) -> String {
        let text = format!(
            "AWS4-HMAC-SHA256\n{}\n{}\n{}",
            request.at.amz(),
            self.scope_of(service, request.at),
            sha256_hex(canonical(request).as_bytes())
        );
        hex::encode(mac(&self.key(service, request.at), text.as_bytes()))
    }

    /// The Authorization header.
    #[must_use]
    pub fn authorization(&self, request: &Signed<'_>) -> String {
        self.authorization_for("s3", request)
    }

    /// The Authorization header for another service than S3.
    #[must_use]
    pub fn authorization_for(&self, service: &str, request: &Signed<'_>) -> String {
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={}, Signature={}",
            self.access,
            self.scope_of(service, request.at),
            names(request.headers),
            self.signature_for(service, request)
        )
    }

    /// The signature of one chunk of a streamed body, given the one before.
    #[must_use]
    pub fn chunk(&self, at: Moment, before: &str, data: &[u8]) -> String {
        let text = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{before}\n{}\n{}",
            at.amz(),
            self.scope(at),
            sha256_hex(b""),
            sha256_hex(data)
        );
        hex::encode(mac(&self.key("s3", at), text.as_bytes()))
    }

    /// The signature of the trailing headers, given the one of the last chunk.
    #[must_use]
    pub fn trailer(&self, at: Moment, before: &str, trailer: &str) -> String {
        let text = format!(
            "AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{before}\n{}",
            at.amz(),
            self.scope(at),
            sha256_hex(trailer.as_bytes())
        );
        hex::encode(mac(&self.key("s3", at), text.as_bytes()))
    }

    /// The query string of a presigned request, encoded, `extra` included.
    #[must_use]
    pub fn presign(&self, request: (&str, &str, &str), extra: &[(&str, &str)], validity: (Moment, u32)) -> String {
        let (method, path, host) = request;
        let (at, seconds) = validity;
        let mut pairs: Vec<(String, String)> = extra.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        for (name, value) in [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256".to_owned()),
            ("X-Amz-Credential", format!("{}/{}", self.access, self.scope(at))),
            ("X-Amz-Date", at.amz()),
            ("X-Amz-Expires", seconds.to_string()),
            ("X-Amz-SignedHeaders", "host".to_owned()),
        ] {
            pairs.push((name.to_owned(), value));
        }
        let query = query(&pairs);
        let headers = [("host".to_owned(), host.to_owned())];
        let signature =
            self.signature(&Signed { method, path, query: &query, headers: &headers, payload: "UNSIGNED-PAYLOAD", at });
        format!("{query}&X-Amz-Signature={signature}")
    }
}

fn canonical(request: &Signed<'_>) -> String {
    let mut headers: Vec<(String, String)> = request
        .headers
        .iter()
        .map(|(k, v)| (k.to_ascii_lowercase(), v.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect();
    headers.sort();
    let lines: String = headers.iter().map(|(k, v)| format!("{k}:{v}\n")).collect();
    // By name, then value: `select` before `select-type`, although `-` comes before `=`.
    let pairs = request.query.split('&').filter(|p| !p.is_empty());
    let mut pairs: Vec<(&str, &str)> = pairs.map(|p| p.split_once('=').unwrap_or((p, ""))).collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!(
        "{}\n{}\n{}\n{lines}\n{}\n{}",
        request.method,
        request.path,
        pairs.join("&"),
        names(request.headers),
        request.payload
    )
}

fn names(headers: &[(String, String)]) -> String {
    let mut names: Vec<String> = headers.iter().map(|(k, _)| k.to_ascii_lowercase()).collect();
    names.sort();
    names.join(";")
}

fn mac(key: &hmac::Key, data: &[u8]) -> Vec<u8> {
    hmac::sign(key, data).as_ref().to_vec()
}

/// Percent-encodes as S3 signs: all but unreserved characters, `/` kept when asked.
#[must_use]
pub fn encode(text: &str, keep_slash: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if plain || (keep_slash && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A query string in order of names, encoded; a pair without value keeps its `=`.
#[must_use]
pub fn query(pairs: &[(String, String)]) -> String {
    let mut encoded: Vec<(String, String)> = pairs.iter().map(|(k, v)| (encode(k, false), encode(v, false))).collect();
    encoded.sort();
    let joined: Vec<String> = encoded.into_iter().map(|(k, v)| format!("{k}={v}")).collect();
    joined.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> Signer {
        Signer {
            access: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            region: "us-east-1".to_owned(),
        }
    }

    /// The example "GET Object" of the description.
    #[test]
    fn aws_example_get_object() {
        let empty = sha256_hex(b"");
        let headers: Vec<(String, String)> = [
            ("Host", "examplebucket.s3.amazonaws.com"),
            ("Range", "bytes=0-9"),
            ("x-amz-content-sha256", &empty),
            ("x-amz-date", "20130524T000000Z"),
        ]
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
        let signature = signer().signature(&Signed {
            method: "GET",
            path: "/test.txt",
            query: "",
            headers: &headers,
            payload: &empty,
            at: Moment(1_369_353_600),
        });
        assert_eq!(signature, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
    }

    /// The example of a presigned URL.
    #[test]
    fn aws_example_presigned() {
        let query = signer().presign(
            ("GET", "/test.txt", "examplebucket.s3.amazonaws.com"),
            &[],
            (Moment(1_369_353_600), 86_400),
        );
        assert!(query.ends_with("X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"));
    }

    /// The example of a chunked upload: the seed signature and the one of the first chunk.
    #[test]
    fn aws_example_chunk() {
        let seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
        let first = signer().chunk(Moment(1_369_353_600), seed, &[b'a'; 65_536]);
        assert_eq!(first, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648");
    }
}
