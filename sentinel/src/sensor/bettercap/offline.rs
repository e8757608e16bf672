//! Events that were recorded, without a connection: the same reading, ordering and counting.

use super::event::Event;
use super::flows::Flows;
use super::listen::Hearing;
use super::order::{HOLD, Order};
use crate::metrics::Metrics;
use crate::types::{Ktime, Timestamp};
use ipnet::IpNet;
use sentinel_common::event::FlowRecord;
use std::time::Duration;
use tokio::time::Instant;

/// Events put in order at once.
const WAITING: usize = 64;

/// Recorded events on their way to flow records; the time is theirs.
pub struct BettercapReplay {
    metrics: Metrics,
    hearing: Hearing,
    order: Order,
    flows: Flows,
    idle: Duration,
    began: Instant,
}

impl BettercapReplay {
    /// With room for `capacity` flows, reported every `interval` and over after `idle`. `inside`: prefixes of our side.
    pub fn new(capacity: usize, interval: Duration, idle: Duration, inside: Vec<IpNet>) -> Self {
        Self {
            metrics: Metrics::new(),
            hearing: Hearing::new(Timestamp(i64::MIN)),
            order: Order::default(),
            flows: Flows::new(capacity, interval, inside),
            idle,
            began: Instant::now(),
        }
    }

    /// Takes in one event as text; adds the records there are now, stamped by the events' clock (ns since 1970).
    pub fn event(&mut self, text: &str, records: &mut Vec<FlowRecord>) {
        if let Some((at, event)) = self.hearing.hear(text, &self.metrics) {
            self.order.put(at, event, self.began);
            while let Some(next) = self.order.take(self.began, WAITING) {
                self.take(&next, records);
            }
        }
    }

    /// No more events come; adds what is left.
    pub fn end(&mut self, records: &mut Vec<FlowRecord>) {
        let mut last = 0;
        while let Some(next) = self.order.take(self.began + HOLD, WAITING) {
            last = next.0;
            self.take(&next, records);
        }
        let end = Ktime(last.max(1).cast_unsigned()).after(Duration::from_secs(1));
        self.flows.sweep(end, self.idle, records);
    }

    fn take(&mut self, (at, event): &(i64, Event), records: &mut Vec<FlowRecord>) {
        let at = Ktime((*at).max(1).cast_unsigned());
        self.flows.take(event, at, records);
        self.flows.sweep(at, self.idle, records);
    }

    /// Conversations forgotten for want of room, and application events without a flow.
    pub fn losses(&self) -> (u64, u64) {
        let losses = self.flows.losses();
        (losses.talks, losses.homeless)
    }
}
