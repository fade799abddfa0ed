//! Who a machine is and where it stands, as X.509 certificates of the sovereign CA say it.
//!
//! The root signs an intermediate for some countries, and may lie in a safe; the intermediate signs machines, for a
//! day. A connection counts when both sides verified chain, revocation, role and claims; a name proves nothing.

pub mod claims;
pub mod role;
pub mod validity;
pub mod files;
pub mod authority;
pub mod request;
pub mod revocation;
pub mod trust;
pub mod identity;
pub mod evidence;
pub mod tls;
pub mod mutual;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(test)]
mod testing;
