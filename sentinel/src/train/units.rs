//! What is held out together: never a row without the rows around it.

use super::table::Table;
use std::collections::BTreeMap;

/// A group with more than one in so many of its origin's rows is cut by time: held out whole, it would be most of what
/// is said of the origin.
const MOST: usize = 20;
/// Pieces of a group that is cut.
const PIECES: f64 = 10.0;

/// Units of a table: each row in one. A unit is a group, or a tenth of the time of a group that is a large part of its
/// origin.
#[derive(Clone, Debug)]
pub(super) struct Units {
    /// Of each row.
    pub(super) of: Vec<u32>,
    /// Units of each origin.
    pub(super) by_origin: Vec<Vec<u32>>,
    /// How many there are.
    pub(super) count: usize,
}

impl Units {
    pub(super) fn of(table: &Table) -> Self {
        let mut groups: BTreeMap<u32, usize> = BTreeMap::new();
        let mut origins: BTreeMap<u16, usize> = BTreeMap::new();
        let mut spans: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
        for row in &table.rows {
            *groups.entry(row.group).or_default() += 1;
            *origins.entry(row.origin).or_default() += 1;
            let span = spans.entry(row.group).or_insert((row.t0, row.t0));
            *span = (span.0.min(row.t0), span.1.max(row.t0));
        }
        let mut numbers: BTreeMap<(u16, u32, u32), u32> = BTreeMap::new();
        let mut by_origin = vec![Vec::new(); table.origins.len()];
        let of = table.rows.iter().map(|row| {
            let (from, to) = spans[&row.group];
            let piece = if groups[&row.group] * MOST > origins[&row.origin] && to > from {
                (((row.t0 - from) / (to - from)) * PIECES).min(PIECES - 1.0) as u32
            } else {
                0
            };
            let next = numbers.len() as u32;
            *numbers.entry((row.origin, row.group, piece)).or_insert_with(|| {
                by_origin[usize::from(row.origin)].push(next);
                next
            })
        });
        let of = of.collect();
        Self {
            of,
            by_origin,
            count: numbers.len(),
        }
    }
}
