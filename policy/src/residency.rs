//! Residency: where data may rest. It is inherited platform -> tenant -> bucket and only narrows;
//! what is unknown is refused, and there is no default place.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::place::{Country, Subdivision, VerifiedPlace};

/// A set of places: one country, and inside it any or some subdivisions and sites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Residency {
    country: Country,
    /// Empty: anywhere in the country.
    subdivisions: BTreeSet<Subdivision>,
    /// Empty: any site.
    sites: BTreeSet<String>,
}

/// A narrower residency names a place that the wider one excludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a residency can only be narrowed")]
pub struct WidensError;

/// Why a place is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResidencyRefusal {
    /// The identity says nothing that verifies.
    #[error("the node's identity does not say where it stands")]
    Unknown,
    /// Another country.
    #[error("the node stands in another country")]
    Country,
    /// A subdivision or site that is not among those named.
    #[error("the node stands outside the subdivisions or sites that the residency names")]
    Narrowed,
}

impl Residency {
    /// The platform's floor: anywhere in the Republic of Korea, nowhere else.
    #[must_use]
    pub const fn korea() -> Self {
        Self { country: Country::KR, subdivisions: BTreeSet::new(), sites: BTreeSet::new() }
    }

    /// A residency in Korea that names subdivisions and sites; an empty set names none and admits all.
    ///
    /// # Errors
    /// `WidensError` for a subdivision of another country.
    pub fn within_korea(subdivisions: BTreeSet<Subdivision>, sites: BTreeSet<String>) -> Result<Self, WidensError> {
        if subdivisions.iter().all(|s| s.country() == Some(Country::KR)) {
            Ok(Self { country: Country::KR, subdivisions, sites })
        } else {
            Err(WidensError)
        }
    }

    /// The subdivisions named.
    #[must_use]
    pub const fn subdivisions(&self) -> &BTreeSet<Subdivision> {
        &self.subdivisions
    }

    /// The sites named.
    #[must_use]
    pub const fn sites(&self) -> &BTreeSet<String> {
        &self.sites
    }

    /// This residency narrowed by an inner one.
    ///
    /// # Errors
    /// `WidensError` when the inner one admits a place that this one does not.
    pub fn narrow(&self, inner: &Self) -> Result<Self, WidensError> {
        if inner.country != self.country {
            return Err(WidensError);
        }
        Ok(Self {
            country: self.country,
            subdivisions: narrow_set(&self.subdivisions, &inner.subdivisions)?,
            sites: narrow_set(&self.sites, &inner.sites)?,
        })
    }

    /// Whether data may rest at a place.
    ///
    /// # Errors
    /// A [`ResidencyRefusal`] that says why not.
    pub fn admits(&self, place: &VerifiedPlace) -> Result<(), ResidencyRefusal> {
        let place = place.place().ok_or(ResidencyRefusal::Unknown)?;
        if place.country != self.country {
            return Err(ResidencyRefusal::Country);
        }
        let subdivision =
            self.subdivisions.is_empty() || place.subdivision.as_ref().is_some_and(|s| self.subdivisions.contains(s));
        let site = self.sites.is_empty() || place.site.as_ref().is_some_and(|s| self.sites.contains(s));
        if subdivision && site { Ok(()) } else { Err(ResidencyRefusal::Narrowed) }
    }
}

fn narrow_set<T: Ord + Clone>(outer: &BTreeSet<T>, inner: &BTreeSet<T>) -> Result<BTreeSet<T>, WidensError> {
    if inner.is_empty() {
        return Ok(outer.clone());
    }
    if outer.is_empty() || inner.is_subset(outer) { Ok(inner.clone()) } else { Err(WidensError) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::place::{Assurance, Place};

    fn place(country: &str, subdivision: Option<u8>, site: Option<u8>) -> VerifiedPlace {
        VerifiedPlace::known(Place {
            country: country.parse().unwrap(),
            subdivision: subdivision.map(|n| format!("{country}-{n}").parse().unwrap()),
            site: site.map(|n| format!("s{n}")),
            rack: None,
            operator: None,
            assurance: Assurance::SelfDeclared,
        })
    }

    fn residency() -> impl Strategy<Value = Residency> {
        (proptest::collection::btree_set(40..44_u8, 0..3), proptest::collection::btree_set(0..4_u8, 0..3)).prop_map(
            |(subs, sites)| {
                Residency::within_korea(
                    subs.into_iter().map(|n| format!("KR-{n}").parse().unwrap()).collect(),
                    sites.into_iter().map(|n| format!("s{n}")).collect(),
                )
                .unwrap()
            },
        )
    }

    proptest! {
        #[test]
        fn narrowing_never_widens(outer in residency(), inner in residency(), sub in proptest::option::of(40..45_u8), site in proptest::option::of(0..5_u8)) {
            let place = place("KR", sub, site);
            if let Ok(narrowed) = outer.narrow(&inner) && narrowed.admits(&place).is_ok() {
                prop_assert!(outer.admits(&place).is_ok());
                prop_assert!(inner.admits(&place).is_ok());
            }
        }

        #[test]
        fn no_residency_admits_abroad_or_nowhere(any in residency(), sub in proptest::option::of(1..9_u8)) {
            prop_assert_eq!(any.admits(&place("JP", sub, Some(1))), Err(ResidencyRefusal::Country));
            prop_assert_eq!(any.admits(&VerifiedPlace::unknown()), Err(ResidencyRefusal::Unknown));
        }
    }
}
