//! The target `netlink` under libFuzzer.

#![no_main]

use sentinel_fuzz::netlink;

libfuzzer_sys::fuzz_target!(init: sentinel_fuzz::begin(&netlink::TARGET), |data: &[u8]| (netlink::TARGET.run)(data));
