//! Members of a pool: stores whose verified place its residency admits, each with weight and failure domains. The others
//! are refused, by name and with the reason, so that a person can read why a disk takes nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;

use policy::id::StoreId;
use policy::place::VerifiedPlace;
use policy::residency::{Residency, ResidencyRefusal};
use serde::{Deserialize, Serialize};

use super::error::PoolError;

/// What a store's share is measured by: bytes of its disk, say. Only proportions count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Weight(NonZeroU64);

/// A weight of zero. A store that is to take nothing is [`Standing::Leaving`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a store that takes chunks has a weight")]
pub struct WeightError;

impl Weight {
    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl TryFrom<u64> for Weight {
    type Error = WeightError;

    fn try_from(weight: u64) -> Result<Self, WeightError> {
        NonZeroU64::new(weight).map(Self).ok_or(WeightError)
    }
}

/// Whether a store takes chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It is drained: it takes nothing, and what lies there is read until it lies elsewhere.
    Leaving,
    /// It takes its share.
    Serving(Weight),
}

/// A store that would be a member.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The store.
    pub store: StoreId,
    /// The name of its node, as its certificate says; one in the whole cluster.
    pub node: String,
    /// Whether it takes chunks.
    pub standing: Standing,
    /// Where its node proves to stand: site and rack are failure domains too.
    pub place: VerifiedPlace,
}

/// Failure domains of a store, but for the store itself. What a place does not name is a domain too: all nodes without a
/// rack in one site count as one rack, because nothing says that they are not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Domain {
    /// Building.
    pub site: Option<String>,
    /// Rack in the building.
    pub rack: Option<String>,
    /// Node in the rack.
    pub node: String,
}

/// A member of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    store: StoreId,
    standing: Standing,
    domain: Domain,
}

impl Member {
    /// The store.
    #[must_use]
    pub const fn store(&self) -> StoreId {
        self.store
    }

    /// Whether it takes chunks.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// Its failure domains.
    #[must_use]
    pub const fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Its weight, if it takes chunks.
    pub(super) const fn serves(&self) -> Option<u64> {
        match self.standing {
            Standing::Serving(weight) => Some(weight.get()),
            Standing::Leaving => None,
        }
    }
}

/// A store that the pool's residency does not admit. It gets no chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The store.
    pub store: StoreId,
    /// Its node.
    pub node: String,
    /// Why.
    pub why: ResidencyRefusal,
    /// It was a member before: it is drained, what lies there is read until it lies where it may.
    pub was_member: bool,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store {} of node `{}` is refused: {}", self.store, self.node, self.why)?;
        if self.was_member { f.write_str("; it is drained of what it has") } else { Ok(()) }
    }
}

/// Number of a member in its table, in order of store ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Index(u16);

impl Index {
    /// The index of a position in a list of members, which has 65,535 at most.
    pub fn of(position: usize) -> Option<Self> {
        u16::try_from(position).ok().map(Self)
    }

    /// The position in the list of members.
    pub fn at(self) -> usize {
        usize::from(self.0)
    }
}

/// Members in order of their ids, and who is refused.
#[derive(Debug)]
pub(super) struct Admission {
    pub members: Vec<Member>,
    pub refused: Vec<Refused>,
}

impl Admission {
    /// Lets those in that may be. Of members before, one that may no longer be one is kept as leaving.
    ///
    /// # Errors
    /// `Twice`, `TooManyStores`.
    pub fn of(residency: &Residency, candidates: &[Candidate], before: &[Member]) -> Result<Self, PoolError> {
        let mut members = BTreeMap::new();
        let mut refused = BTreeMap::new();
        for candidate in candidates {
            let old = before.binary_search_by_key(&candidate.store, Member::store).ok().and_then(|at| before.get(at));
            let mut member = candidate.member();
            if let Err(why) = residency.admits(&candidate.place) {
                let (store, node) = (candidate.store, candidate.node.clone());
                if refused.insert(store, Refused { store, node, why, was_member: old.is_some() }).is_some() {
                    return Err(PoolError::Twice(store));
                }
                let Some(old) = old else { continue };
                member = Member { standing: Standing::Leaving, ..old.clone() };
            }
            if members.insert(candidate.store, member).is_some() {
                return Err(PoolError::Twice(candidate.store));
            }
        }
        if members.len() > usize::from(u16::MAX) {
            return Err(PoolError::TooManyStores(members.len()));
        }
        if let Some(store) = refused.values().find(|r| !r.was_member && members.contains_key(&r.store)) {
            return Err(PoolError::Twice(store.store));
        }
        Ok(Self { members: members.into_values().collect(), refused: refused.into_values().collect() })
    }
}

impl Candidate {
    fn member(&self) -> Member {
        let place = self.place.place();
        let domain = Domain {
            site: place.and_then(|place| place.site.clone()),
            rack: place.and_then(|place| place.rack.clone()),
            node: self.node.clone(),
        };
        Member { store: self.store, standing: self.standing, domain }
    }
}
