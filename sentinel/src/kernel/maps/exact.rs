//! The entries of exact addresses of one family, in mapped memory as [`sentinel_common::exact`] lays them out.
//!
//! This is their only writer. A packet may be looking at any moment: a cell is written before the slot that names it, a
//! slot by one store; what moves to its other bucket stands in both until no packet can have looked into one before and
//! into the other after; what was freed rests as long ([`super::grace`]).

use super::grace;
use super::table::{NO_EXIST, Pairs, Store};
use crate::kernel::mmap::Mapped;
use aya::maps::{MapData, MapError};
use aya::sys::SyscallError;
use sentinel_common::addr::Addr;
use sentinel_common::entry::BlockEntry;
use sentinel_common::exact::{Bucket, Cell, Place, WAYS, cell, cells, slot, tag};
use sentinel_common::hash::Keys;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering::{Relaxed, Release};

/// 64-bit words of a cell.
const CELL_WORDS: usize = size_of::<Cell>() / 8;
/// How many entries move in a row to make room for one, at most. With a quarter of the slots in use one hardly ever has to.
const MOVES: u32 = 4;

/// The entries of addresses of `N` bytes.
pub(super) struct ExactEntries<const N: usize> {
    index: Mapped,
    cells: Mapped,
    keys: Keys,
    /// Buckets less one.
    mask: u32,
    /// Cells that no packet can be looking at.
    free: Vec<u32>,
    /// Cells that were freed since the last wait.
    resting: Vec<u32>,
    /// Programs that are loaded later name the maps by their descriptors.
    _maps: Option<[MapData; 2]>,
}

impl<const N: usize> ExactEntries<N> {
    /// The table in two maps, `buckets` large, with what it holds; `seed` is what it was filled by.
    ///
    /// # Errors
    /// The kernel's, where it does not let them be mapped.
    pub(super) fn new([index, cells]: [MapData; 2], buckets: u32, seed: u64) -> io::Result<Self> {
        let table = Self::mapped([index.fd().as_fd(), cells.fd().as_fd()], buckets, seed)?;
        Ok(Self {
            _maps: Some([index, cells]),
            ..table
        })
    }

    fn mapped([index, cell_map]: [BorrowedFd<'_>; 2], buckets: u32, seed: u64) -> io::Result<Self> {
        let mut table = Self {
            index: Mapped::new(index, buckets as usize * size_of::<Bucket>())?,
            cells: Mapped::new(cell_map, cells(buckets) as usize * size_of::<Cell>())?,
            keys: Keys::new(seed),
            mask: buckets - 1,
            free: Vec::new(),
            resting: Vec::new(),
            _maps: None,
        };
        table.take_stock(cells(buckets));
        Ok(table)
    }

    /// Finds out which cells are in use. An agent that was killed while it moved an entry left it in two slots.
    fn take_stock(&mut self, cells: u32) {
        let mut used = vec![false; cells as usize];
        used[0] = true;
        for word in self.index.words() {
            let number = cell(word.load(Relaxed));
            if number == 0 {
                continue;
            }
            match used.get_mut(number as usize) {
                Some(used) if !*used => *used = true,
                _ => word.store(0, Release),
            }
        }
        self.free = (1..cells).rev().filter(|&number| !used[number as usize]).collect();
    }

    /// Puts every entry of another table into this one, as it stands there; says how many there were.
    ///
    /// # Errors
    /// `ENOSPC` where there are more than `most`.
    pub(super) fn adopt(&mut self, from: &Self, most: u32) -> Result<u64, MapError> {
        let entries = from.all()?;
        if entries.len() > most as usize {
            return Err(refused(libc::ENOSPC));
        }
        for (key, entry) in &entries {
            self.set(key, entry, NO_EXIST)?;
        }
        Ok(entries.len() as u64)
    }

    fn place(&self, key: &Addr) -> Place {
        if N == 4 {
            Place::v4(&self.keys, key.tail())
        } else {
            Place::v6(&self.keys, key.halves())
        }
    }

    /// Both buckets of a place, the first one first.
    const fn buckets(&self, place: &Place) -> [u32; 2] {
        [place.one & self.mask, place.two & self.mask]
    }

    fn word(&self, at: usize) -> u64 {
        self.index.words()[at].load(Relaxed)
    }

    fn write_word(&self, at: usize, word: u64) {
        self.index.words()[at].store(word, Release);
    }

    fn cell_words(&self, number: u32) -> &[std::sync::atomic::AtomicU64] {
        let at = number as usize * CELL_WORDS;
        &self.cells.words()[at..at + CELL_WORDS]
    }

    fn read_cell(&self, number: u32) -> Cell {
        let mut words = [0; CELL_WORDS];
        for (to, from) in words.iter_mut().zip(self.cell_words(number)) {
            *to = from.load(Relaxed);
        }
        // SAFETY: the words are the size of a cell, and any bytes are one.
        unsafe { std::mem::transmute::<[u64; CELL_WORDS], Cell>(words) }
    }

    fn write_cell(&self, number: u32, content: Cell) {
        // SAFETY: a cell is integers and byte arrays without padding.
        let words = unsafe { std::mem::transmute::<Cell, [u64; CELL_WORDS]>(content) };
        for (to, from) in self.cell_words(number).iter().zip(words) {
            to.store(from, Relaxed);
        }
    }

    /// Where the slot of an address stands.
    fn find(&self, key: &Addr) -> Option<usize> {
        let place = self.place(key);
        let mut slots = self.buckets(&place).into_iter().flat_map(in_bucket);
        slots.find(|&at| {
            let word = self.word(at);
            cell(word) != 0 && tag(word) == place.tag && self.read_cell(cell(word)).key == *key
        })
    }

    /// A free slot in a bucket in which nothing has that tag.
    fn free_slot(&self, bucket: u32, wanted: u32) -> Option<usize> {
        let words = in_bucket(bucket).map(|at| self.word(at));
        let twin = words.into_iter().any(|word| cell(word) != 0 && tag(word) == wanted);
        let mut slots = in_bucket(bucket);
        if twin {
            return None;
        }
        slots.find(|&at| cell(self.word(at)) == 0)
    }

    /// A free slot for an address; moves others where it must.
    fn slot_for(&self, place: &Place) -> Option<usize> {
        let buckets = self.buckets(place);
        let free = |bucket: &u32| self.free_slot(*bucket, place.tag);
        buckets.iter().find_map(free).or_else(|| {
            let made = buckets.iter().any(|bucket| self.make_room(*bucket, MOVES));
            made.then(|| buckets.iter().find_map(free))?
        })
    }

    /// Moves an entry out of a full bucket.
    fn make_room(&self, bucket: u32, moves: u32) -> bool {
        let shift = |at: usize| {
            let word = self.word(at);
            if cell(word) == 0 {
                return true;
            }
            let Some(to) = self.free_slot(self.other(bucket, word), tag(word)) else {
                return false;
            };
            self.write_word(to, word);
            grace::wait();
            self.write_word(at, 0);
            true
        };
        in_bucket(bucket).any(shift)
            || moves > 1
                && in_bucket(bucket).any(|at| {
                    let other = self.other(bucket, self.word(at));
                    other != bucket && self.make_room(other, moves - 1) && shift(at)
                })
    }

    /// The other bucket of what a slot in `bucket` holds.
    fn other(&self, bucket: u32, word: u64) -> u32 {
        let place = self.place(&self.read_cell(cell(word)).key);
        let [one, two] = self.buckets(&place);
        if one == bucket { two } else { one }
    }

    /// A cell that no packet can be looking at.
    fn take_cell(&mut self) -> Option<u32> {
        if self.free.is_empty() && !self.resting.is_empty() {
            grace::wait();
            self.free.append(&mut self.resting);
        }
        self.free.pop()
    }
}

impl<const N: usize> Store for ExactEntries<N> {
    type Key = [u8; N];
    type Value = BlockEntry;
    const EXCLUSIVE: bool = true;

