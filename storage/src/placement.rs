//! Which stores may keep a body: those whose verified place the permit's residency admits.

use policy::decide::Permit;
use policy::id::StoreId;
use policy::place::VerifiedPlace;
use policy::residency::{Residency, ResidencyRefusal};
use serde::{Deserialize, Serialize};

/// A pool: storage class, residency and failure-domain rule together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PoolId(u16);

impl From<u16> for PoolId {
    fn from(number: u16) -> Self {
        Self(number)
    }
}

impl PoolId {
    /// Its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// What placement knows of a store.
#[derive(Debug, Clone)]
pub struct StoreFacts {
    /// The store.
    pub id: StoreId,
    /// Where it stands, as its identity proves.
    pub place: VerifiedPlace,
    /// Whether it has room for more.
    pub room: bool,
}

/// No store may keep the bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// Every store stands where the residency does not allow.
    #[error("{0}")]
    Residency(#[from] ResidencyRefusal),
    /// Those that may have no room.
    #[error("the stores that may keep these bytes are full")]
    Full,
    /// There is no store.
    #[error("there is no store")]
    NoStore,
}

/// Stores that may keep the bodies of one permitted operation.
#[derive(Debug, Clone)]
pub struct Placement {
    store: StoreId,
    pool: PoolId,
    residency: Residency,
}

impl Placement {
    /// Chooses among stores. Only a permit leads here.
    ///
    /// # Errors
    /// [`PlacementError`] when none of them may or can.
    pub fn decide(permit: &Permit, stores: &[StoreFacts], pool: PoolId) -> Result<Self, PlacementError> {
        let mut refusal = PlacementError::NoStore;
        for store in stores {
            match permit.residency().admits(&store.place) {
                Ok(()) if store.room => {
                    return Ok(Self { store: store.id, pool, residency: permit.residency().clone() });
                }
                Ok(()) => refusal = PlacementError::Full,
                Err(refused) if refusal == PlacementError::NoStore => refusal = refused.into(),
                Err(_) => {}
            }
        }
        Err(refusal)
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> StoreId {
        self.store
    }

    /// The pool.
    #[must_use]
    pub const fn pool(&self) -> PoolId {
        self.pool
    }

    /// The residency that the store must check against its own place.
    #[must_use]
    pub const fn residency(&self) -> &Residency {
        &self.residency
    }
}
