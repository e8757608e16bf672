//! Who may ask for what: the credentials of a request, and the role that its path needs.

use super::error::Problem;
use super::guard::Door;
use super::query::short;
use super::{Shared, bind, now};
use crate::auth::{AuthError, Who};
use crate::types::Role;
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, Ipv4Addr};

/// The cookie of a session.
pub(super) const COOKIE: &str = "sentinel_session";

/// Who asks, for the audit.
#[derive(Clone, Debug)]
pub(super) struct Actor(pub(super) String);

/// From where, for patience with whoever guesses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller(pub(super) IpAddr);

/// What a path needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing.
    Nothing,
    /// Nothing where `api.metrics_open` says so, else somebody who may look.
    Metrics,
    /// Somebody who may look, who is sent to the log-in where it is a browser's page.
    Page,
    /// Somebody of this role at least.
    Role(Role),
    /// A bouncer of CrowdSec with its key, where `api.crowdsec` says so.
    Bouncer,
}

/// What a path needs, to look and to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) look: Need,
    pub(super) act: Need,
}

/// Lets a request to a path through, or says why not.
pub(super) async fn admit(State((api, needs)): State<(Shared, Needs)>, request: Request, next: Next) -> Response {
    let (mut asked, body) = request.into_parts();
    let acts = !asked.method.is_safe();
    let need = if acts { needs.act } else { needs.look };
    match who(&api, need, &asked).await {
        Ok(who) => {
            let (actor, caller) = (Actor(named(&asked, &who)), Caller(from(&asked)));
            asked.extensions.insert(actor);
            asked.extensions.insert(caller);
            asked.extensions.insert(who);
            next.run(Request::from_parts(asked, body)).await
        }
        Err(problem) if need == Need::Page && problem.status() == StatusCode::UNAUTHORIZED => {
            let to_login = [(header::LOCATION, "/login"), (header::CACHE_CONTROL, "no-store")];
            (StatusCode::SEE_OTHER, to_login).into_response()
        }
        Err(problem) => {
            tracing::debug!(status = problem.status().as_u16(), path = ?asked.uri.path(), "not admitted");
            problem.into_response()
        }
    }
}

async fn who(api: &Shared, need: Need, request: &Parts) -> Result<Who, Problem> {
    let role = match need {
        Need::Nothing => None,
        Need::Metrics => (!api.config.api.metrics_open()).then_some(Role::Viewer),
        Need::Page => Some(Role::Viewer),
        Need::Role(role) => Some(role),
        Need::Bouncer => return bouncer(api, request).await.map_err(Problem::for_bouncers),
    };
    let nobody = Who {
        actor: "nobody".to_owned(),
        role: Role::Viewer,
        session: None,
        token: None,
    };
    let Some(role) = role else { return Ok(nobody) };
    if request.extensions.get::<Door>() == Some(&Door::Unix) {
        // Only root, the agent's own user and members of `api.socket_group` can open the socket.
        return Ok(Who {
            role: Role::Admin,
            ..nobody
        });
    }
    let who = presented(api, request).await?;
    if who.role < role {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "role",
            "Not permitted",
            format!("that needs the role `{role}`, and `{}` is {}", who.actor, who.role),
        ));
    }
    Ok(who)
}

/// Whose key a request has that is made as CrowdSec's bouncers do.
async fn bouncer(api: &Shared, request: &Parts) -> Result<Who, Problem> {
    if !api.config.api.crowdsec {
        return Err(Problem::not_found(
            "the API for CrowdSec's bouncers is off; `api.crowdsec: true` in the settings turns it on",
        ));
    }
    if request.extensions.get::<Door>() == Some(&Door::Unix) {
        return Ok(Who {
            actor: "nobody".to_owned(),
            role: Role::Admin,
            session: None,
            token: None,
        });
    }
    let refused = |detail: &str| Problem::new(StatusCode::FORBIDDEN, "key", "Access forbidden", detail);
    let mut keys = request.headers.get_all("x-api-key").iter();
    let (Some(Ok(key)), None) = (keys.next().map(HeaderValue::to_str), keys.next()) else {
        return Err(refused(
            "send one key in the header `X-Api-Key`; `sentinel token create NAME --role bouncer` makes one",
        ));
    };
    let who = match api.auth.bouncer(key.trim(), from(request), now()).await {
        Err(AuthError::Wrong) => {
            return Err(refused(
                "this key opens nothing; `sentinel token list` tells which hold",
            ));
        }
        other => other?,
    };
    if who.role != Role::Bouncer {
        return Err(refused(
            "that needs a token of the role `bouncer`; `sentinel token create NAME --role bouncer` makes one",
        ));
    }
    Ok(who)
}

/// Who a request says it is from.
async fn presented(api: &Shared, request: &Parts) -> Result<Who, Problem> {
    let headers = &request.headers;
    if let Some(token) = bearer(headers)? {
        return Ok(api.auth.token(token, from(request), now()).await?);
    }
    match cookie(headers) {
        None => Err(Problem::unauthorized(
            "log in at /login, or send `authorization: Bearer TOKEN`; `sentinel token create` makes one",
        )),
        Some(secret) => api
            .auth
            .session(secret, now())
            .await
            .ok_or_else(|| Problem::unauthorized("this session is over; log in again at /login")),
    }
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let token = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    token
        .map(Some)
        .ok_or_else(|| Problem::unauthorized("the header `authorization` is not of the form `Bearer TOKEN`"))
}

/// The session's secret among the cookies.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value)
}

/// The header that gives a browser a session, or takes it.
pub(super) fn set_cookie(door: Door, secret: Option<&str>) -> HeaderValue {
    let (value, age) = match secret {
        Some(secret) => (secret, String::new()),
        None => ("", "; Max-Age=0".to_owned()),
    };
    let secure = if door == Door::Tls { "; Secure" } else { "" };
    let text = format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{age}");
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// By which name the audit tells who asks.
fn named(request: &Parts, who: &Who) -> String {
    if request.extensions.get::<Door>() != Some(&Door::Unix) {
        return who.actor.clone();
    }
    // Members of the socket's group are called by their own names. Root and the agent's user could be anybody anyway, so
    // there a name is taken on trust.
    if let Some(ConnectInfo(bind::User(Some(uid)))) = request.extensions.get::<ConnectInfo<bind::User>>()
        && *uid != 0
        && *uid != nix::unistd::geteuid().as_raw()
    {
        let user = nix::unistd::User::from_uid((*uid).into()).ok().flatten();
        return user.map_or_else(|| format!("uid {uid}"), |user| short(&user.name));
    }
    let said = request.headers.get("x-sentinel-actor");
    let name = said.and_then(|value| value.to_str().ok()).map(short);
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "api".to_owned())
}

fn from(request: &Parts) -> IpAddr {
    let peer = request.extensions.get::<ConnectInfo<bind::Peer>>();
    peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |ConnectInfo(peer)| peer.0)
}

impl Problem {
    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Log in first", detail)
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let detail = error.to_string();
        match error {
            AuthError::Wrong => Self::unauthorized(detail),
            AuthError::Locked { wait } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "locked-out", "Too many failures", detail).retry_after(wait)
            }
            AuthError::Invalid(_) => Self::invalid(detail),
            AuthError::NoSuchToken => Self::not_found(detail),
            AuthError::Busy | AuthError::Store(_) | AuthError::Random(_) | AuthError::Hash(_) => {
                Self::unavailable(detail)
            }
        }
    }
}
