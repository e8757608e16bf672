//! Many decisions at once, out of a list somebody keeps: `POST /decisions/import`.

mod parse;

use super::access::Actor;
use super::commands::{audit, kept, reason};
use super::error::Problem;
use super::query::{Params, duration};
use super::{Shared, commands};
use crate::types::{ActionKind, Command, Import, ImportError, Imported};
use axum::Json;
use axum::extract::{Extension, FromRequest, Request, State};
use axum::http::StatusCode;
use bytes::Bytes;
use parse::{Defaults, Format};
use std::time::Duration;

/// Largest list taken, bytes.
pub(super) const BODY: usize = 32 << 20;
/// How long an import may take, and its answer is awaited.
pub(super) const PATIENCE: Duration = Duration::from_mins(5);

/// `?format=csv|json|values`, and what holds for lines that do not say it: `type`, `duration`, `reason`; `skip_bad=true`.
pub(super) async fn import(
    State(api): State<Shared>,
    Extension(Actor(actor)): Extension<Actor>,
    params: Params,
    request: Request,
) -> Result<Json<Imported>, Problem> {
    // Lists are large: one at a time.
    let Ok(_turn) = api.imports.try_acquire() else {
        return Err(Problem::unavailable(
            "another import is under way; try again when it is done",
        ));
    };
    let body = Bytes::from_request(request, &()).await;
    let body = body.map_err(|rejection| Problem::of_status(rejection.status()))?;
    let result = carry_out(&api, &actor, params, &body).await;
    let told = |done: &Imported| {
        format!(
            "{} imported, {} of them in another's place, {} repeated, {} skipped",
            done.imported, done.replaced, done.repeated, done.skipped
        )
    };
    let subject = format!("a list of {} bytes", body.len());
    let durable = audit(&api, &actor, "api.decision.import", &subject, &result, told).await;
    let done = result?;
    kept(durable, "the list is carried out, read back from the kernel")?;
    Ok(Json(done))
}

async fn carry_out(api: &Shared, actor: &str, mut params: Params, body: &[u8]) -> Result<Imported, Problem> {
    let format = params.take("format", "`csv`, `json` or `values`", Format::named)?;
    let skip_bad = params
        .take("skip_bad", "`true` or `false`", |text| text.parse().ok())?
        .unwrap_or(false);
    let length = params.take("duration", "a duration such as `4h`", |text| duration(text).ok())?;
    let kind = params.take("type", "`block`, `rate_limit` or `redirect`", parse::kind)?;
    let why = params.take("reason", "a text", |text| Some(text.to_owned()))?;
    params.finish()?;
    let Some(format) = format else {
        return Err(Problem::invalid(
            "say how it is written: `format=csv`, `json` or `values`",
        ));
    };
    let defaults = Defaults {
        action: kind.unwrap_or(ActionKind::BlockIp),
        duration: length.unwrap_or(api.in_force().config.response.duration),
        reason: match why {
            Some(why) => reason(&why)?,
            None => "imported".to_owned(),
        },
        actor: actor.to_owned(),
    };
    let (wishes, unread) = parse::read(body, format, &defaults).map_err(Problem::invalid)?;
    let import = Import {
        wishes,
        skip_bad,
        unread,
        actor: actor.to_owned(),
    };
    commands::ask_for(api, PATIENCE, |reply| Command::Import(import, reply)).await
}

impl From<ImportError> for Problem {
    fn from(error: ImportError) -> Self {
        let detail = error.to_string();
        match error {
            ImportError::Command(error) => error.into(),
            ImportError::Bad { lines, total } => {
                let title = "Lines are refused, and nothing was imported";
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-lines", title, detail).with_lines(lines, total)
            }
        }
    }
}
