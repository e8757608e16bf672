//! The kernel's lists, in memory: allow before block, exact before prefix, expiry at every look.
//!
//! The rules are those of `sentinel-common`, which the kernel runs too. There is no honeypot in a capture: what would
//! go there is said to go there.

use crate::respond::{EnforceError, Enforcer};
use ipnet::IpNet;
use sentinel_common::addr::Addr;
use sentinel_common::entry::{
    ACTION_DROP, ACTION_LIMIT, ACTION_REDIRECT, ACTION_WATCH, AllowEntry, BlockEntry, FLAG_EACH, FLAG_EGRESS,
    FLAG_OPENINGS, FLAG_SHADOW, Standing, verdict,
};
use sentinel_common::names::{ALLOW_CAPACITY, LIMIT_SETS, MAP_ALLOW4, MAP_BLOCK_NET4, MAP_BLOCK4, PREFIX_TRIES};
use sentinel_common::packet::PacketMeta;
use sentinel_common::rate::{Set, tag};
use sentinel_common::redirect::stays;
use sentinel_common::reflex::opens;
use sentinel_common::verdict::Verdict;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// A model of the gate. Capacities are those of the maps, both families together.
#[derive(Debug)]
pub struct ModelGate {
    exact: HashMap<IpNet, BlockEntry>,
    prefixes: BTreeMap<IpNet, BlockEntry>,
    allowed: BTreeMap<IpNet, AllowEntry>,
    /// Buckets of addresses under rate-limited prefixes, by set: those that have been used.
    limits: HashMap<u32, Set>,
    returned: u64,
    exact_capacity: u32,
    prefix_capacity: u32,
    enforce: bool,
}

/// What became of a packet at an entry that had a say.
#[derive(Clone, Copy)]
struct Say {
    verdict: Verdict,
    shadow: bool,
}

impl ModelGate {
    /// An empty gate; without `enforce` every entry only counts.
    pub fn new(exact_capacity: u32, prefix_capacity: u32, enforce: bool) -> Self {
        Self {
            exact: HashMap::new(),
            prefixes: BTreeMap::new(),
            allowed: BTreeMap::new(),
            limits: HashMap::new(),
            returned: 0,
            exact_capacity,
            prefix_capacity,
            enforce,
        }
    }

    /// Sources that returned while on probation.
    pub const fn returned(&self) -> u64 {
        self.returned
    }

    /// What becomes of a packet in a frame of `frame_bytes`, and the entry that had a say.
    pub fn judge(&mut self, packet: &PacketMeta, frame_bytes: u64, now_ns: u64) -> (Verdict, Option<IpNet>) {
        let host = IpNet::from(IpAddr::from(packet.src));
        if self.allows(host, now_ns) {
            return (Verdict::PassAllowed, None);
        }
        let mut would = None;
        for target in self.covering(host) {
            let Some(say) = self.meet(target, packet, frame_bytes, now_ns, would.is_some()) else {
                continue;
            };
            // Whoever is within a rate, or stays where it is, was not touched by the entry.
            let by = (say.verdict != Verdict::Pass).then_some(target);
            if !say.shadow || !self.enforce {
                return (say.verdict, by);
            }
            would = Some((say.verdict, by));
        }
        would.unwrap_or((Verdict::Pass, None))
    }

    /// Whether `frame_bytes` may go out to an address; if not (or not, were it not for simulation), the entry.
    pub fn leaves(&mut self, to: Addr, frame_bytes: u64, now_ns: u64) -> (bool, Option<IpNet>) {
        let host = IpNet::from(IpAddr::from(to));
        if self.allows(host, now_ns) {
            return (true, None);
        }
        let mut would = None;
        for target in self.covering(host) {
            let enforce = self.enforce;
            let Some(entry) = self.entry(&target) else { continue };
            let stands = entry.action == ACTION_DROP && entry.flags & FLAG_EGRESS != 0;
            let shadow = !enforce || entry.flags & FLAG_SHADOW != 0;
            if !stands || entry.standing(now_ns) != Standing::Acts || shadow && would.is_some() {
                continue;
            }
            strike(entry, shadow, frame_bytes);
            touch(entry, now_ns);
            if !shadow {
                return (false, Some(target));
            }
            would = Some(target);
            if !enforce {
                break;
            }
        }
        (true, would)
    }

