//! The target `settings` under libFuzzer.

#![no_main]

use sentinel_fuzz::settings;

libfuzzer_sys::fuzz_target!(init: sentinel_fuzz::begin(&settings::TARGET), |data: &[u8]| (settings::TARGET.run)(data));
