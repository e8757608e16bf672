//! From an alert and the risk of its source to how hard it is hit: the matrix, and what softens its answer.

use super::Judge;
use super::judge::CORROBORATED;
use crate::types::{
    ActionKind, Alert, Check, CheckVerdict, Detector, EvidenceClass, Rate, Risk, Severity, Standing, Veto,
};
use std::time::Duration;

/// What a flood of packets in somebody's name makes speak: of these a standing connection is kept. Not of scans: whoever holds one
/// connection would have a licence for them.
const FLOODS: [Detector; 4] = [
    Detector::SynFlood,
    Detector::PacketFlood,
    Detector::Reflex,
    Detector::SynFloodKernel,
];

/// What is to be done, and which bound had what to say of it.
#[derive(Clone, Debug)]
pub(super) struct Measure {
    /// What.
    pub(super) reaction: ActionKind,
    /// A rate other than the configured one.
    pub(super) rate: Option<Rate>,
    /// For how long.
    pub(super) length: Duration,
    /// Each bound that was asked.
    pub(super) checks: Vec<Check>,
}

impl Measure {
    fn passed(&mut self, guard: &str, reason: impl Into<String>) {
        self.check(guard, CheckVerdict::Passed, reason);
    }

    fn soften(&mut self, guard: &str, reaction: ActionKind, reason: impl Into<String>) {
        self.reaction = reaction;
        self.check(guard, CheckVerdict::Softened, reason);
    }

    pub(super) fn check(&mut self, guard: &str, verdict: CheckVerdict, reason: impl Into<String>) {
        self.checks.push(Check {
            guard: guard.to_owned(),
            verdict,
            reason: reason.into(),
        });
    }

    /// What softened it, for the decision's sentence.
    pub(super) fn softened(&self) -> Option<String> {
        let words: Vec<&str> = self
            .checks
            .iter()
            .filter(|check| check.verdict == CheckVerdict::Softened)
            .map(|check| check.reason.as_str())
            .collect();
        (!words.is_empty()).then(|| words.join("; "))
    }
}

impl Judge {
    /// What an alert asks for, given the risk of its source. Pure, and of nothing but what it is given: what is in force
    /// already plays no part.
    pub(super) fn measure(&self, alert: &Alert, risk: &Risk) -> Measure {
        let mut measure = Measure {
            reaction: self.config.matrix.reaction(alert.severity, risk.level),
            rate: None,
            length: Duration::ZERO,
            checks: Vec::new(),
        };
        let cell = measure.reaction;
        measure.passed(
            "matrix",
            format!(
                "severity {} and risk {} ask for {}",
                alert.severity.as_str(),
                risk.level.as_str(),
                cell.as_str()
            ),
        );
        by_class(alert, risk, &mut measure);
        self.by_detector(alert, &mut measure);
        self.by_confidence(risk, &mut measure);
        let length = self.length(alert.detector, measure.reaction, risk);
        measure.length = length;
        self.by_proof(alert, risk, &mut measure);
        measure
    }

    /// What the word of this detector suffices for.
    fn by_detector(&self, alert: &Alert, measure: &mut Measure) {
        let most = self.config.policy.detectors.of(alert.detector).most;
        if measure.reaction > most {
            let name = alert.detector.as_str();
            let words = format!(
                "{name} suffices for {} (`response.detectors.{name}.most`)",
                most.as_str()
            );
            measure.soften("detector_policy", most, words);
        }
    }

    /// Thin evidence starts softly.
    fn by_confidence(&self, risk: &Risk, measure: &mut Measure) {
        let least = self.config.policy.confidence;
        if measure.reaction <= ActionKind::RateLimit {
            return;
        }
        if risk.confidence < least {
            measure.soften(
                "confidence",
                ActionKind::RateLimit,
                format!(
                    "only limited, because the risk is sure to {:.2}, below the {least:.2} of `response.confidence`",
                    risk.confidence
                ),
            );
        } else {
            measure.passed("confidence", format!("sure to {:.2} of {least:.2}", risk.confidence));
        }
    }