    fn allows(&self, host: IpNet, now_ns: u64) -> bool {
        !self.allowed.is_empty()
            && supernets(host)
                .filter_map(|net| self.allowed.get(&net))
                .take(PREFIX_TRIES as usize)
                .any(|entry| !entry.expired(now_ns))
    }

    /// The entries that cover an address, in the order the kernel meets them, and as many as it does.
    fn covering(&self, host: IpNet) -> Vec<IpNet> {
        let exact = self.exact.contains_key(&host).then_some(host);
        let prefixes = supernets(host)
            .skip(1)
            .filter(|net| self.prefixes.contains_key(net))
            .take(if self.prefixes.is_empty() {
                0
            } else {
                PREFIX_TRIES as usize
            });
        exact.into_iter().chain(prefixes).collect()
    }

    fn entry(&mut self, target: &IpNet) -> Option<&mut BlockEntry> {
        if Self::is_host(target) {
            self.exact.get_mut(target)
        } else {
            self.prefixes.get_mut(target)
        }
    }

    /// Meets an entry; `counted` where another that only counts has had its say.
    fn meet(&mut self, target: IpNet, packet: &PacketMeta, bytes: u64, now_ns: u64, counted: bool) -> Option<Say> {
        let enforce = self.enforce;
        let entry = self.entry(&target)?;
        let acts = match entry.standing(now_ns) {
            Standing::Silent | Standing::Over => false,
            Standing::Acts => true,
            Standing::Returns { until_ns } => {
                entry.returned_ns = now_ns;
                self.returned += 1;
                until_ns != 0
            }
        };
        let entry = self.entry(&target)?;
        let shadow = !enforce || entry.flags & FLAG_SHADOW != 0;
        if !acts || entry.action == ACTION_WATCH || shadow && counted {
            return None;
        }
        let strikes = match entry.action {
            ACTION_LIMIT if entry.flags & FLAG_OPENINGS != 0 && !opens(packet) => false,
            ACTION_LIMIT if entry.flags & FLAG_EACH == 0 => {
                let rate = entry.rate();
                !rate.admit(&mut entry.packet_tat_ns, &mut entry.byte_tat_ns, bytes, now_ns)
            }
            ACTION_LIMIT => {
                let (rate, decision) = (entry.rate(), entry.decision);
                // What the kernel's secret changes is who shares a set with whom, and hardly anybody does.
                let tag = tag(0, &decision, &packet.src.0);
                let set = self.limits.entry(tag as u32 & (LIMIT_SETS - 1)).or_default();
                !set.admit(tag, rate, bytes, now_ns)
            }
            ACTION_REDIRECT => !stays(packet),
            _ => true,
        };
        let entry = self.entry(&target)?;
        if strikes {
            strike(entry, shadow, bytes);
        }
        touch(entry, now_ns);
        let verdict = verdict(entry.action, Self::is_host(&target), strikes, shadow);
        Some(Say { verdict, shadow })
    }

    fn is_host(target: &IpNet) -> bool {
        target.prefix_len() == target.max_prefix_len()
    }
}

/// Counts what an entry struck, or would have.
fn strike(entry: &mut BlockEntry, shadow: bool, bytes: u64) {
    if shadow {
        entry.would_hits += 1;
        entry.would_bytes += bytes;
    } else {
        entry.hits += 1;
        entry.hit_bytes += bytes;
    }
}

fn touch(entry: &mut BlockEntry, now_ns: u64) {
    if entry.first_hit_ns == 0 {
        entry.first_hit_ns = now_ns;
    }
    entry.last_hit_ns = now_ns;
}

fn supernets(host: IpNet) -> impl Iterator<Item = IpNet> {
    std::iter::successors(Some(host), IpNet::supernet)
}

impl Enforcer for ModelGate {
    fn put_block(&mut self, target: IpNet, entry: &BlockEntry) -> Result<(), EnforceError> {
        let (known, held, map, capacity) = if Self::is_host(&target) {
            (
                self.exact.get(&target).copied(),
                self.exact.len(),
                MAP_BLOCK4,
                self.exact_capacity,
            )
        } else {
            (
                self.prefixes.get(&target).copied(),
                self.prefixes.len(),
                MAP_BLOCK_NET4,
                self.prefix_capacity,
            )
        };
        if known.is_none() && held >= capacity as usize {
            return Err(EnforceError::Full { map, capacity });
        }
        let entry = known.map_or_else(|| entry.fresh(), |old| entry.over(&old));
        if Self::is_host(&target) {
            self.exact.insert(target, entry);
        } else {
            self.prefixes.insert(target, entry);
        }
        Ok(())
    }

