//! The hints' only writer: sets a bit where something is listed, clears it where nothing is any more.
//!
//! Each bit has one owner (the allowlist, the decisions' entries, the feeds' addresses, the feeds' prefixes), which
//! serialises its own changes; words are shared, so every store is atomic.
//!
//! What says in which parts of the IPv6 regions there may be anything stands in the settings. A part is marked before a
//! cell of it has a bit, and stays marked until the next agent begins: with no bit left in it, it costs a look-up.

use super::stretch::{self, Stretch};
use crate::kernel::error::KernelError;
use crate::kernel::mmap::Mapped;
use crate::kernel::settings::SettingsMap;
use aya::maps::{Map, MapData};
use ipnet::IpNet;
use sentinel_common::hint::{
    CELLS4, CELLS6, CELLS6_SHORT, REGIONS6, WORDS4, WORDS6, cell6_long, cell6_middle, cell6_short, next_epoch, part6,
    place,
};
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One bit in each of the sixteen cells of a word.
const EACH: u64 = 0x1111_1111_1111_1111;
/// Cells in a word.
const CELLS: u32 = 16;

/// The cells of both families, in the kernel's memory.
pub(super) struct Hints {
    four: Mapped,
    six: Mapped,
    /// The number of the latest change.
    epoch: Mapped,
    /// Programs that are loaded later name the maps by their descriptors.
    _maps: [MapData; 3],
    settings: Arc<SettingsMap>,
    /// The parts of the IPv6 regions that the settings were found to have marked.
    marked: [AtomicU64; REGIONS6],
    pub(super) seed: u64,
}

