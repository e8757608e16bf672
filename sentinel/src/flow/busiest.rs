//! Which flows, or whose, move most.

use super::FlowTable;
use super::table::{ALLOWED, CLOSED, COMPLETED, Entry, REVERSED, ends};
use crate::types::{Busiest, Busy, BusyFlow, BusyPer, BusySource, Clock, Ktime, Moved};
use ipnet::IpNet;
use sentinel_common::addr::Addr;
use sentinel_common::flow::FlowKey;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::IpAddr;

/// Rows of each order.
const MOST: usize = 256;
/// Flows looked at; a larger table tells of those that were active last.
const LOOK: usize = 262_144;

/// The greatest [`MOST`] of what it is offered; of equals those with the smaller key.
struct Best<K>(BinaryHeap<Reverse<(u64, Reverse<K>)>>);

impl<K: Ord + Copy> Best<K> {
    const fn new() -> Self {
        Self(BinaryHeap::new())
    }

    fn offer(&mut self, amount: u64, key: K) {
        let offered = Reverse((amount, Reverse(key)));
        if self.0.len() < MOST {
            self.0.push(offered);
        } else if let Some(mut least) = self.0.peek_mut()
            && offered.0 > least.0
        {
            *least = offered;
        }
    }

    fn rows(self, row: impl Fn(K) -> Option<Busy>) -> Vec<Busy> {
        let sorted = self.0.into_sorted_vec().into_iter();
        sorted.filter_map(|Reverse((_, Reverse(key)))| row(key)).collect()
    }
}

/// The three orders.
struct Orders<K> {
    bytes: Best<K>,
    packets: Best<K>,
    rate: Best<K>,
}

impl<K: Ord + Copy> Orders<K> {
    const fn new() -> Self {
        Self {
            bytes: Best::new(),
            packets: Best::new(),
            rate: Best::new(),
        }
    }

    fn offer(&mut self, moved: &Moved, key: K) {
        self.bytes.offer(moved.bytes_sent + moved.bytes_received, key);
        self.packets.offer(moved.packets_sent + moved.packets_received, key);
        // Not negative: their bits are in their order.
        self.rate.offer(moved.bytes_per_second.to_bits(), key);
    }

    fn into(self, told: &mut Busiest, row: impl Fn(K) -> Option<Busy>) {
        told.by_bytes = self.bytes.rows(&row);
        told.by_packets = self.packets.rows(&row);
        told.by_rate = self.rate.rows(&row);
    }
}

/// What is summed for a source.
#[derive(Clone, Copy, Debug)]
struct Sum {
    flows: u64,
    closed: u64,
    moved: Moved,
    first: u64,
    last: u64,
}

impl FlowTable {
    /// The busiest flows or sources, at most 256 in each order; only of flows with an end in `of`, where that is given. Walks
    /// the table, the 262,144 flows that were touched last at most, and so belongs no nearer to every packet than once a
    /// second.
    pub fn busiest(&self, per: BusyPer, of: Option<IpNet>, now: Ktime, clock: Clock) -> Busiest {
        let mut told = Busiest {
            at: clock.wall(now),
            flows: self.len() as u64,
            looked_at: self.len().min(LOOK) as u64,
            ..Busiest::default()
        };
        match per {
            BusyPer::Flow => self.busiest_flows(&mut told, of, now, clock),
            BusyPer::Source => self.busiest_sources(&mut told, of, now, clock),
        }
        told
    }

    fn looked_at(&self, of: Option<IpNet>) -> impl Iterator<Item = (&FlowKey, &Entry)> {
        let within = move |addr: Addr| of.is_none_or(|net| net.contains(&IpAddr::from(addr)));
        let concerned = move |(key, entry): &(&FlowKey, &Entry)| {
            let (source, destination) = ends(key, entry);
            within(source.0) || within(destination.0)
        };
        self.entries().take(LOOK).filter(concerned)
    }

    fn busiest_flows(&self, told: &mut Busiest, of: Option<IpNet>, now: Ktime, clock: Clock) {
        let mut orders = Orders::new();
        for (key, entry) in self.looked_at(of) {
            told.total += 1;
            orders.offer(&moved(entry, now), *key);
        }
        orders.into(told, |key| {
            let entry = self.entry(&key)?;
            Some(Busy::Flow(flow(&key, entry, now, clock)))
        });
    }

    fn busiest_sources(&self, told: &mut Busiest, of: Option<IpNet>, now: Ktime, clock: Clock) {
        let mut sums: HashMap<Addr, Sum> = HashMap::new();
        for (key, entry) in self.looked_at(of) {
            let (first, last) = (entry.first_ns, entry.last_ns);
            let sum = sums.entry(ends(key, entry).0.0).or_insert(Sum {
                flows: 0,
                closed: 0,
                moved: Moved::default(),
                first,
                last,
            });
            sum.flows += 1;
            sum.closed += u64::from(entry.has(CLOSED));
            add(&mut sum.moved, &moved(entry, now));
            (sum.first, sum.last) = (sum.first.min(first), sum.last.max(last));
        }
        let mut orders = Orders::new();
        for (source, sum) in &sums {
            orders.offer(&sum.moved, *source);
        }
        told.total = sums.len() as u64;
        orders.into(told, |key| {
            let sum = sums.get(&key)?;
            Some(Busy::Source(BusySource {
                source: key.into(),
                flows: sum.flows,
                closed: sum.closed,
                moved: sum.moved,
                first_seen: clock.wall(Ktime(sum.first)),
                last_seen: clock.wall(Ktime(sum.last)),
            }))
        });
    }
}

fn moved(entry: &Entry, now: Ktime) -> Moved {
    let (sent, received) = (&entry.forward, &entry.reverse);
    let (packets_per_second, bytes_per_second) = entry.pace.per_second(now, Ktime(entry.first_ns));
    Moved {
        packets_sent: sent.packets,
        bytes_sent: sent.bytes,
        packets_received: received.packets,
        bytes_received: received.bytes,
        packets_per_second,
        bytes_per_second,
    }
}

fn add(sum: &mut Moved, more: &Moved) {
    sum.packets_sent += more.packets_sent;
    sum.bytes_sent += more.bytes_sent;
    sum.packets_received += more.packets_received;
    sum.bytes_received += more.bytes_received;
    sum.packets_per_second += more.packets_per_second;
    sum.bytes_per_second += more.bytes_per_second;
}

fn flow(key: &FlowKey, entry: &Entry, now: Ktime, clock: Clock) -> BusyFlow {
    let ((source, source_port), (destination, destination_port)) = ends(key, entry);
    BusyFlow {
        source: source.into(),
        source_port,
        destination: destination.into(),
        destination_port,
        proto: key.proto,
        from_inside: entry.has(REVERSED),
        moved: moved(entry, now),
        first_seen: clock.wall(Ktime(entry.first_ns)),
        last_seen: clock.wall(Ktime(entry.last_ns)),
        established: entry.has(COMPLETED),
        closed: entry.has(CLOSED),
        allowlisted: entry.has(ALLOWED),
    }
}
