//! The table of a pool at one epoch: the stores of each slot, and while a slot moves, those where its chunks lay before.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use policy::id::StoreId;
use serde::{Deserialize, Serialize};

use super::draft::Draft;
use super::error::{Inconsistent, PoolError, SettleError, StaleTable};
use super::member::{Index, Member};
use super::rule::PoolRule;
use super::share::{Evenness, SLOT, Share};
use super::slot::Slot;
use super::spread::Spread;
use crate::chunk::ChunkId;

/// Counts the tables of a pool, from 1; each change of members makes the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(u64);

impl Epoch {
    /// That of a pool's first table.
    pub const FIRST: Self = Self(1);

    /// The number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    pub(super) fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A slot that moves: on some of its places stands a store that does not have everything yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Moving {
    /// The epoch that moved it last.
    pub since: Epoch,
    /// Those places, in order.
    pub places: Vec<Arriving>,
}

/// A place of a slot whose store does not have everything yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Arriving {
    /// The place in the slot's list.
    pub place: u8,
    /// Stores that had the place before, the last one first. None: they are lost, and what they had is made anew from
    /// other places.
    pub sources: Vec<Index>,
}

/// The table of a pool at one epoch. However it was made, it is consistent: each slot has as many distinct serving
/// stores as the rule says, which may keep it together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    parts: Parts,
}

/// What a table consists of, before it is known to be consistent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    pub rule: PoolRule,
    pub epoch: Epoch,
    /// In order of store ids.
    pub members: Vec<Member>,
    /// The stores of slot 0 in order, then those of slot 1, and so on.
    pub lists: Vec<Index>,
    pub moving: BTreeMap<Slot, Moving>,
}

impl TryFrom<Parts> for Table {
    type Error = Inconsistent;

    fn try_from(parts: Parts) -> Result<Self, Inconsistent> {
        let sorted = parts.members.is_sorted_by(|a, b| a.store() < b.store());
        if !sorted || parts.members.len() > usize::from(u16::MAX) {
            return Err(Inconsistent::Members);
        }
        let spread = Spread::new(&parts.rule, &parts.members).map_err(|_| Inconsistent::Members)?;
        let copies = usize::from(parts.rule.copies.get());
        let lists = parts.lists.chunks_exact(copies);
        if !lists.remainder().is_empty() || u32::try_from(lists.len()) != Ok(parts.rule.slots.get()) {
            return Err(Inconsistent::Lists);
        }
        for (slot, list) in parts.rule.slots.slots().zip(lists) {
            let list: Vec<_> = list.iter().copied().map(Some).collect();
            let fits = |(place, store): (usize, &Option<Index>)| store.is_some_and(|s| spread.fits(&list, place, s));
            if !list.iter().enumerate().all(fits) {
                return Err(Inconsistent::Slot(slot));
            }
        }
        let table = Self { parts };
        match table.parts.moving.iter().find(|(slot, moving)| !table.can_move(**slot, moving)) {
            Some((slot, _)) => Err(Inconsistent::Moving(*slot)),
            None => Ok(table),
        }
    }
}

impl Table {
    /// Whether a slot can be one that moves in this way.
    fn can_move(&self, slot: Slot, moving: &Moving) -> bool {
        let list = self.list(slot);
        let can_arrive = |arriving: &Arriving| {
            let distinct: BTreeSet<_> = arriving.sources.iter().collect();
            list.get(usize::from(arriving.place)).is_some_and(|store| !distinct.contains(store))
                && distinct.len() == arriving.sources.len()
                && arriving.sources.iter().all(|store| store.at() < self.parts.members.len())
        };
        moving.since <= self.parts.epoch
            && !moving.places.is_empty()
            && moving.places.is_sorted_by(|a, b| a.place < b.place)
            && moving.places.iter().all(can_arrive)
    }

    fn list(&self, slot: Slot) -> &[Index] {
        let copies = usize::from(self.parts.rule.copies.get());
        let start = usize::from(slot.number()) * copies;
        self.parts.lists.get(start..start + copies).unwrap_or_default()
    }

    pub(super) const fn parts(&self) -> &Parts {
        &self.parts
    }

