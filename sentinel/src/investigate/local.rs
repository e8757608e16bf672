//! What this host saw by itself.

use crate::flow::Bounded;
use crate::types::{Alert, Detector, EvidenceClass, Ktime};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// Sources remembered; the least recently alerted makes room.
const SOURCES: usize = 16_384;
/// For how long what a detector said of a source still counts beside what another says now.
const MEMORY: Duration = Duration::from_mins(10);

/// One detector's word about one source.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Local {
    /// Who.
    pub detector: Detector,
    /// What it suffices for.
    pub class: EvidenceClass,
    /// How far past its limit, 0.5 at it, 0 to 1.
    pub score: f64,
    /// The model's calibrated probability, where it was the model.
    pub probability: Option<f64>,
    /// When.
    pub at: Ktime,
}

impl Local {
    /// Of an alert.
    pub fn of(alert: &Alert) -> Self {
        Self {
            detector: alert.detector,
            class: alert.class,
            score: alert.score,
            probability: alert.explanation.as_ref().map(|e| e.probability),
            at: alert.evidence_at,
        }
    }
}

/// The latest word of every detector about every source that was spoken of lately. Bounded.
#[derive(Debug)]
pub struct Recent {
    sources: Bounded<IpAddr, Vec<Local>>,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            sources: Bounded::new(SOURCES),
        }
    }
}

impl Recent {
    /// Takes an alert in and returns all that is to be weighed about its source: the alert first, then the others'.
    /// An alert that names nobody stands alone.
    pub fn take(&mut self, alert: &Alert) -> Vec<Local> {
        let new = Local::of(alert);
        let Some(source) = alert.source else {
            return vec![new];
        };
        let mut said = self.sources.remove(&source).unwrap_or_default();
        said.retain(|old| old.detector != new.detector && new.at.since(old.at) < MEMORY);
        // One per detector, so the list is as short as there are detectors.
        said.insert(0, new);
        self.sources.insert(source, said.clone());
        said
    }

    /// Sources that had to make room.
    pub fn evicted(&self) -> u64 {
        self.sources.evicted()
    }
}
