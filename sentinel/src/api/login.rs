//! Logging in and out, and who may: `/login`, `/logout`, `/session`, `/tokens`, `/login-links`.

use super::access::{Actor, Caller, set_cookie};
use super::bind::Peer;
use super::commands::{Body, audit};
use super::error::Problem;
use super::guard::Door;
use super::query::{duration, short};
use super::{Shared, assets, now};
use crate::auth::{LINK, Login, NewToken, Who};
use crate::types::{Address, Role, Timestamp, Token, TokenId};
use axum::Json;
use axum::extract::{ConnectInfo, Extension, Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa::ToSchema;

pub(super) async fn page() -> Response {
    assets::login_page()
}

/// `POST /login`: one of both.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Login)]
pub(super) struct LoginDto {
    /// A token.
    token: Option<String>,
    /// The code of a one-time link.
    code: Option<String>,
}

/// Who somebody is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Who)]
pub(super) struct WhoDto {
    actor: String,
    role: Role,
    /// Whether it is a session of a browser, which can be ended.
    session: bool,
}

/// `GET /session`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
pub(super) struct SessionDto {
    #[serde(flatten)]
    who: WhoDto,
    /// Where the request came from, as this host sees it; nothing through the socket.
    #[schema(value_type = Option<Address>)]
    from: Option<IpAddr>,
}

impl From<Who> for WhoDto {
    fn from(who: Who) -> Self {
        Self {
            actor: who.actor,
            role: who.role,
            session: who.session.is_some(),
        }
    }
}

pub(super) async fn log_in(
    State(api): State<Shared>,
    Extension(Caller(from)): Extension<Caller>,
    Extension(door): Extension<Door>,
    Body(body): Body<LoginDto>,
) -> Result<Response, Problem> {
    let (login, with) = match (body.token, body.code) {
        (Some(token), None) => (Login::Token(token), "token"),
        (None, Some(code)) => (Login::Link(code), "link"),
        _ => return Err(Problem::invalid("send either `token` or `code`")),
    };
    let result = api.auth.log_in(login, from, now()).await.map_err(Problem::from);
    let told = if result.is_ok() { "accepted" } else { "refused" };
    api.metrics.login(with, told);
    let actor = result
        .as_ref()
        .map_or("nobody", |(_, who)| who.actor.as_str())
        .to_owned();
    // Whoever guesses must not be able to fill the audit; all are counted.
    if result.is_ok() || api.may_audit_refusal(now()) {
        let subject = format!("{with} from {from}");
        audit(&api, &actor, "api.login", &subject, &result, |(_, who)| {
            format!("as {}", who.role)
        })
        .await;
    }
    let (secret, who) = result?;
    let headers = [
        (header::SET_COOKIE, set_cookie(door, Some(&secret))),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, Json(WhoDto::from(who))).into_response())
}

pub(super) async fn log_out(
    State(api): State<Shared>,
    Extension(who): Extension<Who>,
    Extension(door): Extension<Door>,
) -> Result<Response, Problem> {
    let Some(session) = &who.session else {
        return Err(Problem::invalid(
            "only a session can be ended; a token is revoked with `sentinel token revoke`",
        ));
    };
    let result = api.auth.log_out(session).await.map_err(Problem::from);
    audit(&api, &who.actor, "api.logout", "session", &result, |()| String::new()).await;
    result?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, set_cookie(door, None))]).into_response())
}

pub(super) async fn session(
    Extension(who): Extension<Who>,
    peer: Option<Extension<ConnectInfo<Peer>>>,
) -> Json<SessionDto> {
    Json(SessionDto {
        who: who.into(),
        from: peer.map(|Extension(ConnectInfo(peer))| peer.0),
    })
}

/// One token, as it is told.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Token)]
pub(super) struct TokenDto {
    id: TokenId,
    name: String,
    role: Role,
    created_at: Timestamp,
    created_by: String,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    used_at: Option<Timestamp>,
    /// Whether it still opens anything.
    holds: bool,
}

impl TokenDto {
    pub(super) fn told(token: Token, now: Timestamp) -> Self {
        Self {
            holds: token.holds(now),
            id: token.id,
            name: token.name,
            role: token.role,
            created_at: token.created_at,
            created_by: token.created_by,
            expires_at: token.expires_at,
            revoked_at: token.revoked_at,
            used_at: token.used_at,
        }
    }
}

/// `GET /tokens`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TokenList)]
pub(super) struct TokensDto {
    items: Vec<TokenDto>,
    total: usize,
}

pub(super) async fn tokens(State(api): State<Shared>) -> Json<TokensDto> {
    let now = now();
    let tokens = api.auth.tokens().into_iter();
    let items: Vec<TokenDto> = tokens.map(|token| TokenDto::told(token, now)).collect();
    let total = items.len();
    Json(TokensDto { items, total })
}

/// `POST /tokens`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewToken)]
pub(super) struct NewTokenDto {
    name: String,
    role: Role,
    /// For how long, such as `90d`; for good where absent.
    duration: Option<String>,
}

/// The answer to it: the only time the token itself is told.
#[derive(Serialize, ToSchema)]
#[schema(as = MadeToken)]
pub(super) struct MadeDto {
    #[serde(flatten)]
    token: TokenDto,
    text: String,
}

pub(super) async fn create(
    State(api): State<Shared>,
    Extension(Actor(actor)): Extension<Actor>,
    Body(body): Body<NewTokenDto>,
) -> Result<Response, Problem> {
    let subject = short(&body.name);
    let role = body.role;
    let made = async {
        let length = body
            .duration
            .as_deref()
            .map(duration)
            .transpose()
            .map_err(Problem::invalid)?;
        let wish = NewToken {
            name: body.name,
            role,
            duration: length,
        };
        Ok(api.auth.create(wish, &actor, now()).await?)
    };
    let result: Result<(Token, String), Problem> = made.await;
    audit(&api, &actor, "api.token.create", &subject, &result, |(token, _)| {
        format!("{role}, id {}", token.id)
    })
    .await;
    let (token, text) = result?;
    let body = MadeDto {
        token: TokenDto::told(token, now()),
        text,
    };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

pub(super) async fn revoke(
    State(api): State<Shared>,
    Extension(Actor(actor)): Extension<Actor>,
    Path(which): Path<String>,
) -> Result<Json<TokenDto>, Problem> {
    let result = api.auth.revoke(&which, now()).await.map_err(Problem::from);
    audit(&api, &actor, "api.token.revoke", &short(&which), &result, |token| {
        format!("id {}", token.id)
    })
    .await;
    Ok(Json(TokenDto::told(result?, now())))
}

/// `POST /login-links`.
#[derive(Serialize, ToSchema)]
#[schema(as = LoginLink)]
pub(super) struct LinkDto {
    url: String,
    expires_at: Timestamp,
}

pub(super) async fn link(
    State(api): State<Shared>,
    Extension(Actor(actor)): Extension<Actor>,
) -> Result<Response, Problem> {
    let result = api.auth.link(now()).map_err(Problem::from);
    audit(&api, &actor, "api.login_link", "one-time link", &result, |_| {
        String::new()
    })
    .await;
    let body = LinkDto {
        url: super::login_url(&api.config.api, api.config.api.listen, &result?),
        expires_at: now().after(LINK),
    };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}