    fn store(&self, index: Index) -> Option<StoreId> {
        self.parts.members.get(index.at()).map(Member::store)
    }

    /// The pool's rule.
    #[must_use]
    pub const fn rule(&self) -> &PoolRule {
        &self.parts.rule
    }

    /// Its epoch.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.parts.epoch
    }

    /// Members, in order of their ids: those that take chunks, and those that are left.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.parts.members
    }

    /// Where a chunk is written and read.
    #[must_use]
    pub fn of(&self, chunk: ChunkId) -> Whereabouts<'_> {
        self.whereabouts(self.parts.rule.slots.slot(chunk))
    }

    /// Where the chunks of a slot are written and read; none when the pool has not so many slots.
    #[must_use]
    pub fn at(&self, slot: Slot) -> Option<Whereabouts<'_>> {
        self.parts.rule.slots.numbered(slot.number()).map(|slot| self.whereabouts(slot))
    }

    /// Slots that move, in order: what is still to be copied, also after a restart.
    pub fn moving(&self) -> impl Iterator<Item = Whereabouts<'_>> {
        self.parts.moving.keys().map(|slot| self.whereabouts(*slot))
    }

    /// Every slot, in order.
    pub fn slots(&self) -> impl Iterator<Item = Whereabouts<'_>> {
        self.parts.rule.slots.slots().map(|slot| self.whereabouts(slot))
    }

    fn whereabouts(&self, slot: Slot) -> Whereabouts<'_> {
        Whereabouts { table: self, slot, list: self.list(slot), moving: self.parts.moving.get(&slot) }
    }

    /// Drops the old stores of a slot, because what its new ones have was verified under the table of an epoch, and
    /// every session that could still write to the old ones has that table or a newer one. Whether there were any.
    ///
    /// # Errors
    /// [`SettleError::MovedAgain`] when the slot has moved since, [`SettleError::Stale`] when this table is older than
    /// that one.
    pub fn settled(&mut self, slot: Slot, verified: Epoch) -> Result<bool, SettleError> {
        let held = self.parts.epoch;
        if verified > held {
            return Err(SettleError::Stale { held, verified });
        }
        match self.parts.moving.get(&slot).map(|moving| moving.since) {
            Some(since) if verified < since => Err(SettleError::MovedAgain { slot, since, verified }),
            _ => Ok(self.parts.moving.remove(&slot).is_some()),
        }
    }

    /// Takes over a newer table of the same pool, or the same one with more slots settled.
    ///
    /// # Errors
    /// [`StaleTable`] when it is neither: an older one, or one of another pool.
    pub fn follow(&mut self, newer: Self) -> Result<(), StaleTable> {
        let (here, there) = (&self.parts, &newer.parts);
        let same = here.epoch == there.epoch
            && (&here.members, &here.lists) == (&there.members, &there.lists)
            && there.moving.iter().all(|(slot, moving)| here.moving.get(slot) == Some(moving));
        if here.rule == there.rule && (there.epoch > here.epoch || same) {
            *self = newer;
            return Ok(());
        }
        Err(StaleTable { held: here.epoch, offered: there.epoch })
    }

    /// Stores that take nothing and hold nothing that is still needed: they may be taken away.
    #[must_use]
    pub fn emptied(&self) -> Vec<StoreId> {
        let places = self.parts.moving.values().flat_map(|moving| &moving.places);
        let needed: BTreeSet<_> = places.flat_map(|arriving| &arriving.sources).map(|store| store.at()).collect();
        let leaving = self.parts.members.iter().enumerate().filter(|(_, member)| member.serves().is_none());
        leaving.filter(|(at, _)| !needed.contains(at)).map(|(_, member)| member.store()).collect()
    }

    /// What each serving store has, and what would be fair: for a person, before a table is put into force, too.
    ///
    /// # Errors
    /// None of a consistent table; those of [`Table::change`].
    pub fn shares(&self) -> Result<Vec<StoreShare>, PoolError> {
        let draft = Draft::new(&self.parts.rule, &self.parts.members, Evenness::Exact)?;
        let mut slots = vec![0_u32; self.parts.members.len()];
        for store in &self.parts.lists {
            if let Some(count) = slots.get_mut(store.at()) {
                *count += 1;
            }
        }
        // For people: nothing is decided by these numbers.
        let weight = |member: &Member| member.serves().map_or(0.0, |weight| weight as f64);
        let all: f64 = self.parts.members.iter().map(weight).sum();
        let share = |(member, (share, slots)): (&Member, (&Share, u32))| {
            member.serves()?;
            let by_weight = weight(member) / all * self.parts.lists.len() as f64;
            let parts = |parts: u64| u32::try_from(parts).map_or(f64::INFINITY, f64::from);
            let fair = parts(share.fair / SLOT) + parts(share.fair % SLOT) / 4_294_967_296.0;
            Some(StoreShare { store: member.store(), slots, fair, by_weight })
        };
        Ok(self.parts.members.iter().zip(draft.shares.iter().zip(slots)).filter_map(share).collect())
    }
}

