//! Flagged records, counted per source, and per source and service, until they are more than chance brings.
//!
//! What is counted are records, not flows: one of a flow, and one more for each minute it goes on, because a tunnel is a
//! single flow and nothing else. How many flows they are of is counted beside that, for whoever is told. What chance alone
//! brings is counted the same way: a host whose long flows give a record a minute has as many occasions to be flagged
//! wrongly as one with as many short ones.

use super::capacity;
use crate::features::{Cut, FeatureRecord};
use crate::flow::{Bounded, Ring};
use crate::types::{Ktime, Service};
use sentinel_common::addr::Addr;
use std::time::Duration;

const SLOTS: usize = 12;
/// A flow that goes on is told of every 60 s, and a little oftener in its first minute: so much later it counts again.
const AGAIN: Duration = Duration::from_secs(55);
/// Flags of a source, for each that is expected by chance, that are still put down to chance.
const CHANCE: f64 = 3.0;
/// What a source has to do more of at all its services than at one.
const SPREAD: u32 = 2;

/// A flow, as flags are counted.
type FlowId = (Addr, u16, Addr, u16, u8);
/// Address, port and protocol.
type ServiceKey = (Addr, u16, u8);
/// A source and a service.
type Pair = (Addr, Addr, u16, u8);

/// Services that are named of those at which a source's flags are.
const NAMED: usize = 4;

/// Flagged records within the window, and how many flows they are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flagged {
    /// One a flow, and one more for each minute it goes on.
    pub(super) records: u32,
    /// Distinct flows among them.
    pub(super) flows: u32,
}

/// What was counted within the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Of the source at the service.
    pub(super) here: Flagged,
    /// Of the source at all services.
    pub(super) everywhere: Flagged,
    /// Records of the source that could have counted, flagged or not.
    pub(super) occasions: u32,
    /// Flagged records at one service that suffice.
    pub(super) limit: u32,
    /// Flagged records at all services that suffice.
    pub(super) limit_everywhere: u32,
    /// Where the source's latest flags within the window are, the latest first.
    services: [Option<(Ktime, ServiceKey)>; NAMED],
}

impl Counted {
    /// How far past its limit the evidence is; 1 is complete.
    pub(super) fn ratio(&self) -> f64 {
        let here = f64::from(self.here.records) / f64::from(self.limit);
        here.max(f64::from(self.everywhere.records) / f64::from(self.limit_everywhere))
    }

    /// Where the source's latest flags within the window are, the latest first.
    pub(super) fn services(&self) -> impl Iterator<Item = Service> {
        self.services.iter().flatten().map(|(_, (ip, port, proto))| Service {
            ip: (*ip).into(),
            port: *port,
            proto: *proto,
        })
    }
}

/// What was counted of a source, or of it at one service.
#[derive(Clone, Copy, Debug, Default)]
struct Gathered {
    occasions: Ring<SLOTS>,
    records: Ring<SLOTS>,
    /// Each flow once, where its latest flag is.
    flows: Ring<SLOTS>,
}

impl Gathered {
    /// Counts a flagged record; a flow that had one before moves from `before`. Gives its new place, too.
    fn flag(&mut self, at: Ktime, slot_ns: u64, before: Option<u64>) -> (Flagged, u64) {
        let records = self.records.add(at, slot_ns, 1);
        if let Some(before) = before {
            self.flows.take(before, 1);
        }
        let flows = self.flows.add(at, slot_ns, 1);
        (Flagged { records, flows }, self.flows.head())
    }

    fn flagged(&mut self, at: Ktime, slot_ns: u64) -> Flagged {
        Flagged {
            records: self.records.sum(at, slot_ns),
            flows: self.flows.sum(at, slot_ns),
        }
    }
}

/// What was counted of a source, and where.
#[derive(Clone, Copy, Debug, Default)]
struct Source {
    gathered: Gathered,
    services: [Option<(Ktime, ServiceKey)>; NAMED],
}

impl Source {
    /// Remembers where its latest flag is; of more than can be named the oldest is forgotten.
    fn at(&mut self, service: ServiceKey, at: Ktime) {
        let known = |slot: &Option<(Ktime, ServiceKey)>| slot.is_some_and(|(_, known)| known == service);
        let place = self.services.iter().position(known).unwrap_or(NAMED - 1);
        self.services[..=place].rotate_right(1);
        self.services[0] = Some((at, service));
    }

    fn lately(&self, at: Ktime, window_ns: u64) -> [Option<(Ktime, ServiceKey)>; NAMED] {
        let mut services = self.services;
        for slot in &mut services {
            *slot = slot.filter(|(then, _)| at.0.saturating_sub(then.0) <= window_ns);
        }
        services
    }
}

