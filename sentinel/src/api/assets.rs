//! The dashboard: static files, embedded, and the headers that keep scripts of others out of it.

use axum::extract::Path;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};

use super::error::Problem;

/// Name, media type, content.
const ASSETS: &[(&str, &str, &str)] = &[
    ("app.js", "text/javascript; charset=utf-8", include_str!("web/app.js")),
    (
        "chart.js",
        "text/javascript; charset=utf-8",
        include_str!("web/chart.js"),
    ),
    ("docs.css", "text/css; charset=utf-8", include_str!("web/docs.css")),
    ("docs.js", "text/javascript; charset=utf-8", include_str!("web/docs.js")),
    (
        "format.js",
        "text/javascript; charset=utf-8",
        include_str!("web/format.js"),
    ),
    (
        "model.js",
        "text/javascript; charset=utf-8",
        include_str!("web/model.js"),
    ),
    (
        "operate.js",
        "text/javascript; charset=utf-8",
        include_str!("web/operate.js"),
    ),
    ("risk.js", "text/javascript; charset=utf-8", include_str!("web/risk.js")),
    ("rows.js", "text/javascript; charset=utf-8", include_str!("web/rows.js")),
    ("style.css", "text/css; charset=utf-8", include_str!("web/style.css")),
    ("icon.svg", "image/svg+xml", include_str!("web/icon.svg")),
];

/// Sent with every answer, whatever it is.
pub(super) const SECURITY_HEADERS: &[(&str, &str)] = &[
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
];

// A page of an earlier release must not talk to this one: ask each time, files are small and near.
const FRESH: (HeaderName, &str) = (header::CACHE_CONTROL, "no-cache");

pub(super) async fn index() -> Response {
    let html = (header::CONTENT_TYPE, "text/html; charset=utf-8");
    ([html, FRESH], include_str!("web/index.html")).into_response()
}

/// The page that shows `/openapi.json` to people.
pub(super) async fn docs() -> Response {
    let html = (header::CONTENT_TYPE, "text/html; charset=utf-8");
    ([html, FRESH], include_str!("web/docs.html")).into_response()
}

/// The page of the log-in; all that it loads is served beside it, since nobody is logged in yet.
pub(super) fn login_page() -> Response {
    let html = (header::CONTENT_TYPE, "text/html; charset=utf-8");
    ([html, FRESH], include_str!("web/login.html")).into_response()
}

/// What of the files anybody may have.
const OPEN: &[&str] = &["style.css", "icon.svg"];

pub(super) async fn login_asset(Path(name): Path<String>) -> Result<Response, Problem> {
    if name == "login.js" {
        let media = (header::CONTENT_TYPE, "text/javascript; charset=utf-8");
        return Ok(([media, FRESH], include_str!("web/login.js")).into_response());
    }
    if !OPEN.contains(&name.as_str()) {
        return Err(Problem::not_found("there is no such file of the log-in"));
    }
    asset(Path(name)).await
}

pub(super) async fn asset(Path(name): Path<String>) -> Result<Response, Problem> {
    let (_, media, content) = ASSETS
        .iter()
        .find(|(known, ..)| *known == name)
        .ok_or_else(|| Problem::not_found("there is no such file of the dashboard"))?;
    Ok(([(header::CONTENT_TYPE, *media), FRESH], *content).into_response())
}
