//! A table as rows of the catalog.
//!
//! | row | name in the key | value behind the version byte, as postcard |
//! |---|---|---|
//! | head | 0, 0 | epoch, rule, number of members |
//! | members | 1, page | epoch, up to 256 members in order of ids |
//! | slots | 2, page | epoch, the stores of 1,024 slots as numbers of members, what of them moves |
//!
//! A key is pool u16be, kind u8, page u16be. Each page names its epoch, so that one that is left of another table
//! shows. Settling a slot changes one page and no epoch.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::{CodecError, Inconsistent};
use super::member::{Index, Member};
use super::rule::PoolRule;
use super::slot::Slot;
use super::table::{Epoch, Moving, Parts, Table};
use crate::placement::PoolId;

const VERSION: u8 = 1;
/// Members of a page.
const MEMBERS: usize = 256;
/// Slots of a page.
const SLOTS: u16 = 1024;

/// Names a row of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowName {
    /// Epoch, rule and number of members.
    Head,
    /// A page of members, from 0.
    Members(u16),
    /// A page of slots, from 0.
    Slots(u16),
}

impl RowName {
    /// The row that says where a slot is: what has to be written once it is settled.
    #[must_use]
    pub const fn of(slot: Slot) -> Self {
        Self::Slots(slot.number() / SLOTS)
    }

    /// The row's key: all rows of a pool lie together, the head first.
    #[must_use]
    pub const fn key(self, pool: PoolId) -> [u8; 5] {
        let (kind, page) = match self {
            Self::Head => (0, 0),
            Self::Members(page) => (1, page),
            Self::Slots(page) => (2, page),
        };
        let ([a, b], [c, d]) = (pool.number().to_be_bytes(), page.to_be_bytes());
        [a, b, kind, c, d]
    }

    /// The pool and the row that a key names.
    #[must_use]
    pub fn parse(key: &[u8]) -> Option<(PoolId, Self)> {
        let [a, b, kind, c, d] = *<&[u8; 5]>::try_from(key).ok()?;
        let page = u16::from_be_bytes([c, d]);
        let name = match (kind, page) {
            (0, 0) => Self::Head,
            (1, page) => Self::Members(page),
            (2, page) => Self::Slots(page),
            _ => return None,
        };
        Some((u16::from_be_bytes([a, b]).into(), name))
    }
}

impl fmt::Display for RowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("the head of the table"),
            Self::Members(page) => write!(f, "page {page} of the table's members"),
            Self::Slots(page) => write!(f, "page {page} of the table's slots"),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Head {
    epoch: Epoch,
    rule: PoolRule,
    members: u16,
}

#[derive(Serialize, Deserialize)]
struct MemberPage {
    epoch: Epoch,
    members: Vec<Member>,
}

#[derive(Serialize, Deserialize)]
struct SlotPage {
    epoch: Epoch,
    lists: Vec<Index>,
    moving: Vec<MovingSlot>,
}

/// A slot of a page that moves.
#[derive(Serialize, Deserialize)]
struct MovingSlot {
    /// Number of the slot, from the first of the page.
    offset: u16,
    moving: Moving,
}

impl Table {
    /// All rows, the head first.
    ///
    /// # Errors
    /// [`CodecError::Malformed`] when one cannot be written.
    pub fn rows(&self) -> Result<Vec<(RowName, Vec<u8>)>, CodecError> {
        let names = names(self.parts().members.len(), &self.parts().rule);
        names.map(|name| Ok((name, self.row(name)?))).collect()
    }

    /// One row.
    ///
    /// # Errors
    /// [`CodecError::Unexpected`] for one that the table does not have, `Malformed` when it cannot be written.
    pub fn row(&self, name: RowName) -> Result<Vec<u8>, CodecError> {
        let Parts { rule, epoch, members, lists, moving } = self.parts();
        let unexpected = || CodecError::Unexpected(name);
        match name {
            RowName::Head => {
                let members = u16::try_from(members.len()).map_err(|_| CodecError::Malformed(name))?;
                encode(name, &Head { epoch: *epoch, rule: rule.clone(), members })
            }
            RowName::Members(page) => {
                let members = members.chunks(MEMBERS).nth(usize::from(page)).ok_or_else(unexpected)?.to_vec();
                encode(name, &MemberPage { epoch: *epoch, members })
            }
            RowName::Slots(page) => {
                let size = usize::from(SLOTS) * usize::from(rule.copies.get());
                let lists = lists.chunks(size).nth(usize::from(page)).ok_or_else(unexpected)?.to_vec();
                let here = moving.iter().filter(|(slot, _)| slot.number() / SLOTS == page);
                let row = |(slot, moving): (&Slot, &Moving)| MovingSlot {
                    offset: slot.number() % SLOTS,
                    moving: moving.clone(),
                };
                encode(name, &SlotPage { epoch: *epoch, lists, moving: here.map(row).collect() })
            }
        }
    }