/// A flow's latest flag that counted.
#[derive(Clone, Copy, Debug)]
struct Latest {
    at: Ktime,
    /// Its place among those of its source, and of that at its service.
    places: [u64; 2],
}

/// The counts of all sources.
#[derive(Debug)]
pub(super) struct Flags {
    slot_ns: u64,
    least: u32,
    flows: Bounded<FlowId, Latest>,
    sources: Bounded<Addr, Source>,
    pairs: Bounded<Pair, Gathered>,
}

impl Flags {
    /// Within `window`; of `sources` sources at most. At least `least` flags at one service are more than chance.
    pub(super) fn new(window: Duration, least: u32, sources: usize) -> Self {
        let held = capacity(sources);
        Self {
            slot_ns: window.as_nanos() as u64 / SLOTS as u64,
            least: least.max(1),
            flows: Bounded::new(held),
            sources: Bounded::new(held),
            pairs: Bounded::new(held),
        }
    }

    pub(super) const fn memory_bound(sources: usize) -> usize {
        let held = capacity(sources);
        Bounded::<FlowId, Latest>::memory_bound(held)
            + Bounded::<Addr, Source>::memory_bound(held)
            + Bounded::<Pair, Gathered>::memory_bound(held)
    }

    /// Entries held and evicted.
    pub(super) fn load(&self) -> (usize, u64) {
        (
            self.flows.len() + self.sources.len() + self.pairs.len(),
            self.flows.evicted() + self.sources.evicted() + self.pairs.evicted(),
        )
    }

