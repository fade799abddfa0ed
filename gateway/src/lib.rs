//! The gateway: S3 requests become decisions, sealed bodies, catalog commits and access records.
//!
//! `accept` takes connections, `stack` records every request, `s3` answers them; `write` and `read`
//! are the two pipelines between plaintext and sealed bytes; `seal` is the format.

pub mod accept;
pub mod access;
pub mod accounts;
mod activity;
pub mod admin;
pub mod anew;
pub mod approval;
pub mod authorities;
pub mod bootstrap;
pub mod clock;
pub mod command;
pub mod config;
pub mod context;
pub mod control;
pub mod destruction;
pub mod digest;
mod document;
pub mod erasure;
pub mod error;
mod fold;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod gateway;
mod half_open;
pub mod home;
mod https;
pub mod identity;
pub mod jobs;
pub mod keys;
pub mod node;
pub mod opened;
mod pace;
mod patient;
pub mod platform;
pub mod provider;
pub mod read;
pub mod record;
mod refusal;
pub mod rewrap;
pub mod root;
pub mod rotation;
pub mod s3;
pub mod seal;
pub mod sent;
pub mod serve;
mod source;
pub mod stack;
pub mod statement;
pub mod tls;
pub mod transport;
pub mod write;
