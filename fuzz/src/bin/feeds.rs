//! The target `feeds` under libFuzzer.

#![no_main]

use sentinel_fuzz::feeds;

libfuzzer_sys::fuzz_target!(init: sentinel_fuzz::begin(&feeds::TARGET), |data: &[u8]| (feeds::TARGET.run)(data));
