//! XML documents: those of requests come within a time, and are kept where their digest is promised;
//! those of answers can be read back whatever an object is called.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::unfold;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use ring::digest::{SHA256, digest};
use s3s::StdError;
use tokio::time::{Instant, timeout_at};

use crate::context::RequestContext;
use crate::digest::md5::md5_now;
use crate::s3::checks::parse_md5;
use crate::s3::signing::Refusal;

/// A document is a few MiB at most, and nobody needs longer for it.
const TIME: Duration = Duration::from_secs(30);
/// Largest document: 10,000 parts with checksums, or 1,000 keys that are all escapes.
pub(crate) const XML_MAX: usize = 8 << 20;
/// Largest document of CreateBucket.
const BUCKET_MAX: usize = 64 << 10;
/// Answers of `s3s` that name objects which clients chose the names of.
const NAMING: [&str; 5] =
    ["ListMultipartUploads", "ListParts", "CreateMultipartUpload", "CompleteMultipartUpload", "DeleteObjects"];

/// The XML document of a request, with what its headers promise of it. Bodies of objects are judged where they are
/// written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    /// DeleteObjects promises more of its document, and the handler sees only what was parsed from it.
    kept: bool,
    /// Declared bytes. `s3s` judges the digest at the last of them, and calls its own refusal a failure of the server.
    length: Option<usize>,
    md5: Option<HeaderValue>,
    sha256: Option<HeaderValue>,
}

impl Document {
    /// The document that a request brings, if it does.
    pub(crate) fn of<B: Body>(request: &Request<B>) -> Option<Self> {
        let deletes = |q: &str| q.split('&').any(|p| p == "delete" || p == "delete=");
        let headers = request.headers();
        let length = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
        let brings = match *request.method() {
            Method::POST => true,
            // CreateBucket, or an object in virtual-host style that is as small.
            Method::PUT => {
                length.is_some_and(|n| n <= BUCKET_MAX) && !request.uri().path().trim_matches('/').contains('/')
            }
            _ => false,
        };
        let framed = headers.contains_key("x-amz-decoded-content-length");
        (brings && !framed && !request.body().is_end_stream()).then(|| Self {
            kept: request.uri().query().is_some_and(deletes),
            length,
            md5: headers.get("content-md5").cloned(),
            sha256: headers.get("x-amz-content-sha256").filter(|v| v.len() == 64).cloned(),
        })
    }

    /// Watches the document as it arrives.
    pub(crate) fn watch(self, request: Request<Incoming>, context: &Arc<RequestContext>) -> Request<s3s::Body> {
        let context = Arc::clone(context);
        let until = Instant::now() + TIME;
        request.map(|body| {
            let start = Some((body.into_data_stream(), Vec::new()));
            let frames = unfold((self, start), move |(document, arriving)| {
                let context = Arc::clone(&context);
                async move {
                    let (mut body, mut text) = arriving?;
                    let next = timeout_at(until, body.next()).await;
                    context.moves();
                    let refusal = match &next {
                        Ok(Some(Ok(bytes))) if text.len() + bytes.len() > XML_MAX => Some(TOO_LARGE),
                        Ok(Some(Ok(bytes))) => {
                            text.extend_from_slice(bytes);
                            (document.length == Some(text.len())).then(|| document.judge(&text)).flatten()
                        }
                        Ok(None) => document.judge(&text),
                        Ok(Some(Err(_))) => Some(INCOMPLETE),
                        Err(_) => Some(LATE),
                    };
                    if let Some(refusal) = refusal {
                        context.body_failed(refusal);
                        return Some((Err(StdError::from(refusal.1)), (document, None)));
                    }
                    let bytes = next.ok()??.ok()?;
                    if document.kept {
                        context.keep_body(&bytes);
                    }
                    Some((Ok(Frame::data(bytes)), (document, Some((body, text)))))
                }
            });
            s3s::Body::http_body_unsync(StreamBody::new(frames))
        })
    }

    /// Compares a whole document with what was promised of it.
    fn judge(&self, text: &[u8]) -> Option<Refusal> {
        let promised = self.md5.as_ref().map(|v| parse_md5(v.to_str().unwrap_or_default()));
        match promised {
            Some(Err(_)) => return Some(INVALID_DIGEST),
            Some(Ok(md5)) if md5 != md5_now(text) => return Some(BAD_DIGEST),
            _ => {}
        }
        let digest = hex::encode(digest(&SHA256, text));
        self.sha256.as_ref().is_some_and(|promised| *promised != digest).then_some(SHA256_MISMATCH)
    }
}

