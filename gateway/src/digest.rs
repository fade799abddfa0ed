//! Digests that S3 clients ask for: the five checksum algorithms, and MD5 over many streams at once.
//! They are compatibility values; integrity comes from sealing.

pub mod checksum;
pub mod md5;
