//! Looking for open doors: many ports of a host, one port of many hosts, or many of both.

use super::{Detector, Finding, Voice, row, share, span};
use crate::config::ScanConfig;
use crate::flow::{Bounded, Fate, Observation, Stealth};
use crate::types::{Detector as Name, EvidenceClass, Family, Ktime, Service};
use sentinel_common::addr::Addr;
use sentinel_common::flow::{PROTO_TCP, PROTO_UDP};
use std::net::IpAddr;
use std::time::Duration;

/// Probes remembered per source at least; the oldest makes room. Raised to four times the larger threshold.
const PROBES: usize = 64;
/// Services remembered per suspect with which it did talk; the oldest makes room.
const TALKED: usize = 32;
/// A SYN up to this long carries no more than a segment size: raw sockets make such, stacks do not (they offer
/// window scaling or SACK). IPv4 header 20, TCP header 24; IPv6 adds 20.
const BARE_SYN: u32 = 44;
/// UDP ports where traceroute waits for "unreachable", three probes to each of thirty hops from 33434 (IANA) on. No
/// service is there to be found.
pub(super) const TRACEROUTE: std::ops::RangeInclusive<u16> = 33_434..=33_523;

/// How one door was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Syn,
    Connect,
    /// A connection that succeeded and said nothing: counts only beside failures.
    Empty,
    Fin,
    Null,
    Xmas,
    Ack,
    Maimon,
    Odd,
    Udp,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Syn => "syn",
            Self::Connect | Self::Empty => "connect",
            Self::Fin => "fin",
            Self::Null => "null",
            Self::Xmas => "xmas",
            Self::Ack => "ack",
            Self::Maimon => "maimon",
            Self::Odd => "odd flags",
            Self::Udp => "udp",
        }
    }

    const fn proto(self) -> u8 {
        match self {
            Self::Udp => PROTO_UDP,
            _ => PROTO_TCP,
        }
    }
}

/// One door tried in vain.
#[derive(Clone, Copy, Debug)]
struct Probe {
    at: Ktime,
    host: Addr,
    port: u16,
    kind: Kind,
    /// Nothing came back at all.
    silent: bool,
}

/// What is kept of a source that tried at least one door in vain.
#[derive(Debug, Default)]
struct Suspect {
    /// Distinct by host, port and protocol; most recent last.
    probes: Vec<Probe>,
    /// Distinct services it talked with; most recent last.
    talked: Vec<(Ktime, Addr, u16)>,
}

/// Doors tried that share a host, a port, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Vertical,
    Horizontal,
    Spread,
}

impl Shape {
    /// Whether a door belongs to the same shape as `probe`.
    fn holds(self, probe: &Probe, host: Addr, port: u16) -> bool {
        match self {
            Self::Vertical => host == probe.host,
            Self::Horizontal => port == probe.port,
            Self::Spread => true,
        }
    }

    /// Weight of a failure, in halves. Over many hosts, silence towards a stack's own SYN says little: a client whose
    /// network is down asks many hosts in vain. Silence to UDP all over the place is how peer-to-peer looks.
    fn weight(self, probe: &Probe) -> usize {
        match (self, probe.kind, probe.silent) {
            (Self::Horizontal | Self::Spread, Kind::Connect, true) => 1,
            (Self::Spread, Kind::Udp, true) => 0,
            _ => 2,
        }
    }
}

impl Suspect {
    /// Doors of a shape, around `probe`, that count against its limit.
    fn doors(&self, shape: Shape, probe: &Probe) -> usize {
        let matching = || self.probes.iter().filter(|p| shape.holds(probe, p.host, p.port));
        let empty = matching().filter(|p| p.kind == Kind::Empty).count();
        let failed = matching()
            .filter(|p| p.kind != Kind::Empty)
            .map(|p| shape.weight(p))
            .sum::<usize>()
            / 2;
        let talked = self
            .talked
            .iter()
            .filter(|(_, h, p)| shape.holds(probe, *h, *p))
            .count();
        let doors = failed + empty.min(failed);
        if doors > 2 * talked { doors } else { 0 }
    }
}