/// What a store has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StoreShare {
    /// The store.
    pub store: StoreId,
    /// Slots that it has.
    pub slots: u32,
    /// Slots that would be in proportion to its weight, as far as failure domains allow.
    pub fair: f64,
    /// Slots that would be in proportion to its weight alone. Where `fair` is much more, its domain is smaller than the
    /// others over which each slot is spread, and fills up first.
    pub by_weight: f64,
}

/// Where the chunks of one slot are.
#[derive(Debug, Clone, Copy)]
pub struct Whereabouts<'a> {
    table: &'a Table,
    slot: Slot,
    list: &'a [Index],
    moving: Option<&'a Moving>,
}

impl<'a> Whereabouts<'a> {
    /// The slot.
    #[must_use]
    pub const fn slot(&self) -> Slot {
        self.slot
    }

    /// Where chunks are written: distinct stores, one for each copy, in order. Of shards, the first is written to the
    /// first.
    pub fn writers(&self) -> impl Iterator<Item = StoreId> + use<'a> {
        let table = self.table;
        self.list.iter().filter_map(|store| table.store(*store))
    }

    /// Where chunks are read, each store once: first the new ones, then, while the slot moves, old ones.
    #[must_use]
    pub fn readers(&self) -> Vec<StoreId> {
        let places = self.moving.into_iter().flat_map(|moving| &moving.places);
        let sources = places.flat_map(|arriving| &arriving.sources);
        let mut out = Vec::with_capacity(self.list.len());
        for store in self.list.iter().chain(sources).filter_map(|store| self.table.store(*store)) {
            if !out.contains(&store) {
                out.push(store);
            }
        }
        out
    }

    /// Where the copy or shard of one place lay before, the last store first; none when its store has everything, or
    /// when those are lost.
    pub fn sources(&self, place: u8) -> impl Iterator<Item = StoreId> + use<'a> {
        let table = self.table;
        let places = self.moving.into_iter().flat_map(|moving| &moving.places);
        let sources = places.filter(move |arriving| arriving.place == place).flat_map(|arriving| &arriving.sources);
        sources.filter_map(|store| table.store(*store))
    }

    /// The epoch that moved the slot last, as long as it moves: what is verified under an older one does not settle it.
    #[must_use]
    pub fn moving_since(&self) -> Option<Epoch> {
        self.moving.map(|moving| moving.since)
    }

    /// Whether the store of a place has everything that is to be there: only then does it say something that it lacks a
    /// chunk (STORAGE.md rule 9).
    #[must_use]
    pub fn is_complete(&self, place: u8) -> bool {
        usize::from(place) < self.list.len()
            && self.moving.is_none_or(|moving| moving.places.iter().all(|arriving| arriving.place != place))
    }

    /// On how many of its places everything is still there, on the new store or on an old one: what repairs are ordered
    /// by. Of replicas one is enough, of shards as many as the layout has for data.
    #[must_use]
    pub fn places_left(&self) -> usize {
        let places = self.moving.into_iter().flat_map(|moving| &moving.places);
        self.list.len() - places.filter(|arriving| arriving.sources.is_empty()).count()
    }
}
