//! TLS for listeners: a certificate that can be exchanged without a restart.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::files::{CertError, malformed};
use crate::validity::Validity;

/// A server certificate read from two files, read again when asked.
#[derive(Debug)]
pub struct ServerCertificate {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Current>,
}

#[derive(Debug, Clone)]
struct Current {
    shown: Arc<CertifiedKey>,
    validity: Validity,
}

impl ServerCertificate {
    /// Reads a PEM chain and its PEM key.
    ///
    /// # Errors
    /// `Malformed` when they are none or do not belong together.
    pub fn load(certificate: &Path, key: &Path) -> Result<Arc<Self>, CertError> {
        let current = RwLock::new(read(certificate, key)?);
        Ok(Arc::new(Self { certificate: certificate.to_owned(), key: key.to_owned(), current }))
    }

    /// Reads the files again. Connections that stand keep what they have.
    ///
    /// # Errors
    /// As [`Self::load`]; the old certificate stays in use.
    pub fn reload(&self) -> Result<(), CertError> {
        let fresh = read(&self.certificate, &self.key)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// How long the chain in use holds: from when the server's own does, until the first in it ends.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.current.read().unwrap_or_else(PoisonError::into_inner).validity
    }

    /// The files that it comes from.
    #[must_use]
    pub fn files(&self) -> [&Path; 2] {
        [&self.certificate, &self.key]
    }

    /// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    /// `Tls` when the library refuses its own defaults.
    pub fn config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, CertError> {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Self>::clone(self);
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).shown))
    }
}

fn read(certificate: &Path, key: &Path) -> Result<Current, CertError> {
    let (shown, validity) = certified(certificate, key)?;
    Ok(Current { shown: Arc::new(shown), validity })
}

/// A PEM chain with its PEM key, and from when until when all of it holds.
pub(crate) fn certified(certificate: &Path, key: &Path) -> Result<(CertifiedKey, Validity), CertError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|e| malformed(certificate, e))?;
    let mut validity: Option<Validity> = None;
    for one in &chain {
        let (_, parsed) = x509_parser::parse_x509_certificate(one).map_err(|e| malformed(certificate, e))?;
        let own = Validity::of(&parsed);
        validity = Some(validity.map_or(own, |signed| signed.until(own.not_after)));
    }
    let validity = validity.ok_or_else(|| malformed(certificate, "no certificate in it"))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| malformed(key, e))?;
    let shown = CertifiedKey::from_der(chain, secret, &ring::default_provider()).map_err(|e| malformed(key, e))?;
    Ok((shown, validity))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Installation, days};

    #[test]
    fn certificates_are_exchanged_in_place() {
        let ca = Installation::new();
        let at = |name: &str| ca.at(name);
        let life = days;
        let issue = |days: u64| {
            let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
            ca.issuer.issue_server(names, life(days), &at("s.pem"), &at("s.key")).unwrap();
        };
        issue(1);
        let served = ServerCertificate::load(&at("s.pem"), &at("s.key")).unwrap();
        assert_eq!(served.config().unwrap().alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert_eq!(served.validity(), life(1));
        let shown = || served.current.read().unwrap().shown.cert.clone();
        let before = shown();
        issue(2);
        served.reload().unwrap();
        assert!(before != shown() && served.validity() == life(2));
        std::fs::write(at("s.pem"), "none").unwrap();
        assert!(served.reload().is_err() && served.validity() == life(2));
        assert!(ServerCertificate::load(&at("ca.pem"), &at("s.key")).is_err(), "key of another certificate");
    }

    #[test]
    fn a_chain_ends_with_the_first_of_it() {
        let (ca, other) = (Installation::new(), Installation::new());
        let at = |name: &str| ca.at(name);
        let names = || vec!["localhost".to_owned()];
        ca.issuer.issue_server(names(), days(90), &at("s.pem"), &at("s.key")).unwrap();
        other.issuer.issue_server(names(), days(30), &at("i.pem"), &at("i.key")).unwrap();
        let [leaf, signer] = ["s.pem", "i.pem"].map(|name| std::fs::read_to_string(at(name)).unwrap());
        std::fs::write(at("chain.pem"), leaf + &signer).unwrap();
        let served = ServerCertificate::load(&at("chain.pem"), &at("s.key")).unwrap();
        assert_eq!(served.validity(), days(30));
        // What its own CA signs does not outlive it.
        let given = ca.issuer.issue_server(names(), days(9000), &at("s.pem"), &at("s.key")).unwrap();
        assert_eq!(given, Validity { not_after: ca.issuer.ends(), ..days(9000) });
        let served = ServerCertificate::load(&at("s.pem"), &at("s.key")).unwrap();
        assert_eq!(served.validity(), given);
        let (_, leaf) = x509_parser::pem::parse_x509_pem(&std::fs::read(at("s.pem")).unwrap()).unwrap();
        assert_eq!(Validity::of(&leaf.parse_x509().unwrap()), given);
        let again = crate::authority::Authority::load(&at("ca.pem"), &at("ca.key")).unwrap();
        assert_eq!(again.ends(), ca.root.ends());
        assert!(!again.is_intermediate());
    }
}