/// Counts distinct doors tried in vain per source.
///
/// A door counts once, however often it is tried. Silent connections to open ports count up to the number of
/// failures; services the source did talk with weigh against it (twice), which spares peer-to-peer clients. Failures
/// over many hosts weigh less where an outage or peer-to-peer explains them (see `Shape::weight`).
/// UDP: an ICMP "unreachable" is a flow of its own without its type, so that silence towards the asker is what counts.
#[derive(Debug)]
pub struct PortScan {
    suspects: Bounded<Addr, Suspect>,
    window: Duration,
    ports: usize,
    hosts: usize,
    probes: usize,
}

impl PortScan {
    /// Nobody suspected yet.
    pub fn new(config: &ScanConfig, sources: usize) -> Self {
        let (ports, hosts) = (config.ports.max(1) as usize, config.hosts.max(1) as usize);
        Self {
            suspects: Bounded::new(Self::capacity(sources)),
            window: config.window,
            ports,
            hosts,
            probes: Self::cap(config),
        }
    }

    /// Sources suspected at once: a quarter of `flow.max_sources`.
    const fn capacity(sources: usize) -> usize {
        share(sources, 4)
    }

    /// Probes remembered per suspect.
    fn cap(config: &ScanConfig) -> usize {
        PROBES.max(4 * config.ports.max(config.hosts) as usize)
    }

    pub(super) fn memory_bound(config: &ScanConfig, sources: usize) -> usize {
        let capacity = Self::capacity(sources);
        let own = Self::cap(config) * size_of::<Probe>() + TALKED * size_of::<(Ktime, Addr, u16)>();
        Bounded::<Addr, Suspect>::memory_bound(capacity) + capacity * own
    }

    fn kind(o: &Observation) -> Option<Kind> {
        let kind = match (o.fate, o.udp()) {
            (Fate::Probe(Stealth::Fin), _) => Kind::Fin,
            (Fate::Probe(Stealth::Null), _) => Kind::Null,
            (Fate::Probe(Stealth::Xmas), _) => Kind::Xmas,
            (Fate::Probe(Stealth::Ack), _) => Kind::Ack,
            (Fate::Probe(Stealth::Maimon), _) => Kind::Maimon,
            (Fate::Probe(Stealth::Odd), _) => Kind::Odd,
            (Fate::Unanswered, true) if TRACEROUTE.contains(&o.target.port) => return None,
            (Fate::Unanswered, true) => Kind::Udp,
            (Fate::HalfOpen, _) => Kind::Syn,
            (Fate::Refused | Fate::Unanswered, _) => {
                if bare_syn(o) {
                    Kind::Syn
                } else {
                    Kind::Connect
                }
            }
            (Fate::Empty, _) => Kind::Empty,
            _ => return None,
        };
        Some(kind)
    }

    /// Notes a door tried in vain; returns the number of doors of the shape that is furthest past its limit.
    fn note(&mut self, source: Addr, probe: Probe) -> Option<(Shape, usize, usize)> {
        let (window, cap) = (self.window, self.probes);
        let suspect = self.suspects.touch_or(source, Suspect::default);
        let kept = |at: Ktime| probe.at.since(at) < window;
        suspect
            .probes
            .retain(|p| kept(p.at) && (p.host, p.port, p.kind.proto()) != (probe.host, probe.port, probe.kind.proto()));
        suspect.talked.retain(|(at, ..)| kept(*at));
        if suspect.probes.len() >= cap {
            suspect.probes.remove(0);
        }
        suspect.probes.push(probe);
        let shapes = [
            (Shape::Vertical, self.ports),
            (Shape::Horizontal, self.hosts),
            (Shape::Spread, 2 * self.ports.max(self.hosts)),
        ];
        shapes
            .into_iter()
            .map(|(shape, limit)| (shape, suspect.doors(shape, &probe), limit))
            .find(|(_, doors, limit)| doors >= limit)
    }

    fn talked(&mut self, o: &Observation) {
        let host = Addr::from(o.target.ip);
        let Some(suspect) = self.suspects.touch(&Addr::from(o.source)) else {
            return;
        };
        suspect
            .probes
            .retain(|p| (p.host, p.port, p.kind.proto()) != (host, o.target.port, o.target.proto));
        suspect.talked.retain(|(_, h, p)| (*h, *p) != (host, o.target.port));
        if suspect.talked.len() >= TALKED {
            suspect.talked.remove(0);
        }
        suspect.talked.push((o.at, host, o.target.port));
    }

