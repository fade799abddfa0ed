//! Whom to believe: a chain that ends at an anchor, is not revoked, and says what its machine is and where it stands.
//! Names count for nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use policy::place::{Country, Place, VerifiedPlace};
use policy::time::UtcMillis;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth, RevocationOptionsBuilder,
    UnknownStatusPolicy, VerifiedPath, anchor_from_trusted_cert, spki_for_anchor,
};
use x509_parser::certificate::X509Certificate;

use crate::claims::{self, ClaimError};
use crate::files::CertError;
use crate::revocation::RevocationList;
use crate::role::{Role, Roles};
use crate::validity::Validity;

/// Certificates that a chain may have between machine and anchor.
const DEPTH_MAX: usize = 4;

/// Who is at the other end, as its certificate proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name, for people: it proves nothing.
    pub name: String,
    /// What it is.
    pub roles: Roles,
    /// Where it stands; unknown when it does not say.
    pub place: VerifiedPlace,
    /// Serial number of its certificate, in hex.
    pub serial: String,
    /// SHA-256 of its certificate (DER).
    pub certificate: [u8; 32],
    /// How long its certificate and all above it hold.
    pub validity: Validity,
}

/// Why a chain is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// There is none.
    #[error("no certificate was shown")]
    Silent,
    /// It has more certificates than one may.
    #[error("the chain has more than {DEPTH_MAX} certificates between the machine's and the anchor")]
    Long,
    /// A certificate in it is none.
    #[error("a certificate does not parse: {0}")]
    Malformed(String),
    /// It is a CA's.
    #[error("the certificate is one of a CA")]
    OfAuthority,
    /// It ended, or has not begun.
    #[error("the certificate, or one above it, is not valid now")]
    Over,
    /// It counts no longer.
    #[error("the certificate, or one above it, was revoked")]
    Revoked,
    /// Nobody can say whether it still counts.
    #[error("there is no fresh revocation list of the CA that signed it: {0}")]
    Unfresh(String),
    /// It leads to no anchor.
    #[error("the certificate is not signed by a CA of this installation: {0}")]
    Foreign(String),
    /// A claim of it is none.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// It contradicts itself.
    #[error("the claim contradicts itself: its subdivision lies in another country")]
    Contradiction,
    /// Its CA may not vouch for that country.
    #[error("the CA that signed it cannot vouch for machines in {0}")]
    Country(Country),
    /// It is another kind of machine.
    #[error("the machine is no {0}")]
    Role(Role),
}

/// Anchors, and what they vouch for no longer.
#[derive(Debug, Clone)]
pub struct Trust {
    anchors: Vec<CertificateDer<'static>>,
    revocations: Option<Vec<RevocationList>>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// The side of a connection that shows a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Whoever connects.
    Client,
    /// Whoever listens.
    Server,
}

impl Trust {
    /// Anchors from a PEM file's text. Without [`Self::with_revocations`] nothing is looked up in lists: for a machine's own
    /// certificate, and for statements of the past.
    ///
    /// # Errors
    /// `Anchors` when there is none, or what is there is none.
    pub fn new(anchors: &[u8]) -> Result<Self, CertError> {
        let anchors: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(anchors)
            .collect::<Result<_, _>>()
            .map_err(|e| CertError::Anchors(e.to_string()))?;
        for anchor in &anchors {
            let (_, parsed) =
                x509_parser::parse_x509_certificate(anchor).map_err(|e| CertError::Anchors(e.to_string()))?;
            if !parsed.is_ca() || parsed.verify_signature(None).is_err() {
                return Err(CertError::Anchors("not the certificate of a CA".to_owned()));
            }
        }
        if anchors.is_empty() {
            return Err(CertError::Anchors("no certificate in it".to_owned()));
        }
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        Ok(Self { anchors, revocations: None, algorithms })
    }

    /// The same, that believes a machine only when a fresh list of its CA does not name it.
    #[must_use]
    pub fn with_revocations(self, lists: Vec<RevocationList>) -> Self {
        Self { revocations: Some(lists), ..self }
    }

