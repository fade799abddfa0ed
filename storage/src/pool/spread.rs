//! Failure domains: which stores may keep a slot together.
//!
//! Let L be the widest level that has as many domains as a slot has stores. No two stores of a slot lie in one domain of
//! level L, and over the domains of each wider level they are spread as evenly as those allow: of four stores over
//! three sites two lie in one site and one in each of the others.
//!
//! What a slot may have is then a matroid: at the whole and in each domain, the numbers in its parts form a polymatroid
//! (each part has `low` or less, and `extra` of them one more). So any list that is allowed can be made a full one,
//! taking claims by strength gives the strongest full list, and a store that goes or comes changes one place of it.

use std::collections::BTreeMap;

use super::error::PoolError;
use super::member::{Domain, Index, Member};
use super::rule::{Level, PoolRule};

/// Domains of a member, the widest first, each numbered among those of its level.
pub(super) type Path = [u16; 4];

/// How many of a slot's stores each part of a domain may have: `low`, and `extra` parts one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    low: u32,
    extra: u32,
}

impl Room {
    /// Spreads some stores evenly over parts of which each can take no more than it has domains of level L.
    fn of(stores: u32, parts: &[u32]) -> Self {
        let taken = |low: u32| parts.iter().map(|part| *part.min(&low)).sum::<u32>();
        let most = parts.iter().copied().max().unwrap_or(0);
        let low = (0..=most.min(stores)).rev().find(|low| taken(*low) <= stores).unwrap_or(0);
        Self { low, extra: if low == most { 0 } else { stores - taken(low) } }
    }

    /// The most that one part may have.
    fn most(self) -> u32 {
        self.low + self.extra.min(1)
    }
}

/// The domains of a pool's members.
#[derive(Debug)]
pub(super) struct Spread {
    paths: Vec<Option<Path>>,
    levels: Vec<Tier>,
    copies: u32,
}

/// A level of domains, down to level L.
#[derive(Debug)]
struct Tier {
    /// What each domain lies in, numbered one level up.
    within: Vec<u16>,
    /// The most stores of a slot that each domain may have.
    most: Vec<u32>,
    /// The room that each domain one level up gives to those of this level.
    rooms: Vec<Room>,
}

impl Spread {
    /// Sorts the members that take chunks into domains.
    ///
    /// # Errors
    /// `Astray`, `TooFewDomains`.
    pub fn new(rule: &PoolRule, members: &[Member]) -> Result<Self, PoolError> {
        let serving: Vec<_> = members.iter().enumerate().filter(|(_, member)| member.serves().is_some()).collect();
        check_nodes(serving.iter().map(|(_, member)| member.domain()))?;
        let mut paths = vec![None; members.len()];
        let mut within: [Vec<u16>; 4] = Default::default();
        for (level, within) in Level::ALL.into_iter().zip(&mut within) {
            let mut numbers = BTreeMap::new();
            for (at, member) in &serving {
                let Some(path) = paths.get_mut(*at) else { continue };
                let path: &mut Path = path.get_or_insert_default();
                let next = u16::try_from(numbers.len()).unwrap_or(u16::MAX);
                let number = *numbers.entry(name(level, member)).or_insert(next);
                if number == next {
                    within.push(up(path, level));
                }
                if let Some(place) = path.get_mut(depth(level)) {
                    *place = number;
                }
            }
        }
        let copies = u32::from(rule.copies.get());
        let enough =
            |level: &Level| within.get(depth(*level)).is_some_and(|d| d.len() >= usize::from(rule.copies.get()));
        let there = within.get(depth(rule.distinct)).map_or(0, Vec::len);
        let level = Level::ALL.into_iter().find(enough).filter(|level| *level <= rule.distinct);
        let needed = rule.copies.get();
        let level = level.ok_or(PoolError::TooFewDomains { level: rule.distinct, needed, there })?;
        let levels = tiers(copies, within.into_iter().take(depth(level) + 1).collect());
        Ok(Self { paths, levels, copies })
    }

    /// How many levels of domains bind: L is the last.
    pub fn depth(&self) -> usize {
        self.levels.len()
    }

    /// How many stores a slot has.
    pub const fn copies(&self) -> u32 {
        self.copies
    }

    /// Domains of each level, and the fewest and most stores of a slot in each.
    pub fn bounds(&self, level: usize) -> Vec<(u32, u32)> {
        let Some(tier) = self.levels.get(level) else { return Vec::new() };
        // Only at the whole is it known how many stores there are to spread: all.
        let low = if level == 0 { tier.rooms.first().map_or(0, |room| room.low) } else { 0 };
        tier.most.iter().map(|most| (low.min(*most), *most)).collect()
    }

    /// What each domain of a level lies in, numbered one level up.
    pub fn within(&self, level: usize) -> &[u16] {
        self.levels.get(level).map_or(&[], |tier| tier.within.as_slice())
    }

    /// Domains of a member that takes chunks.
    pub fn path(&self, store: Index) -> Option<Path> {
        *self.paths.get(store.at())?
    }

