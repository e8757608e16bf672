//! How much detectors may do in all: whatever makes them go mad, it stays bounded.

use crate::config::CeilingConfig;
use crate::types::{Timestamp, Veto};
use std::collections::VecDeque;
use std::time::Duration;

/// The window of `per_minute`.
const MINUTE: Duration = Duration::from_mins(1);

/// When the decisions of detectors of the last minute began.
#[derive(Debug, Default)]
pub(super) struct Ceiling {
    begun: VecDeque<Timestamp>,
}

impl Ceiling {
    /// Whether one more may begin while `active` are in force.
    pub(super) fn allows(&mut self, bounds: CeilingConfig, active: usize, now: Timestamp) -> Result<(), Veto> {
        while self.begun.front().is_some_and(|begun| begun.after(MINUTE) <= now) {
            self.begun.pop_front();
        }
        if self.begun.len() >= bounds.per_minute as usize {
            return Err(Veto {
                guard: "ceiling_per_minute".to_owned(),
                reason: format!(
                    "{} decisions began within the last minute, as many as `response.ceiling.per_minute` allows",
                    self.begun.len()
                ),
            });
        }
        if active >= bounds.active as usize {
            return Err(Veto {
                guard: "ceiling_active".to_owned(),
                reason: format!(
                    "{active} decisions of detectors are in force, as many as `response.ceiling.active` allows"
                ),
            });
        }
        Ok(())
    }

    /// How many began within the last minute.
    pub(super) fn begun(&self, now: Timestamp) -> usize {
        self.begun.iter().filter(|begun| begun.after(MINUTE) > now).count()
    }

    /// As if so many had just begun.
    pub(super) fn with(begun: usize, now: Timestamp) -> Self {
        Self {
            begun: std::iter::repeat_n(now, begun).collect(),
        }
    }

    /// One began.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.begun.push_back(now);
    }
}
