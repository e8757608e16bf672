//! The target `fleet` under libFuzzer.

#![no_main]

use sentinel_fuzz::fleet;

libfuzzer_sys::fuzz_target!(init: sentinel_fuzz::begin(&fleet::TARGET), |data: &[u8]| (fleet::TARGET.run)(data));