impl Hints {
    pub(super) fn new(
        names: [&'static str; 3],
        array: impl FnMut(&'static str) -> Result<MapData, KernelError>,
        settings: &Arc<SettingsMap>,
    ) -> Result<Self, KernelError> {
        let mut array = array;
        let maps = [array(names[0])?, array(names[1])?, array(names[2])?];
        let map = |at: usize, words: u32| {
            Mapped::new(maps[at].fd().as_fd(), words as usize * 8).map_err(|source| KernelError::System {
                call: format!("mapping {}", names[at]),
                source,
            })
        };
        let hints = Self {
            four: map(0, WORDS4)?,
            six: map(1, WORDS6)?,
            epoch: map(2, 1)?,
            _maps: maps,
            settings: Arc::clone(settings),
            marked: Default::default(),
            seed: settings.get()?.seed,
        };
        // What an earlier agent left.
        let left = (0..CELLS6).step_by(CELLS as usize);
        let left = left
            .zip(hints.six.words())
            .filter(|(_, word)| word.load(Ordering::Relaxed) != 0);
        hints.mark(parts(left.map(|(cell, _)| cell)))?;
        // Nothing was found yet, by nobody.
        hints.changed();
        Ok(hints)
    }

    /// Has every packet ask again that would pass because nothing was found for its source. To be called when what was
    /// written is in force, before that is said.
    pub(super) fn changed(&self) {
        let next = |epoch: u32| Some(next_epoch(epoch));
        let _ = self.epoch.words32()[0].fetch_update(Ordering::AcqRel, Ordering::Relaxed, next);
    }

    /// Has packets look into these parts of the IPv6 regions, and sees to it that they do.
    fn mark(&self, parts: [u64; REGIONS6]) -> Result<(), KernelError> {
        if self.are_marked(parts) {
            return Ok(());
        }
        self.settings.change(|settings| {
            for (marked, parts) in settings.hinted6.iter_mut().zip(parts) {
                *marked |= parts;
            }
        })?;
        for (marked, found) in self.marked.iter().zip(self.settings.get()?.hinted6) {
            marked.fetch_or(found, Ordering::Release);
        }
        Ok(())
    }

    /// As [`Hints::mark`]. Where it fails, what is listed there is not in force, and is not found to be.
    fn see_to(&self, parts: [u64; REGIONS6]) {
        if let Err(error) = self.mark(parts) {
            tracing::error!(%error, "packets are not led to what is listed for some IPv6 addresses");
        }
    }

    fn are_marked(&self, parts: [u64; REGIONS6]) -> bool {
        let marked = |(marked, parts): (&AtomicU64, u64)| marked.load(Ordering::Acquire) & parts == parts;
        self.marked.iter().zip(parts).all(marked)
    }

    fn words(&self, v6: bool) -> &[AtomicU64] {
        if v6 { self.six.words() } else { self.four.words() }
    }

    pub(super) fn stretch(&self, net: IpNet) -> Stretch {
        stretch::of(net, self.seed)
    }

    /// Sets `bit` in every cell of a stretch. What it tells of must be written before.
    pub(super) fn set(&self, stretch: &Stretch, bit: u32) {
        if stretch.v6 {
            self.see_to(parts_of(&stretch.cells));
        }
        each_word(&stretch.cells, |word, cells| {
            self.words(stretch.v6)[word].fetch_or(cells * u64::from(bit), Ordering::Release);
        });
    }

    /// Clears `bit` in every cell of a stretch.
    fn clear(&self, stretch: &Stretch, bit: u32) {
        each_word(&stretch.cells, |word, cells| {
            self.words(stretch.v6)[word].fetch_and(!(cells * u64::from(bit)), Ordering::Release);
        });
    }

    /// Sets `bit` in some cells of one family.
    pub(super) fn set_cells(&self, v6: bool, cells: &[u32], bit: u32) {
        if v6 {
            self.see_to(parts(cells.iter().copied()));
        }
        let words = self.words(v6);
        for cell in cells {
            let (word, shift) = place(*cell);
            words[word as usize].fetch_or(u64::from(bit) << shift, Ordering::Release);
        }
    }

    /// Whether a packet from an exact address finds `bit` in any of the cells it asks.
    pub(super) fn packet_has(&self, address: IpNet, bit: u32) -> bool {
        match address {
            IpNet::V4(_) => self.has(&self.stretch(address), bit),
            IpNet::V6(net) => {
                let high = (net.addr().to_bits() >> 64) as u64;
                let cells = [
                    cell6_short(high),
                    cell6_middle(high, self.seed),
                    cell6_long(high, self.seed),
                ];
                cells.into_iter().any(|cell| {
                    let (word, shift) = place(cell);
                    self.are_marked(parts([cell]))
                        && self.six.words()[word as usize].load(Ordering::Acquire) >> shift & u64::from(bit) != 0
                })
            }
        }
    }

    /// Clears `bit` in some cells of one family.
    pub(super) fn clear_cells(&self, v6: bool, cells: impl IntoIterator<Item = u32>, bit: u32) {
        let words = self.words(v6);
        for cell in cells {
            let (word, shift) = place(cell);
            words[word as usize].fetch_and(!(u64::from(bit) << shift), Ordering::Release);
        }
    }

    /// Whether every cell of a stretch has `bit`: without it packets pass by what is listed there.
    pub(super) fn has(&self, stretch: &Stretch, bit: u32) -> bool {
        let mut all = !stretch.v6 || self.are_marked(parts_of(&stretch.cells));
        each_word(&stretch.cells, |word, cells| {
            let wanted = cells * u64::from(bit);
            all &= self.words(stretch.v6)[word].load(Ordering::Acquire) & wanted == wanted;
        });
        all
    }

    /// Cells that have `bit`, of both families.
    pub(super) fn count(&self, bit: u32) -> u64 {
        let count = |words: &[AtomicU64]| -> u64 {
            words
                .iter()
                .map(|word| u64::from((word.load(Ordering::Relaxed) & (EACH * u64::from(bit))).count_ones()))
                .sum()
        };
        count(self.four.words()) + count(self.six.words())
    }
}

/// Which parts of the IPv6 regions cells lie in.
fn parts(cells: impl IntoIterator<Item = u32>) -> [u64; REGIONS6] {
    let mut parts = [0; REGIONS6];
    for cell in cells {
        let (region, part) = part6(cell);
        parts[region] |= 1 << part;
    }
    parts
}

/// The same of a stretch, one cell for each part of the region of short prefixes, which are the smallest.
fn parts_of(cells: &Range<u32>) -> [u64; REGIONS6] {
    const PART: usize = CELLS6_SHORT as usize / 64;
    parts(cells.clone().step_by(PART).chain(cells.clone().last()))
}

/// Calls with each word of a stretch, and one bit for each of its cells that belongs to it.
fn each_word(cells: &Range<u32>, mut call: impl FnMut(usize, u64)) {
    let mut cell = cells.start;
    while cell < cells.end {
        let (word, shift) = place(cell);
        let here = (CELLS - cell % CELLS).min(cells.end - cell);
        let mask = if here == CELLS {
            EACH
        } else {
            EACH & ((1 << (4 * here)) - 1)
        };
        call(word as usize, mask << shift);
        cell += here;
    }
}

/// Which cells of one bit are in use, by how many. What touches many cells is kept as it is, not cell by cell.
pub(super) struct Cells {
    bit: u32,
    single: [HashMap<u32, u32>; 2],
    wide: BTreeSet<(bool, u32, u32)>,
}

impl Cells {
    pub(super) fn new(bit: u32) -> Self {
        Self {
            bit,
            single: Default::default(),
            wide: BTreeSet::new(),
        }
    }

    /// Something new is listed at `net`; no two are the same.
    pub(super) fn add(&mut self, hints: &Hints, net: IpNet) {
        let stretch = hints.stretch(net);
        let Range { start, end } = stretch.cells;
        if end - start == 1 {
            *self.single[usize::from(stretch.v6)].entry(start).or_default() += 1;
        } else {
            self.wide.insert((stretch.v6, start, end));
        }
        hints.set(&stretch, self.bit);
    }

    /// What was listed at `net` is gone: the bit goes where nothing else is.
    pub(super) fn remove(&mut self, hints: &Hints, net: IpNet) {
        let stretch = hints.stretch(net);
        let Range { start, end } = stretch.cells;
        let single = &mut self.single[usize::from(stretch.v6)];
        if end - start == 1 {
            if let Some(count) = single.get_mut(&start) {
                *count -= 1;
                if *count > 0 {
                    return;
                }
                single.remove(&start);
            }
            if !self.covered(stretch.v6, start, 1) {
                hints.clear(&stretch, self.bit);
            }
            return;
        }
        self.wide.remove(&(stretch.v6, start, end));
        if self.covered(stretch.v6, start, end - start) {
            return;
        }
        // Prefixes nest or lie apart: what is left of this one is what those within it do not cover.
        let mut gaps = Vec::new();
        let mut from = start;
        for &(_, first, behind) in self.wide.range((stretch.v6, start, 0)..(stretch.v6, end, 0)) {
            if behind > from {
                gaps.push(from..first.max(from));
                from = behind;
            }
        }
        gaps.push(from..end);
        let single = &self.single[usize::from(stretch.v6)];
        for gap in gaps {
            if single.len() < gap.len() {
                let mut used: Vec<u32> = single.keys().copied().filter(|cell| gap.contains(cell)).collect();
                used.sort_unstable();
                let mut from = gap.start;
                for cell in used.into_iter().chain([gap.end]) {
                    hints.clear(
                        &Stretch {
                            v6: stretch.v6,
                            cells: from..cell,
                        },
                        self.bit,
                    );
                    from = cell + 1;
                }
            } else {
                let unused = gap.filter(|cell| !single.contains_key(cell));
                hints.clear_cells(stretch.v6, unused, self.bit);
            }
        }
    }

    /// Whether something wider than `cells` covers the stretch of that many from `start`.
    fn covered(&self, v6: bool, start: u32, cells: u32) -> bool {
        let mut size = cells.saturating_mul(2);
        while size <= CELLS4 {
            let from = start & !(size - 1);
            if self.wide.contains(&(v6, from, from + size)) {
                return true;
            }
            size *= 2;
        }
        false
    }
}

/// The data of a mappable array.
pub(super) fn array(map: Map) -> Option<MapData> {
    match map {
        Map::Array(data) => Some(data),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(cells: Range<u32>) -> Vec<(usize, u64)> {
        let mut out = Vec::new();
        each_word(&cells, |word, mask| out.push((word, mask)));
        out
    }

    #[test]
    fn a_stretch_has_every_part_it_touches() {
        assert_eq!(parts_of(&(0..CELLS6_SHORT)), [u64::MAX, 0, 0]);
        assert_eq!(parts_of(&(1023..1025)), [3, 0, 0]);
        assert_eq!(parts_of(&(0xfe80..0xfec0)), [1 << 63, 0, 0]);
        assert_eq!(parts_of(&(CELLS6_SHORT..CELLS6_SHORT + 1)), [0, 1, 0]);
        assert_eq!(parts_of(&(CELLS6 - 1..CELLS6)), [0, 0, 1 << 63]);
    }

    #[test]
    fn a_stretch_is_whole_words_and_two_parts() {
        assert_eq!(words(5..6), [(0, 1 << 20)]);
        assert_eq!(words(0..16), [(0, EACH)]);
        assert_eq!(words(15..33), [(0, 1 << 60), (1, EACH), (2, 1)]);
        assert_eq!(words(7..7), []);
    }
}
