//! Which attacks there were: `attacks.jsonl`, one a line.

use super::error::{DatasetError, io};
use crate::features::FeatureRecord;
use serde::Deserialize;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::Path;

/// An attack: who, what, when. Other members of its line are ignored.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Event {
    /// What it was, such as `scan`.
    pub family: String,
    /// Who.
    pub ip: IpAddr,
    /// When it began, s since 1970.
    pub t0: f64,
    /// When it ended, s since 1970.
    pub t1: f64,
}

/// How far outside its time a flow may lie and still belong to an attack: two clocks, and packets on their way, s.
const SLACK: f64 = 1.0;

impl Event {
    /// Seconds between a flow and this attack; 0 where they overlap.
    pub(super) fn distance(&self, record: &FeatureRecord) -> f64 {
        let (start, end) = (seconds(record.start.0), seconds(record.end.0));
        (self.t0 - end).max(start - self.t1).max(0.0)
    }
}

/// All attacks in a capture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Truth {
    /// In the order of the file.
    pub events: Vec<Event>,
}

impl Truth {
    /// Reads a file of one JSON object a line: `{"family","ip","t0","t1"}`.
    ///
    /// # Errors
    /// [`DatasetError::Io`]; [`DatasetError::Line`] where a line is no attack.
    pub fn read(path: &Path) -> Result<Self, DatasetError> {
        let mut events = Vec::new();
        for (number, line) in BufReader::new(File::open(path).map_err(io(path))?).lines().enumerate() {
            let line = line.map_err(io(path))?;
            if line.trim().is_empty() {
                continue;
            }
            let fault = |cause: String| DatasetError::Line {
                path: path.to_owned(),
                line: number + 1,
                cause,
            };
            let event: Event = serde_json::from_str(&line).map_err(|e| {
                fault(format!(
                    "no attack: {e}; write {{\"family\": …, \"ip\": …, \"t0\": …, \"t1\": …}}, times in unix seconds"
                ))
            })?;
            if !(event.t0.is_finite() && event.t1.is_finite() && event.t0 <= event.t1) {
                return Err(fault(
                    "an attack's t1 is no earlier than its t0; both are unix seconds".into(),
                ));
            }
            events.push(event);
        }
        Ok(Self { events })
    }

    /// The attack a flow belongs to: one of its ends is the attacker, and it lies in the attack's time. Of several the one
    /// it began the latest in.
    pub fn of(&self, record: &FeatureRecord) -> Option<&Event> {
        let among = self
            .events
            .iter()
            .filter(|e| of(e, record) && e.distance(record) <= SLACK);
        among.max_by(|a, b| rank(a, record).total_cmp(&rank(b, record)))
    }
}

/// Whether an attack's source has a part in the flow.
pub(super) fn of(event: &Event, record: &FeatureRecord) -> bool {
    record.source == event.ip || record.target.ip == event.ip
}

/// Later attacks that had begun when the flow did come before those that had not.
fn rank(event: &Event, record: &FeatureRecord) -> f64 {
    let early = seconds(record.start.0) + SLACK - event.t0;
    if early >= 0.0 { -early } else { early - 1e12 }
}

/// Seconds of nanoseconds.
pub(super) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
