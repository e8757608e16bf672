//! The target `pcap` under libFuzzer.

#![no_main]

use sentinel_fuzz::pcap;

libfuzzer_sys::fuzz_target!(init: sentinel_fuzz::begin(&pcap::TARGET), |data: &[u8]| (pcap::TARGET.run)(data));
