//! Listeners: connections are bounded, those of one source too, each has a deadline for whatever it does not do, peers that stop reading
//! are cut off, and a shutdown lets requests finish.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::activity::{Activity, Held, Look};
use crate::half_open::HalfOpen;
use crate::pace::Paced;
use crate::source::Sources;

const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// A peer that acknowledges nothing for so long is gone.
const SILENCE_MS: u32 = 60_000;
/// An HTTP/2 peer that answers no ping is looked for this often, and given as long.
const PING: Duration = Duration::from_secs(20);
/// How long a shutdown waits for requests under way.
const DRAIN: Duration = Duration::from_secs(30);
/// Longest head of a request; hyper would hold 400 KiB of one that never ends, for each connection.
const HEAD_MAX: usize = 64 << 10;
/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 128;
/// Bytes of uploads that one HTTP/2 connection holds when nobody takes them yet, of one request and of all. Windows
/// that adapt would grow to 16 MiB for each connection.
const WINDOWS: [u32; 2] = [512 << 10, 1 << 20];

/// Why a request is refused that does not name its host.
pub(crate) const NO_HOST: &str = "A request names its host, once";

/// One address that is listened on.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// TLS, unless plain HTTP was allowed.
    pub tls: Option<Arc<ServerConfig>>,
    /// Bounds of its connections.
    pub limits: ConnectionLimits,
}

/// Bounds of connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Most at once.
    pub connections: usize,
    /// Most at once of one source.
    pub per_source: usize,
    /// The head of the first request must be complete within this.
    pub first: Duration,
    /// That of the next within this after the answer before it.
    pub idle: Duration,
}

/// What answers requests.
pub trait Answer: Clone + Send + Sync + 'static {
    /// The body of an answer.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static;

    /// Answers a request.
    fn respond(
        self,
        request: Request<Incoming>,
        peer: IpAddr,
    ) -> impl Future<Output = Response<Self::Body>> + Send + 'static;

    /// So many of the bytes that a body gave last went nowhere.
    fn untaken(_body: &mut Self::Body, _bytes: usize) {}

    /// Something was no request, and was answered with this status.
    fn malformed(&self, status: StatusCode, peer: IpAddr);
}

