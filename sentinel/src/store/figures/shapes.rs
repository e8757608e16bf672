//! The shapes of figures, as a report tells them.

use crate::types::{Service, Timestamp};
use serde::Serialize;
use std::net::IpAddr;

/// What happened from `since` to `until`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// The full hour it begins with.
    pub since: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// The earliest alert, decision or line of the audit there is, of whatever time; `None` where there is none.
    pub records_since: Option<Timestamp>,
    /// What detectors said.
    pub alerts: AlertFigures,
    /// What was found out about sources.
    pub investigations: InvestigationFigures,
    /// What was decided, by what it is and what became of it, in the order of these.
    pub decisions: Vec<DecisionCount>,
    /// What was done, by what it is and how far it got, in the order of these.
    pub actions: Vec<ActionCount>,
    /// Actions begun from the beginning to the end of the period, in the steps of alerts over time.
    pub actions_over_time: Vec<ActionStep>,
    /// How long it took from the evidence to the answer.
    pub response: ResponseFigures,
    /// Which guards refused decisions, those that did most often first.
    pub vetoes: Vec<Count>,
    /// The latest decisions that were taken back before their time.
    pub taken_back: Vec<TakenBack>,
    /// The audit, recomputed.
    pub audit: AuditFigures,
}

/// So many of that name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Of what.
    pub name: String,
    /// How many.
    pub count: u64,
}

/// So many of each severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BySeverity {
    /// Of low severity.
    pub low: u64,
    /// Of medium severity.
    pub medium: u64,
    /// Of high severity.
    pub high: u64,
}

impl BySeverity {
    pub(super) fn add(&mut self, severity: &str, count: u64) {
        match severity {
            "low" => self.low += count,
            "medium" => self.medium += count,
            _ => self.high += count,
        }
    }

    /// Of all of them.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.low + self.medium + self.high
    }
}

/// What detectors said.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AlertFigures {
    /// Of the whole period.
    pub all: BySeverity,
    /// Seconds that each of `over_time` stands for.
    pub step_seconds: u64,
    /// From the beginning to the end of the period, those without alerts too.
    pub over_time: Vec<Step>,
    /// By detector, the one with most first.
    pub by_detector: Vec<DetectorCount>,
    /// Sources that raised most.
    pub sources: Vec<SourceCount>,
    /// How many alerts, the latest ones, `families` and `targets` are read of.
    pub read: u64,
    /// By kind of attack.
    pub families: Vec<Count>,
    /// Services that were named most often.
    pub targets: Vec<TargetCount>,
}

/// Alerts of one step of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its beginning.
    pub at: Timestamp,
    /// How many.
    #[serde(flatten)]
    pub alerts: BySeverity,
}

/// Alerts of one detector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DetectorCount {
    /// Its name.
    pub name: String,
    /// How many.
    #[serde(flatten)]
    pub alerts: BySeverity,
}

/// Alerts of one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceCount {
    /// Its address.
    pub ip: IpAddr,
    /// How many it raised.
    pub count: u64,
    /// Country by its latest investigation, ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// Network by its latest investigation.
    pub network: Option<String>,
}

/// Alerts that name one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TargetCount {
    /// The service.
    #[serde(flatten)]
    pub service: Service,
    /// How many name it.
    pub count: u64,
}

/// What was found out about sources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InvestigationFigures {
    /// How many there are.
    pub total: u64,
    /// By how far they got.
    pub by_state: Vec<Count>,
    /// By risk.
    pub by_risk: BySeverity,
    /// How many of them, the latest ones, `sources` is read of.
    pub read: u64,
    /// What became of asking each source, by its name.
    pub sources: Vec<IntelSourceCount>,
}

/// What became of asking a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IntelSourceCount {
    /// Its name.
    pub name: String,
    /// How often it was to be asked.
    pub asked: u64,
    /// How often there was an answer, also out of memory.
    pub answered: u64,
    /// Why there was none, where there was none; the commonest first.
    pub silent: Vec<Count>,
}

/// Decisions of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DecisionCount {
    /// What was to be done.
    pub kind: String,
    /// Where they stand.
    pub status: String,
    /// Counted, not enforced.
    pub simulated: bool,
    /// `detector` or `operator`.
    pub origin: String,
    /// How many.
    pub count: u64,
}

/// Actions of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActionCount {
    /// What.
    pub kind: String,
    /// How far they got.
    pub status: String,
    /// Of simulated decisions.
    pub simulated: bool,
    /// How many.
    pub count: u64,
    /// Packets dropped, redirected or beyond a rate, as it was last kept.
    pub packets: u64,
    /// Packets that would have been.
    pub would_packets: u64,
}

/// Actions begun in one step of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ActionStep {
    /// Its beginning.
    pub at: Timestamp,
    /// Of decisions that are carried out.
    pub real: u64,
    /// Of simulated ones.
    pub simulated: u64,
}

/// How long it took, ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Times {
    /// Of how many.
    pub of: u64,
    /// The middle one.
    pub p50_ms: f64,
    /// 99 of 100 took no longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// How long it took from the evidence to the answer, of the latest decisions by detectors that are in force or were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ResponseFigures {
    /// Decisions looked at.
    pub read: u64,
    /// Until the entry was read back from the kernel, or the attempt had failed.
    pub to_outcome: Option<Times>,
    /// Until the first packet met the entry: dropped, or counted in simulation. Attackers' pauses are in it.
    pub to_first_packet: Option<Times>,
}

/// A decision that was taken back before its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TakenBack {
    /// When it ended.
    pub at: Option<Timestamp>,
    /// What it was about.
    pub target: String,
    /// What was done.
    pub kind: String,
    /// `deleted`, `lifted`, `rolled_back` or `failed`.
    pub status: String,
    /// Whether it was simulated.
    pub simulated: bool,
    /// Why it had been taken.
    pub reason: String,
    /// How it ended, in the words of its action.
    pub outcome: Option<String>,
}

/// The audit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AuditFigures {
    /// Lines that are as they were written, of all times.
    pub intact: u64,
    /// Hash of the last of them, hex: SHA-256 over all before it.
    pub head: String,
    /// What is wrong with the first line that is not.
    pub broken: Option<String>,
    /// Lines of the period.
    pub of_period: u64,
    /// The last line that retention removed; the chain is whole from the one after it. 0 where it removed none.
    pub pruned: u64,
}
