//! The target `migrate` under libFuzzer.

#![no_main]

use sentinel_fuzz::migrate;

libfuzzer_sys::fuzz_target!(init: sentinel_fuzz::begin(&migrate::TARGET), |data: &[u8]| (migrate::TARGET.run)(data));
