//! Ports by the names Bettercap puts in their place.

use sentinel_common::flow::{PROTO_TCP, PROTO_UDP};
use std::collections::HashMap;

/// `name<TAB>TCP port<TAB>UDP port`, 0 for none: what Bettercap 2.32 calls each port of 1 to 49151 when it sees a packet
/// to it, which are the names of IANA's registry as its library has them.
const TABLE: &str = include_str!("services.tsv");

/// Names of services to their ports.
///
/// Thirty names stand for several ports (`compressnet` for 2 and 3); then the smallest is meant, and 8080 by `http-alt`.
#[derive(Debug)]
pub(super) struct Services {
    ports: HashMap<&'static str, (u16, u16)>,
}

impl Services {
    pub(super) fn new() -> Self {
        let row = |line: &'static str| {
            let mut cells = line.split('\t');
            let name = cells.next()?;
            let mut port = || cells.next()?.parse().ok();
            Some((name, (port()?, port()?)))
        };
        Self {
            ports: TABLE.lines().filter_map(row).collect(),
        }
    }

    /// The port of a number or a name.
    pub(super) fn port(&self, proto: u8, text: &str) -> Option<u16> {
        if text.starts_with(|c: char| c.is_ascii_digit())
            && let Ok(port) = text.parse()
        {
            return Some(port);
        }
        let (tcp, udp) = self.ports.get(text)?;
        match proto {
            PROTO_TCP if *tcp > 0 => Some(*tcp),
            PROTO_UDP if *udp > 0 => Some(*udp),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_ports() {
        let services = Services::new();
        for (proto, text, port) in [
            (PROTO_TCP, "http", Some(80)),
            (PROTO_TCP, "http-alt", Some(8080)),
            (PROTO_UDP, "distinct", Some(9999)),
            (PROTO_TCP, "compressnet", Some(2)),
            (PROTO_TCP, "443", Some(443)),
            (PROTO_TCP, "65535", Some(65_535)),
            (PROTO_TCP, "65536", None),
            (PROTO_TCP, "no-such-service", None),
            (PROTO_TCP, "", None),
            (PROTO_TCP, "-1", None),
        ] {
            assert_eq!(services.port(proto, text), port, "{text}");
        }
        assert!(services.ports.len() > 5000, "{}", services.ports.len());
        let smallest = TABLE.lines().filter(|line| line.split('\t').count() != 3).count();
        assert_eq!(smallest, 0, "every line has a name and two ports");
    }
}
