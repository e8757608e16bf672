//! Problem documents (RFC 9457): what clients are told when something was wrong.

use crate::store::StoreError;
use crate::types::{BadLine, CommandError};
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// Why the API could not be offered.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The address is reachable from elsewhere.
    #[error(
        "api.listen is {0}: elsewhere than on loopback only with a certificate in `api.tls`; \
         use 127.0.0.1 or [::1], and a tunnel (ssh -L) to reach it from elsewhere"
    )]
    NotLoopback(SocketAddr),
    /// The certificate or its key cannot be used.
    #[error("{}: {cause}; `api.tls` needs a PEM file of the certificate and one of its private key", path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The port is taken.
    #[error("{0} is in use by another program; stop it (`ss -ltnp` names it) or set `api.listen` to another port")]
    Occupied(SocketAddr),
    /// The address cannot be bound.
    #[error("{address} cannot be bound: {source}; check `api.listen`")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// The system's words.
        source: std::io::Error,
    },
    /// Somebody answers on the socket.
    #[error("{}: another sentinel answers on this socket; stop it or set `api.socket` to another path", .0.display())]
    SocketInUse(PathBuf),
    /// Something else lies there.
    #[error("{}: exists and is no socket; it was left alone, set `api.socket` to another path", .0.display())]
    NotASocket(PathBuf),
    /// The socket cannot be made.
    #[error("{}: the socket cannot be made ({cause}); check the directory's permissions or set `api.socket`", path.display())]
    Socket {
        /// The path.
        path: PathBuf,
        /// The system's words.
        cause: String,
    },
}

/// Lines of a list that are refused.
#[derive(Debug, Serialize)]
struct BadLines {
    /// The first of them.
    lines: Vec<BadLine>,
    /// How many there are.
    lines_total: u64,
}

/// An answer that says what was wrong and what to do.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    #[serde(serialize_with = "number")]
    status: StatusCode,
    detail: String,
    /// The guard that refused, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    guard: Option<String>,
    /// Lines of a list that are refused.
    #[serde(flatten)]
    bad: Option<Box<BadLines>>,
    /// When it may be worth asking again; told in the header.
    #[serde(skip)]
    wait: Option<Duration>,
    /// The detail is told again, by the name that CrowdSec's bouncers know.
    #[serde(skip)]
    message: bool,
}

impl PartialSchema for Problem {
    fn schema() -> RefOr<Schema> {
        let text = |says: &str| {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .description(Some(says.to_owned()))
        };
        let status = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(400))
            .maximum(Some(599))
            .description(Some("The status of the answer."));
        let lines = ArrayBuilder::new()
            .items(Ref::from_schema_name(BadLine::name()))
            .description(Some(
                "Of a list that was refused: the first of its lines that are wrong.",
            ));
        let total = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(0))
            .description(Some("How many lines are wrong."));
        ObjectBuilder::new()
            .description(Some("What was wrong and what to do (RFC 9457)."))
            .property("type", text("`urn:sentinel:problem:NAME`; the name does not change."))
            .property("title", text("What kind of problem it is."))
            .property("status", status)
            .property("detail", text("What was wrong this time, and the mend."))
            .property(
                "message",
                text("The detail again, under `/v1/`, where CrowdSec's bouncers look for it."),
            )
            .property("guard", text("The guard that refused, if one did."))
            .property("lines", lines)
            .property("lines_total", total)
            .required("type")
            .required("title")
            .required("status")
            .required("detail")
            .into()
    }
}

impl ToSchema for Problem {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((BadLine::name().into_owned(), BadLine::schema()));
        BadLine::schemas(schemas);
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn number<S: serde::Serializer>(status: &StatusCode, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u16(status.as_u16())
}

impl Problem {
    pub(super) fn new(status: StatusCode, name: &str, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:sentinel:problem:{name}"),
            title,
            status,
            detail: detail.into(),
            guard: None,
            bad: None,
            wait: None,
            message: false,
        }
    }

    pub(super) fn retry_after(self, wait: Duration) -> Self {
        Self {
            wait: Some(wait),
            ..self
        }
    }

    /// As CrowdSec's bouncers read it.
    pub(super) fn for_bouncers(self) -> Self {
        Self { message: true, ..self }
    }

    pub(super) fn with_lines(self, lines: Vec<BadLine>, total: u64) -> Self {
        Self {
            bad: Some(Box::new(BadLines {
                lines,
                lines_total: total,
            })),
            ..self
        }
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid",
            "The request is not valid",
            detail,
        )
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Refused for safety", detail)
    }

    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Not available now",
            detail,
        )
    }

    /// What went wrong inside is for the log; the client learns where to look.
    pub(super) fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Sentinel failed to answer",
            "the cause is in the agent's log",
        )
    }

    /// For answers that axum or a layer made without a body of ours.
    pub(super) fn of_status(status: StatusCode) -> Self {
        let (name, title, detail) = match status {
            StatusCode::NOT_FOUND => ("not-found", "Not found", "there is nothing at this path"),
            StatusCode::METHOD_NOT_ALLOWED => (
                "method-not-allowed",
                "Method not allowed",
                "this path takes other methods; see the `allow` header",
            ),
            StatusCode::PAYLOAD_TOO_LARGE => (
                "too-large",
                "The request is too large",
                "send at most 64 KiB, or a list of at most 32 MiB to /decisions/import",
            ),
            StatusCode::REQUEST_TIMEOUT | StatusCode::SERVICE_UNAVAILABLE => {
                ("timeout", "No answer in time", "the agent is busy; try again")
            }
            _ if status.is_server_error() => (
                "internal",
                "Sentinel failed to answer",
                "the cause is in the agent's log",
            ),
            _ => (
                "bad-request",
                "The request cannot be understood",
                "check path, headers and query",
            ),
        };
        Self::new(status, name, title, detail)
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }
}

/// How to log in without a browser (RFC 6750).
const BEARER: HeaderValue = HeaderValue::from_static("Bearer");

/// Media type of problem documents.
pub(super) const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, wait) = (self.status, self.wait);
        let mut response = if self.message {
            let mut told = serde_json::json!(self);
            told["message"] = self.detail.into();
            (status, Json(told)).into_response()
        } else {
            (status, Json(self)).into_response()
        };
        response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM_JSON);
        if let Some(wait) = wait {
            let seconds = HeaderValue::from(wait.as_secs().max(1));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, BEARER);
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Cursor(_) => Self::invalid(error.to_string()),
            StoreError::Closed => Self::unavailable("the agent is shutting down"),
            StoreError::Busy => super::reports::busy(),
            other => Self::internal(&other),
        }
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Vetoed(veto) => Self {
                guard: Some(veto.guard),
                ..Self::new(StatusCode::CONFLICT, "vetoed", "A guard refused this", veto.reason)
            },
            CommandError::NotFound => Self::not_found("no active decision matches"),
            error @ CommandError::Covered { .. } => Self::not_found(error.to_string()),
            CommandError::Invalid(detail) => Self::invalid(detail),
            CommandError::Failed(detail) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "not-carried-out",
                "It could not be carried out",
                detail,
            ),
        }
    }
}
