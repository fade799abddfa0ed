//! A table in the making: seats of slots that may still be empty, and how many each store has.

use super::draw::{Claim, Drawer, Lot};
use super::error::PoolError;
use super::member::{Index, Member};
use super::rule::PoolRule;
use super::share::{self, Evenness, SLOT, Share};
use super::spread::Spread;

/// A claim and whose it is; the strongest is the smallest, and of equal ones that of the smaller store id.
pub(super) type Bid = (Claim, Index);

/// A seat: a slot and one of its places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seat {
    pub slot: usize,
    pub place: usize,
}

/// A table in the making.
#[derive(Debug)]
pub(super) struct Draft {
    pub spread: Spread,
    pub shares: Vec<Share>,
    /// Members that take chunks.
    pub serving: Vec<(Index, Drawer)>,
    lots: Vec<Lot>,
    copies: usize,
    seats: Vec<Option<Index>>,
    counts: Vec<u32>,
}

/// How much a store needs a further slot, the neediest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// It has fewer than will do.
    Short,
    /// It has less than is fair.
    Below,
    /// One more will do.
    Content,
    /// One more would be too many.
    Full,
}

impl Draft {
    /// An empty one.
    ///
    /// # Errors
    /// `Astray`, `TooFewDomains`.
    pub fn new(rule: &PoolRule, members: &[Member], evenness: Evenness) -> Result<Self, PoolError> {
        let spread = Spread::new(rule, members)?;
        let weights: Vec<_> = members.iter().map(Member::serves).collect();
        let shares = share::shares(&spread, &weights, rule.slots.get(), evenness);
        let drawer =
            |(at, member): (usize, &Member)| Some((Index::of(at)?, Drawer::new(member.store(), member.serves()?)));
        let serving = members.iter().enumerate().filter_map(drawer).collect();
        let lots: Vec<_> = rule.slots.slots().map(|slot| Lot::new(rule.pool, slot)).collect();
        let copies = usize::from(rule.copies.get());
        let seats = vec![None; lots.len() * copies];
        Ok(Self { spread, shares, serving, copies, seats, counts: vec![0; members.len()], lots })
    }

    /// Its slots.
    pub fn slots(&self) -> usize {
        self.lots.len()
    }

    /// Places of a slot.
    pub const fn copies(&self) -> usize {
        self.copies
    }

    /// What is drawn for at a slot.
    pub fn lot(&self, slot: usize) -> Option<Lot> {
        self.lots.get(slot).copied()
    }

    /// Stores of a slot.
    pub fn list(&self, slot: usize) -> &[Option<Index>] {
        let start = slot * self.copies;
        self.seats.get(start..start + self.copies).unwrap_or_default()
    }

    /// Who has a seat.
    pub fn holder(&self, seat: Seat) -> Option<Index> {
        *self.list(seat.slot).get(seat.place)?
    }

    /// Seats, in order.
    pub fn seats(&self) -> impl Iterator<Item = Seat> + use<> {
        let copies = self.copies;
        (0..self.lots.len()).flat_map(move |slot| (0..copies).map(move |place| Seat { slot, place }))
    }

    /// Gives a seat to a store.
    pub fn give(&mut self, seat: Seat, store: Index) {
        let Some(holder) = self.seats.get_mut(seat.slot * self.copies + seat.place) else { return };
        let before = holder.replace(store);
        if let Some(count) = before.and_then(|before| self.counts.get_mut(before.at())) {
            *count -= 1;
        }
        if let Some(count) = self.counts.get_mut(store.at()) {
            *count += 1;
        }
    }

    /// Whether a store may have a seat, whoever has it now.
    pub fn fits(&self, seat: Seat, store: Index) -> bool {
        self.spread.fits(self.list(seat.slot), seat.place, store)
    }

    /// Slots of a store.
    pub fn count(&self, store: Index) -> u32 {
        self.counts.get(store.at()).copied().unwrap_or(0)
    }

    /// Share of a store.
    pub fn share(&self, store: Index) -> Share {
        self.shares.get(store.at()).copied().unwrap_or_default()
    }

    /// How much a store needs another slot.
    pub fn need(&self, store: Index) -> Need {
        let (count, share) = (self.count(store), self.share(store));
        match count {
            count if count < share.least => Need::Short,
            count if count < share.whole => Need::Below,
            count if count < share.most => Need::Content,
            _ => Need::Full,
        }
    }

    /// By how much a store has more than is fair, in parts of a slot; negative when it has less.
    pub fn surplus(&self, store: Index) -> i64 {
        let parts = |parts: u64| i64::try_from(parts).unwrap_or(i64::MAX);
        parts(u64::from(self.count(store)) * SLOT) - parts(self.share(store).fair)
    }

    /// Who should have a seat of those that need it most and may: who has the strongest claim. None needs it less than
    /// `limit`.
    pub fn neediest(&self, seat: Seat, limit: Need) -> Option<Index> {
        let lot = self.lot(seat.slot)?;
        let mut best: Option<(Need, Bid)> = None;
        for (store, drawer) in &self.serving {
            let need = self.need(*store);
            if need > limit || best.is_some_and(|(least, _)| need > least) {
                continue;
            }
            let offer = (need, (drawer.claim(lot), *store));
            if best.is_none_or(|best| offer < best) && self.fits(seat, *store) {
                best = Some(offer);
            }
        }
        best.map(|(_, (_, store))| store)
    }

    /// The stores of all slots, once no seat is empty.
    pub fn finish(self) -> Option<Vec<Index>> {
        self.seats.into_iter().collect()
    }
}
