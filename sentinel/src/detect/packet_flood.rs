//! Drowning a host in UDP or ICMP packets.

use super::{Detector, Finding, Voice, capacity, row, span};
use crate::config::PacketFloodConfig;
use crate::flow::{Bounded, Cause, Observation, Ring};
use crate::types::{Detector as Name, EvidenceClass, Family, Ktime};
use sentinel_common::addr::Addr;
use std::time::Duration;

const SLOTS: usize = 8;
/// Fewer answers than one in so many packets is one-sided.
const ANSWERS: u32 = 10;

/// ICMP that goes on for so many windows is a flood from a fraction of the rate on: nothing that asks whether a host is there
/// asks as often for as long.
const WINDOWS: u32 = 5;
/// That fraction.
const FRACTION: u32 = 4;

/// UDP must have gone on for so long: a TCP connection that explains it is reported by then.
const SETTLE: Duration = Duration::from_millis(400);

/// Packets of one source.
#[derive(Clone, Copy, Debug, Default)]
struct Sender {
    udp: Ring<SLOTS>,
    answers: Ring<SLOTS>,
    icmp: Ring<SLOTS>,
    /// Over [`WINDOWS`] windows.
    icmp_long: Ring<SLOTS>,
    /// Beginning of the flow with which the UDP packets in the window begin.
    since: Ktime,
}

/// Packets of one source at more than is usual.
struct Excess {
    rate: f64,
    limit: f64,
    answers: f64,
    /// What the rate is over.
    window: Duration,
}

/// Counts UDP packets nobody answers and ICMP packets, per source.
///
/// UDP: a flow's first packet counts only once its answer is due, since the answer is not known before. Flows that
/// begin within half a minute of a TCP connection with the same service (`iperf3 -u`) and multicast do not count. Nor does UDP at all where
/// only one direction is watched: then no answer is ever seen.
/// ICMP: only from the far side; what our side sends may be errors that answer the far side's packets. At the rate, or at a
/// quarter of it for five windows.
#[derive(Debug)]
pub struct PacketFlood {
    senders: Bounded<Addr, Sender>,
    window: Duration,
    slot_ns: u64,
    udp_pps: u32,
    icmp_pps: u32,
    egress: bool,
}

impl PacketFlood {
    /// No flood yet.
    pub fn new(config: &PacketFloodConfig, sources: usize, egress: bool) -> Self {
        Self {
            senders: Bounded::new(capacity(sources)),
            window: config.window,
            slot_ns: config.window.as_nanos() as u64 / SLOTS as u64,
            udp_pps: config.udp_pps.max(1),
            icmp_pps: config.icmp_pps.max(1),
            egress,
        }
    }

    pub(super) const fn memory_bound(sources: usize) -> usize {
        Bounded::<Addr, Sender>::memory_bound(capacity(sources))
    }

    /// Packets per second over the window.
    fn rate(&self, packets: u32) -> f64 {
        f64::from(packets) / self.window.as_secs_f64().max(0.001)
    }

    fn udp(&mut self, o: &Observation) -> Option<Excess> {
        let to_many = o.target.ip.is_multicast() || o.target.ip.to_string() == "255.255.255.255";
        if !self.egress || o.companion || o.cause == Cause::First || to_many {
            return None;
        }
        let packets = match o.cause {
            Cause::TimedOut => 1,
            _ => clamp(o.forward_delta.packets),
        };
        let sender = self.senders.touch_or(Addr::from(o.source), Sender::default);
        if sender.udp.sum(o.at, self.slot_ns) == 0 {
            sender.since = o.started;
        }
        let sent = sender.udp.add(o.at, self.slot_ns, packets);
        let settled = o.at.since(sender.since) >= SETTLE;
        let answers = sender.answers.add(o.at, self.slot_ns, clamp(o.reverse_delta.packets));
        let one_sided = u64::from(answers) * u64::from(ANSWERS) < u64::from(sent);
        let excess = Excess {
            rate: self.rate(sent),
            limit: self.udp_pps.into(),
            answers: answers.into(),
            window: self.window,
        };
        (settled && one_sided && excess.rate >= excess.limit).then_some(excess)
    }

    fn icmp(&mut self, o: &Observation) -> Option<Excess> {
        if o.from_inside {
            return None;
        }
        let packets = clamp(o.forward_delta.packets);
        let sender = self.senders.touch_or(Addr::from(o.source), Sender::default);
        let sent = sender.icmp.add(o.at, self.slot_ns, packets);
        let sent_long = sender.icmp_long.add(o.at, self.slot_ns * u64::from(WINDOWS), packets);
        let short = Excess {
            rate: self.rate(sent),
            limit: self.icmp_pps.into(),
            answers: 0.0,
            window: self.window,
        };
        let long = Excess {
            rate: self.rate(sent_long) / f64::from(WINDOWS),
            limit: short.limit / f64::from(FRACTION),
            answers: 0.0,
            window: self.window * WINDOWS,
        };
        [short, long].into_iter().find(|excess| excess.rate >= excess.limit)
    }

    fn finding(o: &Observation, excess: &Excess) -> Finding {
        let Excess {
            rate, limit, answers, ..
        } = *excess;
        let window = span(excess.window);
        let name = if o.udp() { "udp" } else { "icmp" };
        let mut evidence = vec![row(
            "packets_per_second",
            rate,
            limit,
            format!("packets/s over {window}"),
        )];
        let mut beside = String::new();
        if o.udp() {
            evidence.push(row(
                "answer_rate",
                answers / excess.window.as_secs_f64().max(0.001),
                rate / f64::from(ANSWERS),
                "packets/s",
            ));
            beside = format!(" and got {answers:.0} answers");
        }
        Finding {
            at: o.at,
            source: Some(o.source),
            targets: vec![o.target],
            family: Family::Flood,
            technique: format!("{name} flood").into(),
            ratio: rate / limit,
            class: EvidenceClass::Behaviour,
            evidence,
            summary: format!(
                "{} sent {rate:.0} {} packets per second over {window}{beside}, last to {}; the limit is {limit}",
                o.source,
                name.to_uppercase(),
                o.target.ip
            ),
        }
    }
}

fn clamp(packets: u64) -> u32 {
    u32::try_from(packets).unwrap_or(u32::MAX)
}

impl Detector for PacketFlood {
    fn name(&self) -> Name {
        Name::PacketFlood
    }

    fn observe(&mut self, o: &Observation, voice: &Voice) -> Option<Finding> {
        let excess = if o.udp() {
            self.udp(o)?
        } else if o.icmp() {
            self.icmp(o)?
        } else {
            return None;
        };
        let ratio = excess.rate / excess.limit;
        voice
            .may(o.source, Name::PacketFlood, Family::Flood, ratio, o.at)
            .then(|| Self::finding(o, &excess))
    }

    fn load(&self) -> (usize, u64) {
        (self.senders.len(), self.senders.evicted())
    }
}
