#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| obsync_fuzz::message::check(input));
