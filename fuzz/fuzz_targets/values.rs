#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| comic_vine_sqlite_store_fuzz::values(input));
