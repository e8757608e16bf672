//! The table: made, taken over, read back, mended and taken away.

use super::NftError;
use super::netlink::{Element, Netlink};
use super::plan::{Kind, SetId, kinds, terms};
use super::program::Program;
use super::script::{self, Counted, LATE_MS, MARK, TABLE};
use crate::config::KernelConfig;
use crate::respond::{EnforceError, Enforcer};
use crate::time;
use crate::types::{Ktime, MapUse};
use ipnet::IpNet;
use sentinel_common::entry::{AllowEntry, BlockEntry, FLAG_SHADOW, NEVER_NS};
use sentinel_common::names::ALLOW_CAPACITY;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How far an element's end may be off its entry's before it is not what was ordered, ms.
const OFF_MS: u64 = 750;
/// How long a look at the rules is believed.
const BELIEVED_NS: u64 = 100_000_000;

/// The four kinds of lists that have a bound, as metrics name them.
pub(super) const LISTS: [&str; 4] = ["nft_block4", "nft_block6", "nft_block_net4", "nft_block_net6"];

/// How full the lists are; cheap to clone.
#[derive(Clone, Debug)]
pub struct Usage {
    pub(super) used: Arc<[AtomicU64; 4]>,
    pub(super) capacity: [u32; 4],
}

impl Usage {
    /// Entries and capacity, by list.
    pub fn read(&self) -> BTreeMap<String, MapUse> {
        let of = |at: usize| MapUse {
            entries: self.used[at].load(Ordering::Relaxed),
            capacity: u64::from(self.capacity[at]),
        };
        (0..LISTS.len()).map(|at| (LISTS[at].to_owned(), of(at))).collect()
    }
}

/// Counts that the elements in place do not hold: of elements before them, or met while the other verdict stood.
#[derive(Clone, Copy, Debug, Default)]
struct Base {
    decision: [u8; 16],
    hits: Counted,
    would: Counted,
    /// What the elements had counted when this was noted.
    from: Counted,
}

/// Takes the table away when the agent's time in it is over, and also where its start failed.
#[derive(Debug)]
pub struct Lease {
    /// What an earlier agent left in force outlives a start that fails.
    adopted: bool,
}

impl Lease {
    /// Takes the table away.
    ///
    /// # Errors
    /// As [`Nft::remove`].
    pub fn end(mut self) -> Result<(), NftError> {
        self.adopted = true;
        Nft::remove()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.adopted
            && let Err(error) = Nft::remove()
        {
            tracing::error!(%error, "`nft delete table inet sentinel` removes what is left");
        }
    }
}

/// `table inet sentinel`.
#[derive(Debug)]
pub struct Nft {
    program: Program,
    pub(super) netlink: Netlink,
    pub(super) sets: BTreeSet<SetId>,
    pub(super) blocks: BTreeMap<IpNet, BlockEntry>,
    pub(super) allows: BTreeMap<IpNet, AllowEntry>,
    bases: HashMap<IpNet, Base>,
    /// Written by [`Enforcer::put_ahead`], not asked for yet.
    pub(super) ahead: HashSet<IpNet>,
    /// Removed by [`Enforcer::delete_ahead`], not asked for yet.
    pub(super) taken: HashMap<IpNet, BlockEntry>,
    pub(super) usage: Usage,
    pub(super) enforcing: bool,
    /// Whether a script may be in force, or not, of which it was not told: then not all of `sets` need be there.
    unsure: bool,
    looked: Mutex<Looked>,
}

/// What was seen of the rules.
#[derive(Debug)]
struct Looked {
    /// As the kernel spelled them when they had been written; `None` where that is to be learnt yet.
    rules: Option<Vec<u8>>,
    /// When they were last found to be those.
    at: Option<u64>,
}

