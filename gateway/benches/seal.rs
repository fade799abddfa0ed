//! Sealing.

fn main() {}
