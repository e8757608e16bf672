//! What sources, destinations, pairs and services did lately.

use super::distinct::{Distinct, LONGEST, Sketches, Whose, host};
use super::limits::Limits;
use super::owner::{MINUTE, Owner, SHORT, SLOTS, renewed};
use super::pair::{Pair, PairAround};
use super::piece::{SECOND, Steps};
use super::trail::Trail;
use crate::flow::Bounded;
use sentinel_common::addr::Addr;
use sentinel_common::flow::Half;

/// A service: address, port, protocol.
pub(super) type ServiceKey = (Addr, u16, u8);

/// Sums of a source's slot. Saturating.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) packets: u32,
    pub(super) bytes: u32,
    pub(super) syn: u32,
    pub(super) ack: u32,
    pub(super) flows: u32,
    pub(super) judged: u32,
    pub(super) failed: u32,
}

impl Sent {
    fn absorb(&mut self, more: &Self) {
        for (sum, more) in [
            (&mut self.packets, more.packets),
            (&mut self.bytes, more.bytes),
            (&mut self.syn, more.syn),
            (&mut self.ack, more.ack),
            (&mut self.flows, more.flows),
            (&mut self.judged, more.judged),
            (&mut self.failed, more.failed),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

/// Sums of a destination's slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) packets: u32,
    pub(super) flows: u32,
}

/// Flows that were answered or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) judged: u32,
    pub(super) failed: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Source {
    short: Trail<Sent, SLOTS>,
    minute: Trail<Judged, SLOTS>,
    ports: Distinct,
    hosts: Distinct,
}

#[derive(Clone, Copy, Debug, Default)]
struct Destination {
    short: Trail<Received, SLOTS>,
    sources: Distinct,
}

#[derive(Clone, Copy, Debug, Default)]
struct Clients {
    sources: Distinct,
}

/// What is told of everything around a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Around {
    pub(super) source: Sent,
    pub(super) source_ports: u32,
    pub(super) source_hosts: u32,
    pub(super) minute: Judged,
    pub(super) minute_ports: u32,
    pub(super) long_ports: u32,
    pub(super) destination: Received,
    pub(super) destination_sources: u32,
    pub(super) pair: PairAround,
    pub(super) clients: u32,
}

/// All windows there are.
#[derive(Debug)]
pub(super) struct Windows {
    sources: Bounded<Addr, Owner<Source>>,
    destinations: Bounded<Addr, Owner<Destination>>,
    pairs: Bounded<(Addr, ServiceKey), Owner<Pair>>,
    clients: Bounded<ServiceKey, Owner<Clients>>,
    sketches: Sketches,
}

impl Windows {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            sources: Bounded::new(limits.sources),
            destinations: Bounded::new(limits.destinations),
            pairs: Bounded::new(limits.pairs),
            clients: Bounded::new(limits.services),
            sketches: Sketches::new(limits.sketches),
        }
    }

    /// Evicted so far: sources, destinations, pairs, services, sketches.
    pub(super) fn evicted(&self) -> [u64; 5] {
        [
            self.sources.evicted(),
            self.destinations.evicted(),
            self.pairs.evicted(),
            self.clients.evicted(),
            self.sketches.evicted(),
        ]
    }

    /// Held, in the same order.
    pub(super) fn held(&self) -> [usize; 5] {
        [
            self.sources.len(),
            self.destinations.len(),
            self.pairs.len(),
            self.clients.len(),
            self.sketches.len(),
        ]
    }

    pub(super) const fn memory_bound(limits: &Limits) -> usize {
        Bounded::<Addr, Owner<Source>>::memory_bound(limits.sources)
            + Bounded::<Addr, Owner<Destination>>::memory_bound(limits.destinations)
            + Bounded::<(Addr, ServiceKey), Owner<Pair>>::memory_bound(limits.pairs)
            + Bounded::<ServiceKey, Owner<Clients>>::memory_bound(limits.services)
            + Sketches::memory_bound(limits.sketches)
    }

    /// `id` of `source` to `service` began at `at`.
    pub(super) fn began(&mut self, id: u32, source: Addr, service: ServiceKey, at: Steps) {
        let (target, port, proto) = service;
        let entry = renewed(&mut self.sources, source, at);
        let second = entry.slot(at, SECOND);
        if let Some(sent) = entry.its.short.at(entry.slot(at, SHORT)) {
            sent.flows = sent.flows.saturating_add(1);
        }
        entry
            .its
            .ports
            .add(u32::from(port), second, Whose::Ports(source), &mut self.sketches);
        entry
            .its
            .hosts
            .add(host(&target), second, Whose::Hosts(source), &mut self.sketches);

        let entry = renewed(&mut self.destinations, target, at);
        let second = entry.slot(at, SECOND);
        if let Some(received) = entry.its.short.at(entry.slot(at, SHORT)) {
            received.flows = received.flows.saturating_add(1);
        }
        let whose = Whose::Sources(target);
        entry.its.sources.add(host(&source), second, whose, &mut self.sketches);

        let entry = renewed(&mut self.clients, service, at);
        let second = entry.slot(at, SECOND);
        let whose = Whose::Clients(target, port, proto);
        entry.its.sources.add(host(&source), second, whose, &mut self.sketches);

        renewed(&mut self.pairs, (source, service), at).began(id, at);
    }

    /// Flow `id` did this at `at`; `ahead` where it was its source that sent.
    pub(super) fn sent(
        &mut self,
        id: u32,
        source: Addr,
        service: ServiceKey,
        at: Steps,
        (ahead, counts): (bool, &Half),
    ) {
        let cut = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let packets = cut(counts.packets);
        if ahead {
            let entry = renewed(&mut self.sources, source, at);
            if let Some(sent) = entry.its.short.at(entry.slot(at, SHORT)) {
                sent.absorb(&Sent {
                    packets,
                    bytes: cut(counts.bytes),
                    syn: counts.syn,
                    ack: counts.ack,
                    ..Sent::default()
                });
            }
            let entry = renewed(&mut self.destinations, service.0, at);
            if let Some(received) = entry.its.short.at(entry.slot(at, SHORT)) {
                received.packets = received.packets.saturating_add(packets);
            }
        }
        renewed(&mut self.pairs, (source, service), at).sent(id, ahead, counts);
    }

    /// A flow of `source` was watched for long enough to say whether it came to something. It brings nobody back who
    /// had to make room: flows of a flood do so before they are judged.
    pub(super) fn judged(&mut self, source: Addr, at: Steps, failed: bool) {
        if self.sources.peek(&source).is_none() {
            return;
        }
        let entry = renewed(&mut self.sources, source, at);
        let failed = u32::from(failed);
        if let Some(sent) = entry.its.short.at(entry.slot(at, SHORT)) {
            sent.judged = sent.judged.saturating_add(1);
            sent.failed = sent.failed.saturating_add(failed);
        }
        if let Some(minute) = entry.its.minute.at(entry.slot(at, MINUTE)) {
            minute.judged = minute.judged.saturating_add(1);
            minute.failed = minute.failed.saturating_add(failed);
        }
    }

    /// What there is around a flow of `source` to `service`, as of `at`.
    pub(super) fn around(&self, source: Addr, service: ServiceKey, at: Steps) -> Around {
        let (target, port, proto) = service;
        let mut around = Around::default();
        if let Some(entry) = self.sources.peek(&source) {
            for sent in entry.its.short.last(entry.slot(at, SHORT), 5) {
                around.source.absorb(sent);
            }
            for judged in entry.its.minute.last(entry.slot(at, MINUTE), 10) {
                around.minute.judged = around.minute.judged.saturating_add(judged.judged);
                around.minute.failed = around.minute.failed.saturating_add(judged.failed);
            }
            let second = entry.slot(at, SECOND);
            let ports = |span| {
                entry
                    .its
                    .ports
                    .count(second, span, Whose::Ports(source), &self.sketches)
            };
            around.source_ports = ports(10);
            around.minute_ports = ports(60);
            around.long_ports = ports(LONGEST);
            around.source_hosts = entry.its.hosts.count(second, 10, Whose::Hosts(source), &self.sketches);
        }
        if let Some(entry) = self.destinations.peek(&target) {
            for received in entry.its.short.last(entry.slot(at, SHORT), 5) {
                around.destination.packets = around.destination.packets.saturating_add(received.packets);
                around.destination.flows = around.destination.flows.saturating_add(received.flows);
            }
            let (second, whose) = (entry.slot(at, SECOND), Whose::Sources(target));
            around.destination_sources = entry.its.sources.count(second, 10, whose, &self.sketches);
        }
        if let Some(entry) = self.clients.peek(&service) {
            let (second, whose) = (entry.slot(at, SECOND), Whose::Clients(target, port, proto));
            around.clients = entry.its.sources.count(second, 60, whose, &self.sketches);
        }
        if let Some(entry) = self.pairs.peek(&(source, service)) {
            around.pair = entry.around(at);
        }
        around
    }
}
