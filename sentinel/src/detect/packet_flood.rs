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

/// UDP must have gone on for so long: a TCP connection that explains it is reported by then.
const SETTLE: Duration = Duration::from_millis(400);

/// Packets of one source.
#[derive(Clone, Copy, Debug, Default)]
struct Sender {
    udp: Ring<SLOTS>,
    answers: Ring<SLOTS>,
    icmp: Ring<SLOTS>,
    /// Beginning of the flow with which the UDP packets in the window begin.
    since: Ktime,
}

/// Counts UDP packets nobody answers and ICMP packets, per source.
///
/// UDP: a flow's first packet counts only once its answer is due, since the answer is not known before. Flows that
/// begin within half a minute of a TCP connection with the same service (`iperf3 -u`) and multicast do not count. Nor does UDP at all where
/// only one direction is watched: then no answer is ever seen.
/// ICMP: only from the far side; what our side sends may be errors that answer the far side's packets.
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

    fn udp(&mut self, o: &Observation) -> Option<(f64, u32, f64)> {
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
        let rate = self.rate(sent);
        (settled && one_sided && rate >= f64::from(self.udp_pps)).then_some((rate, self.udp_pps, f64::from(answers)))
    }

    fn icmp(&mut self, o: &Observation) -> Option<(f64, u32, f64)> {
        if o.from_inside {
            return None;
        }
        let sender = self.senders.touch_or(Addr::from(o.source), Sender::default);
        let sent = sender.icmp.add(o.at, self.slot_ns, clamp(o.forward_delta.packets));
        let rate = self.rate(sent);
        (rate >= f64::from(self.icmp_pps)).then_some((rate, self.icmp_pps, 0.0))
    }

    fn finding(&self, o: &Observation, at: Ktime, rate: f64, limit: u32, answers: f64) -> Finding {
        let window = span(self.window);
        let name = if o.udp() { "udp" } else { "icmp" };
        let mut evidence = vec![row(
            "packets_per_second",
            rate,
            limit.into(),
            format!("packets/s over {window}"),
        )];
        let mut beside = String::new();
        if o.udp() {
            evidence.push(row(
                "answer_rate",
                self.rate(answers as u32),
                rate / f64::from(ANSWERS),
                "packets/s",
            ));
            beside = format!(" and got {answers:.0} answers");
        }
        Finding {
            at,
            source: Some(o.source),
            targets: vec![o.target],
            family: Family::Flood,
            technique: format!("{name} flood").into(),
            ratio: rate / f64::from(limit),
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
        let (rate, limit, answers) = if o.udp() {
            self.udp(o)?
        } else if o.icmp() {
            self.icmp(o)?
        } else {
            return None;
        };
        let ratio = rate / f64::from(limit);
        voice
            .may(o.source, Name::PacketFlood, Family::Flood, ratio, o.at)
            .then(|| self.finding(o, o.at, rate, limit, answers))
    }

    fn load(&self) -> (usize, u64) {
        (self.senders.len(), self.senders.evicted())
    }
}
