//! The table in the memory of a file: what it holds is held against a map of the standard library.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

/// The smallest there is: 256 slots, and cells for half of them.
const BUCKETS: u32 = 64;
const CELLS: u32 = cells(BUCKETS) - 1;

/// Memory for a table of 64 buckets.
struct Memory([File; 2]);

impl Memory {
    fn new() -> Self {
        let file = |bytes: usize| {
            let file = tempfile::tempfile().unwrap();
            file.set_len(bytes as u64).unwrap();
            file
        };
        Self([
            file(BUCKETS as usize * size_of::<Bucket>()),
            file(cells(BUCKETS) as usize * size_of::<Cell>()),
        ])
    }

    fn table<const N: usize>(&self, seed: u64) -> ExactEntries<N> {
        ExactEntries::mapped([self.0[0].as_fd(), self.0[1].as_fd()], BUCKETS, seed).unwrap()
    }
}

fn entry(hits: u64) -> BlockEntry {
    BlockEntry {
        hits,
        ..BlockEntry::default()
    }
}

/// An address a little like the one before.
fn key<const N: usize>(n: u32) -> [u8; N] {
    let mut key = [0x20; N];
    key[N - 4..].copy_from_slice(&n.to_be_bytes());
    key
}

fn codes<T>(answer: Result<T, MapError>) -> Result<T, Option<i32>> {
    answer.map_err(|error| crate::kernel::error::errno(&error))
}

fn follows_the_model<const N: usize>(seed: u64, steps: &[(u8, u8, u64)]) {
    let memory = Memory::new();
    let mut table: ExactEntries<N> = memory.table(seed);
    let mut model = BTreeMap::new();
    for &(step, n, hits) in steps {
        let key = key::<N>(u32::from(n));
        match step {
            0 => {
                let there = model.contains_key(&key);
                let expected = if there { Err(Some(libc::EEXIST)) } else { Ok(()) };
                model.entry(key).or_insert_with(|| entry(hits));
                assert_eq!(codes(table.set(&key, &entry(hits), NO_EXIST)), expected);
            }
            1 => {
                table.set(&key, &entry(hits), 0).unwrap();
                model.insert(key, entry(hits));
            }
            2 => {
                let expected = model.remove(&key).map(|_| ()).ok_or(Some(libc::ENOENT));
                assert_eq!(codes(table.unset(&key)), expected);
            }
            // As the next agent finds it.
            _ => table = memory.table(seed),
        }
        assert_eq!(table.get(&key).unwrap(), model.get(&key).copied());
    }
    assert_eq!(table.all().unwrap().into_iter().collect::<BTreeMap<_, _>>(), model);
    assert_eq!(table.all().unwrap().len(), model.len());
    let used = CELLS as usize - table.free.len() - table.resting.len();
    assert_eq!(used, model.len(), "a cell was lost");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn holds_what_was_put_in_and_nothing_else(
        seed in 1..u64::MAX,
        steps in prop::collection::vec((0..8_u8, 0..120_u8, any::<u64>()), 1..400),
    ) {
        // Mostly they come.
        let steps: Vec<_> = steps.iter().map(|&(step, n, hits)| (step.saturating_sub(4), n, hits)).collect();
        follows_the_model::<4>(seed, &steps);
        follows_the_model::<16>(seed, &steps);
    }
}

/// Half of the slots: twice as many entries as a table of this size is ever asked to hold.
fn fills<const N: usize>() {
    for seed in 1..40_u64 {
        let memory = Memory::new();
        let mut table: ExactEntries<N> = memory.table(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for n in 0..CELLS {
            table.set(&key(n), &entry(u64::from(n)), NO_EXIST).unwrap();
        }
        let full = codes(table.set(&key(CELLS), &entry(0), NO_EXIST));
        assert_eq!(full, Err(Some(libc::ENOSPC)));
        for n in 0..CELLS {
            assert_eq!(table.get(&key(n)).unwrap(), Some(entry(u64::from(n))), "{seed}: {n}");
        }
        assert_eq!(table.get(&key(CELLS)).unwrap(), None);
        table.unset(&key(7)).unwrap();
        table.set(&key(CELLS), &entry(0), NO_EXIST).unwrap();
    }
}

#[test]
fn is_full_when_it_holds_its_capacity_and_no_sooner() {
    fills::<4>();
    fills::<16>();
}

#[test]
fn an_entry_that_was_being_moved_is_found_once() {
    let memory = Memory::new();
    let mut table: ExactEntries<4> = memory.table(5);
    for n in 0..40 {
        table.set(&key(n), &entry(1), NO_EXIST).unwrap();
    }
    let at = table.find(&addr(&key::<4>(3))).unwrap();
    let word = table.word(at);
    let other = table.other((at / WAYS) as u32, word);
    let to = table.free_slot(other, tag(word)).unwrap();
    table.write_word(to, word);
    let table: ExactEntries<4> = memory.table(5);
    assert_eq!(table.all().unwrap().len(), 40);
    assert_eq!(table.get(&key(3)).unwrap(), Some(entry(1)));
}

#[test]
fn a_cell_that_was_freed_rests_while_there_are_others() {
    let memory = Memory::new();
    let mut table: ExactEntries<16> = memory.table(5);
    let mut seen = BTreeSet::new();
    for n in 0..CELLS {
        table.set(&key(n), &entry(1), NO_EXIST).unwrap();
        let at = table.find(&addr(&key::<16>(n))).unwrap();
        assert!(seen.insert(cell(table.word(at))), "{n}: used again");
        table.unset(&key(n)).unwrap();
    }
    assert_eq!((table.free.len(), table.resting.len()), (0, CELLS as usize));
    table.set(&key(0), &entry(1), NO_EXIST).unwrap();
    assert!(table.resting.is_empty());
}

#[test]
fn another_size_takes_all_or_says_that_it_cannot() {
    let (memory, larger) = (Memory::new(), Memory::new());
    let mut table: ExactEntries<4> = memory.table(5);
    for n in 0..100 {
        table.set(&key(n), &entry(u64::from(n)), NO_EXIST).unwrap();
    }
    let mut other: ExactEntries<4> = larger.table(9);
    assert_eq!(codes(other.adopt(&table, 99)), Err(Some(libc::ENOSPC)));
    assert_eq!(codes(other.adopt(&table, 100)), Ok(100));
    assert_eq!(other.get(&key(42)).unwrap(), Some(entry(42)));
}
