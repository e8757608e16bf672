//! What files hold besides the rows that are learnt from.

use serde::Serialize;
use std::fmt;

/// Rows that were read and not taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Without a label.
    pub unlabelled: u64,
    /// Of a sensor that sees no TCP flags: the features that need them would be nought, which is not what they were.
    pub sensor: u64,
    /// Last lines of the traffic log that were not complete yet.
    pub unfinished: u64,
}

impl LeftOut {
    pub(super) const fn since(self, earlier: Self) -> Self {
        Self {
            unlabelled: self.unlabelled - earlier.unlabelled,
            sensor: self.sensor - earlier.sensor,
            unfinished: self.unfinished - earlier.unfinished,
        }
    }
}

/// `12 have no label, 1 is of a sensor that sees no TCP flags`; empty where nothing was left out.
impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = [
            (self.unlabelled, "has no label", "have no label"),
            (
                self.sensor,
                "is of a sensor that sees no TCP flags",
                "are of a sensor that sees no TCP flags",
            ),
            (self.unfinished, "was not complete yet", "were not complete yet"),
        ];
        let mut between = "";
        for (count, one, many) in told.into_iter().filter(|(count, ..)| *count > 0) {
            let says = if count == 1 { one } else { many };
            write!(f, "{between}{count} {says}")?;
            between = ", ";
        }
        Ok(())
    }
}

/// Whether a sensor sees TCP flags, and its rows are like those that models are made of; a table that names none is of captures.
pub(super) fn knows_flags(sensor: &str) -> bool {
    matches!(sensor.trim(), "xdp" | "pcap" | "")
}
