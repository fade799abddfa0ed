//! Listeners: connections are bounded, headers must come in time, peers that stop reading are cut
//! off, and a shutdown lets requests finish.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::pace::Paced;

/// Headers must be complete within this (slow loris).
const HEADER_TIME: Duration = Duration::from_secs(20);
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// A peer that acknowledges nothing for so long is gone.
const SILENCE_MS: u32 = 60_000;
/// How long a shutdown waits for requests under way.
const DRAIN: Duration = Duration::from_secs(30);

/// One address that is listened on.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// TLS, unless plain HTTP was allowed.
    pub tls: Option<Arc<ServerConfig>>,
    /// Most connections at once.
    pub connections: usize,
}

impl Listener {
    /// Serves until `stop` says so, then lets requests under way finish.
    pub async fn run<S, F, B>(self, mut stop: watch::Receiver<bool>, service: S)
    where
        S: Fn(Request<Incoming>, IpAddr) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let graceful = GracefulShutdown::new();
        let room = Arc::new(Semaphore::new(self.connections));
        loop {
            // A permit first: what is not accepted waits in the kernel's bounded queue.
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { break };
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = stopped(&mut stop) => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: they come back as connections end.
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            let tls = self.tls.clone();
            let (service, watcher) = (service.clone(), graceful.watcher());
            tokio::spawn(async move {
                connection((stream, peer), tls, watcher, service).await;
                drop(permit);
            });
        }
        drop(self.socket);
        drain(graceful).await;
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop too.
    let _gone = stop.wait_for(|stop| *stop).await.is_err();
}

async fn drain(graceful: GracefulShutdown) {
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!(seconds = DRAIN.as_secs(), "requests that did not finish in time are cut off");
    }
}

async fn connection<S, F, B>(
    (stream, peer): (TcpStream, SocketAddr),
    tls: Option<Arc<ServerConfig>>,
    watcher: Watcher,
    service: S,
) where
    S: Fn(Request<Incoming>, IpAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if let Err(error) = tune(&stream) {
        tracing::debug!(%error, "socket options");
    }
    let hyper_service = service_fn(move |request| {
        let answer = service(request, peer.ip());
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(HEADER_TIME)).adaptive_window(true);
    let stream = Paced::new(stream);
    let ended = match tls {
        None => watcher.watch(builder.serve_connection(TokioIo::new(stream), hyper_service).into_owned()).await,
        Some(config) => {
            let handshake = TlsAcceptor::from(config).accept(stream);
            match tokio::time::timeout(HANDSHAKE_TIME, handshake).await {
                Ok(Ok(stream)) => {
                    watcher.watch(builder.serve_connection(TokioIo::new(stream), hyper_service).into_owned()).await
                }
                Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake"),
                Err(_) => return tracing::debug!(%peer, "TLS handshake took too long"),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, error, "connection");
    }
}

fn tune(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_tcp_user_timeout(stream, SILENCE_MS)?;
    Ok(())
}
