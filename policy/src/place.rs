//! Places: where a node's identity says that it stands, and how well that is known.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Text that is not a code of ISO 3166.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a code of ISO 3166")]
pub struct ParsePlaceError(String);

/// A country, ISO 3166-1 alpha-2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Country([u8; 2]);

impl Country {
    /// The Republic of Korea.
    pub const KR: Self = Self(*b"KR");

    /// The two letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Country {
    type Err = ParsePlaceError;
    fn from_str(text: &str) -> Result<Self, ParsePlaceError> {
        match text.as_bytes() {
            [a, b] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => Ok(Self([*a, *b])),
            _ => Err(ParsePlaceError(text.to_owned())),
        }
    }
}

/// A subdivision, ISO 3166-2: Gyeonggi is `KR-41`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subdivision(String);

impl Subdivision {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The country that its code begins with.
    #[must_use]
    pub fn country(&self) -> Option<Country> {
        self.0.split('-').next()?.parse().ok()
    }
}

impl FromStr for Subdivision {
    type Err = ParsePlaceError;
    fn from_str(text: &str) -> Result<Self, ParsePlaceError> {
        let bad = || ParsePlaceError(text.to_owned());
        let (country, rest) = text.split_once('-').ok_or_else(bad)?;
        country.parse::<Country>()?;
        let valid = (1..=3).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        if valid { Ok(Self(text.to_owned())) } else { Err(bad()) }
    }
}

macro_rules! text {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = ParsePlaceError;
            fn try_from(text: String) -> Result<Self, ParsePlaceError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )*};
}

text!(Country, Subdivision);

/// How a claim about a place is known, weakest first (SECURITY.md rule 23).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assurance {
    /// From a flag, a configuration or a default.
    SelfDeclared,
    /// Two persons enrolled it.
    EnrolledByTwo,
    /// Distance was measured.
    Measured,
    /// Hardware attested it.
    Attested,
}

/// Where a node stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Country.
    pub country: Country,
    /// Subdivision of that country.
    pub subdivision: Option<Subdivision>,
    /// Building.
    pub site: Option<String>,
    /// Rack in the building.
    pub rack: Option<String>,
    /// Who runs the machine.
    pub operator: Option<String>,
    /// How well this is known.
    pub assurance: Assurance,
}

impl Place {
    /// Whether the parts agree: a subdivision lies in the country.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        self.subdivision.as_ref().is_none_or(|s| s.country() == Some(self.country))
    }
}

/// What a verified identity says of its place. Nothing said is [`VerifiedPlace::unknown`], and no data goes there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedPlace(Option<Place>);

impl VerifiedPlace {
    /// The identity says nothing, or nothing that verifies.
    #[must_use]
    pub const fn unknown() -> Self {
        Self(None)
    }

    /// A verified identity says this; a place that contradicts itself counts as unknown.
    #[must_use]
    pub fn known(place: Place) -> Self {
        Self(Some(place).filter(Place::is_consistent))
    }

    /// The place, if there is one.
    #[must_use]
    pub const fn place(&self) -> Option<&Place> {
        self.0.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_checked() {
        assert_eq!("KR".parse::<Country>(), Ok(Country::KR));
        for bad in ["kr", "K", "KOR", "", "K1"] {
            assert!(bad.parse::<Country>().is_err(), "{bad}");
        }
        assert_eq!("KR-41".parse::<Subdivision>().unwrap().country(), Some(Country::KR));
        for bad in ["KR", "KR-", "41", "kr-41", "KR-4100"] {
            assert!(bad.parse::<Subdivision>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_contradiction_is_unknown() {
        let place = Place {
            country: Country::KR,
            subdivision: Some("JP-13".parse().unwrap()),
            site: None,
            rack: None,
            operator: None,
            assurance: Assurance::SelfDeclared,
        };
        assert_eq!(VerifiedPlace::known(place), VerifiedPlace::unknown());
    }
}
