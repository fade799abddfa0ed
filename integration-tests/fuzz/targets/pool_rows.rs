#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| storage::pool::fuzz::pool_rows(data));
