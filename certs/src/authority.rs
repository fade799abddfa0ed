//! The sovereign CA of one installation. It signs what nodes are and where they stand.

use std::path::Path;

use policy::place::Place;
use policy::time::UtcMillis;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::claims;
use crate::files::{CertError, malformed, read, write};
use crate::validity::Validity;

const CA_LIFE: Duration = Duration::days(3650);
/// Embedded nodes renew at each start; a year bounds a node that is never restarted.
const NODE_LIFE: Duration = Duration::days(365);
/// Clocks differ.
const SKEW: Duration = Duration::minutes(5);

/// A CA that can sign.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    ends: UtcMillis,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority(..)")
    }
}

impl Authority {
    /// Makes a CA and writes its certificate and its key (mode 0600).
    ///
    /// # Errors
    /// `Make` or `Io`.
    pub fn create(certificate: &Path, key: &Path) -> Result<Self, CertError> {
        let pair = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name.push(DnType::CommonName, "Gotgan sovereign CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = validity(CA_LIFE);
        let pem = params.self_signed(&pair)?.pem();
        let secret = Zeroizing::new(pair.serialize_pem());
        write(key, secret.as_bytes(), 0o600)?;
        write(certificate, pem.as_bytes(), 0o644)?;
        let (ends, _) = facts(&pem).map_err(|why| malformed(certificate, why))?;
        Ok(Self { issuer: Issuer::from_ca_cert_pem(&pem, pair)?, pem, ends })
    }

    /// Reads a CA that was made before.
    ///
    /// # Errors
    /// `Io`, `Malformed`, or `Foreign` when the key is another CA's: what it signed nobody would believe.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, CertError> {
        let pem = String::from_utf8(read(certificate)?).map_err(|e| malformed(certificate, e))?;
        let secret = Zeroizing::new(read(key)?);
        let secret = std::str::from_utf8(&secret).map_err(|e| malformed(key, e))?;
        let pair = KeyPair::from_pem(secret).map_err(|e| malformed(key, e))?;
        let (ends, public) = facts(&pem).map_err(|why| malformed(certificate, why))?;
        if public != pair.subject_public_key_info() {
            return Err(CertError::Foreign { certificate: certificate.to_owned(), key: key.to_owned() });
        }
        Ok(Self { issuer: Issuer::from_ca_cert_pem(&pem, pair).map_err(|e| malformed(certificate, e))?, pem, ends })
    }

    /// Writes its certificate where it is asked for.
    ///
    /// # Errors
    /// `Io`.
    pub fn publish(&self, certificate: &Path) -> Result<(), CertError> {
        write(certificate, self.pem.as_bytes(), 0o644)
    }

    /// Its certificate.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// When it ends, and with it all that it signed.
    #[must_use]
    pub const fn ends(&self) -> UtcMillis {
        self.ends
    }

    /// Signs a node's identity and writes it. Without a place the certificate makes no claim, and the
    /// node may keep no data.
    ///
    /// # Errors
    /// `Make` or `Io`.
    pub fn issue_node(
        &self,
        name: &str,
        place: Option<&Place>,
        certificate: &Path,
        key: &Path,
    ) -> Result<(), CertError> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if let Some(value) = place.and_then(claims::encode) {
            params.custom_extensions = vec![CustomExtension::from_oid_content(&claims::OID, value)];
        }
        self.issue(params, validity(NODE_LIFE), (certificate, key))
    }

    /// Signs a TLS server certificate for names and addresses and writes it; says how long it holds, which is no longer
    /// than the CA itself does.
    ///
    /// # Errors
    /// `Make` or `Io`.
    pub fn issue_server(
        &self,
        names: Vec<String>,
        life: Validity,
        certificate: &Path,
        key: &Path,
    ) -> Result<Validity, CertError> {
        let life = Validity { not_after: life.not_after.min(self.ends), ..life };
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "gotgan");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params, life.ends(), (certificate, key))?;
        Ok(life)
    }

    fn issue(
        &self,
        mut params: CertificateParams,
        ends: (OffsetDateTime, OffsetDateTime),
        (certificate, key): (&Path, &Path),
    ) -> Result<(), CertError> {
        (params.not_before, params.not_after) = ends;
        params.use_authority_key_identifier_extension = true;
        let pair = KeyPair::generate()?;
        let pem = params.signed_by(&pair, &self.issuer)?.pem();
        let secret = Zeroizing::new(pair.serialize_pem());
        write(key, secret.as_bytes(), 0o600)?;
        write(certificate, format!("{pem}{}", self.pem).as_bytes(), 0o644)
    }
}

/// When a certificate ends, and its SubjectPublicKeyInfo.
fn facts(pem: &str) -> Result<(UtcMillis, Vec<u8>), String> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|e| e.to_string())?;
    let certificate = pem.parse_x509().map_err(|e| e.to_string())?;
    Ok((Validity::of(&certificate).not_after, certificate.public_key().raw.to_vec()))
}

fn validity(life: Duration) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (now - SKEW, now + life)
}