impl Nft {
    /// Makes the table, or takes over the one that an agent which was killed has left: its elements stay in force
    /// meanwhile.
    ///
    /// # Errors
    /// [`NftError`]; its text names the mend.
    pub fn open(config: &KernelConfig) -> Result<(Self, Lease), NftError> {
        let program = Program::find()?;
        let netlink = Netlink::open()?;
        let (exact, net) = (config.block_capacity, config.block_net_capacity);
        let mut nft = Self {
            program,
            netlink,
            sets: BTreeSet::new(),
            blocks: BTreeMap::new(),
            allows: BTreeMap::new(),
            bases: HashMap::new(),
            ahead: HashSet::new(),
            taken: HashMap::new(),
            usage: Usage {
                used: Arc::default(),
                capacity: [exact, exact, net, net],
            },
            enforcing: true,
            unsure: false,
            looked: Mutex::new(Looked {
                rules: Some(Vec::new()),
                at: None,
            }),
        };
        let found = nft.netlink.table()?;
        match found.as_deref() {
            None => {}
            Some(MARK) => nft.adopt()?,
            // Of another layout: its elements say nothing here, and go with it.
            Some(other) if other.starts_with("made by sentinel") => {
                nft.program.run(&format!("delete table inet {TABLE}\n"))?;
            }
            Some(_) => return Err(NftError::Foreign),
        }
        if let Err(error) = nft.lay("") {
            // What stands is given up for what the kernel refuses, not for a program that could not be run.
            if found.is_none() || !matches!(error, NftError::Refused { .. }) {
                return Err(error);
            }
            // Sets that cannot be gone on with, of another size for one: everything anew in one transaction.
            tracing::warn!(%error, "what an earlier agent left cannot be gone on with; the table is made anew");
            nft.blocks.clear();
            nft.usage.used.iter().for_each(|used| used.store(0, Ordering::Relaxed));
            nft.sets.clear();
            let allowed = nft.anew();
            nft.renew(&allowed)?;
        }
        let adopted = found.as_deref() == Some(MARK);
        Ok((nft, Lease { adopted }))
    }

    /// How full the lists are.
    pub fn usage(&self) -> Usage {
        self.usage.clone()
    }

    /// Whether verdicts are carried out from the next packet on; without, every entry only counts. One transaction.
    ///
    /// # Errors
    /// [`EnforceError::Kernel`]; everything then stands as it did, unless `nft` did not end.
    pub fn set_enforcing(&mut self, on: bool) -> Result<(), EnforceError> {
        let led = self.led().map_err(failed)?;
        if on == self.enforcing && led && !self.unsure {
            return Ok(());
        }
        let mut bases = HashMap::new();
        for (target, entry) in self.list_blocks()? {
            let elements = self.counted(target).map_err(failed)?;
            bases.insert(
                target,
                Base {
                    decision: entry.decision,
                    hits: (entry.hits, entry.hit_bytes),
                    would: (entry.would_hits, entry.would_bytes),
                    from: elements,
                },
            );
        }
        let before = self.sets.clone();
        let script = if !led {
            let allowed = self.anew();
            self.skeleton(on) + &allowed
        } else if self.unsure {
            self.skeleton(on)
        } else {
            script::rules(&self.sets, on)
        };
        let ran = self.program.run(&script);
        self.settle(ran, before, led).map_err(failed)?;
        self.enforcing = on;
        self.bases = bases;
        self.remember_rules();
        Ok(())
    }

    /// Takes the table away, with everything in it; it is no error where there is none.
    ///
    /// # Errors
    /// [`NftError`] where it could not be, or is still there.
    pub fn remove() -> Result<(), NftError> {
        let netlink = Netlink::open()?;
        match netlink.table()? {
            Some(mark) if mark.starts_with("made by sentinel") => {}
            _ => return Ok(()),
        }
        Program::find()?.run(&format!("delete table inet {TABLE}\n"))?;
        match netlink.table()? {
            None => Ok(()),
            Some(_) => Err(NftError::Kernel {
                cause: "the table is still there after its removal".into(),
            }),
        }
    }

