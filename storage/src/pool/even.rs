//! Evening: after it, each store has its share, as far as failure domains allow, and as little as possible was moved.
//!
//! 1. A store that has hardly anything, a new one, takes the seats to which its claim is strongest, from stores that have
//!    too much, then from stores that have more than is fair.
//! 2. A store that has too much gives up the seats to which its claim is weakest, each to the strongest claim among
//!    stores that need it.
//! 3. A store that still has too little takes, like a new one.
//! 4. Where no seat can pass directly, because of domains, it passes by other stores, each of which gives one and
//!    takes one. Lists that are allowed form a matroid, so where no such way exists, the share is not to be had. The
//!    search is limited, by counting, so that a table is drawn up in bounded time.

use super::draft::{Draft, Need, Seat};
use super::member::Index;

/// Seats and stores that are tried in step 4, for each table: about a second.
const TRIES: u64 = 1 << 27;

/// Evens a full draft.
pub(super) fn even(draft: &mut Draft) {
    let mut held = vec![Vec::new(); draft.shares.len()];
    for seat in draft.seats() {
        if let Some(held) = draft.holder(seat).and_then(|store| held.get_mut(store.at())) {
            held.push(seat);
        }
    }
    let stores: Vec<_> = draft.serving.iter().map(|(store, _)| *store).collect();
    let mut evening = Evening { draft, held, stores, tries: TRIES };
    evening.take(|draft, store| draft.count(store) < draft.share(store).least / 2);
    evening.shed();
    evening.take(|draft, store| draft.need(store) == Need::Short);
    evening.pass_on();
}

struct Evening<'a> {
    draft: &'a mut Draft,
    held: Vec<Vec<Seat>>,
    stores: Vec<Index>,
    tries: u64,
}

/// One store gives a seat to another.
#[derive(Clone, Copy)]
struct Pass {
    from: Index,
    seat: Seat,
    to: Index,
}

