//! Labels of a session: a capture with real attackers whose attacks are listed.

use super::error::{DatasetError, io};
use super::truth::{Truth, of};
use crate::features::FeatureRecord;
use sentinel_common::flow::PROTO_ICMPV6;
use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

/// How long before or after one of its attacks an attacker's flow still counts as part of it, s.
const AROUND: f64 = 15.0;
/// How long after a flood its answers may go on, s (a SYN-ACK is repeated for a minute: tcp_synack_retries, tcp(7)).
const AFTERMATH: f64 = 65.0;

/// What is known of a session.
#[derive(Clone, Debug, Default)]
pub struct Session {
    truth: Truth,
    clients: BTreeSet<IpAddr>,
    attackers: BTreeSet<IpAddr>,
}

impl Session {
    /// Reads its attacks (`attacks.jsonl`, whatever its name) and, where they stand beside that, `cli.ips` (benign remote
    /// hosts) and `atk.ips` (attackers).
    ///
    /// # Errors
    /// [`DatasetError::Io`]; [`DatasetError::Line`] where a line is no attack, or no address.
    pub fn read(attacks: &Path) -> Result<Self, DatasetError> {
        let truth = Truth::read(attacks)?;
        let mut attackers = list(&attacks.with_file_name("atk.ips"))?;
        attackers.extend(truth.events.iter().map(|event| event.ip));
        Ok(Self {
            truth,
            clients: list(&attacks.with_file_name("cli.ips"))?,
            attackers,
        })
    }

    /// The attacks.
    pub const fn truth(&self) -> &Truth {
        &self.truth
    }

    /// The label of a flow and its family; `None` where nothing is known of it.
    ///
    /// A flow with an attacker is an attack, of the family of the attack it lies in or near to. One with a client is
    /// benign. Where clients are listed, whoever is on neither list has a forged address, and its flow is part of the
    /// flood that is on; but the attackers' family of addresses only, and without a list, it is benign.
    ///
    /// Of what only keeps a link going (IPv6 neighbour discovery, link-local and multicast addresses) nothing is known where
    /// no client is part of it: an attacker asks for its neighbours as everybody does, and nobody forges from afar what no
    /// router forwards.
    pub(super) fn label(&self, record: &FeatureRecord) -> Option<(bool, &str)> {
        let with = |set: &BTreeSet<IpAddr>| set.contains(&record.source) || set.contains(&record.target.ip);
        if keeps_link(record) {
            return with(&self.clients).then_some((false, "benign"));
        }
        if with(&self.attackers) {
            let within = self.truth.of(record);
            let near = || {
                let own = self.truth.events.iter().filter(|event| of(event, record));
                own.map(|event| (event.distance(record), event))
                    .filter(|(distance, _)| *distance <= AROUND)
                    .min_by(|a, b| a.0.total_cmp(&b.0))
                    .map(|(_, event)| event)
            };
            return within.or_else(near).map(|event| (true, event.family.as_str()));
        }
        let same = |set: &BTreeSet<IpAddr>| set.iter().any(|ip| ip.is_ipv4() == record.source.is_ipv4());
        if with(&self.clients) || self.clients.is_empty() || !same(&self.attackers) {
            return Some((false, "benign"));
        }
        let floods = self
            .truth
            .events
            .iter()
            .filter(|event| event.family.starts_with("flood"));
        let begun = floods.filter(|event| super::truth::seconds(record.start.0) >= event.t0 - 1.0);
        begun
            .filter(|event| event.distance(record) <= AFTERMATH)
            .max_by(|a, b| a.t0.total_cmp(&b.t0))
            .map(|event| (true, event.family.as_str()))
    }
}

/// Neighbour discovery (RFC 4861: ICMPv6 types 133 to 137; ports of ICMP are its type), and IPv6 addresses of the link.
fn keeps_link(record: &FeatureRecord) -> bool {
    let discovery = record.target.proto == PROTO_ICMPV6 && (133..=137).contains(&record.target.port);
    // Of IPv4 such sources are forged: a flood from anywhere has some.
    let of_link = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local() || ip.is_multicast());
    discovery || of_link(record.source) || of_link(record.target.ip)
}

/// Addresses, one a line; none where there is no such file.
fn list(path: &Path) -> Result<BTreeSet<IpAddr>, DatasetError> {
    if !path.exists() {
        return Ok(BTreeSet::new());
    }
    let text = fs::read_to_string(path).map_err(io(path))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            line.trim().parse().map_err(|_| DatasetError::Line {
                path: path.to_owned(),
                line: number + 1,
                cause: "no address; write one a line".into(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::truth::Event;
    use crate::features::{Cut, Vector, WIDTH};
    use crate::types::{Ktime, Service};

    fn record(source: &str, target: &str, proto: u8, port: u16) -> FeatureRecord {
        FeatureRecord {
            at: Ktime(12_000_000_000),
            source: source.parse().unwrap(),
            source_port: 1,
            target: Service {
                ip: target.parse().unwrap(),
                port,
                proto,
            },
            from_inside: false,
            start: Ktime(10_000_000_000),
            end: Ktime(11_000_000_000),
            cut: Cut::Mark,
            continued: false,
            packets: 1,
            allowed: false,
            vector: Vector([0.0; WIDTH]),
        }
    }

    #[test]
    fn what_keeps_the_link_going_is_no_attack() {
        let flood = Event {
            family: "flood_syn".into(),
            ip: "2001:db8::14".parse().unwrap(),
            t0: 9.0,
            t1: 20.0,
        };
        let session = Session {
            attackers: BTreeSet::from([flood.ip, "192.0.2.20".parse().unwrap()]),
            clients: BTreeSet::from(["2001:db8::2".parse().unwrap(), "192.0.2.2".parse().unwrap()]),
            truth: Truth { events: vec![flood] },
        };
        let check = |source: &str, target: &str, proto: u8, port: u16, expected: Option<(bool, &str)>| {
            assert_eq!(
                session.label(&record(source, target, proto, port)),
                expected,
                "{source} {target}"
            );
        };
        check("2001:db8::14", "2001:db8::1", 6, 80, Some((true, "flood_syn")));
        check("2001:db8::99", "2001:db8::1", 6, 80, Some((true, "flood_syn")));
        check(
            "2001:db8::14",
            "2001:db8::1",
            PROTO_ICMPV6,
            128,
            Some((true, "flood_syn")),
        );
        check("2001:db8::14", "2001:db8::1", PROTO_ICMPV6, 135, None);
        check("2001:db8::1", "2001:db8::14", PROTO_ICMPV6, 136, None);
        check("fe80::1", "ff02::16", PROTO_ICMPV6, 143, None);
        check("2001:db8::2", "2001:db8::1", PROTO_ICMPV6, 135, Some((false, "benign")));
        check("224.0.0.1", "192.0.2.1", 6, 80, Some((true, "flood_syn")));
        check("2001:db8::2", "2001:db8::1", 6, 80, Some((false, "benign")));
    }
}
