//! Every path and every layer, outermost last.

use super::access::{Need, Needs, admit};
use super::error::{PROBLEM_JSON, Problem};
use super::guard::{Door, Names, guard, media};
use super::openapi::{self, told};
use super::routed::{Methods, delete, get, post};
use super::{
    Shared, acting, allowlist, assets, bouncers, busiest, coding, commands, conditional, fleet, import, intel, learn,
    lists, login, model, notifications, reports, settings, sightings, simulation, status, stream, traffic,
};
use crate::types::Role;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state, map_request, map_response};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate};
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

/// Largest body taken, bytes.
const BODY: usize = 64 * 1024;

/// Longest a request may take.
const PATIENCE: Duration = Duration::from_secs(30);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The whole API behind one door.
pub(super) fn router(api: Shared, door: Door) -> Router {
    let names = Names::new(&api.config.api, door);
    let mut router = routes(&api, ROWS)
        .layer(RequestBodyLimitLayer::new(BODY))
        .layer(timeout(PATIENCE))
        .merge(
            routes(&api, LARGE)
                .layer(DefaultBodyLimit::disable())
                .layer(RequestBodyLimitLayer::new(import::BODY))
                .layer(timeout(import::PATIENCE)),
        )
        .merge(
            routes(&api, PATIENT)
                .layer(RequestBodyLimitLayer::new(BODY))
                .layer(timeout(reports::PATIENCE)),
        )
        .with_state(api)
        .layer(from_fn(conditional::conditional))
        .layer(CompressionLayer::new().compress_when(DefaultPredicate::new().and(conditional::has_content)))
        .layer(map_request(coding::settled))
        .layer(from_fn_with_state(names, guard))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(map_response(as_problem))
        .layer(Extension(door));
    for (name, value) in assets::SECURITY_HEADERS {
        let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static(value));
        router = router.layer(SetResponseHeaderLayer::overriding(name, value));
    }
    router
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(span)
                .on_response(answered)
                .on_failure(()),
        )
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
        .layer(map_request(own_request_id))
}

fn timeout(patience: Duration) -> TimeoutLayer {
    TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, patience)
}

/// One path: what it needs, and who answers.
struct Row {
    path: &'static str,
    needs: Needs,
    answers: fn() -> Methods,
}

/// A path that anybody may ask.
const fn open(path: &'static str, answers: fn() -> Methods) -> Row {
    row(path, Need::Nothing, Need::Nothing, answers)
}

/// A path that viewers may look at, and operators act on.
const fn shown(path: &'static str, answers: fn() -> Methods) -> Row {
    row(path, Need::Role(Role::Viewer), Need::Role(Role::Operator), answers)
}

/// A path for administrators.
const fn admin(path: &'static str, answers: fn() -> Methods) -> Row {
    row(path, Need::Role(Role::Admin), Need::Role(Role::Admin), answers)
}

/// A path for bouncers of CrowdSec.
const fn bouncer(path: &'static str, answers: fn() -> Methods) -> Row {
    row(path, Need::Bouncer, Need::Bouncer, answers)
}

const fn row(path: &'static str, look: Need, act: Need, answers: fn() -> Methods) -> Row {
    Row {
        path,
        needs: Needs { look, act },
        answers,
    }
}

/// What takes more than other requests: more bytes, more time.
const LARGE: &[Row] = &[shown("/decisions/import", || post(import::import, told::import))];

/// What takes more time than other requests.
const PATIENT: &[Row] = &[
    row("/reports", Need::Role(Role::Viewer), Need::Role(Role::Viewer), || {
        get(reports::list, told::reports).post(reports::make, told::report)
    }),
    admin("/settings/reload", || post(settings::reload, told::reload)),
];