    /// Reads a table from its rows, in any order.
    ///
    /// # Errors
    /// [`CodecError`] when these are not the rows of one consistent table.
    pub fn from_rows<'a>(rows: impl IntoIterator<Item = (RowName, &'a [u8])>) -> Result<Self, CodecError> {
        let mut by_name = BTreeMap::new();
        for (name, bytes) in rows {
            if by_name.insert(name, bytes).is_some() {
                return Err(CodecError::Unexpected(name));
            }
        }
        let head = by_name.remove(&RowName::Head).ok_or(CodecError::Missing(RowName::Head))?;
        let Head { epoch, rule, members: count } = decode(RowName::Head, head)?;
        let mut parts = Parts { rule, epoch, members: Vec::new(), lists: Vec::new(), moving: BTreeMap::new() };
        for name in names(usize::from(count), &parts.rule.clone()).skip(1) {
            let bytes = by_name.remove(&name).ok_or(CodecError::Missing(name))?;
            parts.take(name, bytes)?;
        }
        if let Some(name) = by_name.into_keys().next() {
            return Err(CodecError::Unexpected(name));
        }
        if parts.members.len() != usize::from(count) {
            return Err(Inconsistent::Members.into());
        }
        Ok(Self::try_from(parts)?)
    }
}

impl Parts {
    /// Takes over a page.
    fn take(&mut self, name: RowName, bytes: &[u8]) -> Result<(), CodecError> {
        let epoch = match name {
            RowName::Head => return Err(CodecError::Unexpected(name)),
            RowName::Members(_) => {
                let page: MemberPage = decode(name, bytes)?;
                self.members.extend(page.members);
                page.epoch
            }
            RowName::Slots(number) => {
                let page: SlotPage = decode(name, bytes)?;
                let slots = self.rule.slots.get().min(u32::from(SLOTS));
                if u32::try_from(page.lists.len()) != Ok(slots * u32::from(self.rule.copies.get())) {
                    return Err(Inconsistent::Lists.into());
                }
                self.lists.extend(page.lists);
                for MovingSlot { offset, moving } in page.moving {
                    let slot = number.checked_mul(SLOTS).and_then(|first| first.checked_add(offset));
                    let slot = slot.filter(|_| offset < SLOTS).and_then(|slot| self.rule.slots.numbered(slot));
                    let slot = slot.ok_or(CodecError::Malformed(name))?;
                    if self.moving.insert(slot, moving).is_some() {
                        return Err(Inconsistent::Moving(slot).into());
                    }
                }
                page.epoch
            }
        };
        if epoch == self.epoch { Ok(()) } else { Err(CodecError::OtherEpoch(name)) }
    }
}

/// The rows of a table.
fn names(members: usize, rule: &PoolRule) -> impl Iterator<Item = RowName> + use<> {
    let pages = |pages: usize| 0..u16::try_from(pages).unwrap_or(u16::MAX);
    let members = pages(members.div_ceil(MEMBERS)).map(RowName::Members);
    let slots = usize::try_from(rule.slots.get()).unwrap_or(usize::MAX).div_ceil(usize::from(SLOTS));
    std::iter::once(RowName::Head).chain(members).chain(pages(slots).map(RowName::Slots))
}

fn encode<T: Serialize>(name: RowName, row: &T) -> Result<Vec<u8>, CodecError> {
    postcard::to_extend(row, vec![VERSION]).map_err(|_| CodecError::Malformed(name))
}

fn decode<T: DeserializeOwned>(name: RowName, bytes: &[u8]) -> Result<T, CodecError> {
    let body = bytes.strip_prefix(&[VERSION]).ok_or(CodecError::Malformed(name))?;
    match postcard::take_from_bytes(body) {
        Ok((row, [])) => Ok(row),
        _ => Err(CodecError::Malformed(name)),
    }
}
