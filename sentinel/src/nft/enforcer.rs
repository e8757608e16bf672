//! Entries put, read and removed; many at a time where many are asked for.

use super::NftError;
use super::plan::{Kind, SetId};
use super::script;
use super::table::{LISTS, Nft, failed, list};
use crate::respond::{EnforceError, Enforcer};
use crate::time;
use crate::types::canonical;
use ipnet::IpNet;
use sentinel_common::entry::{
    ACTION_DROP, ACTION_LIMIT, ACTION_REDIRECT, ACTION_WATCH, AllowEntry, BlockEntry, FLAG_EACH, FLAG_SHADOW, NEVER_NS,
};
use sentinel_common::names::ALLOW_CAPACITY;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// Entries of one transaction: a tenth of a second's work, which is how much later the last of them may lapse.
const BATCH: usize = 4096;

impl Enforcer for Nft {
    fn put_block(&mut self, target: IpNet, entry: &BlockEntry) -> Result<(), EnforceError> {
        let target = canonical(target);
        let entry = ordered(target, entry)?;
        if self.ahead.remove(&target) && self.blocks.get(&target).is_some_and(|there| there.same_order(&entry)) {
            return Ok(());
        }
        self.room(target)?;
        self.put_all(&[(target, entry)]).map_err(failed)
    }

    fn set_acting(&mut self, on: bool) -> Result<(), EnforceError> {
        self.set_enforcing(on)
    }

    fn acting(&self) -> Result<bool, EnforceError> {
        self.certain().map_err(failed)?;
        // What no packet is led to acts on nobody.
        Ok(self.enforcing && self.led().map_err(failed)?)
    }

    fn get_block(&self, target: IpNet) -> Result<Option<BlockEntry>, EnforceError> {
        let target = canonical(target);
        if !self.led().map_err(failed)? {
            // What no packet is led to is not in force.
            return Ok(None);
        }
        self.read(target).map_err(failed)
    }

    fn delete_block(&mut self, target: IpNet) -> Result<Option<BlockEntry>, EnforceError> {
        let target = canonical(target);
        let taken = self.taken.remove(&target);
        let old = self.read(target).map_err(failed)?.or(taken);
        let mut script = String::new();
        for set in self.sets_of(target) {
            if self
                .netlink
                .element(&set.to_string(), target)
                .map_err(failed)?
                .is_some()
            {
                script::take(&mut script, set, &[target]);
            }
        }
        if !script.is_empty() {
            self.commit(&script, std::iter::empty()).map_err(failed)?;
        }
        self.ahead.remove(&target);
        self.note(target, None);
        Ok(old)
    }

    fn list_blocks(&self) -> Result<Vec<(IpNet, BlockEntry)>, EnforceError> {
        if !self.led().map_err(failed)? {
            return Ok(Vec::new());
        }
        Ok(self.read_blocks().map_err(failed)?.into_iter().collect())
    }

    fn put_allow(&mut self, target: IpNet, entry: &AllowEntry) -> Result<(), EnforceError> {
        let target = canonical(target);
        if !self.allows.contains_key(&target) && self.allows.len() >= ALLOW_CAPACITY as usize {
            return Err(EnforceError::Full {
                map: "nft_allow",
                capacity: ALLOW_CAPACITY,
            });
        }
        let set = SetId::of(Kind::Allow, target);
        let mut script = String::new();
        if self.sets.contains(&set) {
            script::take(&mut script, set, &[target]);
        }
        script::allow(&mut script, target, entry, time::boot_now());
        self.commit(&script, std::iter::once(set)).map_err(failed)?;
        self.allows.insert(target, *entry);
        Ok(())
    }

    fn delete_allow(&mut self, target: IpNet) -> Result<bool, EnforceError> {
        let target = canonical(target);
        let set = SetId::of(Kind::Allow, target);
        let there = self
            .netlink
            .element(&set.to_string(), target)
            .map_err(failed)?
            .is_some();
        self.allows.remove(&target);
        if there {
            let mut script = String::new();
            script::take(&mut script, set, &[target]);
            self.commit(&script, std::iter::empty()).map_err(failed)?;
        }
        Ok(there)
    }

