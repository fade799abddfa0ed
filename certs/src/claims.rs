//! The residency extension: where a node stands, inside its certificate.
//!
//! OID 2.25.6917529027641081967, not critical; the value is a DER UTF8String that holds the JSON of a
//! [`Place`]. Unknown members are refused, so that no claim is silently ignored.

use policy::place::Place;

/// The extension's OID, a random arc under 2.25 (ITU-T X.667).
pub const OID: [u64; 3] = [2, 25, 6_917_529_027_641_081_967];
const UTF8_STRING: u8 = 0x0c;
/// A claim is short; what is longer is none.
const MAX: usize = 1024;

/// The extension's value.
#[must_use]
pub fn encode(place: &Place) -> Option<Vec<u8>> {
    let text = serde_json::to_vec(place).ok()?;
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

/// The place in an extension's value; none when it is not exactly one.
#[must_use]
pub fn decode(value: &[u8]) -> Option<Place> {
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

#[cfg(test)]
mod tests {
    use policy::place::{Assurance, Country};
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
            prop_assert_eq!(decode(&bytes), None);
        }
    }
}