    /// Takes note of what an earlier agent left.
    fn adopt(&mut self) -> Result<(), NftError> {
        self.sets = self
            .netlink
            .sets()?
            .iter()
            .filter_map(|name| SetId::parse(name))
            .collect();
        self.blocks = self.read_blocks()?;
        self.allows = self.read_allows()?;
        for target in self.blocks.keys() {
            self.usage.used[list(*target)].fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Carries `more` out with the table, its chains and rules made as they are to be.
    fn lay(&mut self, more: &str) -> Result<(), NftError> {
        let script = self.skeleton(self.enforcing) + more;
        self.program.run(&script)?;
        self.remember_rules();
        Ok(())
    }

    /// The same with a table that begins anew.
    fn renew(&mut self, more: &str) -> Result<(), NftError> {
        let skeleton = self.skeleton(self.enforcing);
        let script = format!("add table inet {TABLE}\ndelete table inet {TABLE}\n{skeleton}{more}");
        self.program.run(&script)?;
        self.remember_rules();
        Ok(())
    }

    fn skeleton(&self, enforce: bool) -> String {
        let size = u64::from(self.usage.capacity.into_iter().fold(ALLOW_CAPACITY, u32::max));
        // Room for what is over and not collected yet, and for what is replaced within a transaction.
        script::skeleton(&self.sets, 2 * size + 1024, enforce)
    }

    fn looked(&self) -> MutexGuard<'_, Looked> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses where it is not known whether the last script is in force.
    pub(super) fn certain(&self) -> Result<(), NftError> {
        if self.unsure {
            return Err(NftError::Run {
                cause: "it did not end, so that what it was to do may be in force or not".into(),
            });
        }
        Ok(())
    }

    /// Learns how the kernel spells the rules that were written; with the next look, where it does not say now: they
    /// are in force all the same.
    fn remember_rules(&self) {
        let rules = self.netlink.rules();
        if let Err(error) = &rules {
            tracing::warn!(%error, "the rules were written and cannot be read back yet");
        }
        let mut looked = self.looked();
        looked.at = rules.is_ok().then(|| time::boot_now().0);
        looked.rules = rules.ok();
    }

    /// Whether packets are led to the sets as they were.
    pub(super) fn led(&self) -> Result<bool, NftError> {
        let now = time::boot_now().0;
        let mut looked = self.looked();
        if looked.at.is_some_and(|at| now.saturating_sub(at) < BELIEVED_NS) {
            return Ok(true);
        }
        let rules = self.netlink.rules()?;
        let led = match &looked.rules {
            Some(known) => *known == rules,
            None => !rules.is_empty(),
        };
        if led {
            looked.rules = Some(rules);
        }
        looked.at = led.then_some(now);
        Ok(led)
    }

    /// Carries elements out: with what is needed to be asked about them, and where the table is not what it was, with
    /// all of it made anew, allow entries first.
    pub(super) fn commit(&mut self, elements: &str, needed: impl Iterator<Item = SetId>) -> Result<(), NftError> {
        self.looked().at = None;
        let led = self.led()?;
        let before = self.sets.clone();
        self.sets.extend(needed);
        if led && !self.unsure && self.sets == before {
            return self.program.run(elements);
        }
        let mut more = String::new();
        if !led {
            tracing::warn!("`table inet {TABLE}` was changed by somebody else; it is made anew");
            more.push_str(&self.anew());
        }
        more.push_str(elements);
        let laid = self.lay(&more);
        self.settle(laid, before, led)
    }

    /// What is known of the table after an attempt to lay it, where it had the sets `before` and its rules were ours or
    /// not. Only what was refused is certainly not in force: the sets of all else are asked from here on, so that what
    /// came into force can be taken back, and the next transaction lays them again.
    pub(super) fn settle(
        &mut self,
        laid: Result<(), NftError>,
        before: BTreeSet<SetId>,
        led: bool,
    ) -> Result<(), NftError> {
        match &laid {
            Ok(()) => self.unsure = false,
            Err(NftError::Refused { .. }) => self.sets = before,
            Err(_) => {
                self.unsure = true;
                if led {
                    self.looked().rules = None;
                }
            }
        }
        laid
    }

    /// The elements of a table that begins anew: everything allowed. Blocks follow as they are asked for.
    fn anew(&mut self) -> String {
        let now = time::boot_now();
        self.sets
            .extend(self.allows.keys().map(|net| SetId::of(Kind::Allow, *net)));
        let mut script = String::new();
        for (net, entry) in &self.allows {
            script::allow(&mut script, *net, entry, now);
        }
        script
    }

    /// The sets of blocks in which something may stand for `target`.
    pub(super) fn sets_of(&self, target: IpNet) -> impl Iterator<Item = SetId> + '_ {
        let there = move |kind| Some(SetId::of(kind, target)).filter(|set| self.sets.contains(set));
        Kind::ALL
            .into_iter()
            .filter(|kind| *kind != Kind::Allow)
            .filter_map(there)
    }

    fn elements_of(&self, target: IpNet) -> Result<BTreeMap<Kind, Element>, NftError> {
        let mut found = BTreeMap::new();
        for set in self.sets_of(target) {
            if let Some(element) = self.netlink.element(&set.to_string(), target)? {
                found.insert(set.kind, element);
            }
        }
        Ok(found)
    }

    /// What the elements of a target have counted.
    fn counted(&self, target: IpNet) -> Result<Counted, NftError> {
        Ok(sum(&self.elements_of(target)?))
    }

    /// The entry that elements stand for, as far as they do: what one lacks is not in it.
    fn entry(&self, target: IpNet, elements: &BTreeMap<Kind, Element>, now: Ktime) -> Option<BlockEntry> {
        let first = elements.get(&Kind::Block).or_else(|| elements.get(&Kind::Would));
        // A part without its first element is nobody's order.
        let Some(first) = first else {
            return (!elements.is_empty()).then(BlockEntry::default);
        };
        let mut entry = terms(&first.comment, target.prefix_len()).unwrap_or_default();
        let wanted: BTreeSet<Kind> = kinds(&entry).into_iter().collect();
        let there: BTreeSet<Kind> = elements.keys().copied().collect();
        let alike = elements.values().all(|element| element.comment == first.comment);
        if wanted != there || !alike {
            entry.action = 0;
        }
        let left = |element: &Element| element.left_ms.map(|ms| now.0.saturating_add(ms * 1_000_000));
        for end in elements.values().map(left) {
            let end = end.unwrap_or(NEVER_NS);
            if end.abs_diff(entry.expires_ns.saturating_add(LATE_MS * 1_000_000)) > OFF_MS * 1_000_000 {
                entry.expires_ns = end;
            }
        }
        let counted = sum(elements);
        let base = self.bases.get(&target).filter(|base| base.decision == entry.decision);
        let base = base.copied().unwrap_or_default();
        let more = (
            counted.0.saturating_sub(base.from.0),
            counted.1.saturating_sub(base.from.1),
        );
        (entry.hits, entry.hit_bytes) = base.hits;
        (entry.would_hits, entry.would_bytes) = base.would;
        if self.enforcing && entry.flags & FLAG_SHADOW == 0 {
            entry.hits += more.0;
            entry.hit_bytes += more.1;
        } else {
            entry.would_hits += more.0;
            entry.would_bytes += more.1;
        }
        Some(entry)
    }

    pub(super) fn read(&self, target: IpNet) -> Result<Option<BlockEntry>, NftError> {
        let elements = self.elements_of(target)?;
        Ok(self.entry(target, &elements, time::boot_now()))
    }

    pub(super) fn read_blocks(&self) -> Result<BTreeMap<IpNet, BlockEntry>, NftError> {
        let mut all: BTreeMap<IpNet, BTreeMap<Kind, Element>> = BTreeMap::new();
        let now = time::boot_now();
        for set in self.sets.iter().filter(|set| set.kind != Kind::Allow) {
            for element in self.netlink.elements(&set.to_string())? {
                if let Some(net) = element.net(set.len) {
                    all.entry(net).or_default().insert(set.kind, element);
                }
            }
        }
        let entry = |(net, elements): (IpNet, BTreeMap<Kind, Element>)| Some((net, self.entry(net, &elements, now)?));
        Ok(all.into_iter().filter_map(entry).collect())
    }

    pub(super) fn read_allows(&self) -> Result<BTreeMap<IpNet, AllowEntry>, NftError> {
        let mut all = BTreeMap::new();
        let now = time::boot_now();
        for set in self.sets.iter().filter(|set| set.kind == Kind::Allow) {
            for element in self.netlink.elements(&set.to_string())? {
                let end = element.left_ms.map(|ms| now.0.saturating_add(ms * 1_000_000));
                let entry = AllowEntry {
                    expires_ns: end.unwrap_or(NEVER_NS),
                    prefix_len: set.len,
                    ..AllowEntry::default()
                };
                all.extend(element.net(set.len).map(|net| (net, entry)));
            }
        }
        Ok(all)
    }

    /// Whether there is room for `target`.
    pub(super) fn room(&self, target: IpNet) -> Result<(), EnforceError> {
        let at = list(target);
        let capacity = self.usage.capacity[at];
        if self.blocks.contains_key(&target) || self.usage.used[at].load(Ordering::Relaxed) < u64::from(capacity) {
            return Ok(());
        }
        Err(EnforceError::Full {
            map: LISTS[at],
            capacity,
        })
    }

    pub(super) fn note(&mut self, target: IpNet, entry: Option<BlockEntry>) {
        let used = &self.usage.used[list(target)];
        if let Some(entry) = entry {
            if self.blocks.insert(target, entry).is_none() {
                used.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        self.bases.remove(&target);
        if self.blocks.remove(&target).is_some() {
            used.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The commands that put an entry in the place of whatever stands for its target, and what its counts go on from.
    fn replacing(&self, script: &mut String, target: IpNet, entry: &BlockEntry) -> Result<Base, NftError> {
        let old = self.read(target)?.filter(|old| old.decision == entry.decision);
        for set in self.sets_of(target) {
            if self.netlink.element(&set.to_string(), target)?.is_some() {
                script::take(script, set, &[target]);
            }
        }
        let mut base = Base {
            decision: entry.decision,
            ..Base::default()
        };
        if let Some(old) = old {
            base.hits = (old.hits, old.hit_bytes);
            base.would = (old.would_hits, old.would_bytes);
        }
        let acts = self.enforcing && entry.flags & FLAG_SHADOW == 0;
        // The element itself goes on from where the other left off, so that this outlives the agent.
        base.from = if acts { base.hits } else { base.would };
        script::put(script, target, entry, base.from, time::boot_now());
        Ok(base)
    }

    /// Puts a bounded number of entries in one transaction.
    pub(super) fn put_all(&mut self, entries: &[(IpNet, BlockEntry)]) -> Result<(), NftError> {
        let mut script = String::new();
        let mut bases = Vec::with_capacity(entries.len());
        for (target, entry) in entries {
            bases.push(self.replacing(&mut script, *target, entry)?);
        }
        let needed = entries
            .iter()
            .flat_map(|(target, entry)| kinds(entry).into_iter().map(|kind| SetId::of(kind, *target)));
        self.commit(&script, needed)?;
        for ((target, entry), base) in entries.iter().zip(bases) {
            self.note(*target, Some(*entry));
            if base.hits == (0, 0) && base.would == (0, 0) {
                self.bases.remove(target);
            } else {
                self.bases.insert(*target, base);
            }
        }
        Ok(())
    }
}

/// Which of the lists an entry counts in.
pub(super) fn list(target: IpNet) -> usize {
    let net = target.prefix_len() != target.max_prefix_len();
    usize::from(target.addr().is_ipv6()) + 2 * usize::from(net)
}

fn sum(elements: &BTreeMap<Kind, Element>) -> Counted {
    elements.values().fold((0, 0), |(packets, bytes), element| {
        (
            packets.saturating_add(element.packets),
            bytes.saturating_add(element.bytes),
        )
    })
}

pub(super) fn failed(error: NftError) -> EnforceError {
    error.into()
}

impl From<NftError> for EnforceError {
    fn from(error: NftError) -> Self {
        Self::Kernel {
            map: "nftables",
            cause: error.to_string(),
        }
    }
}
