//! What happened in a period, as a document: `POST /reports`.

use super::commands::Body;
use super::dto::{NewReportDto, mode};
use super::error::Problem;
use super::query::{short, since};
use super::{Shared, now};
use crate::report::{Format, Report, ReportError, begins};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::time::Duration;

/// How long one may take.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);

/// When to ask again while another is made.
const AGAIN: Duration = Duration::from_secs(5);

/// Answers with the document itself.
pub(super) async fn make(State(api): State<Shared>, Body(body): Body<NewReportDto>) -> Result<Response, Problem> {
    let now = now();
    let format = Format::named(&body.format).ok_or_else(|| {
        Problem::invalid(format!(
            "`format` must be `json`, `html` or `pdf`, not `{}`",
            short(&body.format)
        ))
    })?;
    let since = since(&body.since, now).ok_or_else(|| {
        Problem::invalid(format!(
            "`since` must be an RFC 3339 time or a duration such as `30d`, not `{}`",
            short(&body.since)
        ))
    })?;
    let since = begins(now, since)?;
    // Counting goes through much of the database: one at a time.
    let Ok(_turn) = api.reports.try_acquire() else {
        return Err(busy());
    };
    let figures = api.store.figures(since, now).await?;
    let report = Report::new(figures, mode(&api.config), api.acting.borrow().stopped.clone());
    let name = report.file_name(format);
    let written = tokio::task::spawn_blocking(move || report.write(format)).await;
    let document = written.map_err(|error| Problem::internal(&error))??;
    let headers = [
        (header::CONTENT_TYPE, format.media_type().to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, document).into_response())
}

pub(super) fn busy() -> Problem {
    let title = "Another report is being made";
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "busy",
        title,
        "one is made at a time; try again in some seconds",
    )
    .retry_after(AGAIN)
}

impl From<ReportError> for Problem {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Period(_) => Self::invalid(error.to_string()),
            other => Self::internal(&other),
        }
    }
}