impl Listener {
    /// Serves until `stop` says so, then lets requests under way finish.
    pub async fn run(self, mut stop: watch::Receiver<bool>, service: impl Answer) {
        let room = Arc::new(Semaphore::new(self.limits.connections));
        let sources = Sources::new(self.limits.per_source);
        let connections = TaskTracker::new();
        loop {
            // A permit first: what is not accepted waits in the kernel's bounded queue.
            let next = async { (Arc::clone(&room).acquire_owned().await, self.socket.accept().await) };
            let (permit, accepted) = tokio::select! {
                next = next => next,
                () = stopped(&mut stop) => break,
            };
            let Ok(permit) = permit else { break };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: they come back as connections end.
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            // Closed without a word: a word would take a handshake and a wait for the request, which is what a source
            // that has its share is not to cost. S3 clients try again after a closed connection as after 503.
            let Some(counted) = sources.admit(peer.ip()) else {
                tracing::debug!(%peer, "its source has as many connections as it may");
                metrics::counter!("gotgan_connections_refused_total").increment(1);
                continue;
            };
            let connection = Connection { peer, limits: self.limits, began: Instant::now(), stop: stop.clone() };
            let (tls, service) = (self.tls.clone(), service.clone());
            connections.spawn(async move {
                connection.run(stream, tls, service).await;
                drop((counted, permit));
            });
        }
        drop(self.socket);
        connections.close();
        if timeout(DRAIN, connections.wait()).await.is_err() {
            tracing::warn!(seconds = DRAIN.as_secs(), "requests that did not finish in time are cut off");
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop too.
    let _gone = stop.wait_for(|stop| *stop).await.is_err();
}

struct Connection {
    peer: SocketAddr,
    limits: ConnectionLimits,
    began: Instant,
    stop: watch::Receiver<bool>,
}

impl Connection {
    async fn run(mut self, stream: TcpStream, tls: Option<Arc<ServerConfig>>, service: impl Answer) {
        if let Err(error) = tune(&stream) {
            tracing::debug!(%error, "socket options");
        }
        let Some(config) = tls else {
            if let Some(version) = self.in_time(self.limits.first, version(&stream)).await {
                self.serve(Paced::new(stream), version, service).await;
            }
            return;
        };
        let handshake = TlsAcceptor::from(config).accept(Paced::new(stream));
        if let Some(stream) = self.in_time(HANDSHAKE_TIME, handshake).await {
            let version = match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => Version::HTTP_2,
                _ => Version::HTTP_11,
            };
            self.serve(stream, version, service).await;
        }
    }

    /// What must happen before a connection serves anything.
    async fn in_time<T>(&mut self, time: Duration, begins: impl Future<Output = std::io::Result<T>>) -> Option<T> {
        let begun = tokio::select! {
            begun = timeout(time, begins) => begun,
            () = stopped(&mut self.stop) => return None,
        };
        match begun {
            Ok(Ok(begun)) => return Some(begun),
            Ok(Err(error)) => tracing::debug!(peer = %self.peer, %error, "a connection did not begin"),
            Err(_) => tracing::debug!(peer = %self.peer, "a connection did not begin in time"),
        }
        None
    }

    async fn serve<T, A>(self, stream: T, version: Version, service: A)
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
        A: Answer,
    {
        let activity = Activity::new(self.limits.first.saturating_sub(self.began.elapsed()), self.limits.idle);
        let (peer, answers, begun) = (self.peer, service.clone(), Arc::clone(&activity));
        let answered = service_fn(move |request: Request<Incoming>| {
            // Reads end with their peer; anything else runs to its end.
            let whole = request.body().is_end_stream();
            let under_way = begun.begin(whole && !matches!(*request.method(), Method::GET | Method::HEAD));
            let answer = answers.clone().respond(request, peer.ip());
            async move { Ok::<_, Infallible>(answer.await.map(|body| Held::new(body, version, under_way, A::untaken))) }
        });
        let timer = TokioTimer::new();
        let ended = if version == Version::HTTP_2 {
            let stream = TokioIo::new(stream);
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.timer(timer).keep_alive_interval(Some(PING)).keep_alive_timeout(PING);
            let [stream_window, connection_window] = WINDOWS;
            builder.initial_stream_window_size(stream_window).initial_connection_window_size(connection_window);
            builder.max_concurrent_streams(STREAMS);
            hold(builder.serve_connection(stream, answered), &activity, self.stop).await
        } else {
            let stream = TokioIo::new(HalfOpen::new(stream, Arc::clone(&activity)));
            let mut builder = http1::Builder::new();
            // `Activity` has the deadlines: one for both the silence before a head and the head.
            builder.timer(timer).header_read_timeout(None).max_header_size(HEAD_MAX);
            hold(builder.serve_connection(stream, answered), &activity, self.stop).await
        };
        if let Err(error) = ended {
            if let Some(status) = malformed(&error) {
                service.malformed(status, peer.ip());
            }
            tracing::debug!(%peer, %error, "connection");
        }
    }
}

/// What a client without TLS speaks: HTTP/2 begins with its preface, which comes in one piece.
async fn version(stream: &TcpStream) -> std::io::Result<Version> {
    let mut start = [0; 3];
    let length = stream.peek(&mut start).await?;
    Ok(if start.get(..length) == Some(b"PRI") { Version::HTTP_2 } else { Version::HTTP_11 })
}

/// Drives a connection to its end, which comes in time even when its peer does nothing for it.
async fn hold<C: GracefulConnection>(
    connection: C,
    activity: &Activity,
    mut stop: watch::Receiver<bool>,
) -> Result<(), C::Error> {
    let mut connection = pin!(connection);
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = stopped(&mut stop), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = sleep_until(activity.next_look(Instant::now())) => match activity.look(Instant::now()) {
                Look::Again => {}
                Look::Close => connection.as_mut().graceful_shutdown(),
                Look::Drop => return Ok(()),
            }
        }
    }
}

/// What hyper answered to something that is no request; none when the connection failed otherwise.
fn malformed(error: &hyper::Error) -> Option<StatusCode> {
    if !error.is_parse() {
        return None;
    }
    // A head ends before a URI that is too long for hyper would.
    Some(match error.is_parse_too_large() {
        true => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        false => StatusCode::BAD_REQUEST,
    })
}

/// Whether a request names its host: over HTTP/1.1 it must, once, by RFC 9112 section 3.2; over HTTP/2 it names no
/// other than its authority, by RFC 9113 section 8.3.1.
pub(crate) fn names_its_host<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).into_iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return request.version() != Version::HTTP_11 && !request.headers().contains_key(HOST);
    };
    let authority = request.uri().authority().filter(|_| request.version() == Version::HTTP_2);
    match host.to_str() {
        Ok("") => authority.is_none(),
        Ok(host) if host.contains('@') => false,
        Ok(host) => {
            let named = host.parse::<Authority>().ok();
            named.is_some_and(|named| authority.is_none_or(|authority| *authority == named))
        }
        Err(_) => false,
    }
}

fn tune(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_tcp_user_timeout(stream, SILENCE_MS)?;
    Ok(())
}
