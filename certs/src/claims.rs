//! What certificates of the sovereign CA say beside names: extensions that are not critical, whose value is a DER
//! UTF8String that holds JSON. Unknown members are refused, so that no claim is silently ignored.
//!
//! | OID | in | JSON |
//! |---|---|---|
//! | 2.25.6917529027641081967 | machines | a [`policy::place::Place`]: where it stands |
//! | 2.25.6917529027641081967.1 | machines | a list of [`crate::role::Role`]: what it may be spoken to as |
//! | 2.25.6917529027641081967.2 | intermediates | a list of countries: machines elsewhere it cannot vouch for |
//!
//! The arc is a random one under 2.25 (ITU-T X.667).

use serde::Serialize;
use serde::de::DeserializeOwned;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::Oid;

/// Where a machine stands.
pub const RESIDENCY: &[u64] = &[2, 25, 6_917_529_027_641_081_967];
/// What a machine is.
pub const ROLES: &[u64] = &[2, 25, 6_917_529_027_641_081_967, 1];
/// Countries that an intermediate may vouch for.
pub const COUNTRIES: &[u64] = &[2, 25, 6_917_529_027_641_081_967, 2];
const UTF8_STRING: u8 = 0x0c;
/// A claim is short; what is longer is none.
const MAX: usize = 1024;

/// The extension's value; none when it is too long.
#[must_use]
pub fn encode<T: Serialize>(claim: &T) -> Option<Vec<u8>> {
    let text = serde_json::to_vec(claim).ok()?;
    let length = u16::try_from(text.len()).ok().filter(|n| usize::from(*n) <= MAX)?;
    let [high, low] = length.to_be_bytes();
    let mut out = match length {
        0..=127 => vec![UTF8_STRING, low],
        128..=255 => vec![UTF8_STRING, 0x81, low],
        _ => vec![UTF8_STRING, 0x82, high, low],
    };
    out.extend(text);
    Some(out)
}

/// The claim in an extension's value; none when it is not exactly one.
#[must_use]
pub fn decode<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    let (length, text) = match value.strip_prefix(&[UTF8_STRING])? {
        [0x81, low, text @ ..] if *low >= 128 => (usize::from(*low), text),
        [0x82, high, low, text @ ..] if *high > 0 => (usize::from(u16::from_be_bytes([*high, *low])), text),
        [length @ 0..=127, text @ ..] => (usize::from(*length), text),
        _ => return None,
    };
    if text.len() != length || length > MAX {
        return None;
    }
    serde_json::from_slice(text).ok()
}

/// A claim of a certificate; none when it makes none.
pub(crate) fn of<T: DeserializeOwned>(certificate: &X509Certificate<'_>, oid: &[u64]) -> Result<Option<T>, ClaimError> {
    let oid = Oid::from(oid).map_err(|_| ClaimError::Undecodable)?;
    let found = certificate.get_extension_unique(&oid).map_err(|_| ClaimError::Twice)?;
    found.map(|extension| decode(extension.value).ok_or(ClaimError::Undecodable)).transpose()
}

/// A certificate makes a claim that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The same claim stands in it twice.
    #[error("the certificate carries a claim twice")]
    Twice,
    /// It does not decode.
    #[error("a claim of the certificate does not decode")]
    Undecodable,
}

#[cfg(test)]
mod tests {
    use policy::place::{Assurance, Country, Place};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn places_come_back(site in "[a-z0-9가-힣]{0,80}", rack in proptest::option::of("[a-z0-9]{0,200}")) {
            let place = Place {
                country: Country::KR,
                subdivision: "KR-41".parse().ok(),
                site: Some(site),
                rack,
                operator: None,
                assurance: Assurance::SelfDeclared,
            };
            prop_assert_eq!(decode(&encode(&place).unwrap()), Some(place));
        }

        #[test]
        fn other_bytes_are_no_place(bytes: Vec<u8>) {
            prop_assert_eq!(decode::<Place>(&bytes), None);
        }
    }
}
