//! Why there is no report.

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The period that was asked for is none.
    #[error("no such period: {0}; ask for one such as `24h`, `7d` or `30d`")]
    Period(String),
    /// It could not be written as JSON.
    #[error("the report could not be written as JSON: {0}; ask for another format, and report this")]
    Json(#[source] serde_json::Error),
    /// It could not be written as PDF.
    #[error("the report could not be written as PDF: {0}; ask for HTML, and report this")]
    Pdf(String),
}
