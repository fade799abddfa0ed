//! Sealed bytes at rest. This crate knows no key, no plaintext and no S3.
//!
//! `catalog` says what exists and in which order; `chunks` keeps the sealed bytes of one disk; `log`
//! is the access log, whose records commit together with the change that they describe.

pub mod geometry;
pub mod buffer;
pub mod chunk;
pub mod placement;
pub mod chunks;
pub mod engine;
pub mod dirs;
pub mod catalog;
pub mod log;
pub mod reads;
pub mod collector;
pub mod error;