    /// Verifies a chain (the machine's certificate first) at a time, and says who it is.
    ///
    /// # Errors
    /// [`Distrust`].
    pub fn identify(&self, chain: &[CertificateDer<'_>], side: Side, now: UtcMillis) -> Result<Identity, Distrust> {
        let (leaf, above) = chain.split_first().ok_or(Distrust::Silent)?;
        if above.len() > DEPTH_MAX {
            return Err(Distrust::Long);
        }
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(malformed)?;
        if parsed.is_ca() {
            return Err(Distrust::OfAuthority);
        }
        let entity = EndEntityCert::try_from(leaf).map_err(malformed)?;
        let (between, anchors) = self.signers(&entity, above, side, now)?;
        let mut validity = Validity::of(&parsed);
        let mut countries: Option<BTreeSet<Country>> = None;
        for signer in &between {
            let (_, signer) = x509_parser::parse_x509_certificate(signer).map_err(malformed)?;
            validity = validity.within(Validity::of(&signer));
            // One that names none vouches for none; of two both must let it be.
            let named: BTreeSet<Country> = claims::of(&signer, claims::COUNTRIES)?.unwrap_or_default();
            countries = Some(countries.map_or(named.clone(), |before| &before & &named));
        }
        for anchor in &anchors {
            let (_, anchor) = x509_parser::parse_x509_certificate(anchor).map_err(malformed)?;
            validity = validity.within(Validity::of(&anchor));
        }
        let place: Option<Place> = claims::of(&parsed, claims::RESIDENCY)?;
        if let Some(place) = &place {
            if !place.is_consistent() {
                return Err(Distrust::Contradiction);
            }
            if countries.is_some_and(|countries| !countries.contains(&place.country)) {
                return Err(Distrust::Country(place.country));
            }
        }
        Ok(Identity {
            name: common_name(&parsed),
            roles: claims::of(&parsed, claims::ROLES)?.unwrap_or_default(),
            place: place.map_or_else(VerifiedPlace::unknown, VerifiedPlace::known),
            serial: parsed.raw_serial_as_string(),
            certificate: sha256(leaf),
            validity,
        })
    }

    /// As [`Self::identify`], of a machine that must be of a kind.
    ///
    /// # Errors
    /// [`Distrust`].
    pub fn machine(
        &self,
        chain: &[CertificateDer<'_>],
        (side, role): (Side, Role),
        now: UtcMillis,
    ) -> Result<Identity, Distrust> {
        let identity = self.identify(chain, side, now)?;
        if identity.roles.contains(&role) { Ok(identity) } else { Err(Distrust::Role(role)) }
    }

    /// Those that vouch for a certificate: between it and its anchor, and that.
    fn signers(
        &self,
        entity: &EndEntityCert<'_>,
        above: &[CertificateDer<'_>],
        side: Side,
        now: UtcMillis,
    ) -> Result<(Vec<CertificateDer<'static>>, Vec<CertificateDer<'static>>), Distrust> {
        let anchors = self.anchors.iter().map(anchor_from_trusted_cert).collect::<Result<Vec<_>, _>>();
        let anchors = anchors.map_err(malformed)?;
        let lists: Vec<&CertRevocationList<'static>> =
            self.revocations.iter().flatten().map(|list| &*list.list).collect();
        let revocation = match &self.revocations {
            None => None,
            Some(_) => {
                let builder = RevocationOptionsBuilder::new(&lists)
                    .map_err(|_| Distrust::Unfresh("none was read".to_owned()))?
                    .with_depth(RevocationCheckDepth::EndEntity)
                    .with_status_policy(UnknownStatusPolicy::Deny)
                    .with_expiration_policy(ExpirationPolicy::Enforce);
                Some(builder.build())
            }
        };
        let usage = match side {
            Side::Client => KeyUsage::client_auth(),
            Side::Server => KeyUsage::server_auth(),
        };
        let at = UnixTime::since_unix_epoch(Duration::from_millis(now.0));
        let path = entity
            .verify_for_usage(self.algorithms.all, &anchors, above, at, usage, revocation, None)
            .map_err(|error| distrust(&error))?;
        Ok(self.path(&path))
    }

    /// The intermediates, and the anchor as its whole certificate.
    fn path(&self, path: &VerifiedPath<'_>) -> (Vec<CertificateDer<'static>>, Vec<CertificateDer<'static>>) {
        let between = path.intermediate_certificates().map(|one| one.der().into_owned());
        let spki = spki_for_anchor(path.anchor());
        let last = self.anchors.iter().filter(|anchor| {
            x509_parser::parse_x509_certificate(anchor)
                .is_ok_and(|(_, parsed)| parsed.public_key().raw == spki.as_ref())
        });
        (between.collect(), last.cloned().collect())
    }
}

fn malformed(error: impl ToString) -> Distrust {
    Distrust::Malformed(error.to_string())
}

fn distrust(error: &webpki::Error) -> Distrust {
    use webpki::Error;
    match error {
        Error::CertExpired { .. } | Error::CertNotValidYet { .. } => Distrust::Over,
        Error::CertRevoked => Distrust::Revoked,
        Error::CrlExpired { .. } => Distrust::Unfresh("the one that was read is too old".to_owned()),
        Error::UnknownRevocationStatus => Distrust::Unfresh("none of that CA was read".to_owned()),
        Error::CaUsedAsEndEntity => Distrust::OfAuthority,
        other => Distrust::Foreign(other.to_string()),
    }
}

fn common_name(certificate: &X509Certificate<'_>) -> String {
    let name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    name.unwrap_or_default().to_owned()
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests;
