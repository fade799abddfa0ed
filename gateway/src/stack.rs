//! What every request passes through, whatever it is: an id, a context, the S3 service, and an
//! access record before the first byte of the answer leaves. A request whose record cannot be
//! written is not answered.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::Either;
use http::header::{CONTENT_RANGE, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio_util::task::TaskTracker;

use crate::accept::{Answer, NO_HOST, names_its_host};
use crate::clock;
use crate::context::{CONTEXT, RequestContext};
use crate::document::{Document, XML_MAX, readable};
use crate::error::Error;
use crate::gateway::Gateway;
use crate::refusal::{self, plain};
use crate::s3::Front;
use crate::s3::admit::{Admission, NoBody, Secrets};
use crate::s3::framing;
use crate::s3::host::Domains;
use crate::s3::lenient::Lenient;
use crate::s3::signing;
use crate::seal::key::random;
use crate::sent::{Sent, Watch};

const REQUEST_ID: &str = "x-amz-request-id";
/// Recorded when nobody was left to answer.
const CLIENT_GONE: u16 = 499;
/// Writes and closing records under way; they go on when nobody waits for them any more.
const TASKS_MAX: usize = 2048;

/// The way of a request.
pub struct Stack {
    gateway: Arc<Gateway>,
    service: S3Service,
    tasks: TaskTracker,
    patience: Duration,
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack").field("requests", &self.tasks.len()).finish_non_exhaustive()
    }
}

impl Stack {
    /// The stack over a gateway. `domains` are those whose subdomains are bucket names; a write that makes no
    /// progress for `patience` is not waited for.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, domains: Domains, patience: Duration) -> Arc<Self> {
        let again = builder(&gateway, domains.clone()).build();
        let mut builder = builder(&gateway, domains);
        builder.set_route(Lenient::new(again));
        Arc::new(Self { gateway, service: builder.build(), tasks: TaskTracker::new(), patience })
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

