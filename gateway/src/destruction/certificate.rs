//! The certificate of a destruction: what, when, by whom, on which basis, what each provider did and what survives. The node
//! signs it with the key of its identity, so that whoever holds the CA's certificate can verify it, offline.

use certs::evidence::{self, Signed};
use policy::time::UtcMillis;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Request, digest_of, is_signed};
use crate::control::{Approval, Removed};

/// The format of certificates.
pub const CERTIFICATE: &str = "gotgan-destruction-certificate/1";

/// What is certified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// [`CERTIFICATE`].
    pub format: String,
    /// When it was issued, RFC 3339.
    pub issued_at: String,
    /// Where the node that issued it stands.
    pub place: String,
    /// The certificate of the key that signs it (PEM), which this installation's CA signed.
    pub signer: String,
    /// The request, as it was signed: JSON, byte for byte.
    pub request: String,
    /// SHA-256 of it.
    pub request_sha256: String,
    /// Who signed it: whoever asked, then whoever approved.
    pub approvals: Vec<Approved>,
    /// The keys that were destroyed.
    pub destroyed: Vec<Destroyed>,
    /// The round that replaced the root key, when one of the keys was the sealed file's.
    pub round: Option<Round>,
    /// Wrapped bucket keys that were tried after: none opened.
    pub checked: u64,
    /// What was removed from the catalog.
    pub removed: Removed,
    /// What survives, and until when.
    pub survives: Vec<Survivor>,
}

/// A signature under the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approved {
    /// Who: its id.
    pub principal: String,
    /// Its name.
    pub name: String,
    /// Its key (Ed25519, hex).
    pub public_key: String,
    /// The signature (hex), over `gotgan-approval/1`, a zero byte and the SHA-256 of the request.
    pub signature: String,
    /// When, RFC 3339.
    pub at: String,
}

impl From<&Approval> for Approved {
    fn from(approval: &Approval) -> Self {
        Self {
            principal: approval.principal.to_string(),
            name: approval.name.clone(),
            public_key: approval.public_key.clone(),
            signature: approval.signature.clone(),
            at: crate::clock::rfc3339(approval.at),
        }
    }
}

/// A key that was destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destroyed {
    /// Its id.
    pub key: String,
    /// What its provider did, and saw then.
    pub answer: String,
    /// When, RFC 3339.
    pub at: String,
}

/// A root key took the place of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Round {
    /// The one before.
    pub root_key_before: String,
    /// The one that took its place.
    pub root_key_after: String,
}

/// Something that is still there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Survivor {
    /// What.
    pub what: String,
    /// Until when, or until what is done by whom.
    pub until: String,
}

/// A certificate with its signature, as it is handed out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedCertificate {
    /// The certificate: JSON, byte for byte.
    pub certificate: String,
    /// How it is signed.
    pub algorithm: String,
    /// The signature over it (hex).
    pub signature: String,
}

/// Why a certificate is not believed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a valid certificate of destruction: {0}")]
pub struct Disbelieved(pub String);

impl SignedCertificate {
    /// With its signature.
    #[must_use]
    pub fn new(signed: Signed) -> Self {
        let (certificate, algorithm) = (signed.text, evidence::ALGORITHM.to_owned());
        Self { certificate, algorithm, signature: hex::encode(signed.signature) }
    }

    /// Verifies all that it says of itself, by the CA's certificate (PEM) and nothing else.
    ///
    /// # Errors
    /// What does not hold.
    pub fn verify(&self, ca: &[u8]) -> Result<(Certificate, Request), Disbelieved> {
        let why = |why: &str| Disbelieved(why.to_owned());
        let certificate: Certificate =
            serde_json::from_str(&self.certificate).map_err(|e| Disbelieved(format!("it does not parse: {e}")))?;
        if certificate.format != CERTIFICATE || self.algorithm != evidence::ALGORITHM {
            return Err(why("it has another format"));
        }
        let issued = OffsetDateTime::parse(&certificate.issued_at, &Rfc3339).map_err(|_| why("it has no time"))?;
        let signature = hex::decode(&self.signature).map_err(|_| why("its signature is not hex"))?;
        let signed = Signed { text: self.certificate.clone(), signature };
        evidence::verify(ca, &certificate.signer, &signed, issued.unix_timestamp()).map_err(Disbelieved)?;
        let request: Request =
            serde_json::from_str(&certificate.request).map_err(|e| Disbelieved(format!("its request: {e}")))?;
        if digest_of(&certificate.request) != certificate.request_sha256 {
            return Err(why("the digest of its request is another"));
        }
        let signs = |one: &Approved| is_signed(&certificate.request, &one.public_key, &one.signature);
        if !certificate.approvals.iter().all(signs) {
            return Err(why("a signature under its request is not good"));
        }
        let two = match certificate.approvals.as_slice() {
            [first, second] => {
                first.principal == request.requested_by.id
                    && first.principal != second.principal
                    && first.public_key != second.public_key
            }
            _ => false,
        };
        if !two {
            return Err(why("its request was not signed by two persons"));
        }
        let named = |key: &str| certificate.destroyed.iter().any(|one| one.key == key);
        if request.keys.len() != certificate.destroyed.len() || !request.keys.iter().all(|key| named(&key.id)) {
            return Err(why("the keys that were destroyed are not those that were asked for"));
        }
        Ok((certificate, request))
    }
}

/// As certificates have times.
#[must_use]
pub fn at(time: UtcMillis) -> String {
    crate::clock::rfc3339(time)
}
