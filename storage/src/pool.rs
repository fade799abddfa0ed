//! Pools and their tables: which stores keep a chunk (STORAGE.md rule 7).
//!
//! A chunk's id gives its *slot*, the pool's [`Table`] gives the slot's stores, in order. Whoever holds the table of an
//! epoch knows where to write and where to look without asking; the catalog keeps the table, not a list per chunk.
//! Everything here is pure: members and their verified places come in, a table or the plan of a change comes out, and
//! the same input gives the same output on every machine.
//!
//! | file | what it holds |
//! |---|---|
//! | `slot` | the slot of a chunk |
//! | `rule` | what a pool demands: copies, slots, residency, least distance of the stores of a slot |
//! | `member` | stores that may keep its chunks, and those that are refused, with the reason |
//! | `draw` | how strongly a store claims a slot: weighted rendezvous in whole numbers |
//! | `spread` | which stores may keep a slot together: failure domains |
//! | `share` | how many slots are a store's fair share |
//! | `draft`, `fill`, `even` | a table in the making: filled by claims, then evened to shares |
//! | `table` | a table of one epoch, and what it says of a slot |
//! | `change` | from one epoch to the next, with as little moved as possible |
//! | `codec` | a table as rows of the catalog |

pub mod slot;
pub mod rule;
pub mod member;
mod draw;
mod spread;
mod share;
mod draft;
mod fill;
mod even;
pub mod table;
pub mod change;
pub mod codec;
pub mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;

pub use change::{Move, Plan};
pub use codec::RowName;
pub use error::{CodecError, Inconsistent, PoolError, SettleError, StaleTable};
pub use member::{Candidate, Domain, Member, Refused, Standing, Weight};
pub use rule::{Copies, Level, PoolRule};
pub use slot::{Slot, SlotCount};
pub use table::{Epoch, StoreShare, Table, Whereabouts};

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
