//! What happened, in words other tools understand.
//!
//! In: flows, alerts, verdicts, totals. Out: lines of `eve.json` with Suricata's field names.
//! Invariant: nothing from the network reaches a line but numbers and addresses. Deliberately elsewhere: files.

pub mod community;
pub mod eve;
