//! TLS from outside: whom a client trusts, and what a server shows.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A stream over TLS.
pub type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Trusts the certificates in a PEM file.
#[must_use]
pub fn trusting(ca: &Path) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Connects, with the handshake behind it.
///
/// # Errors
/// What the system or TLS says, for instance that the server is not trusted.
pub fn connect(to: SocketAddr, config: &ClientConfig) -> io::Result<Tls> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    let connection = ClientConnection::new(Arc::new(config.clone()), to.ip().into()).map_err(io::Error::other)?;
    let mut connection = connection;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(connection, stream))
}

/// The certificate that a server shows.
///
/// # Errors
/// As [`connect`].
pub fn shown(to: SocketAddr, config: &ClientConfig) -> io::Result<Vec<u8>> {
    let stream = connect(to, config)?;
    let first = stream.conn.peer_certificates().and_then(|chain| chain.first());
    first.map(|c| c.to_vec()).ok_or_else(|| io::Error::other("no certificate"))
}
