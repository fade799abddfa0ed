//! What every request passes through, whatever it is: an id, a context, the S3 service, and an
//! access record before the first byte of the answer leaves. A request whose record cannot be
//! written is not answered.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use http::header::{AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, RANGE, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio_util::task::TaskTracker;

use crate::clock;
use crate::context::{CONTEXT, RequestContext};
use crate::gateway::Gateway;
use crate::s3::Front;
use crate::s3::admit::{Admission, Secrets};
use crate::s3::host::Domains;
use crate::seal::key::random;
use crate::sent::{Sent, Watch};

/// Largest XML document: 10,000 parts with checksums, or 1,000 keys that are all escapes.
const XML_MAX: usize = 8 << 20;
const REQUEST_ID: &str = "x-amz-request-id";
/// Recorded when nobody was left to answer.
const CLIENT_GONE: u16 = 499;

/// The way of a request.
pub struct Stack {
    gateway: Arc<Gateway>,
    service: S3Service,
    tasks: TaskTracker,
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack").field("requests", &self.tasks.len()).finish_non_exhaustive()
    }
}

impl Stack {
    /// The stack over a gateway. `domains` are those whose subdomains are bucket names.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, domains: Domains) -> Arc<Self> {
        let mut builder = S3ServiceBuilder::new(Front(Arc::clone(&gateway)));
        builder.set_auth(Secrets(Arc::clone(&gateway)));
        builder.set_access(Admission(Arc::clone(&gateway)));
        let mut config = S3Config::default();
        config.xml_max_body_size = XML_MAX;
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        builder.set_host(domains);
        Arc::new(Self { gateway, service: builder.build(), tasks: TaskTracker::new() })
    }

    /// Requests and records under way.
    #[must_use]
    pub const fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// The gateway behind it.
    #[must_use]
    pub const fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Answers a request. It runs to its end, and to its record, even when the connection breaks off.
    pub async fn serve(self: Arc<Self>, request: Request<Incoming>, peer: IpAddr) -> Response<Sent> {
        let id = random::<8>().map_or_else(|_| "0".repeat(16), hex::encode_upper);
        let agent = request.headers().get(USER_AGENT).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
        let context = Arc::new(RequestContext::new(id, clock::now(), peer, agent));
        let head = request.method() == Method::HEAD;
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            // Nothing is left undone when a read's connection breaks but its record.
            let unrecorded = Unrecorded(Some((Arc::clone(&self), Arc::clone(&context))));
            let response = self.answer(request, &context).await;
            let response = Arc::clone(&self).record(response, context, head).await;
            unrecorded.settled();
            return response;
        }
        let stack = Arc::clone(&self);
        let of_task = Arc::clone(&context);
        let task = self.tasks.spawn(async move { stack.answer(request, &of_task).await });
        let response = match task.await {
            Ok(response) => response,
            Err(error) => {
                tracing::error!(%error, request = context.id, "a request ended in a panic");
                metrics::counter!("gotgan_panics_total").increment(1);
                plain(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "InternalError",
                    "We encountered an internal error. Please try again.",
                )
            }
        };
        self.record(response, context, head).await
    }

    async fn answer(&self, request: Request<Incoming>, context: &Arc<RequestContext>) -> Response<s3s::Body> {
        if signs_v2(&request) {
            return plain(
                StatusCode::BAD_REQUEST,
                "InvalidRequest",
                "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
            );
        }
        if is_form(&request) {
            // `s3s` would take in the whole file before anybody's signature was looked at.
            context.named("PostObject", None, None);
            return plain(
                StatusCode::NOT_IMPLEMENTED,
                "NotImplemented",
                "Uploads by HTML form (PostObject) are not implemented",
            );
        }
        let again = without_bad_range(&request);
        let request = keep_small_body(request, context);
        let response = self.call(request, context).await;
        match again {
            // Its signature was verified with the header, so it may go again without both.
            Some(again) if response.status() == StatusCode::BAD_REQUEST && context.trust_verified() => {
                self.call(again, context).await
            }
            _ => response,
        }
    }

    async fn call(&self, request: Request<s3s::Body>, context: &Arc<RequestContext>) -> Response<s3s::Body> {
        match CONTEXT.scope(Arc::clone(context), self.service.call(request)).await {
            Ok(mut response) => {
                if let Some(document) = context.take_answer()
                    && response.status().is_success()
                {
                    *response.body_mut() = s3s::Body::from(document);
                }
                response
            }
            Err(error) => {
                tracing::error!(?error, request = context.id, "the S3 service failed");
                plain(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "InternalError",
                    "We encountered an internal error. Please try again.",
                )
            }
        }
    }

    /// No answer leaves before its opening record is durable.
    async fn record(
        self: Arc<Self>,
        response: Response<s3s::Body>,
        context: Arc<RequestContext>,
        head: bool,
    ) -> Response<Sent> {
        let (mut parts, mut body) = response.into_parts();
        // `s3s` keeps no other status for HEAD than 200.
        if head && parts.status == StatusCode::OK && parts.headers.contains_key(CONTENT_RANGE) {
            parts.status = StatusCode::PARTIAL_CONTENT;
        }
        let status = parts.status.as_u16();
        let error = explain(&context.id, &mut parts, &mut body);
        if let Some(name) = &error {
            metrics::counter!("gotgan_s3_errors_total", "code" => name.clone()).increment(1);
        }
        let operation = context.operation();
        metrics::counter!("gotgan_requests_total", "operation" => operation, "status" => status.to_string())
            .increment(1);
        metrics::histogram!("gotgan_request_seconds", "operation" => operation)
            .record(context.started.elapsed().as_secs_f64());
        if context.recorded_status().is_none()
            && let Err(error) = context.record(&self.gateway.recorder, status, error).await
        {
            tracing::error!(%error, request = context.id, "no access record, so no answer");
            metrics::counter!("gotgan_unrecorded_total").increment(1);
            let refusal =
                plain(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", "The access log cannot be written");
            return refusal.map(|body| Sent::new(body, None));
        }
        if let Ok(id) = HeaderValue::from_str(&context.id) {
            parts.headers.insert(REQUEST_ID, id);
        }
        let watch = Watch::new(&self, context, status, expected(&parts, &body, head));
        Response::from_parts(parts, Sent::new(body, Some(watch)))
    }
}

