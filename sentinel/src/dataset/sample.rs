//! At most so many rows of a kind, the same ones on every machine.

use std::collections::{BTreeMap, BinaryHeap};

/// A row with its place in the table and in the lottery.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ticket {
    lot: u64,
    place: u64,
    line: String,
}

/// Rows, at most `most` of each kind: those with the smallest hash of kind and number, which is a sample without
/// replacement as good as any, and depends on nothing else.
#[derive(Debug)]
pub(super) struct Sample {
    most: usize,
    place: u64,
    kinds: BTreeMap<(String, String), (u64, BinaryHeap<Ticket>)>,
}

impl Sample {
    /// An empty sample.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            place: 0,
            kinds: BTreeMap::new(),
        }
    }

    /// Takes in a row of a group and a family.
    pub(super) fn add(&mut self, group: &str, family: &str, line: String) {
        let (number, heap) = self.kinds.entry((group.to_owned(), family.to_owned())).or_default();
        let lot = lot(group, family, *number);
        *number += 1;
        self.place += 1;
        heap.push(Ticket {
            lot,
            place: self.place,
            line,
        });
        if heap.len() > self.most {
            heap.pop();
        }
    }

    /// Rows that came and rows kept, by family, and the lines kept, in the order they came.
    pub(super) fn finish(self) -> (BTreeMap<String, (u64, u64)>, Vec<String>) {
        let mut families: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        let mut tickets = Vec::new();
        for ((_, family), (came, heap)) in self.kinds {
            let counts = families.entry(family).or_default();
            counts.0 += came;
            counts.1 += heap.len() as u64;
            tickets.extend(heap);
        }
        tickets.sort_unstable_by_key(|ticket| ticket.place);
        (families, tickets.into_iter().map(|ticket| ticket.line).collect())
    }
}

/// FNV-1a over kind and number, stirred once more.
fn lot(group: &str, family: &str, number: u64) -> u64 {
    let bytes = group
        .bytes()
        .chain([0])
        .chain(family.bytes())
        .chain([0])
        .chain(number.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_keeps_so_many_in_order_and_always_the_same() {
        let draw = || {
            let mut sample = Sample::new(100);
            for n in 0..1000 {
                sample.add("a", "scan", format!("scan {n:04}"));
                if n < 10 {
                    sample.add("a", "benign", format!("benign {n:04}"));
                }
            }
            sample.finish()
        };
        let (counts, lines) = draw();
        assert_eq!((counts["scan"], counts["benign"]), ((1000, 100), (10, 10)));
        let scans: Vec<_> = lines.iter().filter(|line| line.starts_with("scan")).collect();
        assert_eq!((scans.len(), lines.len()), (100, 110));
        assert!(scans.is_sorted());
        let early = scans.iter().filter(|line| line.as_str() < "scan 0500").count();
        assert!((35..=65).contains(&early), "{early} of 100 from the first half");
        assert_eq!(draw().1, lines);
    }
}
