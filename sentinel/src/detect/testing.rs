//! A wire for tests: packets go through the kernel's update rule, its reports through table and detectors.

use super::Detectors;
use crate::config::Config;
use crate::flow::{FlowTable, ModelFlows, Observation};
use crate::types::{Alert, Clock, Detector, Ktime, Mint};
use sentinel_common::addr::Addr;
use sentinel_common::event::FlowRecord;
use sentinel_common::flow::{Direction, PROTO_ICMP, PROTO_TCP, PROTO_UDP};
use sentinel_common::packet::{PacketMeta, TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN};
use std::net::IpAddr;
use std::time::Duration;

/// Beginning of time on the wire.
const START: u64 = 1_000_000_000_000;
/// What a stack's SYN takes: IPv4, TCP and twenty bytes of options.
const STACK_SYN: u32 = 60;

/// An address and a port.
pub(crate) type End<'a> = (&'a str, u16);

/// Hosts in 10.0.0.0/8 are ours; everybody else is outside.
pub(crate) struct Wire {
    kernel: ModelFlows,
    pub(crate) table: FlowTable,
    pub(crate) detectors: Detectors,
    pub(crate) now: Ktime,
    pub(crate) alerts: Vec<Alert>,
    pub(crate) seen: Vec<Observation>,
    syn_len: u32,
}

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Wire {
    pub(crate) fn new() -> Self {
        Self::with(&Config::default())
    }

    pub(crate) fn with(config: &Config) -> Self {
        Self {
            kernel: ModelFlows::new(1 << 20, config.kernel.report_interval),
            table: FlowTable::new(&config.flow),
            detectors: Detectors::new(config, Clock::default(), Mint::Counted(0), "test"),
            now: Ktime(START),
            alerts: Vec::new(),
            seen: Vec::new(),
            syn_len: STACK_SYN,
        }
    }

    /// SYNs from now on are those of a raw socket: no more than a segment size.
    pub(crate) fn raw_syns(mut self) -> Self {
        self.syn_len = 44;
        self
    }

    /// Lets time pass, with the sweeps and ticks that belong to it.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now.after(time);
        while self.now < end {
            self.now = self.now.after(ms(50)).min(end);
            for record in self.kernel.sweep(self.now) {
                self.record(&record);
            }
            for observation in self.table.tick(self.now) {
                self.observe(observation);
            }
            self.alerts.extend(self.detectors.tick(self.now));
        }
    }

    /// Lets much time pass, in steps of a second.
    pub(crate) fn skip(&mut self, time: Duration) {
        let end = self.now.after(time);
        while self.now < end {
            self.now = self.now.after(Duration::from_secs(1)).min(end);
            self.step();
        }
    }

    fn step(&mut self) {
        for record in self.kernel.sweep(self.now) {
            self.record(&record);
        }
        for observation in self.table.tick(self.now) {
            self.observe(observation);
        }
        self.alerts.extend(self.detectors.tick(self.now));
        self.seen.clear();
    }

    pub(crate) fn record(&mut self, record: &FlowRecord) {
        if let Some(observation) = self.table.apply(record) {
            self.alerts.extend(self.detectors.record(record, &observation));
            self.seen.push(observation);
        }
    }

    fn observe(&mut self, observation: Observation) {
        self.alerts.extend(self.detectors.observe(&observation));
        self.seen.push(observation);
    }

    pub(crate) fn packet(&mut self, packet: &PacketMeta) {
        let ours = packet.src.as_v4().is_some_and(|v4| v4[0] == 10);
        let direction = if ours { Direction::Egress } else { Direction::Ingress };
        for record in self.kernel.packet(packet, direction, None, self.now).records {
            self.record(&record);
        }
    }

    fn meta(from: End<'_>, to: End<'_>, proto: u8, payload: u32) -> PacketMeta {
        let addr = |text: &str| Addr::from(text.parse::<IpAddr>().unwrap());
        PacketMeta {
            src: addr(from.0),
            dst: addr(to.0),
            src_port: from.1,
            dst_port: to.1,
            proto,
            ip_version: 4,
            payload_len: payload,
            l3_len: payload + 28,
            ..PacketMeta::default()
        }
    }

    pub(crate) fn tcp(&mut self, from: End<'_>, to: End<'_>, flags: u8, payload: u32) {
        // Every side numbers from 100, so that 101 acknowledges its SYN.
        let syn = flags & TCP_SYN != 0;
        let packet = PacketMeta {
            tcp_flags: flags,
            tcp_seq: if syn { 100 } else { 101 },
            tcp_ack: 101,
            l3_len: if syn { self.syn_len } else { payload + 40 },
            ..Self::meta(from, to, PROTO_TCP, payload)
        };
        self.packet(&packet);
    }

    pub(crate) fn udp(&mut self, from: End<'_>, to: End<'_>, payload: u32) {
        let packet = Self::meta(from, to, PROTO_UDP, payload);
        self.packet(&packet);
    }

    pub(crate) fn icmp(&mut self, from: &str, to: &str) {
        let packet = Self::meta((from, 0), (to, 0), PROTO_ICMP, 56);
        self.packet(&packet);
    }

    /// An echo request.
    pub(crate) fn ping(&mut self, from: &str, to: &str, payload: u32) {
        let packet = Self::meta((from, 8), (to, 0), PROTO_ICMP, payload);
        self.packet(&packet);
    }

    /// An echo reply.
    pub(crate) fn pong(&mut self, from: &str, to: &str, payload: u32) {
        let packet = Self::meta((from, 0), (to, 8), PROTO_ICMP, payload);
        self.packet(&packet);
    }

    /// A UDP question and its answer.
    pub(crate) fn ask(&mut self, from: End<'_>, to: End<'_>, asked: u32, answered: u32) {
        self.udp(from, to, asked);
        self.udp(to, from, answered);
    }

    /// A SYN that a closed port refuses.
    pub(crate) fn refused(&mut self, from: End<'_>, to: End<'_>) {
        self.tcp(from, to, TCP_SYN, 0);
        self.tcp(to, from, TCP_RST | TCP_ACK, 0);
    }

    /// A SYN that an open port answers, and the reset of a raw socket.
    pub(crate) fn half_open(&mut self, from: End<'_>, to: End<'_>) {
        self.tcp(from, to, TCP_SYN, 0);
        self.tcp(to, from, TCP_SYN | TCP_ACK, 0);
        self.tcp(from, to, TCP_RST, 0);
    }

    /// A handshake, completed.
    pub(crate) fn open(&mut self, from: End<'_>, to: End<'_>) {
        self.tcp(from, to, TCP_SYN, 0);
        self.tcp(to, from, TCP_SYN | TCP_ACK, 0);
        self.tcp(from, to, TCP_ACK, 0);
    }

    /// Payload both ways on an open connection.
    pub(crate) fn talk(&mut self, from: End<'_>, to: End<'_>, sent: u32, got: u32) {
        self.tcp(from, to, TCP_PSH | TCP_ACK, sent);
        self.tcp(to, from, TCP_PSH | TCP_ACK, got);
    }

    /// A FIN from each side.
    pub(crate) fn close(&mut self, from: End<'_>, to: End<'_>) {
        self.tcp(from, to, TCP_FIN | TCP_ACK, 0);
        self.tcp(to, from, TCP_FIN | TCP_ACK, 0);
        self.tcp(from, to, TCP_ACK, 0);
    }

    /// A whole connection.
    pub(crate) fn session(&mut self, from: End<'_>, to: End<'_>, sent: u32, got: u32) {
        self.open(from, to);
        self.talk(from, to, sent, got);
        self.close(from, to);
    }

    /// Alerts of one detector.
    pub(crate) fn of(&self, detector: Detector) -> Vec<&Alert> {
        self.alerts.iter().filter(|a| a.detector == detector).collect()
    }

    /// Detector, technique and source of every alert that could block.
    pub(crate) fn accusations(&self) -> Vec<String> {
        self.alerts
            .iter()
            .filter(|a| a.detector != Detector::Baseline)
            .map(|a| format!("{} {} {:?}", a.detector.as_str(), a.technique, a.source))
            .collect()
    }
}