const ROWS: &[Row] = &[
    open("/login", || {
        get(login::page, told::login_page).post(login::log_in, told::log_in)
    }),
    open("/login/{name}", || get(assets::login_asset, told::login_asset)),
    open("/health", || get(status::health, told::health)),
    open("/health/live", || get(status::live, told::live)),
    open("/health/ready", || get(status::ready, told::ready)),
    row("/metrics", Need::Metrics, Need::Role(Role::Admin), || {
        get(status::metrics, told::metrics)
    }),
    row("/", Need::Page, Need::Role(Role::Admin), || {
        get(assets::index, told::index)
    }),
    row("/docs", Need::Page, Need::Role(Role::Admin), || {
        get(assets::docs, told::docs)
    }),
    shown("/openapi.json", || get(openapi::openapi, told::openapi)),
    // Whoever may look may leave.
    row("/logout", Need::Role(Role::Viewer), Need::Role(Role::Viewer), || {
        post(login::log_out, told::log_out)
    }),
    shown("/session", || get(login::session, told::session)),
    shown("/assets/{*name}", || get(assets::asset, told::asset)),
    shown("/sightings", || get(sightings::list, told::sightings)),
    shown("/notifications", || get(notifications::status, told::notifications)),
    shown("/notifications/test", || {
        post(notifications::test, told::notifications_test)
    }),
    shown("/fleet", || get(fleet::status, told::fleet)),
    shown("/stats", || get(status::stats, told::stats)),
    shown("/stats/history", || get(status::history, told::history)),
    shown("/alerts", || get(lists::alerts, told::alerts)),
    shown("/alerts/{id}", || get(lists::alert, told::alert)),
    shown("/decisions", || {
        get(lists::decisions, told::decisions)
            .post(commands::add, told::add)
            .delete(commands::delete_many, told::delete_many)
    }),
    shown("/decisions/{id}", || {
        get(lists::decision, told::decision).delete(commands::delete_one, told::delete_one)
    }),
    shown("/decisions/{id}/confirm", || post(commands::confirm, told::confirm)),
    shown("/decisions/{id}/proof", || get(lists::proof, told::proof)),
    shown("/investigations", || get(lists::investigations, told::investigations)),
    shown("/investigations/{id}", || {
        get(lists::investigation, told::investigation)
    }),
    shown("/actions", || get(lists::actions, told::actions)),
    shown("/actions/{id}", || get(lists::action, told::action)),
    shown("/actions/{id}/revert", || post(commands::revert, told::revert)),
    shown("/audit", || get(lists::audit, told::audit)),
    shown("/audit/verify", || get(lists::verify_audit, told::verify_audit)),
    shown("/reports/{name}", || get(reports::kept_one, told::kept_report)),
    shown("/protected", || get(lists::protected, told::protected)),
    shown("/acting", || {
        get(acting::status, told::acting_status).post(acting::wish, told::acting_wish)
    }),
    shown("/allowlist", || {
        get(allowlist::list, told::allowlist)
            .post(allowlist::add, told::allow)
            .delete(allowlist::remove, told::disallow)
    }),
    shown("/allowlist/check", || get(allowlist::check, told::allowlist_check)),
    shown("/simulation", || get(simulation::report, told::simulation)),
    shown("/intel", || get(intel::status, told::intel)),
    shown("/intel/check", || post(intel::check, told::intel_check)),
    shown("/flows/top", || get(busiest::top, told::busiest)),
    shown("/traffic", || get(traffic::rows, told::traffic)),
    shown("/model", || get(model::status, told::model)),
    shown("/settings", || get(settings::settings, told::settings)),
    shown("/learn", || get(learn::status, told::learn)),
    shown("/learn/{wish}", || post(learn::wish, told::learn_wish)),
    shown("/stream", || get(stream::stream, told::stream)),
    bouncer("/v1/decisions", || get(bouncers::list, told::bouncer_decisions)),
    bouncer("/v1/decisions/stream", || get(bouncers::stream, told::bouncer_stream)),
    bouncer("/v1/usage-metrics", || post(bouncers::usage, told::bouncer_usage)),
    admin("/tokens", || {
        get(login::tokens, told::tokens).post(login::create, told::create_token)
    }),
    admin("/tokens/{which}", || delete(login::revoke, told::revoke_token)),
    admin("/login-links", || post(login::link, told::login_link)),
];

fn routes(api: &Shared, rows: &[Row]) -> Router<Shared> {
    rows.iter().fold(Router::new(), |router, row| {
        let admitted = from_fn_with_state((Arc::clone(api), row.needs), admit);
        let answers = (row.answers)().router.route_layer(from_fn(media));
        router.route(row.path, answers.layer(admitted))
    })
}

/// Every path, as the document spells it, with what it needs and what is said of each of its methods.
pub(super) fn told() -> impl Iterator<Item = openapi::Row> {
    ROWS.iter()
        .chain(LARGE)
        .chain(PATIENT)
        .map(|row| (openapi::spelled(row.path), row.needs, (row.answers)().told))
}

/// Every path with what it needs, for the test that walks them.
#[cfg(test)]
pub(super) fn paths() -> impl Iterator<Item = (&'static str, Needs)> {
    ROWS.iter().chain(LARGE).chain(PATIENT).map(|row| (row.path, row.needs))
}

/// A client's own request id would be a stranger's text in our log.
async fn own_request_id(mut request: Request) -> Request {
    request.headers_mut().remove(&REQUEST_ID);
    request
}

fn span<B>(request: &axum::http::Request<B>) -> tracing::Span {
    let id = request
        .headers()
        .get(&REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .unwrap_or_default();
    tracing::debug_span!("request", method = %request.method(), path = ?request.uri().path(), id)
}

/// An answer that says what is so, such as "not ready yet": no failure of this server, whatever its status.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected;

fn answered<B>(response: &axum::http::Response<B>, took: Duration, _: &tracing::Span) {
    let status = response.status().as_u16();
    if response.status().is_server_error() && response.extensions().get::<Expected>().is_none() {
        tracing::error!(status, ?took, "request failed");
    } else {
        tracing::debug!(status, ?took, "answered");
    }
}

/// Gives every refusal of axum or of a layer the shape of a problem document.
async fn as_problem(response: Response) -> Response {
    let status = response.status();
    let refused = status.is_client_error() || status.is_server_error();
    if !refused || response.headers().get(header::CONTENT_TYPE) == Some(&PROBLEM_JSON) {
        return response;
    }
    let mut problem = Problem::of_status(status).into_response();
    for name in [
        header::ALLOW,
        header::UPGRADE,
        header::CONNECTION,
        header::SEC_WEBSOCKET_VERSION,
    ] {
        if let Some(value) = response.headers().get(&name) {
            problem.headers_mut().insert(name, value.clone());
        }
    }
    problem
}

#[expect(clippy::needless_pass_by_value, reason = "the layer hands it over")]
fn panicked(payload: Box<dyn Any + Send>) -> Response {
    let text = payload
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned());
    Problem::internal(&text).into_response()
}
