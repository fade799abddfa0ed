//! Revocation lists (RFC 5280 section 5): serial numbers that a CA vouches for no longer.

use policy::time::UtcMillis;
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use webpki::OwnedCertRevocationList;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::authority::Authority;
use crate::files::CertError;
use crate::validity::Validity;

/// A certificate that counts no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// Its serial number, in hex, with or without colons.
    pub serial: String,
    /// Since when.
    pub at: UtcMillis,
}

impl Authority {
    /// Signs a list (PEM). Its number must be higher than that of each list before (RFC 5280 section 5.2.3). It is fresh for as long
    /// as `fresh` says; whoever has none that is fresh believes no certificate of this CA.
    ///
    /// # Errors
    /// `Make`, or `Encode` for a serial number that is none.
    pub fn revoke(&self, revoked: &[Revoked], number: u64, fresh: Validity) -> Result<String, CertError> {
        let (this_update, next_update) = fresh.ends();
        let entry = |one: &Revoked| {
            let serial = hex(&one.serial).ok_or_else(|| CertError::Encode(format!("serial `{}`", one.serial)))?;
            let (revocation_time, _) = Validity { not_before: one.at, not_after: one.at }.ends();
            let serial_number = SerialNumber::from_slice(&serial);
            Ok(RevokedCertParams { serial_number, revocation_time, reason_code: None, invalidity_date: None })
        };
        let params = CertificateRevocationListParams {
            this_update,
            next_update,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect::<Result<_, CertError>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer)?.pem()?)
    }
}

/// A list as it was read. Who signed it is verified with each certificate that is looked up in it.
#[derive(Debug, Clone)]
pub struct RevocationList {
    pub(crate) list: std::sync::Arc<webpki::CertRevocationList<'static>>,
    number: u64,
    fresh: Validity,
    count: usize,
}

impl RevocationList {
    /// Parses one (PEM).
    ///
    /// # Errors
    /// `Revocations` when it is none, or has no number.
    pub fn parse(pem: &[u8]) -> Result<Self, CertError> {
        let bad = |why: String| CertError::Revocations(why);
        let der = CertificateRevocationListDer::from_pem_slice(pem).map_err(|e| bad(e.to_string()))?;
        let (_, parsed) = CertificateRevocationList::from_der(&der).map_err(|e| bad(e.to_string()))?;
        let number = parsed.crl_number().and_then(|number| u64::try_from(number).ok());
        let number = number.ok_or_else(|| bad("it has no number".to_owned()))?;
        let at = |time: i64| UtcMillis(u64::try_from(time).unwrap_or(0).saturating_mul(1000));
        let until = parsed.next_update().ok_or_else(|| bad("it does not say how long it is fresh".to_owned()))?;
        let fresh = Validity { not_before: at(parsed.last_update().timestamp()), not_after: at(until.timestamp()) };
        let count = parsed.iter_revoked_certificates().count();
        let list = OwnedCertRevocationList::from_der(&der).map_err(|e| bad(e.to_string()))?;
        Ok(Self { list: std::sync::Arc::new(list.into()), number, fresh, count })
    }

    /// Its number: of two lists the one with the higher number is later.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// From when until when it is fresh.
    #[must_use]
    pub const fn fresh(&self) -> Validity {
        self.fresh
    }

    /// How many certificates it revokes.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|b| *b != b':')
        .map(|b| char::from(b).to_digit(16)?.try_into().ok())
        .collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    (pairs.remainder().is_empty() && !digits.is_empty()).then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}
