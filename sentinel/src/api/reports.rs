//! What happened in a period, as a document: `POST /reports`; and those that were made by themselves.

use super::commands::Body;
use super::dto::{KeptReportDto, NewReportDto, ReportsDto, mode};
use super::error::Problem;
use super::query::{short, since};
use super::{Shared, now};
use crate::report::{Format, Report, ReportError, begins, kept};
use axum::Json;
use axum::extract::{Path, State};
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
    Ok(file(&name, format, document))
}

fn file(name: &str, format: Format, document: Vec<u8>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, format.media_type().to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, document).into_response()
}

/// Those that were made by themselves.
pub(super) async fn list(State(api): State<Shared>) -> Result<Json<ReportsDto>, Problem> {
    let directory = api.config.reports.directory.clone();
    let found = tokio::task::spawn_blocking(move || kept::list(&directory)).await;
    let found = found
        .map_err(|error| Problem::internal(&error))?
        .map_err(|error| Problem::internal(&error))?;
    let items: Vec<_> = found.into_iter().map(KeptReportDto::from).collect();
    Ok(Json(ReportsDto {
        total: items.len(),
        items,
    }))
}

/// One of those.
pub(super) async fn kept_one(State(api): State<Shared>, Path(name): Path<String>) -> Result<Response, Problem> {
    let (directory, wanted) = (api.config.reports.directory.clone(), name.clone());
    let found = tokio::task::spawn_blocking(move || kept::read(&directory, &wanted)).await;
    let found = found
        .map_err(|error| Problem::internal(&error))?
        .map_err(|error| Problem::internal(&error))?;
    match found {
        // A name that was found is one of ours, letters and digits.
        Some((format, document)) => Ok(file(&name, format, document)),
        None => Err(Problem::not_found("there is no such report")),
    }
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
