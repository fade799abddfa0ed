//! Connections between machines: TLS 1.3 with certificates on both sides, which are judged by chain, revocation, role and
//! claims. Names are not looked at. There are no tickets and no early data, so that each connection is judged as a new one
//! (SECURITY.md rule 23).

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use policy::time::UtcMillis;
use rcgen::{KeyPair, SigningKey};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
};

use crate::files::{CertError, key_pair, read};
use crate::revocation::RevocationList;
use crate::role::Role;
use crate::tls::certified;
use crate::trust::{Distrust, Identity, Side, Trust, sha256};

/// Where a machine keeps what it shows and what it believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineFiles {
    /// Its certificate and those above it (PEM).
    pub certificate: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
    /// Roots that it believes (PEM).
    pub anchors: PathBuf,
    /// Revocation lists, one file each (PEM).
    pub revocations: Vec<PathBuf>,
}

/// What a machine shows, and whom it believes; read again when told.
#[derive(Debug)]
pub struct Mutual {
    files: MachineFiles,
    current: RwLock<Arc<Current>>,
}

#[derive(Debug)]
struct Current {
    shown: Arc<CertifiedKey>,
    pair: KeyPair,
    trust: Trust,
    numbers: Vec<u64>,
}

impl Mutual {
    /// Reads the files.
    ///
    /// # Errors
    /// `Io`, `Malformed`, `Anchors` or `Revocations`.
    pub fn load(files: MachineFiles) -> Result<Arc<Self>, CertError> {
        let current = RwLock::new(Arc::new(Current::read(&files)?));
        Ok(Arc::new(Self { files, current }))
    }

    /// Reads the files again. Connections that stand are judged again by whoever holds them ([`Self::judge`]).
    ///
    /// # Errors
    /// As [`Self::load`], or `Revocations` for a list that is older than the one in use; what is in use stays.
    pub fn reload(&self) -> Result<(), CertError> {
        let fresh = Current::read(&self.files)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if fresh.numbers.iter().zip(&current.numbers).any(|(new, old)| new < old) {
            return Err(CertError::Revocations("it is older than the one in use".to_owned()));
        }
        *current = Arc::new(fresh);
        Ok(())
    }

    /// Who is at the other end of a connection, now.
    ///
    /// # Errors
    /// [`Distrust`]: nothing may be said to it, and a connection that stands must end.
    pub fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        (side, role): (Side, Role),
        now: UtcMillis,
    ) -> Result<Identity, Distrust> {
        self.current().trust.machine(chain, (side, role), now)
    }

    /// Who this machine is, by its own certificate, now.
    ///
    /// # Errors
    /// [`Distrust`]: nobody else believes it either.
    pub fn own(&self, now: UtcMillis) -> Result<Identity, Distrust> {
        let current = self.current();
        current.trust.identify(&current.shown.cert, Side::Server, now)
    }

    /// SHA-256 of the certificate in use (DER).
    #[must_use]
    pub fn certificate(&self) -> [u8; 32] {
        self.current().shown.cert.first().map_or([0; 32], |leaf| sha256(leaf))
    }

    /// Signs a message with the key of the certificate in use ([`crate::evidence::ALGORITHM`]).
    ///
    /// # Errors
    /// `Make` when the key cannot.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CertError> {
        Ok(self.current().pair.sign(message)?)
    }

    /// How to listen for machines of a kind.
    ///
    /// # Errors
    /// `Tls` when the library refuses its own defaults.
    pub fn server(self: &Arc<Self>, from: Role) -> Result<Arc<ServerConfig>, CertError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(Judge::new(self, from)))
            .with_cert_resolver(Arc::new(Shown(Arc::clone(self))));
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Arc::new(config))
    }

    /// How to connect to machines of a kind.
    ///
    /// # Errors
    /// `Tls` when the library refuses its own defaults.
    pub fn client(self: &Arc<Self>, to: Role) -> Result<Arc<ClientConfig>, CertError> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Judge::new(self, to)))
            .with_client_cert_resolver(Arc::new(Shown(Arc::clone(self))));
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        Ok(Arc::new(config))
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Current {
    fn read(files: &MachineFiles) -> Result<Self, CertError> {
        let (shown, _) = certified(&files.certificate, &files.key)?;
        let pair = key_pair(&files.key)?;
        let lists = files.revocations.iter().map(|path| RevocationList::parse(&read(path)?));
        let lists: Vec<RevocationList> = lists.collect::<Result<_, CertError>>()?;
        let numbers = lists.iter().map(RevocationList::number).collect();
        let trust = Trust::new(&read(&files.anchors)?)?.with_revocations(lists);
        Ok(Self { shown: Arc::new(shown), pair, trust, numbers })
    }
}

/// Shows the certificate of now.
#[derive(Debug)]
struct Shown(Arc<Mutual>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current().shown))
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current().shown))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Judges whoever is at the other end of a handshake.
#[derive(Debug)]
struct Judge {
    mutual: Arc<Mutual>,
    role: Role,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Judge {
    fn new(mutual: &Arc<Mutual>, role: Role) -> Self {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        Self { mutual: Arc::clone(mutual), role, algorithms }
    }

    fn judges(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        side: Side,
        now: UnixTime,
    ) -> Result<(), Error> {
        let chain: Vec<CertificateDer<'_>> = [leaf].into_iter().chain(above).cloned().collect();
        let now = UtcMillis(now.as_secs().saturating_mul(1000));
        match self.mutual.judge(&chain, (side, self.role), now) {
            Ok(_) => Ok(()),
            Err(why) => {
                metrics::counter!("gotgan_peers_refused_total").increment(1);
                tracing::warn!(%why, role = %self.role, "a machine was refused at the handshake");
                Err(alert(&why))
            }
        }
    }
}

/// What the other end is told.
fn alert(why: &Distrust) -> Error {
    Error::InvalidCertificate(match why {
        Distrust::Over => CertificateError::Expired,
        Distrust::Revoked => CertificateError::Revoked,
        Distrust::Unfresh(_) => CertificateError::UnknownRevocationStatus,
        Distrust::Foreign(_) => CertificateError::UnknownIssuer,
        Distrust::Silent | Distrust::Long | Distrust::Malformed(_) => CertificateError::BadEncoding,
        Distrust::OfAuthority
        | Distrust::Claim(_)
        | Distrust::Contradiction
        | Distrust::Country(_)
        | Distrust::Role(_) => CertificateError::ApplicationVerificationFailure,
    })
}

/// What both sides ask of signatures; TLS 1.2 is never spoken.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            leaf: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, leaf, signed, &self.algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            leaf: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, leaf, signed, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

impl ClientCertVerifier for Judge {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judges(leaf, above, Side::Client, now).map(|()| ClientCertVerified::assertion())
    }

    signatures!();
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judges(leaf, above, Side::Server, now).map(|()| ServerCertVerified::assertion())
    }

    signatures!();
}

#[cfg(test)]
mod tests;
