//! The vocabulary that every crate shares and the one decision that every request needs.
//!
//! Pure: no I/O, no async, no clock. What a decision depends on is an argument.

pub mod id;
pub mod name;
pub mod time;
pub mod place;
pub mod residency;
pub mod operation;
pub mod principal;
pub mod reason;
pub mod rules;
pub mod decide;
#[cfg(any(test, fuzzing))]
pub mod fuzz;

pub use decide::{Denial, Permit, Request, decide};