    /// Answers a request. It runs to its end, and to its record, even when the connection breaks off: what it
    /// takes for that is begun at once, for hyper drops an answer unpolled when it finds the peer gone.
    pub fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: IpAddr,
    ) -> impl Future<Output = Response<Sent>> + Send + 'static {
        let id = random::<8>().map_or_else(|_| "0".repeat(16), hex::encode_upper);
        let agent = request.headers().get(USER_AGENT);
        let context = Arc::new(RequestContext::new(id, clock::now(), peer, agent));
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let asked = Asked { path: request.uri().path().to_owned(), head: request.method() == Method::HEAD };
        // In a box, where it stays: it is large, and hyper and the tasks move what they are given several times.
        let answer = match reads || self.tasks.len() < TASKS_MAX {
            true => {
                Either::Left(Box::pin(Arc::clone(&self).answer_on_record(request, Arc::clone(&context), asked.clone())))
            }
            false => Either::Right(Box::pin(Arc::clone(&self).record(crowded(), Arc::clone(&context), asked.clone()))),
        };
        let answer = match (reads, &answer) {
            (false, Either::Left(_)) => Either::Right(self.write(answer, context, asked)),
            _ => Either::Left(self.read(answer, context, asked)),
        };
        answer.map(|mut response| {
            response.body_mut().hand_over();
            response
        })
    }

    /// Nothing is left undone when a read's connection breaks, or its disk does not answer, but its record.
    fn read(
        self: Arc<Self>,
        answer: impl Future<Output = Response<Sent>> + Send + 'static,
        context: Arc<RequestContext>,
        asked: Asked,
    ) -> impl Future<Output = Response<Sent>> + Send + 'static {
        let left = Unrecorded(Some((Arc::clone(&self), Arc::clone(&context))));
        async move {
            let response = tokio::select! {
                response = answer => response,
                () = context.stalls(self.patience) => {
                    self.record_left(&context, StatusCode::SERVICE_UNAVAILABLE.as_u16(), "the disk does not answer");
                    stalled(&context, &asked)
                }
            };
            left.settled();
            response
        }
    }

    /// Records a request that nobody answers any more, unless its record is on its way. Nobody waits for a fold
    /// either: its writer says so when it fails.
    fn record_left(self: &Arc<Self>, context: &Arc<RequestContext>, status: u16, why: &'static str) {
        if context.is_recording() {
            return;
        }
        let (opening, crowded) = (context.opening(status, Some(why.to_owned())), self.tasks.len() >= TASKS_MAX);
        match context.fold_left(&self.gateway.recorder, &opening, crowded) {
            Ok(true) => {}
            Ok(false) => {
                let (stack, context) = (Arc::clone(self), Arc::clone(context));
                self.tasks.spawn(async move {
                    let recorded = context.record_alone(&stack.gateway.recorder, status, &opening).await;
                    recorded.unwrap_or_else(|error| no_record(&context, &error));
                });
            }
            Err(error) => no_record(context, &error),
        }
    }

    /// A write runs to its end, also when nobody waits for it any more: what it commits and what it holds belong
    /// together. Whoever waits is told to come back when the disk does not answer.
    fn write(
        self: Arc<Self>,
        answer: impl Future<Output = Response<Sent>> + Send + 'static,
        context: Arc<RequestContext>,
        asked: Asked,
    ) -> impl Future<Output = Response<Sent>> + Send + 'static {
        let task = self.tasks.spawn(answer);
        async move {
            tokio::select! {
                done = task => done.unwrap_or_else(|error| {
                    tracing::error!(%error, request = context.id, "a record ended in a panic");
                    broken_inside().map(|body| Sent::new(body, None))
                }),
                () = context.stalls(self.patience) => stalled(&context, &asked),
            }
        }
    }

    /// The answer with its record, as one piece of work: whoever hangs up in between has asked all the same.
    async fn answer_on_record(
        self: Arc<Self>,
        request: Request<Incoming>,
        context: Arc<RequestContext>,
        asked: Asked,
    ) -> Response<Sent> {
        let answer = AssertUnwindSafe(self.answer(request, &context)).catch_unwind().await;
        let response = answer.unwrap_or_else(|_| {
            tracing::error!(request = context.id, "a request ended in a panic");
            metrics::counter!("gotgan_panics_total").increment(1);
            broken_inside()
        });
        self.record(response, context, asked).await
    }

    async fn answer(&self, mut request: Request<Incoming>, context: &Arc<RequestContext>) -> Response<s3s::Body> {
        if signing::is_form(&request) {
            context.named("PostObject", None, None);
        }
        if !names_its_host(&request) {
            return plain(StatusCode::BAD_REQUEST, "InvalidRequest", NO_HOST);
        }
        if request.body().is_end_stream() {
            request.extensions_mut().insert(NoBody);
        }
        match signing::prepare(&mut request) {
            Ok(signed) if signed => context.is_signed(),
            Ok(_) => {}
            Err((status, code, message)) => return plain(status, code, message),
        }
        let request = match Document::of(&request) {
            _ if framing::is_announced(&request) => framing::set_aside(request, context),
            None => request.map(s3s::Body::from),
            Some(document) => document.watch(request, context),
        };
        let response = self.call(request, context).await;
        if let Some((status, code, message)) = context.body_failure() {
            return plain(status, code, message);
        }
        response
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
                broken_inside()
            }
        }
    }

    /// No answer leaves before its opening record is durable.
    async fn record(
        self: Arc<Self>,
        response: Response<s3s::Body>,
        context: Arc<RequestContext>,
        asked: Asked,
    ) -> Response<Sent> {
        let (mut parts, mut body) = response.into_parts();
        // `s3s` keeps no other status for HEAD than 200.
        if asked.head && parts.status == StatusCode::OK && parts.headers.contains_key(CONTENT_RANGE) {
            parts.status = StatusCode::PARTIAL_CONTENT;
        }
        let error = refusal::complete(&context.id, &asked.path, asked.head, &mut parts, &mut body);
        let status = parts.status.as_u16();
        if let Some(name) = &error {
            metrics::counter!("gotgan_s3_errors_total", "code" => name.clone()).increment(1);
        }
        let operation = context.operation();
        readable(operation, &mut parts, &mut body);
        metrics::counter!("gotgan_requests_total", "operation" => operation, "status" => status.to_string())
            .increment(1);
        metrics::histogram!("gotgan_request_seconds", "operation" => operation)
            .record(context.started.elapsed().as_secs_f64());
        if context.recorded_status().is_none()
            && let Err(error) = context.record(&self.gateway.recorder, status, error).await
        {
            no_record(&context, &error);
            return unrecorded(&context, &asked, "The access log cannot be written");
        }
        if let Ok(id) = HeaderValue::from_str(&context.id) {
            parts.headers.insert(REQUEST_ID, id);
        }
        let watch = Watch::new(&self, context, status, expected(&parts, &body, asked.head));
        Response::from_parts(parts, Sent::new(body, Some(watch)))
    }
}

