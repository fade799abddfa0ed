//! Fair shares: how many slots each store should have.
//!
//! Shares are in proportion to weight, as far as failure domains allow: where a domain may hold no more, its stores have
//! less and the others rise together, until all slots are given out (the fairest division in the sense of
//! max-min). Like water that is poured into basins within basins: each level of domains divides what it got, and the
//! height of the water is found by bisection, in whole numbers.

use super::spread::{Path, Spread};

/// One slot, in the unit of fair shares: 2^32 parts of a slot.
pub(super) const SLOT: u64 = 1 << 32;
/// What bisection may be off by: a share this close to a whole number of slots is that number.
const CLOSE: u64 = SLOT >> 20;

/// How near to their fair shares stores are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evenness {
    /// To the slot: for a table that is made anew, where nothing has to be moved for it.
    Exact,
    /// Within 2 % or to the slot: what may stay as it is in a change.
    Loose,
}

/// A store's share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// What is fair, in parts of a slot ([`SLOT`]).
    pub fair: u64,
    /// What is fair, rounded down to slots.
    pub whole: u32,
    /// The fewest slots that will do.
    pub least: u32,
    /// The most slots that will do.
    pub most: u32,
}

impl Share {
    fn of(fair: u64, evenness: Evenness) -> Self {
        let slots = |parts: u64| u32::try_from(parts / SLOT).unwrap_or(u32::MAX);
        let (whole, up) = (slots(fair + CLOSE), slots(fair.saturating_sub(CLOSE) + SLOT - 1));
        match evenness {
            Evenness::Exact => Self { fair, whole, least: whole, most: up },
            Evenness::Loose => {
                let (low, high) = (slots(fair * 98 / 100 + SLOT - 1), slots(fair * 102 / 100));
                Self { fair, whole, least: whole.min(low), most: up.max(high) }
            }
        }
    }
}

/// Shares of all members, in their order; `weights` has none for a member that takes nothing.
pub(super) fn shares(spread: &Spread, weights: &[Option<u64>], slots: u32, evenness: Evenness) -> Vec<Share> {
    let basins = Basins::new(spread, weights, slots);
    let mut amounts = vec![u64::from(slots) * u64::from(spread.copies()) * SLOT];
    for level in 0..=spread.depth() {
        amounts = basins.divide(level, &amounts);
    }
    let mut out = vec![Share::default(); weights.len()];
    for (store, amount) in basins.stores.iter().zip(amounts) {
        if let Some(share) = out.get_mut(store.at) {
            *share = Share::of(amount, evenness);
        }
    }
    out
}

struct Store {
    at: usize,
    weight: u64,
    path: Path,
}

/// Domains with what they must and can hold.
struct Basins<'a> {
    spread: &'a Spread,
    stores: Vec<Store>,
    bounds: Vec<Vec<(u64, u64)>>,
    /// What one store can hold: every slot once.
    all: u64,
}

impl<'a> Basins<'a> {
    fn new(spread: &'a Spread, weights: &[Option<u64>], slots: u32) -> Self {
        let all = u64::from(slots) * SLOT;
        let scaled = |(low, most): (u32, u32)| (u64::from(low) * all, u64::from(most) * all);
        let bounds = (0..spread.depth()).map(|level| spread.bounds(level).into_iter().map(scaled).collect()).collect();
        let paths = (0..weights.len()).map(|at| spread.path(super::member::Index::of(at)?));
        let stores = weights.iter().zip(paths).enumerate();
        let stores = stores.filter_map(|(at, (weight, path))| Some(Store { at, weight: (*weight)?, path: path? }));
        Self { spread, stores: stores.collect(), bounds, all }
    }

    /// Divides what the domains one level up have (the whole, at level 0) over those of a level; at the level behind
    /// the last, over stores.
    fn divide(&self, level: usize, amounts: &[u64]) -> Vec<u64> {
        let mut low = vec![0_u128; amounts.len()];
        let mut high = vec![u128::MAX; amounts.len()];
        for _ in 0..u128::BITS {
            let middle: Vec<_> = low.iter().zip(&high).map(|(low, high)| high - (high - low) / 2).collect();
            let mut sums = vec![0_u64; amounts.len()];
            for (part, outer) in self.pour(level, &middle).into_iter().zip(self.outer(level)) {
                if let Some(sum) = sums.get_mut(outer) {
                    *sum += part;
                }
            }
            let ends = low.iter_mut().zip(&mut high);
            for (((low, high), middle), (sum, amount)) in ends.zip(middle).zip(sums.into_iter().zip(amounts)) {
                match (sum <= *amount, *low < *high) {
                    (_, false) => {}
                    (true, _) => *low = middle,
                    (false, _) => *high = middle - 1,
                }
            }
        }
        self.pour(level, &low)
    }

    /// What each domain of a level takes (at the level behind the last, each store) when the water stands at these
    /// heights in the domains one level up: 2^-64 parts of a slot for each unit of weight.
    fn pour(&self, level: usize, heights: &[u128]) -> Vec<u64> {
        let outer = |store: &Store| level.checked_sub(1).map_or(0, |level| part(store, level));
        let takes = |store: &Store| {
            let height = heights.get(outer(store)).copied().unwrap_or(0);
            let amount = height.checked_mul(u128::from(store.weight)).and_then(|parts| u64::try_from(parts >> 64).ok());
            amount.map_or(self.all, |amount| amount.min(self.all))
        };
        let mut amounts: Vec<u64> = self.stores.iter().map(takes).collect();
        for (inner, bounds) in self.bounds.iter().enumerate().skip(level).rev() {
            let mut sums = vec![0_u64; bounds.len()];
            for (amount, domain) in amounts.into_iter().zip(self.outer(inner + 1)) {
                if let Some(sum) = sums.get_mut(domain) {
                    *sum += amount;
                }
            }
            amounts = sums.into_iter().zip(bounds).map(|(sum, (low, most))| sum.clamp(*low, *most)).collect();
        }
        amounts
    }

    /// What each domain of a level lies in; at the level behind the last, each store.
    fn outer(&self, level: usize) -> Vec<usize> {
        match level.checked_sub(1) {
            Some(last) if level == self.bounds.len() => self.stores.iter().map(|store| part(store, last)).collect(),
            _ => self.spread.within(level).iter().copied().map(usize::from).collect(),
        }
    }
}

fn part(store: &Store, level: usize) -> usize {
    store.path.get(level).copied().map_or(0, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_to_slots_and_to_two_parts_in_a_hundred() {
        let share = |slots: f64, evenness| {
            let share = Share::of((slots * SLOT as f64) as u64, evenness);
            (share.least, share.whole, share.most)
        };
        assert_eq!(share(26.2, Evenness::Exact), (26, 26, 27));
        assert_eq!(share(26.2, Evenness::Loose), (26, 26, 27));
        assert_eq!(share(79.0, Evenness::Exact), (79, 79, 79));
        assert_eq!(share(78.999_999_9, Evenness::Exact), (79, 79, 79));
        assert_eq!(share(1000.5, Evenness::Loose), (981, 1000, 1020));
        assert_eq!(share(0.0, Evenness::Loose), (0, 0, 0));
    }
}
