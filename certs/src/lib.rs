//! Who a node is and where it stands, as X.509 certificates of the sovereign CA say it.

pub mod authority;
pub mod claims;
pub mod evidence;
pub mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod identity;
pub mod tls;
pub mod validity;
