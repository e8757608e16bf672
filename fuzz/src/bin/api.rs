//! The target `api` under libFuzzer.

#![no_main]

use sentinel_fuzz::api;

libfuzzer_sys::fuzz_target!(init: sentinel_fuzz::begin(&api::TARGET), |data: &[u8]| (api::TARGET.run)(data));
