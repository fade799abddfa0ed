//! Statements that a node signs with the key of its identity, for whoever holds the CA's certificate and nothing else.

use std::path::Path;

use rcgen::{KeyPair, SigningKey};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use x509_parser::time::ASN1Time;
use zeroize::Zeroizing;

use crate::identity::{IdentityFiles, claim, first};

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

/// Signs a text with the key of a node's identity, which must be good now. The text is made with the node's certificate (PEM),
/// which it shall hold: so the signature covers it, too.
///
/// # Errors
/// Why the identity is none, or cannot sign.
pub fn sign(files: &IdentityFiles, text: impl FnOnce(String) -> Result<String, String>) -> Result<Signed, String> {
    if let Some(why) = files.verify().reason {
        return Err(why);
    }
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()));
    let (certificate, secret) = (read(&files.certificate)?, Zeroizing::new(read(&files.key)?));
    let pair = KeyPair::from_pem(&secret).map_err(|e| format!("{}: {e}", files.key.display()))?;
    let text = text(certificate)?;
    let signature = pair.sign(text.as_bytes()).map_err(|e| e.to_string())?;
    Ok(Signed { text, signature })
}

/// Verifies a signature by the signer's certificate and the CA's (PEM), at the moment (seconds since 1970) at which the text says
/// that it was made.
///
/// # Errors
/// Why it is not believed.
pub fn verify(ca: &[u8], signer: &str, signed: &Signed, at: i64) -> Result<(), String> {
    let (leaf, root) = (first(signer.as_bytes())?, first(ca)?);
    let leaf = leaf.parse_x509().map_err(|e| format!("the signer's certificate does not parse: {e}"))?;
    let root = root.parse_x509().map_err(|e| format!("the CA's certificate does not parse: {e}"))?;
    if !root.is_ca() || root.verify_signature(None).is_err() {
        return Err("the CA's certificate is not one of a CA".to_owned());
    }
    if leaf.is_ca() || leaf.issuer() != root.subject() || leaf.verify_signature(Some(root.public_key())).is_err() {
        return Err("the signer's certificate is not one that this CA signed".to_owned());
    }
    // Not a server's certificate, which lies on proxies, too.
    claim(&leaf).map_err(|why| format!("the signer is no node: {why}"))?;
    let at = ASN1Time::from_timestamp(at).map_err(|e| e.to_string())?;
    if !leaf.validity().is_valid_at(at) || !root.validity().is_valid_at(at) {
        return Err("the signer's certificate was not valid when the statement was made".to_owned());
    }
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &leaf.public_key().subject_public_key.data);
    key.verify(signed.text.as_bytes(), &signed.signature).map_err(|_| "the signature is not of this text".to_owned())
}

#[cfg(test)]
mod tests {
    use policy::place::{Assurance, Country, Place};

    use super::*;
    use crate::authority::Authority;

    #[test]
    fn a_statement_is_believed_as_it_was_signed_and_by_its_own_ca() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let files =
            IdentityFiles { certificate: at("n.pem"), key: at("n.key"), ca: at("ca.pem"), anchor: at("ca.pem") };
        let say = |certificate: String| Ok(format!("what was done, signed by {certificate}"));
        assert!(sign(&files, say).is_err(), "there is no identity");
        let ca = Authority::create(&at("ca.pem"), &at("ca.key")).unwrap();
        let (subdivision, site, rack, operator) = ("KR-41".parse().ok(), None, None, None);
        let place =
            Place { country: Country::KR, subdivision, site, rack, operator, assurance: Assurance::SelfDeclared };
        ca.issue_node("n", Some(&place), &files.certificate, &files.key).unwrap();
        let signed = sign(&files, say).unwrap();
        let signer = std::fs::read_to_string(&files.certificate).unwrap();
        assert!(signed.text.ends_with(&signer));
        let now = time::OffsetDateTime::now_utc().unix_timestamp();
        let root = std::fs::read(at("ca.pem")).unwrap();
        assert_eq!(verify(&root, &signer, &signed, now), Ok(()));
        let other = Signed { text: signed.text.replace("done", "not done"), ..signed.clone() };
        assert!(verify(&root, &signer, &other, now).is_err());
        assert!(verify(&root, &signer, &signed, now + 400 * 86_400).unwrap_err().contains("not valid"));
        Authority::create(&at("other.pem"), &at("other.key")).unwrap();
        let other = std::fs::read(at("other.pem")).unwrap();
        assert!(verify(&other, &signer, &signed, now).unwrap_err().contains("this CA"));
        for place in 0..signed.signature.len() {
            let mut changed = signed.clone();
            changed.signature[place] ^= 1;
            assert!(verify(&root, &signer, &changed, now).is_err(), "byte {place}");
        }
    }
}
