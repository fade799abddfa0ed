//! Tables are made here: the first one from claims alone, each later one from the one before it, with as little moved as
//! possible.
//!
//! A change keeps each seat whose store stays and may stay. An empty seat goes to the strongest claim among the stores
//! that need it most. Then the table is evened within 2 %: a new store takes its share from those that have the
//! most to spare, and whoever came to have too much or too little gives or takes the difference.
//!
//! More moves only where the rule demands it: with a third site a pool of three copies is spread over three sites.

use std::collections::BTreeMap;

use policy::id::StoreId;

use super::draft::{Draft, Seat};
use super::error::{Inconsistent, PoolError};
use super::even::even;
use super::fill::{fill, fill_gaps};
use super::member::{Admission, Candidate, Index, Member, Refused};
use super::rule::PoolRule;
use super::share::Evenness;
use super::slot::Slot;
use super::table::{Arriving, Epoch, Moving, Parts, Table};

/// One place of a slot gets another store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// The slot.
    pub slot: Slot,
    /// The place in the slot's list, from 0.
    pub place: u8,
    /// Who had it; none when that store is lost.
    pub from: Option<StoreId>,
    /// Who has it now.
    pub to: StoreId,
}

/// The next table of a pool, what it moves, and who is refused. It is in force once the catalog has put it behind the
/// table of [`Plan::base`], and not before.
#[derive(Debug, Clone)]
pub struct Plan {
    table: Table,
    base: Epoch,
    moves: Vec<Move>,
    refused: Vec<Refused>,
}

impl Plan {
    /// The table.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// The table, to be kept.
    #[must_use]
    pub fn into_table(self) -> Table {
        self.table
    }

    /// The epoch of the table that it follows. Another table of this epoch or a later one makes the plan void.
    #[must_use]
    pub const fn base(&self) -> Epoch {
        self.base
    }

    /// What moves, in order of slots.
    #[must_use]
    pub fn moves(&self) -> &[Move] {
        &self.moves
    }

    /// Stores that the residency does not admit.
    #[must_use]
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// Slots of which no store is left that had everything: what was there is lost, unless a store comes back.
    pub fn lost(&self) -> impl Iterator<Item = Slot> {
        self.table.moving().filter(|slot| slot.places_left() == 0).map(|slot| slot.slot())
    }
}

impl Table {
    /// The first table of a pool, and the stores that its residency does not admit. The order of candidates is nothing.
    ///
    /// # Errors
    /// [`PoolError`] when these stores cannot keep the pool's rule.
    pub fn draw_up(rule: PoolRule, candidates: &[Candidate]) -> Result<(Self, Vec<Refused>), PoolError> {
        let Admission { members, refused } = Admission::of(&rule.residency, candidates, &[])?;
        let mut draft = Draft::new(&rule, &members, Evenness::Exact)?;
        fill(&mut draft);
        even(&mut draft);
        let lists = draft.finish().ok_or(Inconsistent::Lists)?;
        let parts = Parts { rule, epoch: Epoch::FIRST, members, lists, moving: BTreeMap::new() };
        Ok((Self::try_from(parts)?, refused))
    }

    /// The table of the next epoch, for these members. A member that is not named is lost: nothing is read there any
    /// more. One that is leaving, or no longer admitted, is read until what it has lies elsewhere.
    ///
    /// # Errors
    /// [`PoolError`] when these stores cannot keep the pool's rule.
    pub fn change(&self, candidates: &[Candidate]) -> Result<Plan, PoolError> {
        let old = self.parts();
        let epoch = old.epoch.next().ok_or(PoolError::LastEpoch)?;
        let Admission { members, refused } = Admission::of(&old.rule.residency, candidates, &old.members)?;
        let number = |member: &Member| {
            let at = members.binary_search_by_key(&member.store(), Member::store).ok()?;
            Index::of(at)
        };
        let numbers = Numbers(old.members.iter().map(number).collect());
        let mut draft = Draft::new(&old.rule, &members, Evenness::Loose)?;
        let seats = draft.seats();
        for (seat, store) in seats.zip(&old.lists) {
            if let Some(store) = numbers.of(*store)
                && draft.fits(seat, store)
            {
                draft.give(seat, store);
            }
        }
        fill_gaps(&mut draft);
        even(&mut draft);
        let seats: Vec<_> = draft.seats().collect();
        let lists = draft.finish().ok_or(Inconsistent::Lists)?;
        let mut move_on = MoveOn { old, numbers, members: &members, epoch, moves: Vec::new(), moving: BTreeMap::new() };
        for (seat, (was, is)) in seats.into_iter().zip(old.lists.iter().zip(&lists)) {
            move_on.seat(seat, *was, *is);
        }
        let MoveOn { moves, moving, .. } = move_on;
        let table = Self::try_from(Parts { rule: old.rule.clone(), epoch, members, lists, moving })?;
        Ok(Plan { table, base: old.epoch, moves, refused })
    }
}

/// New numbers of old members; none of those that are lost.
struct Numbers(Vec<Option<Index>>);

impl Numbers {
    fn of(&self, old: Index) -> Option<Index> {
        *self.0.get(old.at())?
    }
}

/// What moves from one table to the next.
struct MoveOn<'a> {
    old: &'a Parts,
    numbers: Numbers,
    members: &'a [Member],
    epoch: Epoch,
    moves: Vec<Move>,
    moving: BTreeMap<Slot, Moving>,
}

impl MoveOn<'_> {
    /// Compares who had a seat with who has it.
    fn seat(&mut self, seat: Seat, was: Index, is: Index) {
        let Some(slot) = u16::try_from(seat.slot).ok().and_then(|slot| self.old.rule.slots.numbered(slot)) else {
            return;
        };
        let Ok(place) = u8::try_from(seat.place) else { return };
        let before = self.old.moving.get(&slot);
        let earlier = before.and_then(|moving| moving.places.iter().find(|arriving| arriving.place == place));
        let was = self.numbers.of(was);
        let moves = was != Some(is);
        if !moves && earlier.is_none() {
            return;
        }
        let known = earlier.into_iter().flat_map(|arriving| &arriving.sources).filter_map(|old| self.numbers.of(*old));
        let sources = was.into_iter().chain(known).filter(|source| *source != is).collect();
        let since = before.map_or(self.epoch, |moving| moving.since);
        let moving = self.moving.entry(slot).or_insert(Moving { since, places: Vec::new() });
        moving.places.push(Arriving { place, sources });
        let store = |index: Index| self.members.get(index.at()).map(Member::store);
        if moves && let Some(to) = store(is) {
            moving.since = self.epoch;
            self.moves.push(Move { slot, place, from: was.and_then(store), to });
        }
    }
}