    fn finding(&self, o: &Observation, probe: Probe, (shape, doors, limit): (Shape, usize, usize)) -> Option<Finding> {
        let suspect = self.suspects.peek(&Addr::from(o.source))?;
        let listed: Vec<_> = suspect
            .probes
            .iter()
            .rev()
            .filter(|p| shape.holds(&probe, p.host, p.port))
            .collect();
        let technique = leading(&listed.iter().map(|p| p.kind));
        let window = span(self.window);
        let refused = listed.iter().filter(|p| p.kind != Kind::Empty).count();
        let silent = listed.len() - refused;
        let (name, unit, words, what) = match shape {
            Shape::Vertical => (
                "distinct_ports",
                "ports",
                "vertical",
                format!("distinct ports of {}", o.target.ip),
            ),
            Shape::Horizontal => (
                "distinct_hosts",
                "hosts",
                "horizontal",
                format!("hosts on port {}", probe.port),
            ),
            Shape::Spread => (
                "distinct_services",
                "services",
                "spread",
                "host and port pairs".to_owned(),
            ),
        };
        let beside = if silent > 0 {
            format!(", {silent} more connected and said nothing")
        } else {
            String::new()
        };
        let mut evidence = vec![row(name, doors as f64, limit as f64, format!("{unit}/{window}"))];
        if silent > 0 {
            evidence.push(row(
                "silent_connections",
                silent as f64,
                0.0,
                format!("connections/{window}"),
            ));
        }
        Some(Finding {
            at: o.at,
            source: Some(o.source),
            targets: listed
                .iter()
                .take(super::MAX_TARGETS)
                .map(|p| Service {
                    ip: IpAddr::from(p.host),
                    port: p.port,
                    proto: p.kind.proto(),
                })
                .collect(),
            family: Family::Scan,
            technique: format!("{technique} {words}").into(),
            ratio: doors as f64 / limit as f64,
            class: EvidenceClass::Behaviour,
            evidence,
            summary: format!(
                "{} tried {refused} {what} in vain within {window} ({technique} scan{beside}); the limit is {limit}",
                o.source
            ),
        })
    }
}

/// Whether a SYN came from a raw socket.
pub(super) fn bare_syn(o: &Observation) -> bool {
    let longer = if o.source.is_ipv6() { 20 } else { 0 };
    o.forward_len_max <= BARE_SYN + longer
}

/// The most frequent technique; the earlier in the list of kinds wins a tie.
fn leading(kinds: &(impl Iterator<Item = Kind> + Clone)) -> &'static str {
    let names = [
        "syn",
        "connect",
        "fin",
        "null",
        "xmas",
        "ack",
        "maimon",
        "odd flags",
        "udp",
    ];
    let count = |name: &str| kinds.clone().filter(|k| k.name() == name).count();
    let mut best = names[0];
    for name in names {
        if count(name) > count(best) {
            best = name;
        }
    }
    best
}

impl Detector for PortScan {
    fn name(&self) -> Name {
        Name::PortScan
    }

    fn observe(&mut self, o: &Observation, voice: &Voice) -> Option<Finding> {
        if !o.fate_now || !(o.tcp() || o.udp()) {
            return None;
        }
        if o.fate == Fate::Talked {
            self.talked(o);
            return None;
        }
        let probe = Probe {
            at: o.at,
            host: Addr::from(o.target.ip),
            port: o.target.port,
            kind: Self::kind(o)?,
            silent: o.fate == Fate::Unanswered,
        };
        let reached = self.note(Addr::from(o.source), probe)?;
        let ratio = reached.1 as f64 / reached.2 as f64;
        if !voice.may(o.source, Name::PortScan, Family::Scan, ratio, o.at) {
            return None;
        }
        self.finding(o, probe, reached)
    }

    fn load(&self) -> (usize, u64) {
        (self.suspects.len(), self.suspects.evicted())
    }
}