/// A read that is dropped before its record: its connection broke, and the record is made now.
struct Unrecorded(Option<(Arc<Stack>, Arc<RequestContext>)>);

impl Unrecorded {
    fn settled(mut self) {
        self.0 = None;
    }
}

impl Drop for Unrecorded {
    fn drop(&mut self) {
        let Some((stack, context)) = self.0.take() else { return };
        if context.is_recording() {
            return;
        }
        let tasks = stack.tasks.clone();
        tasks.spawn(async move {
            let opening = context.opening(CLIENT_GONE, Some("the connection broke off".to_owned()));
            if let Err(error) = stack.gateway.recorder.append(context.tenant(), context.time, &opening).await {
                tracing::error!(%error, request = context.id, "no access record");
                metrics::counter!("gotgan_unrecorded_total").increment(1);
            }
        });
    }
}

/// Body bytes that the answer promises; none when that is not known.
fn expected(parts: &http::response::Parts, body: &s3s::Body, head: bool) -> Option<u64> {
    if head || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Some(0);
    }
    let length = parts.headers.get(http::header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    length.or_else(|| http_body::Body::size_hint(body).exact())
}

/// Signature Version 2 proves nothing about the request's age or body; it is refused.
fn signs_v2(request: &Request<Incoming>) -> bool {
    let header = request.headers().get(AUTHORIZATION).is_some_and(|v| v.as_bytes().starts_with(b"AWS "));
    let has =
        |name: &str| request.uri().query().is_some_and(|q| q.split('&').any(|p| p.split('=').next() == Some(name)));
    header || (has("Signature") && has("AWSAccessKeyId"))
}

/// An upload by HTML form.
fn is_form(request: &Request<Incoming>) -> bool {
    let form = |value: &HeaderValue| value.as_bytes().to_ascii_lowercase().starts_with(b"multipart/");
    request.method() == Method::POST && request.headers().get(CONTENT_TYPE).is_some_and(form)
}

/// S3 ignores a Range header that is none (RFC 9110 section 14.2); `s3s` refuses it. This is the request
/// without it, and without what signed it.
fn without_bad_range(request: &Request<Incoming>) -> Option<Request<s3s::Body>> {
    let range = request.headers().get(RANGE)?;
    if !matches!(*request.method(), Method::GET | Method::HEAD)
        || range.to_str().is_ok_and(|r| s3s::dto::Range::parse(r).is_ok())
    {
        return None;
    }
    let unsigned = |pair: &&str| !pair.get(..6).is_some_and(|p| p.eq_ignore_ascii_case("x-amz-"));
    let query: Vec<&str> = request.uri().query().unwrap_or("").split('&').filter(unsigned).collect();
    let uri = format!("{}?{}", request.uri().path(), query.join("&"));
    let mut again = Request::builder().method(request.method()).uri(uri).body(s3s::Body::empty()).ok()?;
    *again.headers_mut() = request.headers().clone();
    for name in [RANGE, AUTHORIZATION] {
        again.headers_mut().remove(name);
    }
    Some(again)
}

/// DeleteObjects promises a digest of its XML; the handler sees only what was parsed from it.
fn keep_small_body(request: Request<Incoming>, context: &Arc<RequestContext>) -> Request<s3s::Body> {
    let names_delete = |q: &str| q.split('&').any(|p| p == "delete" || p == "delete=");
    if request.method() != Method::POST || !request.uri().query().is_some_and(names_delete) {
        return request.map(s3s::Body::from);
    }
    let context = Arc::clone(context);
    request.map(|body| {
        let frames = body.into_data_stream().map_ok(move |bytes: Bytes| {
            context.keep_body(&bytes);
            http_body::Frame::data(bytes)
        });
        s3s::Body::http_body_unsync(StreamBody::new(frames))
    })
}

/// Puts the request id into an error document and gives the error's code.
fn explain(id: &str, parts: &mut http::response::Parts, body: &mut s3s::Body) -> Option<String> {
    if !(parts.status.is_client_error() || parts.status.is_server_error()) {
        return None;
    }
    let text = body.take_bytes().and_then(|bytes| String::from_utf8(bytes.to_vec()).ok()).unwrap_or_default();
    let code =
        text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code.to_owned());
    let text = text.replacen("</Error>", &format!("<RequestId>{id}</RequestId></Error>"), 1);
    if let Ok(length) = HeaderValue::from_str(&text.len().to_string())
        && parts.headers.contains_key(http::header::CONTENT_LENGTH)
    {
        parts.headers.insert(http::header::CONTENT_LENGTH, length);
    }
    *body = s3s::Body::from(text);
    Some(code.unwrap_or_else(|| parts.status.as_str().to_owned()))
}

fn plain(status: StatusCode, code: &str, message: &str) -> Response<s3s::Body> {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    let mut response = Response::new(s3s::Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}
