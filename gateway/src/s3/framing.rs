//! `aws-chunked` framing (AWS: "Transferring payload in multiple chunks"). `s3s` would gather each chunk, which
//! may be 4 GiB, before it passes it on; so the body is set aside before `s3s` reads the headers, and the frames
//! are taken off here, where content passes as it arrives. A signed chunk is verified when it ends: what passed of
//! it until then is sealed, and never committed when the signature is wrong. Some clients frame the body and
//! announce UNSIGNED-PAYLOAD (S3.md trap 3). Stored bytes never contain framing.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use s3s::dto::StreamingBlob;
use s3s::{S3Request, S3Result, StdError};

use super::lenient::Verified;
use super::put::length_of;
use super::signing::Refusal;
use crate::context::RequestContext;

mod chain;
mod decoder;

pub use chain::Chain;
pub use decoder::{Decoder, FramingError};

const UNSIGNED: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
const SIGNED_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
const DOCUMENT: Refusal =
    (StatusCode::NOT_IMPLEMENTED, "NotImplemented", "A document in aws-chunked frames is not implemented");

/// The body of a request, until its handler takes it.
#[derive(Debug, Clone)]
struct Aside(Arc<Mutex<Option<Incoming>>>);

/// True when `s3s` would take frames off the body itself.
pub(crate) fn is_announced<B>(request: &Request<B>) -> bool {
    text(request.headers(), "x-amz-content-sha256").starts_with("STREAMING-")
}

/// Sets the body aside for the handler. Whoever reads the one in its place wants a document.
pub(crate) fn set_aside(request: Request<Incoming>, context: &Arc<RequestContext>) -> Request<s3s::Body> {
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(Aside(Arc::new(Mutex::new(Some(body)))));
    let context = Arc::clone(context);
    let refuses = stream::once(async move {
        context.body_failed(DOCUMENT);
        Err::<Frame<Bytes>, _>(StdError::from(DOCUMENT.2))
    });
    Request::from_parts(parts, s3s::Body::http_body_unsync(StreamBody::new(refuses)))
}

/// A body in frames that were announced.
pub(super) struct Frames {
    body: Incoming,
    decoder: Decoder,
}

/// The frames of a request whose signature was verified, if it has them.
pub(super) fn frames<T>(req: &S3Request<T>) -> S3Result<Option<Frames>> {
    let Some(Aside(aside)) = req.extensions.get::<Aside>() else { return Ok(None) };
    let body = aside.lock().unwrap_or_else(PoisonError::into_inner).take();
    let body = body.ok_or_else(|| s3s::s3_error!(InternalError, "the body was taken before"))?;
    let announced = text(&req.headers, "x-amz-content-sha256");
    if announced == UNSIGNED {
        return Ok(Some(Frames { body, decoder: Decoder::default() }));
    }
    let verified = req.extensions.get::<Verified>();
    let authorization = match verified {
        Some(verified) => verified.authorization.as_ref().and_then(|v| v.to_str().ok()).unwrap_or_default(),
        None => text(&req.headers, AUTHORIZATION.as_str()),
    };
    let chain = verified
        .map(|v| &v.credentials)
        .or(req.credentials.as_ref())
        .and_then(|c| Chain::begin(c.secret_key.expose(), text(&req.headers, "x-amz-date"), authorization));
    let chain = chain.ok_or_else(|| s3s::s3_error!(AccessDenied, "Access Denied"))?;
    Ok(Some(Frames { body, decoder: Decoder::signed(chain, announced == SIGNED_TRAILER) }))
}

/// A body as the pipeline wants it: content without framing, its length, its trailers afterwards.
pub(super) struct Content {
    pub stream: BoxStream<'static, Result<Bytes, StdError>>,
    pub length: u64,
    trailers: Arc<Mutex<Option<HeaderMap>>>,
}

impl Content {
    pub(super) fn of(
        headers: &HeaderMap,
        body: Option<StreamingBlob>,
        length: Option<i64>,
        frames: Option<Frames>,
    ) -> S3Result<Self> {
        let trailers = Arc::new(Mutex::new(None));
        let decoded = text(headers, "x-amz-decoded-content-length").parse().ok();
        let body = body.unwrap_or_else(|| StreamingBlob::from(s3s::Body::empty()));
        let (stream, length) = match frames {
            Some(Frames { body, decoder }) => {
                let body = body.into_data_stream().map(|piece| piece.map_err(StdError::from));
                // Over HTTP chunks there is no Content-Length, only that of the content (S3.md trap 32).
                (unframed(body, decoder, Arc::clone(&trailers)), length.or(decoded))
            }
            None if is_framed(headers) => (unframed(body, Decoder::default(), Arc::clone(&trailers)), decoded),
            None => (body.boxed(), length.or(decoded)),
        };
        Ok(Self { stream, length: length_of(length)?, trailers })
    }

    /// Trailers, once the stream has ended.
    pub(super) fn into_trailers(self) -> Option<HeaderMap> {
        self.trailers.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

/// Framed, though nothing of the kind was announced.
fn is_framed(headers: &HeaderMap) -> bool {
    let framed = text(headers, "content-encoding").split(',').any(|c| c.trim().eq_ignore_ascii_case("aws-chunked"));
    framed && headers.contains_key("x-amz-decoded-content-length")
}

fn unframed(
    body: impl Stream<Item = Result<Bytes, StdError>> + Unpin + Send + 'static,
    decoder: Decoder,
    found: Arc<Mutex<Option<HeaderMap>>>,
) -> BoxStream<'static, Result<Bytes, StdError>> {
    let start = Some((body, decoder, Bytes::new()));
    stream::unfold(start, move |state| {
        let found = Arc::clone(&found);
        async move {
            let (mut body, mut decoder, mut input) = state?;
            loop {
                match decoder.piece(&mut input) {
                    Err(error) => return Some((Err(error.into()), None)),
                    Ok(Some(content)) => return Some((Ok(content), Some((body, decoder, input)))),
                    Ok(None) => {}
                }
                input = match body.next().await {
                    Some(Err(error)) => return Some((Err(error), None)),
                    Some(Ok(bytes)) => bytes,
                    None => break,
                };
            }
            match decoder.finish() {
                Err(error) => Some((Err(error.into()), None)),
                Ok(trailers) => {
                    *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(trailers);
                    None
                }
            }
        }
    })
    .boxed()
}