    /// Which domain of level L a member is in.
    pub fn innermost(&self, store: Index) -> Option<u16> {
        self.path(store)?.get(self.levels.len().checked_sub(1)?).copied()
    }

    /// How many domains of level L there are.
    pub fn innermost_count(&self) -> usize {
        self.levels.last().map_or(0, |tier| tier.most.len())
    }

    /// Whether a store may take a seat beside the stores on the other seats of a slot.
    pub fn fits(&self, list: &[Option<Index>], seat: usize, store: Index) -> bool {
        let Some(path) = self.path(store) else { return false };
        let others =
            || list.iter().enumerate().filter(|(at, _)| *at != seat).filter_map(|(_, other)| self.path((*other)?));
        self.levels.iter().enumerate().all(|(level, tier)| {
            let domain = part(&path, level);
            let beside = others().filter(|other| part(other, level) == domain).count();
            let outer = level.checked_sub(1);
            let outer_domain = outer.map_or(0, |outer| part(&path, outer));
            let Some(room) = tier.rooms.get(usize::from(outer_domain)) else { return false };
            let low = usize::try_from(room.low).unwrap_or(usize::MAX);
            if beside != low {
                return beside < low;
            }
            // It would be one more than `low`: are there others that are?
            let inside = |other: &Path| outer.is_none_or(|outer| part(other, outer) == outer_domain);
            let full = |other: &Path| others().filter(|o| part(o, level) == part(other, level)).count() > low;
            let crowded = others().filter(inside).filter(full).count() / (low + 1);
            crowded < usize::try_from(room.extra).unwrap_or(0)
        })
    }
}

fn part(path: &Path, level: usize) -> u16 {
    path.get(level).copied().unwrap_or(0)
}

const fn depth(level: Level) -> usize {
    match level {
        Level::Site => 0,
        Level::Rack => 1,
        Level::Node => 2,
        Level::Disk => 3,
    }
}

/// What a domain of a level lies in.
fn up(path: &Path, level: Level) -> u16 {
    depth(level).checked_sub(1).map_or(0, |outer| part(path, outer))
}

/// What tells a domain of a level from others.
fn name(level: Level, member: &Member) -> (Option<&Domain>, [Option<&str>; 2], Option<[u8; 16]>) {
    let domain = member.domain();
    let (site, rack) = (domain.site.as_deref(), domain.rack.as_deref());
    match level {
        Level::Site => (None, [site, None], None),
        Level::Rack => (None, [site, rack], None),
        Level::Node => (Some(domain), [None; 2], None),
        Level::Disk => (None, [None; 2], Some(*member.store().as_bytes())),
    }
}

/// A node stands in one place.
fn check_nodes<'a>(domains: impl Iterator<Item = &'a Domain>) -> Result<(), PoolError> {
    let mut nodes = BTreeMap::new();
    for domain in domains {
        if *nodes.entry(&domain.node).or_insert(domain) != domain {
            return Err(PoolError::Astray(domain.node.clone()));
        }
    }
    Ok(())
}

/// Divides a slot's stores over domains, level by level.
fn tiers(copies: u32, levels: Vec<Vec<u16>>) -> Vec<Tier> {
    // From within: how many domains of level L each domain holds.
    let mut sizes: Vec<Vec<u32>> = vec![vec![1; levels.last().map_or(0, Vec::len)]];
    for within in levels.iter().skip(1).rev() {
        let count = within.iter().max().map_or(0, |last| usize::from(*last) + 1);
        let mut outer = vec![0; count];
        for (domain, size) in within.iter().zip(sizes.last().into_iter().flatten()) {
            if let Some(sum) = outer.get_mut(usize::from(*domain)) {
                *sum += size;
            }
        }
        sizes.push(outer);
    }
    let mut most = vec![copies];
    let mut out = Vec::new();
    for (within, sizes) in levels.into_iter().zip(sizes.into_iter().rev()) {
        let mut parts = vec![Vec::new(); most.len()];
        for (domain, size) in within.iter().zip(&sizes) {
            if let Some(parts) = parts.get_mut(usize::from(*domain)) {
                parts.push(*size);
            }
        }
        let rooms: Vec<_> = most.iter().zip(&parts).map(|(stores, parts)| Room::of(*stores, parts)).collect();
        let room = |domain: &u16| rooms.get(usize::from(*domain)).map_or(0, |room| room.most());
        most = within.iter().zip(&sizes).map(|(domain, size)| room(domain).min(*size)).collect();
        out.push(Tier { within, most: most.clone(), rooms });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_spread_evenly_over_what_there_is() {
        for (stores, parts, low, extra) in [
            (3, vec![9, 9, 9], 1, 0),
            (3, vec![9, 9], 1, 1),
            (4, vec![9, 9, 9], 1, 1),
            (4, vec![1, 9], 3, 0),
            (5, vec![1, 9, 9], 2, 0),
            (6, vec![1, 9, 9], 2, 1),
            (3, vec![1; 5], 0, 3),
            (3, vec![1; 3], 1, 0),
            (7, vec![1; 3], 1, 0),
        ] {
            assert_eq!(Room::of(stores, &parts), Room { low, extra }, "{stores} over {parts:?}");
        }
    }
}