    fn get(&self, key: &[u8; N]) -> Result<Option<BlockEntry>, MapError> {
        let at = self.find(&addr(key));
        Ok(at.map(|at| self.read_cell(cell(self.word(at))).entry))
    }

    fn set(&mut self, key: &[u8; N], value: &BlockEntry, flags: u64) -> Result<(), MapError> {
        let key = addr(key);
        let old = self.find(&key);
        if old.is_some() && flags & NO_EXIST != 0 {
            return Err(refused(libc::EEXIST));
        }
        let number = self.take_cell().ok_or_else(|| refused(libc::ENOSPC))?;
        let content = Cell {
            key,
            entry: *value,
            pad: [0; 6],
        };
        self.write_cell(number, content);
        let place = self.place(&key);
        let Some(at) = old.or_else(|| self.slot_for(&place)) else {
            self.free.push(number);
            return Err(refused(libc::ENOSPC));
        };
        let before = cell(self.word(at));
        self.write_word(at, slot(place.tag, number));
        if before != 0 {
            self.resting.push(before);
        }
        Ok(())
    }

    fn unset(&mut self, key: &[u8; N]) -> Result<(), MapError> {
        let at = self.find(&addr(key)).ok_or_else(|| refused(libc::ENOENT))?;
        let before = cell(self.word(at));
        self.write_word(at, 0);
        self.resting.push(before);
        Ok(())
    }

    fn all(&self) -> Result<Pairs<[u8; N], BlockEntry>, MapError> {
        let used = self.index.words().iter().map(|word| cell(word.load(Relaxed)));
        let cells = used.filter(|&number| number != 0).map(|number| self.read_cell(number));
        Ok(cells.map(|cell| (octets(&cell.key), cell.entry)).collect())
    }
}

fn in_bucket(bucket: u32) -> std::ops::Range<usize> {
    let first = bucket as usize * WAYS;
    first..first + WAYS
}

fn addr<const N: usize>(key: &[u8; N]) -> Addr {
    let mut octets = if N == 4 { Addr::v4([0; 4]).0 } else { [0; 16] };
    octets[16 - N..].copy_from_slice(key);
    Addr(octets)
}

fn octets<const N: usize>(key: &Addr) -> [u8; N] {
    let mut octets = [0; N];
    octets.copy_from_slice(&key.0[16 - N..]);
    octets
}

/// The errors of the kernel's own maps.
fn refused(code: i32) -> MapError {
    MapError::SyscallError(SyscallError {
        call: "an entry's cell",
        io_error: io::Error::from_raw_os_error(code),
    })
}

#[cfg(test)]
mod tests;
