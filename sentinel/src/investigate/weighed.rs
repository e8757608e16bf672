//! Everything a risk came from, so that it can be added up again.

use super::{Local, Weigh, Weigher, risk};
use crate::config::SeverityThresholds;
use crate::types::{Answer, Indicator, Risk, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What two sums may differ by: numbers go through text.
const EXACT: f64 = 1e-9;

/// A risk with what went into it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weighed {
    /// What was seen here.
    pub local: Vec<Local>,
    /// What was said outside.
    pub answers: Vec<Answer>,
    /// How much the word of each of those counts.
    pub weights: BTreeMap<String, Weigh>,
    /// Levels of risk.
    pub thresholds: SeverityThresholds,
    /// When it was added up: what sources last saw counts less with age.
    pub at: Timestamp,
    /// The sum.
    pub risk: Risk,
}

impl Weighed {
    /// Adds up what is known.
    pub fn new(
        local: &[Local],
        answers: &[Answer],
        weigher: &Weigher,
        thresholds: &SeverityThresholds,
        at: Timestamp,
    ) -> Self {
        let asked = answers
            .iter()
            .filter_map(|answer| weigher.get_key_value(&answer.source));
        let weights: Weigher = asked.map(|(name, weigh)| (name.clone(), weigh.clone())).collect();
        Self {
            risk: add(local, answers, &weights, thresholds, at),
            local: local.to_vec(),
            answers: answers.to_vec(),
            weights,
            thresholds: *thresholds,
            at,
        }
    }

    /// Adds it up again.
    ///
    /// # Errors
    /// What comes out differently, in words.
    pub fn verify(&self) -> Result<(), String> {
        let again = add(&self.local, &self.answers, &self.weights, &self.thresholds, self.at);
        let (new, old) = (&again, &self.risk);
        let apart = |a: f64, b: f64| (a - b).abs() > EXACT;
        if apart(new.score, old.score) || apart(new.log_odds, old.log_odds) {
            return Err(format!("the parts add up to {:.6}, not to {:.6}", new.score, old.score));
        }
        let facts = |risk: &Risk| (risk.level, risk.corroborated_by, risk.local_only, risk.summary.clone());
        if apart(new.confidence, old.confidence) || facts(new) != facts(old) {
            return Err(format!(
                "it comes to \u{201c}{}\u{201d}, not to \u{201c}{}\u{201d}",
                new.summary, old.summary
            ));
        }
        Ok(())
    }
}

fn add(local: &[Local], answers: &[Answer], weights: &Weigher, thresholds: &SeverityThresholds, at: Timestamp) -> Risk {
    let indicators: Vec<&Indicator> = answers.iter().filter_map(|a| a.indicator.as_ref()).collect();
    risk(local, &indicators, weights, thresholds, at)
}