const BAD_DIGEST: Refusal =
    (StatusCode::BAD_REQUEST, "BadDigest", "The Content-MD5 you specified did not match what we received.");
const INCOMPLETE: Refusal = (
    StatusCode::BAD_REQUEST,
    "IncompleteBody",
    "You did not provide the number of bytes specified by the Content-Length HTTP header",
);
const INVALID_DIGEST: Refusal =
    (StatusCode::BAD_REQUEST, "InvalidDigest", "The Content-MD5 you specified is not valid.");
const TOO_LARGE: Refusal = (StatusCode::BAD_REQUEST, "MaxMessageLengthExceeded", "Your request was too big.");
const LATE: Refusal = (
    StatusCode::BAD_REQUEST,
    "RequestTimeout",
    "Your socket connection to the server was not read from or written to within the timeout period.",
);
const SHA256_MISMATCH: Refusal = (
    StatusCode::BAD_REQUEST,
    "XAmzContentSHA256Mismatch",
    "The provided 'x-amz-content-sha256' header does not match what was computed.",
);

/// Writes control characters of object names as character references, as S3 does: a raw carriage return
/// is a line feed to whoever parses it.
pub(crate) fn readable(operation: &str, parts: &mut Parts, body: &mut s3s::Body) {
    if parts.status != StatusCode::OK || !NAMING.contains(&operation) {
        return;
    }
    let Some(bytes) = body.take_bytes() else { return };
    let escaped = if bytes.iter().any(is_control) { escape_controls(&bytes) } else { bytes };
    if let Ok(length) = escaped.len().to_string().parse()
        && parts.headers.contains_key(CONTENT_LENGTH)
    {
        parts.headers.insert(CONTENT_LENGTH, length);
    }
    *body = s3s::Body::from(escaped);
}

const fn is_control(byte: &u8) -> bool {
    *byte < b' ' && !matches!(*byte, b'\n' | b'\t')
}

fn escape_controls(text: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(text.len() + 64);
    for byte in text {
        if is_control(byte) {
            out.extend_from_slice(format!("&#x{byte:x};").as_bytes());
        } else {
            out.push(*byte);
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_told_from_objects() {
        let of = |method: &str, uri: &str, body: &'static str| {
            let body = http_body_util::Full::new(Bytes::from_static(body.as_bytes()));
            let length = http_body_util::Full::size_hint(&body).exact().unwrap();
            let request = Request::builder().method(method).uri(uri).header(CONTENT_LENGTH, length);
            Document::of(&request.body(body).unwrap()).map(|d| d.kept)
        };
        assert_eq!(of("POST", "/b?delete", "x"), Some(true));
        assert_eq!(of("POST", "/b/k?uploadId=1", "x"), Some(false));
        assert_eq!(of("POST", "/b/k?uploads", ""), None);
        assert_eq!(of("PUT", "/b/", "x"), Some(false));
        assert_eq!(of("PUT", "/b/k", "x"), None);
        assert_eq!(of("GET", "/b", ""), None);
    }

    #[test]
    fn promises_are_kept() {
        let judge = |md5: Option<&'static str>, sha256: Option<&'static str>| {
            let document = Document {
                kept: false,
                length: Some(0),
                md5: md5.map(HeaderValue::from_static),
                sha256: sha256.map(HeaderValue::from_static),
            };
            document.judge(b"").map(|refusal| refusal.1)
        };
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(judge(None, None), None);
        assert_eq!(judge(Some("1B2M2Y8AsgTpgAmY7PhCfg=="), Some(empty)), None);
        assert_eq!(judge(Some("AAAAAAAAAAAAAAAAAAAAAA=="), None), Some("BadDigest"));
        assert_eq!(judge(Some("nonsense"), None), Some("InvalidDigest"));
        assert_eq!(judge(None, Some("0")), Some("XAmzContentSHA256Mismatch"));
    }

    #[test]
    fn controls_become_references() {
        assert_eq!(&escape_controls(b"<Key>a\rb\x01c\n</Key>")[..], b"<Key>a&#xd;b&#x1;c\n</Key>");
    }
}
