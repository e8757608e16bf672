//! The target `ring` under libFuzzer.

#![no_main]

use sentinel_fuzz::ring;

libfuzzer_sys::fuzz_target!(init: sentinel_fuzz::begin(&ring::TARGET), |data: &[u8]| (ring::TARGET.run)(data));
