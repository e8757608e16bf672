//! The target `intel` under libFuzzer.

#![no_main]

use sentinel_fuzz::intel;

libfuzzer_sys::fuzz_target!(init: sentinel_fuzz::begin(&intel::TARGET), |data: &[u8]| (intel::TARGET.run)(data));
