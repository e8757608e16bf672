//! What happened in a period, as a document: JSON, HTML or PDF.
//!
//! In: the store's figures and what they were made under. Out: bytes and their media type.
//! Invariant: the same report gives the same bytes; all three tell the same; what came from the network is text, nothing
//! else; what was simulated is never told as done. Deliberately elsewhere: counting (`store`), who may ask (`api`), time.

mod error;
mod html;
pub mod kept;
mod layout;
mod outline;
mod pdf;
#[cfg(test)]
mod tests;
mod typeface;
mod words;

pub use error::ReportError;

use crate::store::Figures;
use crate::types::{Stop, Timestamp};
use serde::Serialize;
use std::time::Duration;

/// Of the shape of [`Report`] as JSON; moves when a field changes its meaning or goes.
pub const VERSION: u32 = 1;

/// Longest period, days.
const LONGEST_DAYS: u64 = 3660;

/// All that a report tells; as JSON it is the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// Of the agent or command that made it.
    pub sentinel: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// `simulation` or `production` of the agent, when it was made; [`OFFLINE`] where none ran.
    pub mode: String,
    /// Who had stopped all acting by then.
    pub stopped: Option<Stop>,
    /// What happened.
    #[serde(flatten)]
    pub figures: Figures,
}

/// [`Report::mode`] where no agent ran, so that nobody was asked what is in force.
pub const OFFLINE: &str = "offline";

impl Report {
    /// Out of the figures of a period, which ends when it is made.
    pub fn new(figures: Figures, mode: &str, stopped: Option<Stop>) -> Self {
        Self {
            version: VERSION,
            sentinel: env!("CARGO_PKG_VERSION").to_owned(),
            made_at: figures.until,
            mode: mode.to_owned(),
            stopped,
            figures,
        }
    }

    /// Made at another time than its period's end.
    #[must_use]
    pub fn made_at(mut self, at: Timestamp) -> Self {
        self.made_at = at;
        self
    }

    /// As a document.
    ///
    /// # Errors
    /// [`ReportError::Json`], [`ReportError::Pdf`]: neither is the input's fault.
    pub fn write(&self, format: Format) -> Result<Vec<u8>, ReportError> {
        match format {
            Format::Json => {
                let mut text = serde_json::to_vec_pretty(self).map_err(ReportError::Json)?;
                text.push(b'\n');
                Ok(text)
            }
            Format::Html => Ok(html::write(&outline::of(self)).into_bytes()),
            Format::Pdf => pdf::write(&outline::of(self), self),
        }
    }

    /// A name for the file, without a folder.
    pub fn file_name(&self, format: Format) -> String {
        let day: String = self.made_at.to_string().chars().take(10).collect();
        format!("sentinel-report-{day}.{}", format.name())
    }
}

/// When a period begins that ends at `now`.
///
/// # Errors
/// [`ReportError::Period`] where it would be empty or longer than ten years.
pub fn begins(now: Timestamp, since: Timestamp) -> Result<Timestamp, ReportError> {
    let longest = now.before(Duration::from_hours(24 * LONGEST_DAYS));
    if since >= now {
        return Err(ReportError::Period("it would begin in the future".to_owned()));
    }
    if since < longest {
        return Err(ReportError::Period(format!(
            "it would be longer than {LONGEST_DAYS} days"
        )));
    }
    Ok(since)
}

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For programs.
    Json,
    /// One file for a browser.
    Html,
    /// For whoever is to read it on paper.
    Pdf,
}

impl Format {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Json, Self::Html, Self::Pdf];

    /// The name, and the ending of files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Html => "html",
            Self::Pdf => "pdf",
        }
    }

    /// By that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The media type (RFC 9110, 8.3.1).
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Html => "text/html; charset=utf-8",
            Self::Pdf => "application/pdf",
        }
    }
}
