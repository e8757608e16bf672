//! From a decision back to what it followed from, and forth again.
//!
//! In: judgements as they were made ([`Judged`]), steps to prefixes ([`Widened`]), the risk as it was added up ([`Weighed`]), what held for all of them
//! ([`Ground`]). Out: rows for the store, and a [`Bundle`] that can be carried to another machine and come to again there.
//! Invariant: a bundle in which anything was changed that the decision rests on does not verify. Pure. Deliberately
//! elsewhere: judging itself (`decide`), adding up (`investigate`), keeping (`store`).

#[cfg(test)]
mod tests;

use crate::config::SeverityThresholds;
use crate::decide::{Ground, Judged, Widened};
use crate::investigate::Weighed;
use crate::model::{Model, Variant};
use crate::types::{Decision, Explanation, ProofRow, hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Of bundles. Another one is refused, since rules may have changed.
pub const VERSION: u32 = 3;
/// What two sums may differ by.
const EXACT: f64 = 1e-9;

/// What one decision followed from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// [`VERSION`] of who wrote it.
    pub version: u32,
    /// From which score on an alert is how severe.
    pub severity_thresholds: SeverityThresholds,
    /// The risk of the source; nobody asks that of a return on probation.
    pub weighed: Option<Weighed>,
    /// The judgement.
    pub judged: Judged,
    /// Of a decision about a prefix: the steps that led there from the judgement, one after the other.
    pub widened: Vec<Widened>,
}

/// A proof with the ground it stands on: all there is to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bundle {
    /// SHA-256 of the ground's text, hexadecimal.
    pub ground_sha256: String,
    /// What held for all decisions then.
    pub ground: Ground,
    /// What held for this one.
    pub proof: Proof,
}

/// One thing that was come to again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Which.
    pub what: &'static str,
    /// Whether it comes out the same.
    pub ok: bool,
    /// In words.
    pub detail: String,
}

/// The text of a ground and its digest.
///
/// # Errors
/// A number in it that JSON cannot say.
pub fn written(ground: &Ground) -> serde_json::Result<(String, [u8; 32])> {
    let text = serde_json::to_string(ground)?;
    let digest = Sha256::digest(&text).into();
    Ok((text, digest))
}

impl Bundle {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, String> {
        let bundle: Self = serde_json::from_str(text).map_err(|error| format!("it is no bundle: {error}"))?;
        let found = bundle.proof.version;
        if found != VERSION {
            return Err(format!(
                "it is of version {found}, and this program comes to decisions of version {VERSION} again; use the \
                 release that wrote it"
            ));
        }
        Ok(bundle)
    }

    /// What is kept of a decision, as a bundle's text has it.
    ///
    /// # Errors
    /// A row that is no JSON.
    pub fn of(row: &ProofRow) -> serde_json::Result<serde_json::Value> {
        Ok(serde_json::json!({
            "ground_sha256": hex(&row.sha256),
            "ground": serde_json::from_str::<serde_json::Value>(&row.ground)?,
            "proof": serde_json::from_str::<serde_json::Value>(&row.proof)?,
        }))
    }

    /// The decision it is about, as it was then.
    pub fn decision(&self) -> &Decision {
        let last = self.proof.widened.last().map(|step| &step.outcome);
        last.unwrap_or(&self.proof.judged.outcome)
    }

