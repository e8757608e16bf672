//! Tables made from a seed, small and learnable.

use super::rng::Rng;
use super::table::Table;
use crate::features::FEATURES;
use std::fmt::Write;

/// A table's text: benign flows, scans and floods of two origins in ten groups each. `shuffled` draws labels by group,
/// whatever its flows do.
pub(super) fn text(rows: usize, seed: u64, shuffled: bool) -> String {
    let mut rng = Rng::new(seed, "testing", 0);
    let mut out = String::from("origin,group,family,y,t0,src,dport");
    for feature in &FEATURES {
        let _ = write!(out, ",{}", feature.name);
    }
    out.push('\n');
    let families = ["benign", "benign", "scan", "flood_syn"];
    for row in 0..rows {
        let origin = ["one", "two"][row % 2];
        let group = rng.below(20);
        let does = families[rng.below(4)];
        // By group, so that nothing but the group tells the label.
        let label = if shuffled { families[(group * 7 + 3) % 4] } else { does };
        let y = u8::from(label != "benign");
        let _ = write!(
            out,
            "{origin},{origin}/{group},{label},{y},{}.5,192.0.2.{group},443",
            1000 + row
        );
        for feature in &FEATURES {
            let value = match (feature.name, does) {
                ("ws_ports", "scan") => 20.0 + rng.unit() * 400.0,
                ("ws_n" | "wd_n", "flood_syn") => 500.0 + rng.unit() * 9000.0,
                ("f_n", "benign") => 4.0 + rng.unit() * 60.0,
                ("f_n", _) => 1.0 + rng.unit() * 3.0,
                _ => rng.unit() * 9.0,
            };
            let _ = write!(out, ",{value:.3}");
        }
        out.push('\n');
    }
    out
}

/// The table of [`text`].
pub(super) fn table(rows: usize, seed: u64, shuffled: bool) -> Table {
    Table::parse("made.csv", &text(rows, seed, shuffled)).expect("a table")
}