/// The S3 service as both of its passes have it.
fn builder(gateway: &Arc<Gateway>, domains: Domains) -> S3ServiceBuilder {
    let mut builder = S3ServiceBuilder::new(Front(Arc::clone(gateway)));
    builder.set_auth(Secrets(Arc::clone(gateway)));
    builder.set_access(Admission(Arc::clone(gateway)));
    let mut config = S3Config::default();
    config.xml_max_body_size = XML_MAX;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder.set_host(domains);
    builder
}

impl Answer for Arc<Stack> {
    type Body = Sent;

    fn respond(
        self,
        request: Request<Incoming>,
        peer: IpAddr,
    ) -> impl Future<Output = Response<Sent>> + Send + 'static {
        self.serve(request, peer)
    }

    fn untaken(body: &mut Sent, bytes: usize) {
        body.untaken(bytes);
    }

    fn malformed(&self, status: StatusCode, peer: IpAddr) {
        self.tasks.spawn(record_malformed(Arc::clone(&self.gateway), status, peer));
    }
}

/// What was answered by hyper is on record too, as far as it is known.
pub(crate) async fn record_malformed(gateway: Arc<Gateway>, status: StatusCode, peer: IpAddr) {
    let id = random::<8>().map_or_else(|_| "0".repeat(16), hex::encode_upper);
    let context = RequestContext::new(id, clock::now(), peer, None);
    let why = "the request is malformed".to_owned();
    if let Err(error) = context.record(&gateway.recorder, status.as_u16(), Some(why)).await {
        no_record(&context, &error);
    }
}

/// Those that fold are told and counted by who writes the fold.
pub(crate) fn no_record(context: &RequestContext, error: &Error) {
    if matches!(error, Error::Folded) {
        return;
    }
    tracing::error!(%error, request = context.id, "no access record");
    metrics::counter!("gotgan_unrecorded_total").increment(1);
}

/// What the form of the answer depends on.
#[derive(Clone)]
struct Asked {
    path: String,
    head: bool,
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
        if let Some((stack, context)) = self.0.take() {
            stack.record_left(&context, CLIENT_GONE, "the connection broke off");
        }
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

fn crowded() -> Response<s3s::Body> {
    plain(StatusCode::SERVICE_UNAVAILABLE, "SlowDown", "Please reduce your request rate: too many writes are under way")
}

fn stalled(context: &RequestContext, asked: &Asked) -> Response<Sent> {
    tracing::error!(request = context.id, operation = context.operation(), "a request stalls");
    metrics::counter!("gotgan_stalled_total").increment(1);
    unrecorded(context, asked, "The store does not answer in time; please try again")
}

/// The answer to a request whose record cannot be had.
fn unrecorded(context: &RequestContext, asked: &Asked, message: &'static str) -> Response<Sent> {
    let (mut parts, mut body) = plain(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message).into_parts();
    refusal::complete(&context.id, &asked.path, asked.head, &mut parts, &mut body);
    if let Ok(id) = HeaderValue::from_str(&context.id) {
        parts.headers.insert(REQUEST_ID, id);
    }
    Response::from_parts(parts, Sent::new(body, None))
}

fn broken_inside() -> Response<s3s::Body> {
    plain(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "We encountered an internal error. Please try again.")
}
