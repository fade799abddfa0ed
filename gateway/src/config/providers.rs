//! What the sections of key providers amount to.

use std::path::PathBuf;

use http::Uri;
use policy::place::{Assurance, Place, VerifiedPlace};

use super::{Openbao, Pkcs11};
use crate::provider::openbao::OpenBaoOptions;
use crate::provider::pkcs11::Pkcs11Options;

impl Openbao {
    /// The provider that is configured, if any.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn options(&self) -> Result<Option<OpenBaoOptions>, String> {
        if self.address.is_empty() {
            return Ok(None);
        }
        let uri: Uri = self.address.parse().map_err(|_| format!("address: {:?} is no URL", self.address))?;
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let here = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        let ca = (!self.ca.is_empty()).then(|| PathBuf::from(&self.ca));
        match (uri.scheme_str(), &ca) {
            (Some("https"), Some(_)) => {}
            (Some("https"), None) => {
                return Err("ca: name the certificate of the CA that signed the server's".to_owned());
            }
            (Some("http"), _) if here => {}
            _ => return Err("address: keys travel there, so it is https:// unless it is on this machine".to_owned()),
        }
        if self.token_file.is_empty() {
            return Err("token_file: name the file that holds the token".to_owned());
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
        if self.mount.is_empty() || !self.mount.bytes().all(plain) {
            return Err(format!("mount: {:?} is not a path", self.mount));
        }
        let address = self.address.trim_end_matches('/').to_owned();
        let mount = self.mount.trim_matches('/').to_owned();
        let (token_file, place) = (PathBuf::from(&self.token_file), place(&self.country, &self.subdivision)?);
        Ok(Some(OpenBaoOptions { address, mount, token_file, ca, place }))
    }
}

impl Pkcs11 {
    /// The provider that is configured, if any.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn options(&self) -> Result<Option<Pkcs11Options>, String> {
        if self.module.is_empty() {
            return Ok(None);
        }
        if self.token.is_empty() || self.pin_file.is_empty() {
            return Err("name the token, and pin_file, the file that holds its user PIN".to_owned());
        }
        let place = place(&self.country, &self.subdivision)?;
        let (module, pin_file) = (PathBuf::from(&self.module), PathBuf::from(&self.pin_file));
        Ok(Some(Pkcs11Options { module, token: self.token.clone(), pin_file, place }))
    }
}

fn place(country: &str, subdivision: &str) -> Result<VerifiedPlace, String> {
    let country = country.parse().map_err(|e| format!("country: {e}"))?;
    let subdivision = match subdivision {
        "" => None,
        text => Some(text.parse().map_err(|e| format!("subdivision: {e}"))?),
    };
    let assurance = Assurance::SelfDeclared;
    let place = Place { country, subdivision, site: None, rack: None, operator: None, assurance };
    match VerifiedPlace::known(place) {
        known if known.place().is_some() => Ok(known),
        _ => Err("subdivision: it is not in the country".to_owned()),
    }
}
