//! Whether a database takes writes, and what becomes of one that does not (`docs/decisions/0004`).

use std::sync::OnceLock;

use crate::engine::{Database, is_full};
use crate::reserve::Reserve;

/// How a database stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It takes writes.
    Sound,
    /// It does not, and nobody knows that another start would help.
    Broken,
    /// It does not, for the disk was full, and there is little space still.
    Full,
    /// It does not, for the disk was full, and there is space again: a start mends it.
    Mendable,
}

/// Why no more writes are taken; the first reason stays.
#[derive(Debug, Default)]
pub(crate) struct Poison(OnceLock<Reason>);

#[derive(Debug)]
struct Reason {
    why: String,
    full: bool,
}

impl Poison {
    /// Takes no more writes; false when none were taken before.
    pub(crate) fn set(&self, why: &str) -> bool {
        self.set_for(why, is_full(why))
    }

    /// As [`Self::set`], by somebody who knows whether the disk was full.
    pub(crate) fn set_for(&self, why: &str, full: bool) -> bool {
        self.0.set(Reason { why: why.to_owned(), full }).is_ok()
    }

    /// Why, if so.
    pub(crate) fn get(&self) -> Option<&String> {
        self.0.get().map(|reason| &reason.why)
    }

    /// How the database stands. It asks the disk, and the database whether it failed beside all writes: what it
    /// could not flush or compact stops writes later, without an error of theirs.
    pub(crate) fn condition(&self, db: &Database, reserve: &Reserve) -> Condition {
        if self.0.get().is_none() {
            // Remembered: when a compaction has failed, what it wrote is gone.
            reserve.look();
        }
        if self.0.get().is_none()
            && db.has_failed_beside()
            && self.set_for("a flush or a compaction failed", reserve.was_short())
        {
            tracing::error!(dir = %reserve.dir().display(), "a flush or a compaction failed: no more writes are taken");
        }
        match self.0.get() {
            None => Condition::Sound,
            Some(Reason { full: false, .. }) => Condition::Broken,
            Some(_) if reserve.has_space_again() => Condition::Mendable,
            Some(_) => Condition::Full,
        }
    }
}
