//! The kernel's lists, in memory: allow before block, exact before prefix, expiry at every look.

use crate::respond::{EnforceError, Enforcer};
use ipnet::IpNet;
use sentinel_common::addr::Addr;
use sentinel_common::entry::{ACTION_DROP, AllowEntry, BlockEntry, FLAG_SHADOW};
use sentinel_common::names::{ALLOW_CAPACITY, MAP_ALLOW4, MAP_BLOCK_NET4, MAP_BLOCK4};
use sentinel_common::verdict::Verdict;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// A model of the gate. Capacities are those of the maps, both families together.
#[derive(Debug)]
pub struct ModelGate {
    exact: HashMap<IpNet, BlockEntry>,
    prefixes: BTreeMap<IpNet, BlockEntry>,
    allowed: BTreeMap<IpNet, AllowEntry>,
    exact_capacity: u32,
    prefix_capacity: u32,
    enforce: bool,
}

impl ModelGate {
    /// An empty gate; without `enforce` every entry only counts.
    pub fn new(exact_capacity: u32, prefix_capacity: u32, enforce: bool) -> Self {
        Self {
            exact: HashMap::new(),
            prefixes: BTreeMap::new(),
            allowed: BTreeMap::new(),
            exact_capacity,
            prefix_capacity,
            enforce,
        }
    }

    /// What becomes of a packet of `frame_bytes` from `source`, and the entry that had a say.
    pub fn judge(&mut self, source: Addr, frame_bytes: u64, now_ns: u64) -> (Verdict, Option<IpNet>) {
        let host = IpNet::from(IpAddr::from(source));
        if !self.allowed.is_empty()
            && supernets(host).any(|net| self.allowed.get(&net).is_some_and(|e| !e.expired(now_ns)))
        {
            return (Verdict::PassAllowed, None);
        }
        let mut would = None;
        let enforce = self.enforce;
        let mut meet = |target: IpNet, entry: &mut BlockEntry| {
            if entry.action != ACTION_DROP || entry.expired(now_ns) {
                return false;
            }
            let drops = enforce && entry.flags & FLAG_SHADOW == 0;
            if !drops && would.is_some() {
                return false;
            }
            if drops {
                entry.hits += 1;
                entry.hit_bytes += frame_bytes;
            } else {
                entry.would_hits += 1;
                entry.would_bytes += frame_bytes;
                would = Some(target);
            }
            if entry.first_hit_ns == 0 {
                entry.first_hit_ns = now_ns;
            }
            entry.last_hit_ns = now_ns;
            drops
        };
        if let Some(entry) = self.exact.get_mut(&host)
            && meet(host, entry)
        {
            return (Verdict::DropExact, Some(host));
        }
        if !self.prefixes.is_empty() {
            for net in supernets(host).skip(1) {
                if let Some(entry) = self.prefixes.get_mut(&net)
                    && meet(net, entry)
                {
                    return (Verdict::DropPrefix, Some(net));
                }
            }
        }
        match would {
            Some(target) => (Verdict::WouldDrop, Some(target)),
            None => (Verdict::Pass, None),
        }
    }

    fn is_host(target: &IpNet) -> bool {
        target.prefix_len() == target.max_prefix_len()
    }
}

fn supernets(host: IpNet) -> impl Iterator<Item = IpNet> {
    std::iter::successors(Some(host), IpNet::supernet)
}

impl Enforcer for ModelGate {
    fn put_block(&mut self, target: IpNet, entry: &BlockEntry) -> Result<(), EnforceError> {
        let keep = |old: &BlockEntry| BlockEntry {
            hits: old.hits,
            hit_bytes: old.hit_bytes,
            would_hits: old.would_hits,
            would_bytes: old.would_bytes,
            first_hit_ns: old.first_hit_ns,
            last_hit_ns: old.last_hit_ns,
            ..*entry
        };
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
        let entry = known.as_ref().map_or(*entry, keep);
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

    fn entry(expires_ns: u64, flags: u8, prefix_len: u8) -> BlockEntry {
        BlockEntry {
            expires_ns,
            action: ACTION_DROP,
            flags,
            prefix_len,
            ..BlockEntry::default()
        }
    }

    #[test]
    fn allow_before_block_exact_before_prefix_and_expiry_at_every_look() {
        let mut gate = ModelGate::new(1, 1, true);
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let from = |gate: &mut ModelGate, source: &str, now| {
            gate.judge(Addr::from(source.parse::<IpAddr>().unwrap()), 60, now).0
        };
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
