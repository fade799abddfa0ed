//! Pools and their tables: which stores keep a chunk (STORAGE.md rule 7).

pub mod slot;

pub use slot::{Slot, SlotCount};
