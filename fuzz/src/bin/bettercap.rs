//! The target `bettercap` under libFuzzer.

#![no_main]

use sentinel_fuzz::bettercap;

libfuzzer_sys::fuzz_target!(init: sentinel_fuzz::begin(&bettercap::TARGET), |data: &[u8]| (bettercap::TARGET.run)(data));
