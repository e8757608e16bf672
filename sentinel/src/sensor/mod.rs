//! Where packets and flows come from.
//!
//! In: a capture file, a log of flows, or the kernel's ring. Out: frames with their time of capture, logged flows, or flow
//! records.
//! Invariant: nothing is trusted; what cannot be read is an error that says where and what to do.
//! Deliberately elsewhere: what packets mean (`sentinel_common::packet`), flows (`flow`).

mod bettercap;
pub mod flowlog;
pub mod pcap;
mod xdp;

pub use bettercap::{BettercapFlows, BettercapListener, BettercapReplay, bettercap};
pub use xdp::XdpSensor;
