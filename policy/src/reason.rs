//! Why a key is used. Each use of a tenant key names one of these, and the key's own policy may refuse by it.

use serde::{Deserialize, Serialize};

/// Why something that hangs on a tenant key is opened or sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// A principal of the tenant asks for it.
    CustomerRequest,
    /// A rule of the tenant about the age of its objects.
    Lifecycle,
    /// Stored bytes are verified. No scrub of this version needs a key: it verifies what is sealed.
    Scrub,
    /// Keys below it are wrapped anew, or tried after a destruction.
    Rewrap,
    /// The platform opens it because a court or the law demands it, approved by two persons.
    LegalRequest,
    /// The platform opens it because something would be lost or harmed else, approved by two persons.
    Emergency,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 6] =
        [Self::CustomerRequest, Self::Lifecycle, Self::Scrub, Self::Rewrap, Self::LegalRequest, Self::Emergency];

    /// Its code, in records and policies of keys.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::CustomerRequest => "customer-request",
            Self::Lifecycle => "lifecycle",
            Self::Scrub => "scrub",
            Self::Rewrap => "rewrap",
            Self::LegalRequest => "legal-request",
            Self::Emergency => "emergency",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of reasons.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Reason>", into = "Vec<Reason>")]
pub struct Reasons(u8);

impl Reasons {
    /// Whether it holds this one.
    #[must_use]
    pub const fn contains(self, reason: Reason) -> bool {
        self.0 & reason.bit() != 0
    }

    /// Whether it holds none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// As one byte, a bit each.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Those of a byte; bits that stand for none are left out.
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        Reason::ALL.into_iter().filter(|reason| bits & reason.bit() != 0).collect()
    }

    /// Those in it.
    pub fn iter(self) -> impl Iterator<Item = Reason> {
        Reason::ALL.into_iter().filter(move |reason| self.contains(*reason))
    }
}

impl FromIterator<Reason> for Reasons {
    fn from_iter<I: IntoIterator<Item = Reason>>(reasons: I) -> Self {
        Self(reasons.into_iter().fold(0, |bits, reason| bits | reason.bit()))
    }
}

impl From<Vec<Reason>> for Reasons {
    fn from(reasons: Vec<Reason>) -> Self {
        reasons.into_iter().collect()
    }
}

impl From<Reasons> for Vec<Reason> {
    fn from(reasons: Reasons) -> Self {
        reasons.iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_into_it() {
        for bits in 0..=u8::MAX {
            let set = Reasons::from_bits(bits);
            let list: Vec<Reason> = set.into();
            assert_eq!(Reasons::from(list.clone()), set);
            assert!(Reason::ALL.iter().all(|reason| set.contains(*reason) == list.contains(reason)));
            assert_eq!(Reasons::from_bits(set.bits()), set);
        }
        assert!(Reasons::default().is_empty());
        let codes: std::collections::BTreeSet<_> = Reason::ALL.map(Reason::code).into();
        assert_eq!(codes.len(), Reason::ALL.len());
    }
}
