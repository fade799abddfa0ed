//! Statements that a node signs with the key of its identity, for whoever holds the CA's certificate and nothing else.

use policy::place::VerifiedPlace;
use policy::time::UtcMillis;
use rcgen::SigningKey;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::pki_types::CertificateDer;

use crate::files::{key_pair, read};
use crate::identity::{IdentityFiles, certificates};
use crate::role::Role;
use crate::trust::{Side, Trust};

/// The algorithm of each signature here: ECDSA on P-256 with SHA-256, in DER (RFC 5480, RFC 3279).
pub const ALGORITHM: &str = "ECDSA-P256-SHA256";

/// A text and its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The text.
    pub text: String,
    /// The signature over it.
    pub signature: Vec<u8>,
}

/// Signs a text with the key of a node's identity, which must be good now. The text is made with the node's certificate and those
/// above it (PEM), which it shall hold: so the signature covers it, too.
///
/// # Errors
/// Why the identity is none, or cannot sign.
pub fn sign(
    files: &IdentityFiles,
    now: UtcMillis,
    text: impl FnOnce(String) -> Result<String, String>,
) -> Result<Signed, String> {
    if let Some(why) = files.verify(now).reason {
        return Err(why);
    }
    let certificate = read(&files.certificate).map_err(|e| e.to_string())?;
    let pair = key_pair(&files.key).map_err(|e| e.to_string())?;
    let text = text(String::from_utf8(certificate).map_err(|e| e.to_string())?)?;
    let signature = pair.sign(text.as_bytes()).map_err(|e| e.to_string())?;
    Ok(Signed { text, signature })
}

/// Verifies a signature by the signer's certificate and the CA's (PEM), at the moment (seconds since 1970) at which the text says
/// that it was made.
///
/// # Errors
/// Why it is not believed.
pub fn verify(ca: &[u8], signer: &str, signed: &Signed, at: i64) -> Result<(), String> {
    let chain = certificates(signer.as_bytes())?;
    let trust = Trust::new(ca).map_err(|e| e.to_string())?;
    let at = UtcMillis(u64::try_from(at).unwrap_or(0).saturating_mul(1000));
    let identity = trust.identify(&chain, Side::Server, at).map_err(|e| format!("the signer: {e}"))?;
    // A node that keeps chunks says nothing of keys. Certificates of before there were roles have none.
    if !identity.roles.is_empty() && !identity.roles.contains(&Role::Gateway) {
        return Err("the signer is no gateway".to_owned());
    }
    // Not a server's certificate, which lies on proxies, too.
    if identity.place == VerifiedPlace::unknown() {
        return Err("the signer is no node: its certificate carries no residency claim".to_owned());
    }
    let leaf = chain.first().ok_or("there is no signer")?;
    match is_signed_by(leaf, signed.text.as_bytes(), &signed.signature) {
        true => Ok(()),
        false => Err("the signature is not of this text".to_owned()),
    }
}

/// Whether the key of a certificate made a signature ([`ALGORITHM`]) over a message; whom the certificate is of, and whether it is
/// believed, is not looked at.
#[must_use]
pub fn is_signed_by(certificate: &CertificateDer<'_>, message: &[u8], signature: &[u8]) -> bool {
    let Ok((_, leaf)) = x509_parser::parse_x509_certificate(certificate) else { return false };
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &leaf.public_key().subject_public_key.data);
    key.verify(message, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DAY, Installation, NOW, days, in_country, later};

    #[test]
    fn a_statement_is_believed_as_it_was_signed_and_by_its_own_ca() {
        let ca = Installation::new();
        let at = |name: &str| ca.at(name);
        let files =
            IdentityFiles { certificate: at("n.pem"), key: at("n.key"), ca: at("ca.pem"), anchor: at("ca.pem") };
        let say = |certificate: String| Ok(format!("what was done, signed by {certificate}"));
        assert!(sign(&files, NOW, say).is_err(), "there is no identity");
        ca.machine("n", &[Role::Gateway, Role::Node], Some(&in_country("KR")), days(1));
        let signed = sign(&files, NOW, say).unwrap();
        let signer = std::fs::read_to_string(&files.certificate).unwrap();
        assert!(signed.text.ends_with(&signer));
        let now = i64::try_from(NOW.0 / 1000).unwrap();
        let root = std::fs::read(at("ca.pem")).unwrap();
        assert_eq!(verify(&root, &signer, &signed, now), Ok(()));
        let other = Signed { text: signed.text.replace("done", "not done"), ..signed.clone() };
        assert!(verify(&root, &signer, &other, now).is_err());
        assert!(verify(&root, &signer, &signed, now + 2 * 86_400).unwrap_err().contains("not valid"));
        assert!(sign(&files, later(2 * DAY), say).is_err(), "it ended");
        let other = Installation::new();
        let other = std::fs::read(other.at("ca.pem")).unwrap();
        assert!(verify(&other, &signer, &signed, now).unwrap_err().contains("of this installation"));
        ca.machine("n", &[Role::Node], Some(&in_country("KR")), days(1));
        let signed_by_node = sign(&files, NOW, say).unwrap();
        let node = std::fs::read_to_string(&files.certificate).unwrap();
        assert!(verify(&root, &node, &signed_by_node, now).unwrap_err().contains("no gateway"));
        ca.machine("silent", &[Role::Gateway], None, days(1));
        let silent = std::fs::read_to_string(at("silent.pem")).unwrap();
        assert!(verify(&root, &silent, &signed, now).unwrap_err().contains("no residency claim"));
        for place in 0..signed.signature.len() {
            let mut changed = signed.clone();
            changed.signature[place] ^= 1;
            assert!(verify(&root, &signer, &changed, now).is_err(), "byte {place}");
        }
    }
}
