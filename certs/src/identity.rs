//! What a node's certificate proves of its place. Whatever does not verify proves nothing, and a node
//! in an unknown place gets no data.

use std::path::{Path, PathBuf};

use policy::place::{Place, VerifiedPlace};
use rcgen::{KeyPair, PublicKeyData};
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::Pem;
use x509_parser::time::ASN1Time;
use zeroize::Zeroizing;

use crate::claims;

/// A node's identity as it verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    /// Where it stands; unknown unless everything verified.
    pub place: VerifiedPlace,
    /// Serial number of the certificate, in hex.
    pub serial: String,
    /// When it ends, in milliseconds since 1970; 0 when there is none.
    pub not_after: u64,
    /// Why the place is unknown.
    pub reason: Option<String>,
}

impl NodeIdentity {
    /// Where it proves that the node stands, at a moment given in milliseconds since 1970: nowhere once it has ended.
    #[must_use]
    pub fn place_at(&self, now: u64) -> VerifiedPlace {
        if now < self.not_after { self.place.clone() } else { VerifiedPlace::unknown() }
    }

    fn unknown(reason: impl Into<String>) -> Self {
        Self { place: VerifiedPlace::unknown(), serial: String::new(), not_after: 0, reason: Some(reason.into()) }
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
    pub fn verify(&self) -> NodeIdentity {
        self.proved(OffsetDateTime::now_utc()).unwrap_or_else(NodeIdentity::unknown)
    }

    fn proved(&self, now: OffsetDateTime) -> Result<NodeIdentity, String> {
        let read = |path: &Path| std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
        let (leaf, root) = (read(&self.certificate)?, read(&self.ca)?);
        if root != read(&self.anchor)? {
            let [ca, anchor] = [&self.ca, &self.anchor].map(|path| path.display());
            return Err(format!("{ca} is not this installation's CA, which {anchor} says"));
        }
        verify(&leaf, &self.public_key()?, &root, now)
    }

    /// Public half of the key, in DER.
    fn public_key(&self) -> Result<Vec<u8>, String> {
        let why = |e: &dyn std::fmt::Display| format!("{}: {e}", self.key.display());
        let secret = Zeroizing::new(std::fs::read_to_string(&self.key).map_err(|e| why(&e))?);
        let pair = KeyPair::from_pem(&secret).map_err(|e| why(&e))?;
        Ok(pair.subject_public_key_info())
    }
}

fn verify(leaf: &[u8], key: &[u8], root: &[u8], now: OffsetDateTime) -> Result<NodeIdentity, String> {
    let leaf = first(leaf)?;
    let root = first(root)?;
    let leaf = leaf.parse_x509().map_err(|e| format!("the node's certificate does not parse: {e}"))?;
    let root = root.parse_x509().map_err(|e| format!("the CA's certificate does not parse: {e}"))?;
    let at = ASN1Time::from_timestamp(now.unix_timestamp()).map_err(|e| e.to_string())?;
    if !root.is_ca() || root.verify_signature(None).is_err() {
        return Err("the CA's certificate is not one of a CA".to_owned());
    }
    if leaf.issuer() != root.subject() || leaf.verify_signature(Some(root.public_key())).is_err() {
        return Err("the node's certificate is not signed by this installation's CA".to_owned());
    }
    if leaf.public_key().raw != key {
        return Err("the node has not the key of its certificate".to_owned());
    }
    if leaf.is_ca() {
        return Err("the node's certificate is one of a CA".to_owned());
    }
    for (certificate, whose) in [(&root, "CA's"), (&leaf, "node's")] {
        if !certificate.validity().is_valid_at(at) {
            return Err(format!("the {whose} certificate is not valid now: {:?}", certificate.validity()));
        }
    }
    let place = claim(&leaf)?;
    if !place.is_consistent() {
        return Err("the claim contradicts itself: its subdivision lies in another country".to_owned());
    }
    Ok(NodeIdentity {
        place: VerifiedPlace::known(place),
        serial: leaf.raw_serial_as_string(),
        not_after: u64::try_from(leaf.validity().not_after.timestamp()).unwrap_or(0) * 1000,
        reason: None,
    })
}

pub(crate) fn first(pem: &[u8]) -> Result<Pem, String> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem).map_err(|e| format!("no PEM certificate: {e}"))?;
    Ok(pem)
}

pub(crate) fn claim(leaf: &X509Certificate<'_>) -> Result<Place, String> {
    let oid = x509_parser::oid_registry::Oid::from(&claims::OID).map_err(|_| "no OID".to_owned())?;
    let extension = leaf
        .get_extension_unique(&oid)
        .map_err(|_| "the node's certificate carries the residency claim twice".to_owned())?
        .ok_or("the node's certificate carries no residency claim")?;
    claims::decode(extension.value).ok_or_else(|| "the residency claim does not decode".to_owned())
}

#[cfg(test)]
mod tests {
    use policy::place::{Assurance, Country};

    use super::*;
    use crate::authority::Authority;

    fn korea() -> Place {
        Place {
            country: Country::KR,
            subdivision: "KR-41".parse().ok(),
            site: Some("pangyo-1".to_owned()),
            rack: None,
            operator: None,
            assurance: Assurance::SelfDeclared,
        }
    }

    #[test]
    fn only_a_claim_signed_by_the_ca_counts() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let node = |name: &str| {
            let [certificate, key] = ["pem", "key"].map(|kind| at(&format!("{name}.{kind}")));
            IdentityFiles { certificate, key, ca: at("ca.pem"), anchor: at("ca.pem") }
        };
        let ca = Authority::create(&at("ca.pem"), &at("ca.key")).unwrap();
        ca.issue_node("n1", Some(&korea()), &at("n.pem"), &at("n.key")).unwrap();
        let good = node("n").verify();
        assert_eq!(good.place_at(good.not_after - 1), VerifiedPlace::known(korea()));
        assert_eq!(good.place_at(good.not_after), VerifiedPlace::unknown(), "it has ended, whoever looked at it when");
        assert_eq!((good.place, good.reason), (VerifiedPlace::known(korea()), None));
        let other = Authority::create(&at("other.pem"), &at("other.key")).unwrap();
        other.issue_node("n1", Some(&korea()), &at("f.pem"), &at("f.key")).unwrap();
        ca.issue_node("n1", None, &at("silent.pem"), &at("silent.key")).unwrap();
        for (leaf, why) in [
            (node("f"), "signed"),
            (node("silent"), "no residency claim"),
            (node("absent"), "absent.pem"),
            (node("ca"), "of a CA"),
            (IdentityFiles { key: at("absent.key"), ..node("n") }, "absent.key"),
            (IdentityFiles { key: at("n.pem"), ..node("n") }, "n.pem"),
            (IdentityFiles { key: at("f.key"), ..node("n") }, "not the key of its certificate"),
        ] {
            let got = leaf.verify();
            assert_eq!(got.place, VerifiedPlace::unknown(), "{leaf:?}");
            assert!(got.reason.as_deref().unwrap().contains(why), "{leaf:?}: {:?}", got.reason);
        }
        let late = OffsetDateTime::now_utc() + time::Duration::days(400);
        assert!(node("n").proved(late).unwrap_err().contains("not valid now"));
        let again = Authority::load(&at("ca.pem"), &at("ca.key")).unwrap();
        again.issue_node("n2", Some(&korea()), &at("n2.pem"), &at("n2.key")).unwrap();
        assert_eq!(node("n2").verify().place, VerifiedPlace::known(korea()));
    }
}
