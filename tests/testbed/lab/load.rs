//! Load: connections to closed ports from forged addresses, paced or as fast as one core sends.

use super::Lab;
use crate::forge::Stream;
use crate::net::Host;
use anyhow::Result;

/// Sends `packets` TCP SYNs from random addresses of 10.0.0.0/8; `port` as trafgen writes it (`80`, `drnd(1, 65535)`).
pub(super) fn syns(lab: &Lab, from: &Host, port: &str, packets: u64, per_second: Option<u64>) -> Result<Stream> {
    let packet = format!(
        "ipv4(saddr=drnd(167772160, 184549375), daddr={}, ttl=64), \
         tcp(sport=drnd(1024, 65535), dport={port}, syn, win=64240)",
        lab.protected.v4
    );
    Stream::start(from, &lab.protected, &packet, packets, per_second)
}