    fn get_block(&self, target: IpNet) -> Result<Option<BlockEntry>, EnforceError> {
        Ok(self.exact.get(&target).or_else(|| self.prefixes.get(&target)).copied())
    }

    fn delete_block(&mut self, target: IpNet) -> Result<Option<BlockEntry>, EnforceError> {
        Ok(self.exact.remove(&target).or_else(|| self.prefixes.remove(&target)))
    }

    fn list_blocks(&self) -> Result<Vec<(IpNet, BlockEntry)>, EnforceError> {
        let mut all: Vec<_> = self.exact.iter().chain(&self.prefixes).map(|(t, e)| (*t, *e)).collect();
        all.sort_unstable_by_key(|(target, _)| *target);
        Ok(all)
    }

    fn put_allow(&mut self, target: IpNet, entry: &AllowEntry) -> Result<(), EnforceError> {
        if !self.allowed.contains_key(&target) && self.allowed.len() >= ALLOW_CAPACITY as usize {
            return Err(EnforceError::Full {
                map: MAP_ALLOW4,
                capacity: ALLOW_CAPACITY,
            });
        }
        self.allowed.insert(target, *entry);
        Ok(())
    }

    fn delete_allow(&mut self, target: IpNet) -> Result<bool, EnforceError> {
        Ok(self.allowed.remove(&target).is_some())
    }

    fn set_acting(&mut self, on: bool) -> Result<(), EnforceError> {
        self.enforce = on;
        Ok(())
    }

    fn acting(&self) -> Result<bool, EnforceError> {
        Ok(self.enforce)
    }

    fn room(&self, target: IpNet) -> Option<(&'static str, u64)> {
        let (map, capacity, used) = if Self::is_host(&target) {
            (MAP_BLOCK4, self.exact_capacity, self.exact.len())
        } else {
            (MAP_BLOCK_NET4, self.prefix_capacity, self.prefixes.len())
        };
        Some((map, u64::from(capacity).saturating_sub(used as u64)))
    }

    fn list_allows(&self) -> Result<Vec<(IpNet, AllowEntry)>, EnforceError> {
        Ok(self.allowed.iter().map(|(t, e)| (*t, *e)).collect())
    }

