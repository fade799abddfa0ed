//! Sealing, format 1: keys wrap keys, segments are sealed under a body's own key, and what describes
//! an object is sealed beside it. `docs/format.md` has the byte tables; both directions of each
//! step stand in one file.
//!
//! tenant key -> bucket key -> version key -> data keys

pub mod aria;
pub mod body;
pub mod key;
mod locked;
pub mod suite;
pub mod value;
#[cfg(test)]
mod vectors;
pub mod wrap;

pub use key::{SecretKey, VersionKey};
pub use suite::Suite;

/// Format number of everything that this module writes.
pub const FORMAT: u8 = 1;
/// First bytes of every AAD and of every derivation label.
pub const MAGIC: &[u8; 4] = b"GTGN";

/// A sealed thing did not open, or could not be made.
///
/// The variants say what was refused, never why inside the cipher: an attacker learns nothing.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum SealError {
    /// The bytes do not have the shape of format 1.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// Authentication failed: other key, other place, or changed bytes.
    #[error("{0} does not open under its key and context")]
    Refused(&'static str),
    /// The system's random source failed.
    #[error("no random bytes from the system")]
    Random,
}
