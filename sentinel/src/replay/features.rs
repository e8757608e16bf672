//! A capture as feature records: the kernel's counting, the flow table and the builder, and no judge.

use super::pace::{Pace, STEP, STEPS, Stamp};
use crate::config::Config;
use crate::features::{Builder, FeatureLosses, FeatureRecord, Limits};
use crate::flow::{FlowLosses, FlowTable, ModelFlows};
use crate::types::Ktime;
use sentinel_common::packet::{PacketMeta, ParseError, parse_ethernet};
use std::time::Duration;

/// What a capture came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeatureSummary {
    /// Packets in it.
    pub packets: u64,
    /// Those that are no IP.
    pub not_ip: u64,
    /// Those that were cut short or contradict themselves.
    pub unread: u64,
    /// Those stamped a little earlier than their predecessor.
    pub out_of_order: u64,
    /// How often the clock jumped backwards.
    pub clock_steps: u64,
    /// What the flow table gave up.
    pub flow: FlowLosses,
    /// What the builder gave up.
    pub features: FeatureLosses,
}

/// Everything between a frame and its flow's vector. Synchronous; the time is the capture's.
#[derive(Debug)]
pub struct FeatureReplay {
    kernel: ModelFlows,
    table: FlowTable,
    builder: Builder,
    pace: Pace,
    idle_timeout: Duration,
    summary: FeatureSummary,
    records: Vec<FeatureRecord>,
}

impl FeatureReplay {
    /// How long after the last packet flows may still be told of as they would be live.
    pub const WAIT: Duration = STEP.saturating_mul(STEPS);

    /// The rooms as a configuration wants them. Packets are neither judged nor dropped.
    pub fn new(config: &Config) -> Self {
        Self {
            kernel: ModelFlows::new(config.kernel.flow_capacity as usize, config.kernel.report_interval),
            table: FlowTable::new(&config.flow),
            builder: Builder::new(&Limits::from(&config.flow)),
            pace: Pace::default(),
            idle_timeout: config.flow.idle_timeout,
            summary: FeatureSummary::default(),
            records: Vec::new(),
        }
    }

    /// Takes in an Ethernet frame stamped `at_ns` (ns since 1970).
    pub fn frame(&mut self, at_ns: u64, bytes: &[u8]) {
        let now = self.arrive(at_ns);
        match parse_ethernet(&bytes) {
            Ok(packet) => self.account(&packet, now),
            Err(ParseError::NotIp) => self.summary.not_ip += 1,
            Err(_) => self.summary.unread += 1,
        }
    }

    /// The same with what was read of a packet.
    pub(super) fn packet(&mut self, at_ns: u64, packet: &PacketMeta) {
        let now = self.arrive(at_ns);
        self.account(packet, now);
    }

    /// Lets time pass until a packet stamped so; gives when that is.
    fn arrive(&mut self, at_ns: u64) -> Ktime {
        let (now, stamp) = self.pace.stamp(Ktime(at_ns));
        self.summary.packets += 1;
        self.summary.out_of_order += u64::from(stamp == Stamp::Reordered);
        self.summary.clock_steps += u64::from(stamp == Stamp::Stepped);
        let mut taken = 0;
        while let Some(at) = self.pace.step(now, &mut taken) {
            self.step(at);
        }
        now
    }

    fn account(&mut self, packet: &PacketMeta, now: Ktime) {
        let direction = self.kernel.direction(packet);
        let told = self.kernel.packet(packet, direction, None, now);
        for record in &told.records {
            if let Some(seen) = self.table.apply(record) {
                self.builder.record(record, &seen, &mut self.records);
            }
        }
    }

    /// Records since the last call, for the caller to drain.
    pub fn records(&mut self) -> &mut Vec<FeatureRecord> {
        &mut self.records
    }

    /// Lets the last waits run out ([`FeatureReplay::WAIT`]) and ends every flow; the records of it are still to be
    /// drained.
    pub fn finish(&mut self) -> FeatureSummary {
        if let Some(end) = self.pace.now() {
            let end = end.after(Self::WAIT);
            let mut taken = 0;
            while let Some(at) = self.pace.step(end, &mut taken) {
                self.step(at);
            }
        }
        self.builder.finish(&mut self.records);
        self.summary.flow = self.table.losses();
        self.summary.features = self.builder.losses();
        self.summary
    }

    fn step(&mut self, now: Ktime) {
        for record in self.kernel.sweep(now) {
            if let Some(seen) = self.table.apply(&record) {
                self.builder.record(&record, &seen, &mut self.records);
            }
        }
        // Who was not answered is the builder's own to find out.
        self.table.tick(now);
        self.builder.tick(now, &mut self.records);
        let horizon = Ktime(now.0.saturating_sub(self.idle_timeout.as_nanos() as u64));
        while self.kernel.pop_idle(horizon).is_some() {}
    }
}
