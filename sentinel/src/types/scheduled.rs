//! A report that was made by itself.

use super::Timestamp;
use std::path::PathBuf;

/// What was made, on disk already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledReport {
    /// From when (included) to when (not included).
    pub period: (Timestamp, Timestamp),
    /// One for each format, in the order of the settings.
    pub files: Vec<PathBuf>,
    /// For people, one line: `Sentinel weekly report, 2026-11-16 to 2026-11-22`.
    pub title: String,
}
