//! CAs of one installation: the root, which signs intermediates and may then lie in a safe, and an intermediate, which
//! signs what machines are and where they stand.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use policy::place::{Country, Place};
use policy::time::UtcMillis;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use x509_parser::certificate::X509Certificate;
use zeroize::Zeroizing;

use crate::claims;
use crate::files::{CertError, key_pair, malformed, read, write};
use crate::request::{NewKey, Request};
use crate::role::Roles;
use crate::validity::Validity;

/// Life of a root: ten years.
pub const ROOT_DAYS: u64 = 3650;
/// Life of a machine's certificate; a third of it is left when it is renewed (SECURITY.md rule 23).
pub const MACHINE_LIFE: Duration = Duration::from_secs(24 * 3600);
const USAGES: [KeyUsagePurpose; 2] = [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
const BOTH_SIDES: [ExtendedKeyUsagePurpose; 2] =
    [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];

/// A CA that can sign.
pub struct Authority {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    /// Its certificate (PEM), and behind it those that vouch for it, as far as its file holds them.
    chain: String,
    validity: Validity,
    /// An intermediate vouches for machines in these alone; a root for none but through intermediates.
    countries: Option<BTreeSet<Country>>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority(..)")
    }
}

/// What a certificate says of a machine. It comes from whoever enrolled it, never from the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine<'a> {
    /// Its name, for people.
    pub name: &'a str,
    /// What it is.
    pub roles: &'a Roles,
    /// Where it stands. Without a place the certificate makes no claim, and the machine may keep no data.
    pub place: Option<&'a Place>,
}

/// A certificate that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// It and the intermediate that signed it (PEM).
    pub chain: String,
    /// Its serial number, in hex.
    pub serial: String,
    /// How long it holds.
    pub validity: Validity,
}

impl Authority {
    /// Makes a root and writes its certificate and its key (mode 0600).
    ///
    /// # Errors
    /// `Make` or `Io`.
    pub fn create(certificate: &Path, key: &Path, life: Validity) -> Result<Self, CertError> {
        let pair = KeyPair::generate()?;
        let mut params = named("Gotgan sovereign CA", life)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = USAGES.to_vec();
        let pem = params.self_signed(&pair)?.pem();
        keep(&pair, key)?;
        write(certificate, pem.as_bytes(), 0o644)?;
        Self::of(pem, pair, certificate)
    }