    fn list_allows(&self) -> Result<Vec<(IpNet, AllowEntry)>, EnforceError> {
        if !self.led().map_err(failed)? {
            return Ok(Vec::new());
        }
        Ok(self.read_allows().map_err(failed)?.into_iter().collect())
    }

    fn put_ahead(&mut self, entries: &[(IpNet, BlockEntry)]) {
        self.ahead.clear();
        let now = time::boot_now();
        let mut wanted: BTreeMap<IpNet, BlockEntry> = BTreeMap::new();
        for (target, entry) in entries {
            let target = canonical(*target);
            if let Ok(entry) = ordered(target, entry)
                && !entry.expired(now.0)
            {
                wanted.insert(target, entry);
            }
        }
        let wanted: Vec<_> = wanted.into_iter().collect();
        for batch in wanted.chunks(BATCH) {
            // Each is put by itself afterwards, and what went wrong here is said then.
            let fits: u64 = batch
                .iter()
                .filter(|(target, _)| !self.blocks.contains_key(target))
                .count() as u64;
            let room = (0..LISTS.len()).all(|at| {
                let used = self.usage.used[at].load(Ordering::Relaxed);
                used + fits <= u64::from(self.usage.capacity[at]) || batch.iter().all(|(target, _)| list(*target) != at)
            });
            if room && self.put_all(batch).is_ok() {
                self.ahead.extend(batch.iter().map(|(target, _)| *target));
            }
        }
    }

    fn delete_ahead(&mut self, targets: &[IpNet]) {
        self.taken.clear();
        for batch in targets.chunks(BATCH) {
            let last: Result<Vec<_>, _> = batch
                .iter()
                .map(|net| Ok((canonical(*net), self.read(canonical(*net))?)))
                .collect();
            let last: Result<Vec<_>, NftError> = last;
            let Ok(last) = last else { return };
            let mut script = String::new();
            for set in self.sets.iter().filter(|set| set.kind != Kind::Allow) {
                let of: Vec<IpNet> = batch.iter().map(|net| canonical(*net)).collect();
                let of: Vec<IpNet> = of.into_iter().filter(|net| SetId::of(set.kind, *net) == *set).collect();
                script::take(&mut script, *set, &of);
            }
            // As above: each is removed and read back by itself afterwards.
            if !script.is_empty() && self.commit(&script, std::iter::empty()).is_ok() {
                self.taken
                    .extend(last.into_iter().filter_map(|(net, entry)| Some((net, entry?))));
            }
        }
    }

    fn watches(&self) -> bool {
        false
    }

    fn shortfall(&self, target: IpNet, entry: &BlockEntry) -> Option<String> {
        let mut said = Vec::new();
        if entry.flags & FLAG_SHADOW == 0 && entry.action == ACTION_REDIRECT {
            said.push("its packets are dropped, because nftables does not rewrite them here".to_owned());
        }
        if entry.action == ACTION_LIMIT {
            let exact = target.prefix_len() == target.max_prefix_len();
            if entry.flags & FLAG_EACH != 0 && !exact {
                said.push(
                    "all its addresses share one rate, because a set of nftables has one for each element".to_owned(),
                );
            }
            if entry.byte_ns_q8 > 0 && entry.burst_ms < 1000 {
                said.push(
                    "its burst is a second's worth of bytes, because nftables knows none that is shorter".to_owned(),
                );
            }
        }
        (!said.is_empty()).then(|| said.join("; and "))
    }

    fn name(&self) -> String {
        "nftables".to_owned()
    }
}

/// The order as it is kept here; refused where it is none that acts.
fn ordered(target: IpNet, entry: &BlockEntry) -> Result<BlockEntry, EnforceError> {
    let refused = |cause: &str| EnforceError::Kernel {
        map: "nftables",
        cause: cause.to_owned(),
    };
    match entry.action {
        ACTION_DROP | ACTION_LIMIT | ACTION_REDIRECT => {}
        ACTION_WATCH => return Err(refused("nobody watches for a return here")),
        _ => return Err(refused("an action that is not known")),
    }
    if entry.expires_ns == NEVER_NS {
        return Err(refused("an entry without an end is never written"));
    }
    if entry.expired(time::boot_now().0) {
        return Err(refused("its end has come already"));
    }
    Ok(BlockEntry {
        prefix_len: target.prefix_len(),
        ..entry.fresh()
    })
}