impl Evening<'_> {
    fn pass(&mut self, pass: Pass) {
        self.draft.give(pass.seat, pass.to);
        if let Some(held) = self.held.get_mut(pass.from.at()) {
            held.retain(|seat| *seat != pass.seat);
        }
        if let Some(held) = self.held.get_mut(pass.to.at()) {
            held.push(pass.seat);
        }
    }

    fn has_too_much(&self, store: Index) -> bool {
        self.draft.count(store) > self.draft.share(store).most
    }

    fn can_spare(&self, store: Index) -> bool {
        self.draft.count(store) > self.draft.share(store).least
    }

    /// Stores that are short take what they need.
    fn take(&mut self, short: impl Fn(&Draft, Index) -> bool) {
        for store in self.stores.clone() {
            if short(self.draft, store) {
                self.take_for(store);
            }
        }
    }

    fn take_for(&mut self, store: Index) {
        let Some((_, drawer)) = self.draft.serving.iter().find(|(other, _)| *other == store).copied() else { return };
        let claims = (0..self.draft.slots()).filter_map(|slot| Some((drawer.claim(self.draft.lot(slot)?), slot)));
        let mut slots: Vec<_> = claims.collect();
        slots.sort_unstable();
        let givers: [fn(&Self, Index) -> bool; 3] =
            [Self::has_too_much, |all, other| all.can_spare(other) && all.draft.surplus(other) > 0, Self::can_spare];
        for gives in givers {
            for (_, slot) in &slots {
                if self.draft.count(store) >= self.draft.share(store).whole {
                    return;
                }
                if let Some(pass) = self.gift(*slot, store, gives) {
                    self.pass(pass);
                }
            }
        }
    }

    /// Which store of a slot gives its seat: of those that may, the one with the most to spare.
    fn gift(&self, slot: usize, to: Index, gives: fn(&Self, Index) -> bool) -> Option<Pass> {
        let list = self.draft.list(slot);
        if list.contains(&Some(to)) {
            return None;
        }
        let passes = list.iter().enumerate().filter_map(|(place, from)| {
            let pass = Pass { from: (*from)?, seat: Seat { slot, place }, to };
            (gives(self, pass.from) && self.draft.fits(pass.seat, to)).then_some(pass)
        });
        passes.max_by_key(|pass| self.draft.surplus(pass.from))
    }

    /// Stores that have too much give it to stores that need it.
    fn shed(&mut self) {
        let stores = self.draft.serving.clone();
        for (store, drawer) in stores {
            if !self.has_too_much(store) {
                continue;
            }
            let seats = self.held.get(store.at()).into_iter().flatten();
            let claims = seats.filter_map(|seat| Some((drawer.claim(self.draft.lot(seat.slot)?), *seat)));
            let mut claims: Vec<_> = claims.collect();
            claims.sort_by_key(|(claim, seat)| std::cmp::Reverse((*claim, seat.slot)));
            for (_, seat) in claims {
                if !self.has_too_much(store) {
                    break;
                }
                if let Some(to) = self.draft.neediest(seat, Need::Content) {
                    self.pass(Pass { from: store, seat, to });
                }
            }
        }
    }

    /// Seats go by ways of several stores where there is no direct one.
    fn pass_on(&mut self) {
        for store in self.stores.clone() {
            while self.has_too_much(store) {
                let ends = |all: &Self, end: Index| all.draft.need(end) != Need::Full;
                let Some(way) = self.way(&[store], ends) else { break };
                if !self.go(&way) {
                    break;
                }
            }
            while self.draft.need(store) == Need::Short {
                let mut givers: Vec<_> = self.stores.iter().copied().filter(|other| self.can_spare(*other)).collect();
                givers.sort_by_key(|giver| std::cmp::Reverse((self.draft.surplus(*giver), *giver)));
                let Some(way) = self.way(&givers, |_, end| end == store) else { break };
                if !self.go(&way) {
                    break;
                }
            }
        }
    }

    /// The shortest way from one of some stores to an end.
    fn way(&mut self, starts: &[Index], ends: impl Fn(&Self, Index) -> bool) -> Option<Vec<Pass>> {
        let mut came: Vec<Option<Pass>> = vec![None; self.held.len()];
        let mut unseen: Vec<_> = self.stores.iter().copied().filter(|store| !starts.contains(store)).collect();
        let mut queue = starts.to_vec();
        let mut next = 0;
        while let Some(from) = queue.get(next).copied() {
            next += 1;
            for seat in self.held.get(from.at())? {
                self.tries = self.tries.checked_sub(u64::try_from(unseen.len()).unwrap_or(u64::MAX))?;
                let list = self.draft.list(seat.slot);
                let reached: Vec<_> = (unseen.iter().copied())
                    .filter(|to| !list.contains(&Some(*to)) && self.draft.fits(*seat, *to))
                    .collect();
                for to in &reached {
                    if let Some(came) = came.get_mut(to.at()) {
                        *came = Some(Pass { from, seat: *seat, to: *to });
                    }
                    if ends(self, *to) {
                        return Some(trace(&came, *to));
                    }
                }
                unseen.retain(|store| !reached.contains(store));
                queue.extend(reached);
            }
        }
        None
    }

    /// Goes a way, from its end on, or not at all: two steps in one slot may be in each other's way.
    fn go(&mut self, way: &[Pass]) -> bool {
        for (gone, step) in way.iter().enumerate() {
            let list = self.draft.list(step.seat.slot);
            if !list.contains(&Some(step.to)) && self.draft.fits(step.seat, step.to) {
                self.pass(*step);
                continue;
            }
            for step in way.iter().take(gone).rev() {
                self.pass(Pass { from: step.to, seat: step.seat, to: step.from });
            }
            return false;
        }
        true
    }
}

/// The way to a store, from its end to its start.
fn trace(came: &[Option<Pass>], end: Index) -> Vec<Pass> {
    let mut way = Vec::new();
    let mut at = end;
    while let Some(step) = came.get(at.at()).copied().flatten() {
        way.push(step);
        at = step.from;
    }
    way
}