    /// Reads a CA that was made before.
    ///
    /// # Errors
    /// `Io`, `Malformed`, or `Foreign` when the key is another CA's: what it signed nobody would believe.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, CertError> {
        let chain = String::from_utf8(read(certificate)?).map_err(|e| malformed(certificate, e))?;
        let pair = key_pair(key)?;
        let public = parsed(&chain, |own| own.public_key().raw.to_vec()).map_err(|why| malformed(certificate, why))?;
        if public != pair.subject_public_key_info() {
            return Err(CertError::Foreign { certificate: certificate.to_owned(), key: key.to_owned() });
        }
        Self::of(chain, pair, certificate)
    }

    fn of(chain: String, pair: KeyPair, certificate: &Path) -> Result<Self, CertError> {
        let (validity, countries) = parsed(&chain, |own| (Validity::of(own), claims::of(own, claims::COUNTRIES)))
            .map_err(|why| malformed(certificate, why))?;
        let countries = countries.map_err(|e| malformed(certificate, e))?;
        let issuer = Issuer::from_ca_cert_pem(&chain, pair).map_err(|e| malformed(certificate, e))?;
        Ok(Self { issuer, chain, validity, countries })
    }

    /// When it ends, and with it all that it signed.
    #[must_use]
    pub const fn ends(&self) -> UtcMillis {
        self.validity.not_after
    }

    /// How long it holds.
    #[must_use]
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// Countries that an intermediate vouches for; none for a root.
    #[must_use]
    pub const fn countries(&self) -> Option<&BTreeSet<Country>> {
        self.countries.as_ref()
    }

    /// Whether it is an intermediate.
    #[must_use]
    pub const fn is_intermediate(&self) -> bool {
        self.countries.is_some()
    }

    /// Signs an intermediate for machines in some countries and writes its certificate. A key that is there stays, so that what
    /// it signed before holds on; else one is made (mode 0600).
    ///
    /// # Errors
    /// `NotRoot` when an intermediate is asked, `Make`, `Io`, or `Malformed` for a key file that is none.
    pub fn issue_intermediate(
        &self,
        countries: &BTreeSet<Country>,
        life: Validity,
        (certificate, key): (&Path, &Path),
    ) -> Result<Self, CertError> {
        if self.is_intermediate() {
            return Err(CertError::NotRoot);
        }
        let pair = match key.exists() {
            true => key_pair(key)?,
            false => KeyPair::generate()?,
        };
        let mut params = named("Gotgan issuing CA", life.until(self.ends()))?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = USAGES.to_vec();
        params.use_authority_key_identifier_extension = true;
        params.custom_extensions = vec![extension(claims::COUNTRIES, countries)?];
        let pem = params.signed_by(&pair, &self.issuer)?.pem();
        keep(&pair, key)?;
        write(certificate, pem.as_bytes(), 0o644)?;
        Self::of(pem, pair, certificate)
    }

    /// Signs what a machine is, for the key of its request. It ends no later than the CA itself.
    ///
    /// # Errors
    /// `NotIntermediate` when the root is asked, `Elsewhere` when the machine stands in a country that this CA cannot vouch for,
    /// `Make`.
    pub fn issue(&self, machine: &Machine<'_>, request: &Request, life: Validity) -> Result<Issued, CertError> {
        let countries = self.countries.as_ref().ok_or(CertError::NotIntermediate)?;
        if let Some(place) = machine.place
            && !countries.contains(&place.country)
        {
            return Err(CertError::Elsewhere(place.country));
        }
        let life = life.until(self.ends());
        let mut params = named(machine.name, life)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = BOTH_SIDES.to_vec();
        params.use_authority_key_identifier_extension = true;
        params.custom_extensions = vec![extension(claims::ROLES, machine.roles)?];
        if let Some(place) = machine.place {
            params.custom_extensions.push(extension(claims::RESIDENCY, place)?);
        }
        let pem = params.signed_by(request.public_key(), &self.issuer)?.pem();
        let serial = parsed(&pem, |own| own.raw_serial_as_string()).map_err(CertError::Encode)?;
        Ok(Issued { chain: pem + &self.chain, serial, validity: life })
    }

    /// As [`Self::issue`], of a machine of this very process: makes its key, too, and writes both.
    ///
    /// # Errors
    /// As [`Self::issue`], and `Io`.
    pub fn issue_own(
        &self,
        machine: &Machine<'_>,
        life: Validity,
        (certificate, key): (&Path, &Path),
    ) -> Result<Issued, CertError> {
        let made = NewKey::generate(machine.name)?;
        let issued = self.issue(machine, &Request::parse(&made.request)?, life)?;
        write(key, made.secret().as_bytes(), 0o600)?;
        write(certificate, issued.chain.as_bytes(), 0o644)?;
        Ok(issued)
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
        let life = life.until(self.ends());
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "gotgan");
        (params.not_before, params.not_after) = life.ends();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let pair = KeyPair::generate()?;
        let pem = params.signed_by(&pair, &self.issuer)?.pem();
        keep(&pair, key)?;
        write(certificate, (pem + &self.chain).as_bytes(), 0o644)?;
        Ok(life)
    }
}

fn named(name: &str, life: Validity) -> Result<CertificateParams, CertError> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = life.ends();
    Ok(params)
}

fn extension<T: serde::Serialize>(oid: &[u64], claim: &T) -> Result<CustomExtension, CertError> {
    let value = claims::encode(claim).ok_or_else(|| CertError::Encode("a claim is too long".to_owned()))?;
    Ok(CustomExtension::from_oid_content(oid, value))
}

fn keep(pair: &KeyPair, key: &Path) -> Result<(), CertError> {
    let secret = Zeroizing::new(pair.serialize_pem());
    write(key, secret.as_bytes(), 0o600)
}

/// Something of the first certificate of a PEM text.
fn parsed<T>(pem: &str, of: impl FnOnce(&X509Certificate<'_>) -> T) -> Result<T, String> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|e| e.to_string())?;
    Ok(of(&pem.parse_x509().map_err(|e| e.to_string())?))
}
