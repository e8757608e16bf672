//! Answers nobody asked for, from many reflectors; and a service of ours that answers small requests with large packets.
//!
//! Looks for: reflection amplification (MITRE ATT&CK T1498.002; Rossow, "Amplification Hell", 2014), as victim and as
//! reflector. Nobody is blocked: reflectors are victims themselves, and who seems to ask is the one who is flooded. Blind
//! spots: reflectors on other ports; later fragments, which carry no port; fewer reflectors or bytes than the limit; a
//! capture that began after the requests. Known false positives: answers that come more than `flow.idle_timeout` after
//! their question; a name server for large signed zones that one busy resolver asks.

use super::sketch::Sketch;
use super::{Detector, Finding, Voice, local, narrow, place, row, share, span};
use crate::config::AmplificationConfig;
use crate::flow::{Bounded, Observation, Ring};
use crate::types::{Detector as Name, EvidenceClass, Family};
use sentinel_common::addr::Addr;
use std::time::Duration;

const SLOTS: usize = 5;
/// UDP services known to amplify (CISA alert TA14-017A), sorted: quote of the day, chargen, DNS, TFTP, portmap, NTP,
/// NetBIOS, SNMP, CLDAP, RIP, MSSQL, SSDP, ARMS, WS-Discovery, SIP, mDNS, CoAP, Ubiquiti, memcached, Steam.
const REFLECTORS: [u16; 20] = [
    17, 19, 53, 69, 111, 123, 137, 161, 389, 520, 1434, 1900, 3283, 3702, 5060, 5353, 5683, 10_001, 11_211, 27_015,
];
/// Targets watched as victims; the least recently hit makes room.
const VICTIMS: usize = 512;
/// Least requests of one source to our service.
const REQUESTS: u32 = 50;
/// A request is small up to so many L3 bytes.
const SMALL: u64 = 128;

/// Unasked answers to one of our hosts.
#[derive(Clone, Debug, Default)]
struct Victim {
    bytes: Ring<SLOTS>,
    packets: Ring<SLOTS>,
    sources: Sketch<2, 8>,
}

/// What one source asks one service of ours.
#[derive(Clone, Copy, Debug, Default)]
struct Asker {
    requests: Ring<SLOTS>,
    asked: Ring<SLOTS>,
    answered: Ring<SLOTS>,
}

/// Adds up answers nobody asked for per host, and what our services answer per source.
#[derive(Debug)]
pub struct Amplification {
    victims: Bounded<Addr, Victim>,
    askers: Bounded<(Addr, Addr, u16), Asker>,
    window: Duration,
    slot_ns: u64,
    bytes: u32,
    sources: u32,
    ratio: f64,
    egress: bool,
}

fn reflector(port: u16) -> bool {
    REFLECTORS.binary_search(&port).is_ok()
}

impl Amplification {
    /// Nothing seen yet. Without `egress` what we asked is not seen, and the detector is silent.
    pub fn new(config: &AmplificationConfig, sources: usize, egress: bool) -> Self {
        Self {
            victims: Bounded::new(VICTIMS),
            askers: Bounded::new(Self::capacity(sources)),
            window: config.window,
            slot_ns: config.window.as_nanos() as u64 / SLOTS as u64,
            bytes: narrow(config.bytes).max(1),
            sources: config.sources.max(2),
            ratio: config.ratio.max(1.0),
            egress,
        }
    }

    /// Pairs of asker and service: an eighth of `flow.max_sources`.
    const fn capacity(sources: usize) -> usize {
        share(sources, 8)
    }

    pub(super) const fn memory_bound(sources: usize) -> usize {
        Bounded::<Addr, Victim>::memory_bound(VICTIMS)
            + Bounded::<(Addr, Addr, u16), Asker>::memory_bound(Self::capacity(sources))
    }