    /// An address that may be forged is not blocked on what was seen here alone: what opens connections from it is
    /// limited, for a short time, which its owner hardly feels.
    fn by_proof(&self, alert: &Alert, risk: &Risk, measure: &mut Measure) {
        if measure.reaction < ActionKind::RateLimit {
            return;
        }
        if !alert.detector.forgeable() {
            let words = "its evidence are connections that only whoever receives at the address can have";
            return measure.passed("return_path", words);
        }
        if risk.corroborated_by > 0 {
            return measure.passed("return_path", "a source outside calls the address bad");
        }
        let unproven = &self.config.policy.unproven;
        let standing = alert.standing.unwrap_or_default();
        let history = self.history(&standing);
        let (guard, words) = if !standing.proven {
            (
                "return_path",
                "spoofing suspected: only what opens connections is limited, because the address completed no handshake \
                 and may be forged"
                    .to_owned(),
            )
        } else if history {
            (
                "good_history",
                format!(
                    "spoofing suspected: only what opens connections is limited, because the address had {} good \
                     sessions before and this may be forged",
                    standing.good_sessions
                ),
            )
        } else if standing.connected && FLOODS.contains(&alert.detector) {
            (
                "connected",
                "spoofing suspected: only what opens connections is limited, because the address has or just had a \
                 connection, which somebody may want to be cut, and this may be forged"
                    .to_owned(),
            )
        } else {
            return measure.passed("return_path", "the address completed a handshake within the hour");
        };
        measure.soften(guard, ActionKind::RateLimit, words);
        measure.rate = Some(unproven.rate);
        measure.length = measure.length.min(unproven.duration);
    }

    fn history(&self, standing: &Standing) -> bool {
        let unproven = &self.config.policy.unproven;
        standing.good_sessions >= unproven.good_sessions
            && u128::from(standing.good_for_ms) >= unproven.good_after.as_millis()
    }

    /// What a guard says of an alert that somebody else may have made in the name of whom it protects.
    pub(super) fn suspecting(&self, veto: Veto, alert: &Alert) -> Veto {
        let standing = alert.standing.unwrap_or_default();
        let why = if !alert.detector.forgeable() {
            return veto;
        } else if veto.guard == "own_address" {
            "unless a program of this host sent it, somebody else did in its name"
        } else if !standing.proven {
            "the address completed no handshake within the hour, and anybody can send this in its name"
        } else if self.history(&standing) || standing.connected {
            "the address behaved well until then, and anybody can send this in its name"
        } else if veto.guard != "allowlist" {
            "anybody can send this in its name, and whoever wants this host cut off would choose that name"
        } else {
            return veto;
        };
        Veto {
            reason: format!("{}; spoofing suspected: {why}", veto.reason),
            ..veto
        }
    }

    /// How long a decision by a detector lasts, the first time.
    pub(super) fn length(&self, detector: Detector, reaction: ActionKind, risk: &Risk) -> Duration {
        let own = self.config.policy.detectors.of(detector).duration;
        let length = if !own.is_zero() {
            own
        } else if reaction == ActionKind::RateLimit {
            self.config.rate_limit_duration
        } else if risk.corroborated_by >= CORROBORATED && risk.level == Severity::High {
            self.config.corroborated_duration.max(self.config.duration)
        } else {
            self.config.duration
        };
        length.min(self.config.max_duration)
    }
}

/// Statistical evidence acts only where two independent sources outside agree.
fn by_class(alert: &Alert, risk: &Risk, measure: &mut Measure) {
    if alert.class == EvidenceClass::Behaviour || measure.reaction == ActionKind::LogOnly {
        return;
    }
    if risk.corroborated_by >= CORROBORATED {
        measure.passed(
            "evidence_class",
            format!(
                "an oddity, and {} independent sources outside agree",
                risk.corroborated_by
            ),
        );
    } else {
        measure.soften(
            "evidence_class",
            ActionKind::LogOnly,
            "only logged, because an oddity acts only where two independent sources outside agree",
        );
    }
}
