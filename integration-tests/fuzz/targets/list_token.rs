#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gateway::s3::fuzz::list_token(data));
