#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| storage::catalog::fuzz::catalog_rows(data));
