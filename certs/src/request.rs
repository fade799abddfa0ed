//! Certification requests (RFC 2986): how a machine proves that it has a key. Nothing else that a request says counts.

use rcgen::{CertificateParams, CertificateSigningRequestParams, DnType, KeyPair, PublicKey};
use zeroize::Zeroizing;

use crate::files::CertError;

/// Largest request (PEM).
const MAX: usize = 4096;

/// A request whose sender has proved that it has the key.
#[derive(Debug)]
pub struct Request(PublicKey);

impl Request {
    /// Parses a request (PEM), and verifies that it is signed by the key that it is for.
    ///
    /// # Errors
    /// `Request`: it is none, too large, or not signed by its own key.
    pub fn parse(pem: &str) -> Result<Self, CertError> {
        if pem.len() > MAX {
            return Err(CertError::Request(format!("it has more than {MAX} bytes")));
        }
        let params = CertificateSigningRequestParams::from_pem(pem).map_err(|e| CertError::Request(e.to_string()))?;
        if params.public_key.algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err(CertError::Request("its key is none of ECDSA on P-256".to_owned()));
        }
        Ok(Self(params.public_key))
    }

    pub(crate) const fn public_key(&self) -> &PublicKey {
        &self.0
    }
}

/// A fresh key, which never leaves its machine, and the request for its certificate.
pub struct NewKey {
    /// The request (PEM).
    pub request: String,
    pair: KeyPair,
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewKey(..)")
    }
}

impl NewKey {
    /// Makes one.
    ///
    /// # Errors
    /// `Make`.
    pub fn generate(name: &str) -> Result<Self, CertError> {
        let pair = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        let request = params.serialize_request(&pair)?.pem()?;
        Ok(Self { request, pair })
    }

    /// The private half (PEM), to be written down.
    #[must_use]
    pub fn secret(&self) -> Zeroizing<String> {
        Zeroizing::new(self.pair.serialize_pem())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_signed_by_its_own_key() {
        let key = NewKey::generate("n1").unwrap();
        assert!(Request::parse(&key.request).is_ok());
        assert!(!format!("{key:?}").contains("PRIVATE"));
        let der = |pem: &str| x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap().1.contents;
        let good = der(&key.request);
        for at in [good.len() - 1, good.len() / 2, 60] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let text = pem(&bad);
            assert!(Request::parse(&text).is_err(), "byte {at}");
        }
        let other = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let other = CertificateParams::default().serialize_request(&other).unwrap().pem().unwrap();
        assert!(matches!(Request::parse(&other), Err(CertError::Request(_))));
        for none in ["", "-----BEGIN CERTIFICATE REQUEST-----", &"x".repeat(5000)] {
            assert!(Request::parse(none).is_err());
        }
    }

    fn pem(der: &[u8]) -> String {
        use std::fmt::Write;
        let digits =
            |n: u8| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[usize::from(n)] as char;
        let mut out = "-----BEGIN CERTIFICATE REQUEST-----\n".to_owned();
        for three in der.chunks(3) {
            let [a, b, c] = [0, 1, 2].map(|i| three.get(i).copied().unwrap_or(0));
            let four = [a >> 2, (a & 3) << 4 | b >> 4, (b & 15) << 2 | c >> 6, c & 63];
            for (i, n) in four.into_iter().enumerate() {
                out.push(if i <= three.len() { digits(n) } else { '=' });
            }
        }
        writeln!(out, "\n-----END CERTIFICATE REQUEST-----").unwrap();
        out
    }
}
