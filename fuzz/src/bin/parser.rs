//! The target `parser` under libFuzzer.

#![no_main]

use sentinel_fuzz::parser;

libfuzzer_sys::fuzz_target!(init: sentinel_fuzz::begin(&parser::TARGET), |data: &[u8]| (parser::TARGET.run)(data));
