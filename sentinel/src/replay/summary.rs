//! What a replay came to, in numbers.

use crate::types::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// The content of `summary.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Name of the capture, without its directory.
    pub file: String,
    /// Whether it was read to its end.
    pub complete: bool,
    /// What broke, if something did.
    pub problem: Option<String>,
    /// First packet.
    pub start: Option<Timestamp>,
    /// Latest packet.
    pub end: Option<Timestamp>,
    /// Packets read.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Packets stamped earlier than one before them; they were taken at the later time.
    pub out_of_order: u64,
    /// Packets whose headers could not be read, by reason.
    pub unread: BTreeMap<&'static str, u64>,
    /// Flows seen.
    pub flows: u64,
    /// Flow records made of them.
    pub records: u64,
    /// Packets by verdict.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// Alerts by detector.
    pub alerts: BTreeMap<&'static str, u64>,
    /// Alerts by severity.
    pub severities: BTreeMap<&'static str, u64>,
    /// Decisions by status.
    pub decisions: BTreeMap<String, u64>,
    /// Vetoes by guard.
    pub vetoes: BTreeMap<String, u64>,
    /// What bounded memories had to give up, by room and reason; zeros are left out.
    pub lost: BTreeMap<String, u64>,
}
