//! Harness of the black-box tests: the real binary, a client of its own, and files looked at from
//! outside. Nothing here knows how the store works inside, and nothing shares code with it.
//!
//! | file | what it is |
//! |---|---|
//! | [`server`] | starts, kills and restarts the binary on a directory of its own |
//! | [`approvers`] | two key administrators who destroy a key between them |
//! | [`cli`] | runs the binary's commands and reads the access log through them |
//! | [`wire`] | HTTP/1.1 byte by byte, so that a test can break it |
//! | [`http2`] | HTTP/2, with prior knowledge or over TLS |
//! | [`tls`] | whom a client trusts, and what a server shows |
//! | [`shim`] | C functions that stand before those of the system |
//! | [`sign`] | Signature Version 4, written from its description |
//! | [`stream`] | `aws-chunked` bodies, with and without signatures and trailers |
//! | [`client`] | requests that are built, signed and sent |
//! | [`xml`] | the few things that are read from answers |
//! | [`sums`] | MD5, SHA and CRC, bit by bit where no library is at hand |
//! | [`oracle`] | what the store must hold and list |
//! | [`keeper`] | a tenant's key administrator at work |
//! | [`doomed`] | what is destroyed, what must not be touched, certificates |
//! | [`held`] | objects under a key that a provider holds |
//! | [`softhsm`] | a token of a hardware security module |
//! | [`openbao`] | a real server that holds tenant keys |
//! | [`machines`] | machines of a platform, invited and joined |
//! | [`mount`] | a small file system of a test's own |
//! | [`noise`] | bodies and choices from a printed seed |
//! | [`disk`] | what lies under a directory: listings, needles, entropy |
//! | [`power`] | what a disk may hold when the power goes |
//! | [`clock`] | time as S3 writes it, and waiting for a condition |
#![expect(clippy::unwrap_used, clippy::panic, reason = "a step of the harness that fails must fail its test at once")]

pub mod approvers;
pub mod cli;
pub mod client;
pub mod clock;
pub mod clocked;
pub mod disk;
pub mod doomed;
pub mod held;
pub mod http2;
pub mod keeper;
pub mod machines;
pub mod mount;
pub mod noise;
pub mod openbao;
pub mod oracle;
pub mod power;
pub mod proof;
pub mod server;
pub mod shim;
pub mod sign;
pub mod softhsm;
pub mod stream;
pub mod sums;

pub mod tls;
pub mod wire;
pub mod xml;

pub use cli::Account;
pub use client::{Client, Outgoing};
pub use server::{Server, Store};
pub use stream::Payload;
pub use wire::Answer;
