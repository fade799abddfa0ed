//! Layouts: how the bytes of a part are spread over stores (STORAGE.md rules 10 and 11).
//!
//! A layout is a field of each part, fixed at commit, and its name is a storage class: `replica-3`,
//! `ec-4-2`. Replicas are the code with one data shard, so one pair of numbers says it all.
//!
//! | written as | bytes |
//! |---|---|
//! | text (JSON) | the name |
//! | compact (postcard) | data shards u8, parity shards u8; `replica-n` is 1, n - 1 |

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most data shards. With more, a shard of a whole chunk is under four segments, so that the costs that each has
/// (a row, a receipt, a sync) outgrow its bytes, and every degraded read asks that many more stores.
pub const DATA_MAX: u8 = 16;
/// Most parity shards. Four losses in one repair window are beyond what disks do; more only costs.
pub const PARITY_MAX: u8 = 4;
/// Plaintext bytes from which a part is coded; shorter ones are replicated in every class.
pub const CODED_MIN: u64 = 1 << 20;

/// How a part's bytes are spread over stores in distinct failure domains.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Layout {
    data: u8,
    parity: u8,
}

/// Not a layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Numbers out of bounds.
    #[error(
        "a layout has 2 to {} replicas, or 2 to {DATA_MAX} data shards and 1 to {PARITY_MAX} parity shards",
        PARITY_MAX + 1
    )]
    Bounds,
    /// A name of another form.
    #[error("`{0}` is no layout: `replica-N` or `ec-K-M`")]
    Name(String),
}

impl LayoutError {
    /// Whether the same call may succeed later: never.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Bounds | Self::Name(_) => false,
        }
    }
}

impl Layout {
    /// `replica-n`: so many whole copies, 2 to 5. One copy would be none that survives, and could never be
    /// acknowledged; more than five are more than what any code here survives.
    ///
    /// # Errors
    /// [`LayoutError::Bounds`].
    pub fn replicas(copies: u8) -> Result<Self, LayoutError> {
        match copies.checked_sub(1) {
            Some(parity @ 1..=PARITY_MAX) => Ok(Self { data: 1, parity }),
            _ => Err(LayoutError::Bounds),
        }
    }

    /// `ec-k-m`: any `data` (2 to 16) of `data + parity` shards give the bytes back; `parity` is 1 to 4.
    ///
    /// # Errors
    /// [`LayoutError::Bounds`].
    pub fn coded(data: u8, parity: u8) -> Result<Self, LayoutError> {
        match (data, parity) {
            (2..=DATA_MAX, 1..=PARITY_MAX) => Ok(Self { data, parity }),
            _ => Err(LayoutError::Bounds),
        }
    }

    /// Whether each shard is a whole copy.
    #[must_use]
    pub const fn is_replicated(self) -> bool {
        self.data == 1
    }

    /// Shards that are needed to read: 1 of replicas, k of a code.
    #[must_use]
    pub const fn data(self) -> u8 {
        self.data
    }

    /// Shards beyond those, which is how many losses it survives.
    #[must_use]
    pub const fn parity(self) -> u8 {
        self.parity
    }

    /// Stores that it needs, each in a failure domain of its own.
    #[must_use]
    pub const fn stores(self) -> u8 {
        self.data + self.parity
    }

    /// Durable shards that an acknowledgement needs at least: 2 replicas, or k + 1 (rule 10). Any one store may
    /// then be lost before the rest is repaired.
    #[must_use]
    pub const fn quorum(self) -> u8 {
        self.data + 1
    }

    /// Bytes stored for each sealed byte, of whole chunks.
    #[must_use]
    pub fn stored_per_byte(self) -> f64 {
        f64::from(self.stores()) / f64::from(self.data)
    }

    /// Copies that survive as many losses as this does.
    #[must_use]
    pub const fn replicated(self) -> Self {
        Self { data: 1, parity: self.parity }
    }

    /// The layout of a part of so many plaintext bytes in this class: replicas under 1 MiB.
    #[must_use]
    pub const fn for_part(self, bytes: u64) -> Self {
        if bytes < CODED_MIN { self.replicated() } else { self }
    }

