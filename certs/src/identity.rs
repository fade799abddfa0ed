//! What a node's certificate proves of its place. Whatever does not verify proves nothing, and a node
//! in an unknown place gets no data.

use std::path::{Path, PathBuf};

use policy::place::VerifiedPlace;
use policy::time::UtcMillis;
use rcgen::PublicKeyData;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::files::key_pair;
use crate::trust::{Side, Trust};
use crate::validity::Validity;

/// A node's identity as it verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    /// Where it stands; unknown unless everything verified.
    pub place: VerifiedPlace,
    /// Serial number of the certificate, in hex.
    pub serial: String,
    /// When it ends, in milliseconds since 1970; 0 when there is none.
    pub not_after: u64,
    /// From when on another should take its place.
    pub due: UtcMillis,
    /// Why the place is unknown.
    pub reason: Option<String>,
}

impl NodeIdentity {
    /// Where it proves that the node stands, at a moment given in milliseconds since 1970: nowhere once it has ended.
    #[must_use]
    pub fn place_at(&self, now: u64) -> VerifiedPlace {
        if now < self.not_after { self.place.clone() } else { VerifiedPlace::unknown() }
    }

    /// One that proves nothing.
    #[must_use]
    pub fn unknown(reason: impl Into<String>) -> Self {
        Self {
            place: VerifiedPlace::unknown(),
            serial: String::new(),
            not_after: 0,
            due: UtcMillis(0),
            reason: Some(reason.into()),
        }
    }
}

/// Where the identity of a node lies.
#[derive(Debug, Clone)]
pub struct IdentityFiles {
    /// Its certificate.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// The CA's certificate.
    pub ca: PathBuf,
    /// The CA's certificate as it was made, which whoever writes the others cannot write.
    pub anchor: PathBuf,
}

impl IdentityFiles {
    /// Verifies the identity, now: the CA must be the anchor, and the node must have the key of its certificate.
    #[must_use]
    pub fn verify(&self, now: UtcMillis) -> NodeIdentity {
        self.proved(now).unwrap_or_else(NodeIdentity::unknown)
    }

    /// How long the certificate itself says that it holds, whoever signed it.
    #[must_use]
    pub fn own_validity(&self) -> Option<Validity> {
        let chain = certificates(&std::fs::read(&self.certificate).ok()?).ok()?;
        let (_, leaf) = x509_parser::parse_x509_certificate(chain.first()?).ok()?;
        Some(Validity::of(&leaf))
    }

    fn proved(&self, now: UtcMillis) -> Result<NodeIdentity, String> {
        let read = |path: &Path| std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
        let (chain, root) = (read(&self.certificate)?, read(&self.ca)?);
        if root != read(&self.anchor)? {
            let [ca, anchor] = [&self.ca, &self.anchor].map(|path| path.display());
            return Err(format!("{ca} is not this installation's CA, which {anchor} says"));
        }
        let chain = certificates(&chain).map_err(|e| format!("{}: {e}", self.certificate.display()))?;
        let trust = Trust::new(&root).map_err(|e| format!("{}: {e}", self.ca.display()))?;
        let identity = trust.identify(&chain, Side::Server, now).map_err(|e| format!("the node's identity: {e}"))?;
        let pair = key_pair(&self.key).map_err(|e| e.to_string())?;
        if public_of(&chain) != Some(pair.subject_public_key_info()) {
            return Err("the node has not the key of its certificate".to_owned());
        }
        if identity.place == VerifiedPlace::unknown() {
            return Err("the node's certificate carries no residency claim".to_owned());
        }
        Ok(NodeIdentity {
            place: identity.place,
            serial: identity.serial,
            not_after: identity.validity.not_after.0,
            due: identity.validity.due(),
            reason: None,
        })
    }
}

/// The certificates of a PEM text.
///
/// # Errors
/// Why it is none.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|e| e.to_string())
}

fn public_of(chain: &[CertificateDer<'_>]) -> Option<Vec<u8>> {
    let (_, leaf) = x509_parser::parse_x509_certificate(chain.first()?).ok()?;
    Some(leaf.public_key().raw.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::Role;
    use crate::testing::{DAY, Installation, NOW, days, in_country, later};

    #[test]
    fn only_a_claim_signed_by_the_ca_counts() {
        let (ca, other) = (Installation::new(), Installation::new());
        let korea = in_country("KR");
        let node = |name: &str| {
            let [certificate, key] = ["pem", "key"].map(|kind| ca.at(&format!("{name}.{kind}")));
            IdentityFiles { certificate, key, ca: ca.at("ca.pem"), anchor: ca.at("ca.pem") }
        };
        ca.machine("n", &[Role::Node], Some(&korea), days(1));
        let good = node("n").verify(NOW);
        assert_eq!(good.place_at(good.not_after - 1), VerifiedPlace::known(korea.clone()));
        assert_eq!(good.place_at(good.not_after), VerifiedPlace::unknown(), "it has ended, whoever looked at it when");
        assert_eq!((&good.place, &good.reason), (&VerifiedPlace::known(korea.clone()), &None));
        assert!(good.due > NOW && good.due.0 < good.not_after);
        ca.machine("silent", &[Role::Node], None, days(1));
        other.machine("f", &[Role::Node], Some(&korea), days(1));
        for kind in ["f.pem", "f.key"] {
            std::fs::copy(other.at(kind), ca.at(kind)).unwrap();
        }
        for (leaf, why) in [
            (node("f"), "signed"),
            (node("silent"), "no residency claim"),
            (node("absent"), "absent.pem"),
            (node("ca"), "of a CA"),
            (IdentityFiles { key: ca.at("absent.key"), ..node("n") }, "absent.key"),
            (IdentityFiles { key: ca.at("n.pem"), ..node("n") }, "n.pem"),
            (IdentityFiles { key: ca.at("f.key"), ..node("n") }, "not the key of its certificate"),
            (IdentityFiles { anchor: other.at("ca.pem"), ..node("n") }, "not this installation's CA"),
        ] {
            let got = leaf.verify(NOW);
            assert_eq!(got.place, VerifiedPlace::unknown(), "{leaf:?}");
            assert!(got.reason.as_deref().unwrap().contains(why), "{leaf:?}: {:?}", got.reason);
        }
        assert!(node("n").verify(later(2 * DAY)).reason.unwrap().contains("not valid now"));
    }
}
