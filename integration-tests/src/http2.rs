//! HTTP/2: the same requests as over [`crate::wire`], with prior knowledge or over TLS.

use std::future::poll_fn;
use std::io::{self, Error};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{PingPong, RecvStream, SendStream};
use http::{Request, Version};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::client::Outgoing;
use crate::wire::Answer;

/// A server that says nothing for so long has failed the test.
const SILENCE: Duration = Duration::from_secs(120);

/// One connection.
#[derive(Debug)]
pub struct Http2 {
    runtime: Runtime,
    requests: SendRequest<Bytes>,
    pings: PingPong,
    driver: JoinHandle<Result<(), h2::Error>>,
}

/// An answer whose body nobody has read yet.
#[derive(Debug)]
pub struct Unread {
    /// Status code.
    pub status: u16,
    headers: Vec<(String, String)>,
    body: RecvStream,
}

impl Http2 {
    /// Connects without TLS.
    ///
    /// # Errors
    /// What the system or the server says.
    pub fn connect(to: SocketAddr) -> io::Result<Self> {
        Self::begin(Builder::new(), async move { TcpStream::connect(to).await })
    }

    /// Connects without TLS, and lets no answer begin with more bytes than this.
    ///
    /// # Errors
    /// What the system or the server says.
    pub fn connect_narrow(to: SocketAddr, window: u32) -> io::Result<Self> {
        let mut builder = Builder::new();
        builder.initial_window_size(window);
        Self::begin(builder, async move { TcpStream::connect(to).await })
    }

    /// Connects over TLS and settles on HTTP/2.
    ///
    /// # Errors
    /// What the system or the server says.
    pub fn connect_tls(to: SocketAddr, config: &ClientConfig) -> io::Result<Self> {
        let mut config = config.clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self::begin(Builder::new(), async move {
            let stream = TcpStream::connect(to).await?;
            let stream = TlsConnector::from(Arc::new(config)).connect(to.ip().into(), stream).await?;
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            Ok(stream)
        })
    }

    fn begin<T>(builder: Builder, connect: impl Future<Output = io::Result<T>>) -> io::Result<Self>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let begun = runtime.block_on(async {
            let (requests, mut connection) =
                builder.handshake::<_, Bytes>(connect.await?).await.map_err(Error::other)?;
            let pings = connection.ping_pong().ok_or_else(|| Error::other("no pings"))?;
            Ok::<_, Error>((requests, pings, tokio::spawn(connection)))
        });
        let (requests, pings, driver) = begun?;
        Ok(Self { runtime, requests, pings, driver })
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When the server does not answer or breaks off.
    pub fn send(&mut self, request: &Outgoing<'_>) -> io::Result<Answer> {
        let unread = self.open(request)?;
        self.read(unread)
    }

    /// Sends a request and stops after the head of the answer.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn open(&mut self, request: &Outgoing<'_>) -> io::Result<Unread> {
        let (head, body) = request.encode();
        let head = parse(&head);
        self.runtime.block_on(in_time(async {
            let mut ready = self.requests.clone().ready().await.map_err(Error::other)?;
            let (answer, stream) = ready.send_request(head, body.is_empty()).map_err(Error::other)?;
            let (sent, answer) = tokio::join!(send_body(stream, body), read_head(answer));
            // A server may answer before it has read a body that it does not want.
            answer.map_err(|error| sent.err().unwrap_or(error))
        }))
    }

    /// Reads the rest of an answer.
    ///
    /// # Errors
    /// When the server breaks off.
    pub fn read(&self, unread: Unread) -> io::Result<Answer> {
        let Unread { status, headers, body: mut stream } = unread;
        let mut body = Vec::new();
        self.runtime.block_on(in_time(async {
            while let Some(piece) = stream.data().await {
                let piece = piece.map_err(Error::other)?;
                stream.flow_control().release_capacity(piece.len()).map_err(Error::other)?;
                body.extend_from_slice(&piece);
            }
            Ok(())
        }))?;
        Ok(Answer { status, headers, body })
    }

    /// Pings until the server ends the connection; gives how often it answered.
    ///
    /// # Errors
    /// When it ends it otherwise than in order.
    pub fn ping_to_the_end(mut self, every: Duration) -> io::Result<usize> {
        let mut pongs = 0;
        self.runtime.block_on(in_time(async {
            loop {
                tokio::select! {
                    ended = &mut self.driver => return ended.map_err(Error::other)?.map_err(Error::other),
                    pong = self.pings.ping(h2::Ping::opaque()) => {
                        // The driver says why there is none.
                        if pong.is_ok() {
                            pongs += 1;
                        }
                    }
                }
                tokio::time::sleep(every).await;
            }
        }))?;
        Ok(pongs)
    }
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(SILENCE, work).await.map_err(|_| Error::from(io::ErrorKind::TimedOut))?
}

async fn send_body(mut stream: SendStream<Bytes>, mut body: Bytes) -> io::Result<()> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let room = poll_fn(|cx| stream.poll_capacity(cx)).await;
        let room = room.ok_or_else(|| Error::other("the stream was reset"))?.map_err(Error::other)?;
        let piece = body.split_to(room.min(body.len()));
        stream.send_data(piece, body.is_empty()).map_err(Error::other)?;
    }
    Ok(())
}

async fn read_head(answer: ResponseFuture) -> io::Result<Unread> {
    let (head, body) = answer.await.map_err(Error::other)?.into_parts();
    let text = |v: &http::HeaderValue| String::from_utf8_lossy(v.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    Ok(Unread { status: head.status.as_u16(), headers, body })
}

/// What goes over HTTP/1.1 as HTTP/2 says it: Host is the authority.
fn parse(head: &[u8]) -> Request<()> {
    let text = String::from_utf8(head.to_vec()).unwrap();
    let mut lines = text.split("\r\n");
    let mut start = lines.next().unwrap().split(' ');
    let (method, path) = (start.next().unwrap(), start.next().unwrap());
    let mut request = Request::builder().method(method).version(Version::HTTP_2);
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap();
        match name {
            "host" => request = request.uri(format!("http://{}{path}", value.trim())),
            _ => request = request.header(name, value.trim()),
        }
    }
    request.body(()).unwrap()
}
