//! Sealed bytes at rest. This crate knows no key, no plaintext and no S3.
//!
//! `catalog` says what exists and in which order; `chunks` keeps the sealed bytes of one disk; `log`
//! is the access log, whose records commit together with the change that they describe.
//!
//! The engine stands behind the default feature `rocksdb`: fuzz targets and pure tests need none.
#![cfg_attr(not(feature = "rocksdb"), expect(dead_code, reason = "the engine is what calls it"))]

mod crc;
pub mod geometry;
pub mod buffer;
pub mod chunk;
pub mod layout;
pub mod shard;
pub mod placement;
pub mod pool;
#[cfg(feature = "rocksdb")]
pub mod chunks;
#[cfg(feature = "rocksdb")]
pub mod engine;
#[cfg(feature = "rocksdb")]
pub mod condition;
#[cfg(feature = "rocksdb")]
pub mod crew;
pub mod dirs;
pub mod reserve;
pub mod catalog;
pub mod log;
pub mod reads;
#[cfg(feature = "rocksdb")]
pub mod collector;
pub mod error;