    /// Comes to everything again. `stored` is the decision as it is told now, `model` the one that judged, where there
    /// is one.
    pub fn verify(&self, stored: Option<&Decision>, model: Option<&Model>) -> Vec<Step> {
        let judged = &self.proof.judged;
        let mut steps = vec![
            step(
                "ground",
                "settings and protected addresses are those it names",
                self.same_ground(),
            ),
            step("severity", "follows from the score", self.same_severity()),
        ];
        if judged.former.is_none() {
            let summary = judged.risk.as_ref().map_or("", |risk| &risk.summary);
            steps.push(step("risk", summary, self.same_risk()));
        }
        steps.push(step("decision", &judged.outcome.reason, judged.verify(&self.ground)));
        let mut cause = &judged.outcome;
        for wider in &self.proof.widened {
            let follows = if wider.cause == *cause {
                wider.verify(&self.ground)
            } else {
                Err("it follows from another decision than the one before it".to_owned())
            };
            steps.push(step("prefix", &wider.outcome.reason, follows));
            cause = &wider.outcome;
        }
        if let Some(explanation) = &judged.alert.explanation {
            steps.push(step("model", &explanation.summary, same_score(explanation, model)));
        }
        if let Some(stored) = stored {
            steps.push(step(
                "told",
                "it is told as it was decided",
                same_as_told(self.decision(), stored),
            ));
        }
        steps
    }

    fn same_ground(&self) -> Result<(), String> {
        let (_, digest) = written(&self.ground).map_err(|error| error.to_string())?;
        let digest = hex(&digest);
        if digest == self.ground_sha256 {
            Ok(())
        } else {
            Err(format!("their digest is {digest}, not {}", self.ground_sha256))
        }
    }

    fn same_severity(&self) -> Result<(), String> {
        let (alert, levels) = (&self.proof.judged.alert, &self.proof.severity_thresholds);
        let is = crate::detect::severity_of(alert, levels);
        if is == Some(alert.severity) {
            return Ok(());
        }
        let is = is.map_or("none", |severity| severity.as_str());
        Err(format!(
            "a score of {} is of severity {is}, not {}",
            alert.score,
            alert.severity.as_str()
        ))
    }

    fn same_risk(&self) -> Result<(), String> {
        let weighed = self
            .proof
            .weighed
            .as_ref()
            .ok_or("what it was added up from is missing")?;
        if Some(&weighed.risk) != self.proof.judged.risk.as_ref() {
            return Err("another risk was judged by than was added up".to_owned());
        }
        weighed.verify()
    }
}

fn step(what: &'static str, otherwise: &str, came: Result<(), String>) -> Step {
    Step {
        what,
        ok: came.is_ok(),
        detail: came.err().unwrap_or_else(|| otherwise.to_owned()),
    }
}

/// The shares add up to the score, and the model that is named comes to it again where it is at hand.
fn same_score(explanation: &Explanation, model: Option<&Model>) -> Result<(), String> {
    let sum = explanation.sum();
    if (sum - explanation.score).abs() > EXACT {
        return Err(format!(
            "its shares add up to {sum:.6}, not to {:.6}",
            explanation.score
        ));
    }
    let Some(model) = model else {
        return Ok(());
    };
    let at_hand = hex(model.sha256());
    if at_hand != explanation.model {
        return Err(format!(
            "model {} judged, and the one at hand is {at_hand}; name the one that judged with --model",
            explanation.model
        ));
    }
    let values = <[f64; crate::features::WIDTH]>::try_from(explanation.vector.as_slice());
    let vector = crate::features::Vector(values.map_err(|_| "the flow's vector is not whole".to_owned())?);
    let scores = [Variant::Both, Variant::Ingress].map(|variant| model.scorer(variant).verdict(&vector).score);
    if scores.iter().any(|score| (score - explanation.score).abs() <= EXACT) {
        Ok(())
    } else {
        Err(format!(
            "the model says {:.6} of the flow, not {:.6}",
            scores[0], explanation.score
        ))
    }
}

/// What is told now is what was decided then, its end apart: time passes, and people take things back.
fn same_as_told(was: &Decision, told: &Decision) -> Result<(), String> {
    let facts = |d: &Decision| (d.id, d.target, d.action, d.terms.rate, d.actor.clone(), d.alert);
    if facts(was) == facts(told) {
        Ok(())
    } else {
        Err(format!(
            "what is told now is {} {} on the word of {}: it was changed since, by a person or by another alert",
            told.action.as_str(),
            told.target,
            told.actor
        ))
    }
}
