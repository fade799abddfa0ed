//! What must hold of any bytes (`integration-tests/fuzz`).

use policy::place::Place;

use crate::claims::{decode, encode};

/// A value that names a place names the same place when it is written again. Written again it may be longer
/// than a claim can be, for what was left out is then spelt out.
pub fn claims(data: &[u8]) {
    if let Some(place) = decode::<Place>(data)
        && let Some(written) = encode(&place)
    {
        assert_eq!(decode(&written), Some(place));
        assert_eq!(decode::<Place>(&[written.as_slice(), b" "].concat()), None, "something behind it");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn json_of_all_kinds_passes(country in "[A-Z]{1,3}", more in ".{0,40}", assurance in "self-declared|measured|[a-z]{3}") {
            let text = format!(r#"{{"country":"{country}","site":"{more}","assurance":"{assurance}"}}"#);
            if let Ok(length) = u8::try_from(text.len()) && length < 128 {
                claims(&[&[0x0c, length], text.as_bytes()].concat());
            }
        }
    }
}
