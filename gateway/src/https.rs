//! Requests that this binary sends: to an admin API, to a key provider. One connection each, HTTPS with a CA that is
//! named, or plain HTTP where the caller allows it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;

/// A request had no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address is no URL.
    #[error("{0:?} is no URL")]
    Address(String),
    /// Nobody is there.
    #[error("no server at {address}: {source}")]
    Connect {
        /// The address.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// TLS without a CA.
    #[error("the server uses TLS: name the certificate of its CA")]
    NoCa,
    /// The CA cannot be read, or is none.
    #[error("the CA certificate {path}: {why}")]
    Ca {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The handshake, the request or the answer failed.
    #[error("{address}: {why}")]
    Exchange {
        /// The address.
        address: String,
        /// What failed.
        why: String,
    },
}

/// Sends a request whose URI is a path, and reads at most `most` bytes of answer.
///
/// # Errors
/// [`HttpError`] when there is no whole answer.
pub async fn send(
    base: &str,
    ca: Option<&Path>,
    request: Request<Full<Bytes>>,
    most: usize,
) -> Result<(StatusCode, Bytes), HttpError> {
    let wrong = || HttpError::Address(base.to_owned());
    let uri: Uri = base.parse().map_err(|_| wrong())?;
    let authority = uri.authority().ok_or_else(wrong)?;
    let exchange = |why: String| HttpError::Exchange { address: base.to_owned(), why };
    let secure = uri.scheme_str() == Some("https");
    let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
    // An IPv6 address stands in brackets.
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, port)).await;
    let stream = stream.map_err(|source| HttpError::Connect { address: base.to_owned(), source })?;
    if secure {
        let name = ServerName::try_from(host.to_owned()).map_err(|e| exchange(e.to_string()))?;
        let ca = ca.ok_or(HttpError::NoCa)?.to_owned();
        let trusted = tokio::task::spawn_blocking(move || trust(&ca)).await.map_err(|e| exchange(e.to_string()))??;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(trusted));
        let stream = connector.connect(name, stream).await.map_err(|e| exchange(e.to_string()))?;
        talk(TokioIo::new(stream), request, most).await.map_err(exchange)
    } else {
        talk(TokioIo::new(stream), request, most).await.map_err(exchange)
    }
}

async fn talk<I>(io: TokioIo<I>, request: Request<Full<Bytes>>, most: usize) -> Result<(StatusCode, Bytes), String>
where
    TokioIo<I>: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(|e| e.to_string())?;
    let driven = AbortOnDrop(tokio::spawn(connection));
    let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let status = answer.status();
    let bytes = Limited::new(answer.into_body(), most).collect().await.map_err(|e| e.to_string())?.to_bytes();
    drop(driven);
    Ok((status, bytes))
}

/// Whoever gives up waiting leaves no connection behind.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn trust(ca: &Path) -> Result<rustls::ClientConfig, HttpError> {
    let wrong = |why: String| HttpError::Ca { path: ca.display().to_string(), why };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(|e| wrong(e.to_string()))? {
        let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
        roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
    }
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(e.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