    /// Takes in a record. `alpha` is the share of benign ones that are flagged.
    pub(super) fn add(&mut self, record: &FeatureRecord, flagged: bool, alpha: f64) -> Counted {
        let (at, slot_ns) = (record.at, self.slot_ns);
        let source = Addr::from(record.source);
        let service = (Addr::from(record.target.ip), record.target.port, record.target.proto);
        let flow = (source, record.source_port, service.0, service.1, service.2);
        // A connection of its own between the same ports is another flow.
        let before = self.flows.peek(&flow).copied().filter(|_| record.continued);
        let minute = record.cut == Cut::Active;
        let counts = flagged && before.is_none_or(|then| minute || at.since(then.at) >= AGAIN);
        let of = self.sources.touch_or(source, Source::default);
        if flagged {
            of.at(service, at);
        }
        let services = of.lately(at, slot_ns * SLOTS as u64);
        let all = &mut of.gathered;
        let occasion = u32::from(!record.continued || minute);
        let occasions = all.occasions.add(at, slot_ns, occasion);
        let place = |n: usize| before.map(|then| then.places[n]);
        let mut counted = Counted {
            everywhere: all.flagged(at, slot_ns),
            occasions,
            limit: self
                .least
                .saturating_add((CHANCE * alpha * f64::from(occasions)) as u32),
            services,
            ..Counted::default()
        };
        counted.limit_everywhere = counted.limit.saturating_mul(SPREAD);
        if !flagged {
            return counted;
        }
        let here = self
            .pairs
            .touch_or((source, service.0, service.1, service.2), Gathered::default);
        if !counts {
            counted.here = here.flagged(at, slot_ns);
            return counted;
        }
        let mut places = [0; 2];
        (counted.everywhere, places[0]) = all.flag(at, slot_ns, place(0));
        (counted.here, places[1]) = here.flag(at, slot_ns, place(1));
        self.flows.insert(flow, Latest { at, places });
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{Vector, WIDTH};
    use std::net::IpAddr;

    const ALPHA: f64 = 0.001;

    fn flags() -> Flags {
        Flags::new(Duration::from_mins(2), 3, 1024)
    }

    /// A record at that second, of the flow from that port to that service.
    fn record(at: u64, port: u16, service: u16, cut: Cut, continued: bool) -> FeatureRecord {
        FeatureRecord {
            at: Ktime(at * 1_000_000_000),
            source: IpAddr::from([192, 0, 2, 1]),
            source_port: port,
            target: Service {
                ip: IpAddr::from([10, 0, 0, 1]),
                port: service,
                proto: 6,
            },
            from_inside: false,
            start: Ktime(0),
            end: Ktime(0),
            cut,
            continued,
            packets: 5,
            allowed: false,
            vector: Vector([0.0; WIDTH]),
        }
    }

    fn told(records: u32, flows: u32) -> Flagged {
        Flagged { records, flows }
    }

    #[test]
    fn a_long_flow_is_one_flow_and_a_record_a_minute() {
        let mut flags = flags();
        let first = flags.add(&record(3, 7, 22, Cut::Mark, false), true, ALPHA);
        assert_eq!((first.here, first.everywhere), (told(1, 1), told(1, 1)));
        for at in [10, 30] {
            let mark = flags.add(&record(at, 7, 22, Cut::Mark, true), true, ALPHA);
            assert_eq!(mark.here, told(1, 1), "within its minute it counts once");
        }
        let second = flags.add(&record(60, 7, 22, Cut::Active, true), true, ALPHA);
        assert_eq!((second.here, second.everywhere), (told(2, 1), told(2, 1)));
        assert!(second.ratio() < 1.0);
        // Its first flag leaves the window; it is one flow still.
        let third = flags.add(&record(119, 7, 22, Cut::Active, true), true, ALPHA);
        assert_eq!(
            (third.here, third.ratio()),
            (told(3, 1), 1.0),
            "a tunnel is a single flow"
        );
        for minute in 3..20 {
            let later = flags.add(&record(minute * 60 + 1, 7, 22, Cut::Active, true), true, ALPHA);
            assert_eq!(later.here, told(2, 1), "minute {minute}");
        }
        let quiet = flags.add(&record(1400, 8, 22, Cut::Closed, false), true, ALPHA);
        assert_eq!(quiet.here, told(1, 1), "the window went by");
    }

    #[test]
    fn flows_are_told_apart_and_a_port_that_is_used_again_is_another_flow() {
        let mut flags = flags();
        let add = |flags: &mut Flags, at, port, service, continued| {
            flags.add(&record(at, port, service, Cut::Closed, continued), true, ALPHA)
        };
        add(&mut flags, 1, 1, 22, false);
        add(&mut flags, 2, 2, 22, false);
        let again = add(&mut flags, 3, 1, 22, false);
        assert_eq!((again.here, again.everywhere), (told(3, 3), told(3, 3)));
        let elsewhere = add(&mut flags, 4, 1, 80, false);
        assert_eq!((elsewhere.here, elsewhere.everywhere), (told(1, 1), told(4, 4)));
        let on = add(&mut flags, 60, 1, 80, true);
        assert_eq!((on.here, on.everywhere), (told(2, 1), told(5, 4)));
        // What comes late counts now, and moves with its flow all the same.
        let late = add(&mut flags, 20, 9, 80, false);
        assert_eq!((late.here, late.everywhere), (told(3, 2), told(6, 5)));
        let on = add(&mut flags, 80, 9, 80, true);
        assert_eq!((on.here, on.everywhere), (told(4, 2), told(7, 5)));
    }

    #[test]
    fn long_flows_have_a_chance_a_minute_to_be_flagged_wrongly() {
        let mut flags = flags();
        for port in 0..3000 {
            let quiet = flags.add(&record(10, port, 22, Cut::Active, true), false, ALPHA);
            assert_eq!(quiet.here, Flagged::default());
        }
        for port in 0..12 {
            // Marks within the minute are no occasion of their own.
            flags.add(&record(11, port, 22, Cut::Mark, true), false, ALPHA);
            let counted = flags.add(&record(11, 5000 + port, 22, Cut::Active, true), true, ALPHA);
            assert_eq!(
                counted.ratio() >= 1.0,
                port == 11,
                "three are expected of 3,000: {counted:?}"
            );
            assert_eq!(counted.occasions, 3001 + u32::from(port));
        }
    }

    #[test]
    fn the_latest_services_with_flags_are_named_while_the_window_lasts() {
        let mut flags = flags();
        let mut ports = |at, service, flagged| {
            let counted = flags.add(&record(at, 7, service, Cut::Closed, false), flagged, ALPHA);
            counted.services().map(|service| service.port).collect::<Vec<_>>()
        };
        assert_eq!(ports(1, 80, true), [80]);
        assert_eq!(ports(2, 443, false), [80], "what was not flagged is not named");
        assert_eq!(ports(2, 22, true), [22, 80]);
        assert_eq!(ports(3, 80, true), [80, 22], "each once");
        for service in [1, 2, 3] {
            ports(4, service, true);
        }
        assert_eq!(ports(5, 4, true), [4, 3, 2, 1], "the oldest had to go");
        assert_eq!(ports(124, 5, true), [5, 4, 3, 2], "120 s ago is within the window");
        assert_eq!(ports(126, 5, true), [5]);
    }

    #[test]
    fn what_is_counted_is_bounded_and_its_loss_told() {
        let mut flags = Flags::new(Duration::from_mins(2), 3, 1);
        let held = capacity(1) as u64;
        for n in 0..held + 3 {
            let port = 1000 + n as u16;
            flags.add(&record(1, port, port, Cut::Closed, false), true, ALPHA);
        }
        let (entries, evicted) = flags.load();
        assert_eq!(
            (entries as u64, evicted),
            (2 * held + 1, 2 * 3),
            "flows and pairs; one source"
        );
    }
}