    fn name(&self) -> String {
        "replay".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sentinel_common::entry::NEVER_NS;
    use sentinel_common::flow::PROTO_TCP;
    use sentinel_common::packet::{TCP_ACK, TCP_SYN};

    fn entry(expires_ns: u64, flags: u8, prefix_len: u8) -> BlockEntry {
        BlockEntry {
            expires_ns,
            action: ACTION_DROP,
            flags,
            prefix_len,
            ..BlockEntry::default()
        }
    }

    fn from_source(source: &str) -> PacketMeta {
        let source: IpAddr = source.parse().unwrap();
        PacketMeta {
            src: Addr::from(source),
            ip_version: if source.is_ipv4() { 4 } else { 6 },
            proto: 6,
            ..PacketMeta::EMPTY
        }
    }

    #[test]
    fn the_more_specific_decision_wins() {
        let mut gate = ModelGate::new(9, 9, true);
        let limit = BlockEntry {
            action: ACTION_LIMIT,
            packet_ns: 1_000_000_000,
            ..entry(NEVER_NS, 0, 32)
        };
        gate.put_block("192.0.2.1/32".parse().unwrap(), &limit).unwrap();
        gate.put_block("192.0.2.0/24".parse().unwrap(), &entry(NEVER_NS, 0, 24))
            .unwrap();
        let mut judge = |source, now| gate.judge(&from_source(source), 60, now).0;
        assert_eq!(judge("192.0.2.1", 5_000_000_000), Verdict::Pass);
        assert_eq!(judge("192.0.2.1", 5_000_000_000), Verdict::DropLimit);
        assert_eq!(judge("192.0.2.1", 6_000_000_000), Verdict::Pass);
        assert_eq!(judge("192.0.2.2", 6_000_000_000), Verdict::DropPrefix);
    }

    #[test]
    fn each_address_has_a_bucket_where_the_entry_says_so() {
        for (flags, passed) in [(0, 1), (FLAG_EACH, 100)] {
            let mut gate = ModelGate::new(9, 9, true);
            let limit = BlockEntry {
                action: ACTION_LIMIT,
                packet_ns: 1_000_000_000,
                ..entry(NEVER_NS, flags, 24)
            };
            gate.put_block("192.0.2.0/24".parse().unwrap(), &limit).unwrap();
            let sent = (0..200).map(|n| gate.judge(&from_source(&format!("192.0.2.{}", n % 100)), 60, 1 << 40).0);
            assert_eq!(sent.filter(|verdict| *verdict == Verdict::Pass).count(), passed);
        }
    }

    #[test]
    fn a_limit_on_what_opens_lets_connections_go_on() {
        let mut gate = ModelGate::new(9, 9, true);
        let limit = BlockEntry {
            action: ACTION_LIMIT,
            packet_ns: 1_000_000_000,
            ..entry(NEVER_NS, FLAG_OPENINGS, 32)
        };
        gate.put_block("192.0.2.1/32".parse().unwrap(), &limit).unwrap();
        let segment = |flags: u8| PacketMeta {
            proto: PROTO_TCP,
            tcp_flags: flags,
            ..from_source("192.0.2.1")
        };
        let mut judge = |flags| gate.judge(&segment(flags), 60, 1 << 40).0;
        assert_eq!(judge(TCP_SYN), Verdict::Pass);
        for flags in [TCP_SYN, 0] {
            assert_eq!(judge(flags), Verdict::DropLimit, "{flags}");
        }
        assert_eq!(judge(TCP_ACK), Verdict::Pass);
    }

    #[test]
    fn what_goes_out_asks_only_who_says_so() {
        let mut gate = ModelGate::new(9, 9, true);
        let to = |text: &str| Addr::from(text.parse::<IpAddr>().unwrap());
        gate.put_block("192.0.2.1/32".parse().unwrap(), &entry(100, 0, 32))
            .unwrap();
        assert!(gate.leaves(to("192.0.2.1"), 60, 1).0);
        let wide = "192.0.2.0/24".parse().unwrap();
        gate.put_block(wide, &entry(100, FLAG_EGRESS, 24)).unwrap();
        assert_eq!(gate.leaves(to("192.0.2.1"), 60, 1), (false, Some(wide)));
        assert_eq!(gate.leaves(to("192.0.2.1"), 60, 100), (true, None));
        gate.put_block(wide, &entry(200, FLAG_EGRESS | FLAG_SHADOW, 24))
            .unwrap();
        assert_eq!(gate.leaves(to("192.0.2.1"), 60, 100), (true, Some(wide)));
        let entry = gate.get_block(wide).unwrap().unwrap();
        assert_eq!((entry.hits, entry.would_hits), (1, 1));
    }

    #[test]
    fn allow_before_block_exact_before_prefix_and_expiry_at_every_look() {
        let mut gate = ModelGate::new(1, 1, true);
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let from = |gate: &mut ModelGate, source: &str, now| gate.judge(&from_source(source), 60, now).0;
        gate.put_block(net("192.0.2.1/32"), &entry(100, 0, 32)).unwrap();
        gate.put_block(net("192.0.2.0/24"), &entry(200, 0, 24)).unwrap();
        assert_eq!(from(&mut gate, "192.0.2.1", 99), Verdict::DropExact);
        assert_eq!(from(&mut gate, "192.0.2.1", 100), Verdict::DropPrefix);
        assert_eq!(from(&mut gate, "192.0.2.2", 199), Verdict::DropPrefix);
        assert_eq!(from(&mut gate, "192.0.2.2", 200), Verdict::Pass);
        assert_eq!(from(&mut gate, "2001:db8::1", 0), Verdict::Pass);
        let full = gate.put_block(net("192.0.2.9/32"), &entry(1, 0, 32));
        assert!(matches!(full, Err(EnforceError::Full { .. })));
        gate.put_block(net("192.0.2.1/32"), &entry(300, FLAG_SHADOW, 32))
            .unwrap();
        assert_eq!(from(&mut gate, "192.0.2.1", 250), Verdict::WouldDrop);
        let kept = gate.get_block(net("192.0.2.1/32")).unwrap().unwrap();
        assert_eq!((kept.hits, kept.would_hits), (1, 1), "a new order keeps the counters");
        let allow = AllowEntry {
            expires_ns: NEVER_NS,
            prefix_len: 25,
            pad: [0; 7],
        };
        gate.put_allow(net("192.0.2.0/25"), &allow).unwrap();
        assert_eq!(from(&mut gate, "192.0.2.1", 50), Verdict::PassAllowed);
    }
}
