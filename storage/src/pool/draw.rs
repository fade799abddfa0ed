//! How strongly a store claims a slot: weighted rendezvous hashing.
//!
//! Slot and store give a hash, the hash a number u between 0 and 1, and the store with the smallest -log2(u) / weight has
//! the strongest claim: the first of an exponential race, so that each wins in proportion to its weight, whoever else
//! runs (Schindelhauer and Schomaker, "Weighted Distributed Hash Tables", 2005). A claim depends on nothing but pool,
//! slot, store and weight.
//!
//! Why whole numbers: `f64::ln` may differ in its last digit between platforms and libraries, and two machines that
//! draw up the same table must agree. Claims are compared by cross multiplication, hence exactly. The logarithm is
//! within 2^-21 of the true one and the same everywhere; it need not be better, since a table is evened after it is filled.

use std::cmp::Ordering;

use policy::id::StoreId;

use super::slot::Slot;
use crate::placement::PoolId;

/// Fraction bits of a logarithm.
const BITS: u32 = 48;
/// Cells of the table of logarithms.
const CELLS: usize = 1024;
/// log2(1 + i / 1024); between two of them the logarithm is taken for a straight line.
const LOG2: [u64; CELLS + 1] = logarithms();

const fn logarithms() -> [u64; CELLS + 1] {
    let mut out = [0; CELLS + 1];
    let mut cell = 0;
    while cell <= CELLS {
        out[cell] = logarithm(cell);
        cell += 1;
    }
    out
}

/// One digit for each squaring.
const fn logarithm(cell: usize) -> u64 {
    if cell == CELLS {
        return 1 << BITS;
    }
    let mut value = ((CELLS + cell) as u128) << 52;
    let mut out = 0;
    let mut digit = 0;
    while digit < BITS {
        value = (value * value) >> 62;
        out <<= 1;
        if value >= 1 << 63 {
            value >>= 1;
            out |= 1;
        }
        digit += 1;
    }
    out
}

/// -log2((hash | 1) / 2^64), with 48 fraction bits; at least 1, and smaller for a larger hash.
fn minus_log2(hash: u64) -> u64 {
    let hash = hash | 1;
    let zeros = hash.leading_zeros();
    let scaled = hash << zeros;
    let cell = usize::try_from(scaled >> 53 & 1023).unwrap_or(0);
    let (low, high) = match LOG2.get(cell..=cell + 1) {
        Some(&[low, high]) => (low, high),
        _ => (0, 0),
    };
    let fraction = scaled >> 29 & 0xff_ffff;
    ((u64::from(zeros) + 1) << BITS) - low - (((high - low) * fraction) >> 24)
}

/// A store as it draws.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drawer {
    key: [u64; 2],
    weight: u64,
}

/// A slot as it is drawn for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lot([u64; 2]);

/// A claim; the stronger is the smaller.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    wait: u64,
    weight: u64,
}

fn key(domain: &[u8], name: &[u8]) -> [u64; 2] {
    let mut hash = blake3::Hasher::new();
    hash.update(domain).update(name);
    let mut halves = [[0; 8]; 2];
    hash.finalize_xof().fill(halves.as_flattened_mut());
    halves.map(u64::from_be_bytes)
}

impl Drawer {
    /// A store of some weight.
    pub fn new(store: StoreId, weight: u64) -> Self {
        Self { key: key(b"gotgan-draw-1 store", store.as_bytes()), weight }
    }

    /// Its claim to a slot.
    #[inline]
    pub fn claim(&self, lot: Lot) -> Claim {
        // One multiplication mixes keys that are hashes already; the two rounds behind it are MurmurHash3's finalizer.
        let product = u128::from(self.key[0] ^ lot.0[0]) * u128::from(self.key[1] ^ lot.0[1]);
        let [low, high] = [product & u128::from(u64::MAX), product >> 64].map(|half| u64::try_from(half).unwrap_or(0));
        let mut hash = low ^ high;
        for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53_u64] {
            hash = (hash ^ hash >> 33).wrapping_mul(factor);
        }
        Claim { wait: minus_log2(hash ^ hash >> 33), weight: self.weight }
    }
}

impl Lot {
    /// A slot of a pool: pools share stores and should not share neighbours.
    pub fn new(pool: PoolId, slot: Slot) -> Self {
        let [a, b] = pool.number().to_be_bytes();
        let [c, d] = slot.number().to_be_bytes();
        Self(key(b"gotgan-draw-1 slot", &[a, b, c, d]))
    }
}

impl Ord for Claim {
    fn cmp(&self, other: &Self) -> Ordering {
        let here = u128::from(self.wait) * u128::from(other.weight);
        here.cmp(&(u128::from(other.wait) * u128::from(self.weight)))
    }
}

impl PartialOrd for Claim {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Claim {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Claim {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_logarithm_is_one(hash: u64) {
            let exact = -((hash | 1) as f64 / 2_f64.powi(64)).log2();
            prop_assert!((minus_log2(hash) as f64 / 2_f64.powi(48) - exact).abs() < 2_f64.powi(-21));
        }

        #[test]
        fn a_larger_hash_waits_no_longer(a: u64, b: u64, close in 0..64_u32) {
            let b = a.wrapping_add(b >> close);
            let (small, large) = (a.min(b), a.max(b));
            prop_assert!(minus_log2(small) >= minus_log2(large));
            prop_assert!(minus_log2(large) >= 1);
        }
    }

    #[test]
    fn the_ends_of_the_logarithm_are_in_range() {
        assert_eq!(minus_log2(0), 64 << BITS);
        assert_eq!(minus_log2(1 << 63), 1 << BITS);
        assert!((1..1 << 16).contains(&minus_log2(u64::MAX)));
    }

    #[test]
    fn claims_are_won_in_proportion_to_weight() {
        let drawers: Vec<_> = (1..=4).map(|n| Drawer::new(StoreId::from_bytes([n; 16]), u64::from(n))).collect();
        let mut won = [0_u32; 4];
        for slot in crate::pool::SlotCount::LARGE.slots() {
            let lot = Lot::new(PoolId::from(7), slot);
            let winner = (0..4).min_by_key(|at| drawers[*at].claim(lot)).unwrap();
            won[winner] += 1;
        }
        for (at, won) in won.into_iter().enumerate() {
            let expected = 65_536.0 * (at + 1) as f64 / 10.0;
            assert!((f64::from(won) - expected).abs() < 4.0 * expected.sqrt(), "{at}: {won}");
        }
    }

    #[test]
    fn claims_stay_what_they_are() {
        let claim = Drawer::new(StoreId::from_bytes([1; 16]), 3)
            .claim(Lot::new(PoolId::from(0), crate::pool::SlotCount::SMALL.numbered(5).unwrap()));
        // By another implementation of the same arithmetic.
        assert_eq!((claim.wait, claim.weight), (113_249_070_123_903, 3));
    }
}