    fn as_victim(&mut self, o: &Observation, voice: &Voice) -> Option<Finding> {
        let unasked = o.reverse.packets == 0 && o.forward_delta.packets > 0;
        if !unasked || reflector(o.target.port) || local(o.source) || o.target.ip.is_multicast() {
            return None;
        }
        let window = o.at.0 / (self.window.as_nanos() as u64).max(1);
        let victim = self.victims.touch_or(Addr::from(o.target.ip), Victim::default);
        let bytes = victim.bytes.add(o.at, self.slot_ns, narrow(o.forward_delta.bytes));
        let packets = victim.packets.add(o.at, self.slot_ns, narrow(o.forward_delta.packets));
        victim.sources.add(&Addr::from(o.source), window);
        let sources = victim.sources.count();
        let ratio = f64::from(bytes) / f64::from(self.bytes);
        if ratio < 1.0 || sources < self.sources {
            return None;
        }
        if !voice.may_about(o.target.ip, Name::Amplification, Family::Flood, ratio, o.at) {
            return None;
        }
        let window = span(self.window);
        Some(Finding {
            at: o.at,
            source: None,
            targets: vec![o.target],
            family: Family::Flood,
            technique: "amplification victim".into(),
            ratio,
            class: EvidenceClass::Behaviour,
            evidence: vec![
                row(
                    "unasked_bytes",
                    bytes.into(),
                    self.bytes.into(),
                    format!("bytes/{window}"),
                ),
                row(
                    "sources_estimated",
                    sources.into(),
                    self.sources.into(),
                    format!("sources/{window}"),
                ),
                row("unasked_packets", packets.into(), 0.0, format!("packets/{window}")),
            ],
            summary: format!(
                "About {sources} reflectors sent {} {bytes} bytes of answers within {window} that it never asked for, last from \
                 port {} (the limit is {}); they are abused themselves, so nobody is blocked",
                o.target.ip, o.source_port, self.bytes
            ),
        })
    }

    fn as_reflector(&mut self, o: &Observation, voice: &Voice) -> Option<Finding> {
        let key = (Addr::from(o.source), Addr::from(o.target.ip), o.target.port);
        let asker = self.askers.touch_or(key, Asker::default);
        let requests = asker.requests.add(o.at, self.slot_ns, narrow(o.forward_delta.packets));
        let asked = asker.asked.add(o.at, self.slot_ns, narrow(o.forward_delta.bytes));
        let answered = asker.answered.add(o.at, self.slot_ns, narrow(o.reverse_delta.bytes));
        let small = u64::from(asked) <= SMALL * u64::from(requests);
        let times = f64::from(answered) / f64::from(asked.max(1));
        let ratio = f64::from(answered) / f64::from(self.bytes);
        if !small || requests < REQUESTS || ratio < 1.0 || times < self.ratio {
            return None;
        }
        if !voice.may_about(o.target.ip, Name::Amplification, Family::Flood, ratio, o.at) {
            return None;
        }
        let window = span(self.window);
        Some(Finding {
            at: o.at,
            source: None,
            targets: vec![o.target],
            family: Family::Flood,
            technique: "amplification reflector".into(),
            ratio,
            class: EvidenceClass::Behaviour,
            evidence: vec![
                row(
                    "answer_bytes",
                    answered.into(),
                    self.bytes.into(),
                    format!("bytes/{window}"),
                ),
                row("amplification", times, self.ratio, "bytes/byte"),
                row(
                    "requests",
                    requests.into(),
                    REQUESTS.into(),
                    format!("packets/{window}"),
                ),
            ],
            summary: format!(
                "{} answered {requests} small requests in the name of {} with {answered} bytes within {window}, {times:.0} times \
                 what was asked (the limits are {} bytes and {:.0} times); the requests look forged, so nobody is blocked: \
                 restrict who may ask this service",
                place(&o.target),
                o.source,
                self.bytes,
                self.ratio
            ),
        })
    }
}

impl Detector for Amplification {
    fn name(&self) -> Name {
        Name::Amplification
    }

    fn observe(&mut self, o: &Observation, voice: &Voice) -> Option<Finding> {
        if !self.egress || !o.udp() || o.from_inside {
            return None;
        }
        if reflector(o.target.port) {
            self.as_reflector(o, voice)
        } else if reflector(o.source_port) {
            self.as_victim(o, voice)
        } else {
            None
        }
    }

    fn load(&self) -> (usize, u64) {
        (
            self.victims.len() + self.askers.len(),
            self.victims.evicted() + self.askers.evicted(),
        )
    }
}