    /// The layout in which a part of this class is written while only so many failure domains answer (rule 10):
    /// this one down to its quorum, then as many replicas as there are domains, and none below two.
    #[must_use]
    pub fn within(self, domains: u8) -> Option<Self> {
        if domains >= self.quorum() {
            return Some(self);
        }
        Self::replicas(domains.min(self.parity + 1)).ok()
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_replicated() {
            write!(f, "replica-{}", self.stores())
        } else {
            write!(f, "ec-{}-{}", self.data, self.parity)
        }
    }
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Layout {
    type Err = LayoutError;

    fn from_str(name: &str) -> Result<Self, LayoutError> {
        let unknown = || LayoutError::Name(name.to_owned());
        let number = |text: &str| text.parse().map_err(|_| unknown());
        let layout = if let Some(copies) = name.strip_prefix("replica-") {
            Self::replicas(number(copies)?)?
        } else {
            let (data, parity) = name.strip_prefix("ec-").and_then(|rest| rest.split_once('-')).ok_or_else(unknown)?;
            Self::coded(number(data)?, number(parity)?)?
        };
        // One name each: no leading zeros and no signs, which the parser of numbers would take.
        if layout.to_string() == name { Ok(layout) } else { Err(unknown()) }
    }
}

impl Serialize for Layout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            (self.data, self.parity).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Layout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return String::deserialize(deserializer)?.parse().map_err(D::Error::custom);
        }
        let (data, parity) = <(u8, u8)>::deserialize(deserializer)?;
        let layout = if data == 1 { Self::replicas(parity.saturating_add(1)) } else { Self::coded(data, parity) };
        layout.map_err(D::Error::custom)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any layout.
    pub(crate) fn layouts() -> impl Strategy<Value = Layout> {
        prop_oneof![
            (2..=PARITY_MAX + 1).prop_map(|copies| Layout::replicas(copies).unwrap()),
            (2..=DATA_MAX, 1..=PARITY_MAX).prop_map(|(data, parity)| Layout::coded(data, parity).unwrap()),
        ]
    }

    #[test]
    fn the_classes_that_are_offered() {
        let of = |name: &str| {
            let layout: Layout = name.parse().unwrap();
            (layout.stores(), layout.quorum(), layout.data(), layout.parity(), layout.for_part(4096).to_string())
        };
        assert_eq!(of("replica-2"), (2, 2, 1, 1, "replica-2".to_owned()));
        assert_eq!(of("replica-3"), (3, 2, 1, 2, "replica-3".to_owned()));
        assert_eq!(of("ec-4-2"), (6, 5, 4, 2, "replica-3".to_owned()));
        assert_eq!(of("ec-8-3"), (11, 9, 8, 3, "replica-4".to_owned()));
        let class: Layout = "ec-8-3".parse().unwrap();
        assert!((class.stored_per_byte() - 1.375).abs() < 1e-9);
        assert_eq!(class.for_part(CODED_MIN - 1).to_string(), "replica-4");
        assert_eq!(class.for_part(CODED_MIN), class);
        let within = |domains| class.within(domains).map(|layout| layout.to_string());
        assert_eq!(within(11).as_deref(), Some("ec-8-3"));
        assert_eq!(within(9).as_deref(), Some("ec-8-3"));
        assert_eq!(within(8).as_deref(), Some("replica-4"));
        assert_eq!(within(3).as_deref(), Some("replica-3"));
        assert_eq!(within(1), None);
    }

    #[test]
    fn what_is_no_layout() {
        for name in [
            "",
            "replica",
            "replica-",
            "replica-1",
            "replica-6",
            "replica-03",
            "replica-+3",
            "Replica-3",
            "replica-3 ",
            "replica-256",
            "ec-1-2",
            "ec-4",
            "ec-4-",
            "ec-4-0",
            "ec-4-5",
            "ec-17-2",
            "ec-04-2",
            "ec-4-2-1",
            "ec-4-+2",
            "STANDARD",
        ] {
            assert!(name.parse::<Layout>().is_err(), "{name}");
        }
        for bytes in [[0, 0], [0, 1], [1, 0], [1, 5], [1, 255], [2, 0], [17, 1], [4, 5]] {
            assert!(postcard::from_bytes::<Layout>(&bytes).is_err(), "{bytes:?}");
        }
        assert!(serde_json::from_str::<Layout>("[4,2]").is_err());
    }

    proptest! {
        #[test]
        fn names_and_bytes_come_back(layout in layouts()) {
            let name = layout.to_string();
            prop_assert_eq!(name.parse::<Layout>(), Ok(layout));
            let json = serde_json::to_string(&layout).unwrap();
            prop_assert_eq!(&json, &format!("\"{name}\""));
            prop_assert_eq!(serde_json::from_str::<Layout>(&json).unwrap(), layout);
            let bytes = postcard::to_stdvec(&layout).unwrap();
            prop_assert_eq!(&bytes, &[layout.data(), layout.parity()]);
            prop_assert_eq!(postcard::from_bytes::<Layout>(&bytes).unwrap(), layout);
        }

        #[test]
        fn numbers_agree(layout in layouts(), bytes in 0..2 * CODED_MIN, domains in 0_u8..24) {
            prop_assert_eq!(layout.data() + layout.parity(), layout.stores());
            prop_assert!(layout.quorum() > layout.data(), "one loss right after the acknowledgement is survived");
            prop_assert!(layout.quorum() <= layout.stores());
            prop_assert!(layout.stored_per_byte() > 1.0);
            let written = layout.for_part(bytes);
            prop_assert_eq!(written.parity(), layout.parity(), "a small part survives what a large one does");
            prop_assert_eq!(written.for_part(bytes), written);
            match layout.within(domains) {
                Some(chosen) => {
                    prop_assert!(chosen.quorum() <= domains);
                    prop_assert!(chosen == layout || (chosen.is_replicated() && chosen.stores() <= domains));
                }
                None => prop_assert!(domains < 2),
            }
        }

        #[test]
        fn no_name_panics(name in "(replica|ec)?-?[0-9+]{0,4}(-[0-9]{0,4})?", any in ".{0,12}") {
            for name in [name, any] {
                if let Ok(layout) = name.parse::<Layout>() {
                    prop_assert_eq!(layout.to_string(), name);
                }
            }
        }
    }
}
