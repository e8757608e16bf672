//! Every path and every layer, outermost last.

use super::error::{PROBLEM_JSON, Problem};
use super::guard::{Door, guard};
use super::{Shared, acting, allowlist, assets, commands, import, intel, learn, lists, simulation, status, stream};
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{from_fn, map_request, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Router};
use std::any::Any;
use std::time::Duration;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
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
    let mut router = routes()
        .layer(RequestBodyLimitLayer::new(BODY))
        .layer(timeout(PATIENCE))
        .merge(
            lists_of_others()
                .layer(DefaultBodyLimit::disable())
                .layer(RequestBodyLimitLayer::new(import::BODY))
                .layer(timeout(import::PATIENCE)),
        )
        .with_state(api)
        .layer(CompressionLayer::new())
        .layer(from_fn(guard))
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

/// What takes more than other requests: more bytes, more time.
fn lists_of_others() -> Router<Shared> {
    Router::new().route("/decisions/import", post(import::import))
}

fn routes() -> Router<Shared> {
    Router::new()
        .route("/", get(assets::index))
        .route("/assets/{name}", get(assets::asset))
        .route("/health", get(status::health))
        .route("/health/live", get(status::live))
        .route("/health/ready", get(status::ready))
        .route("/stats", get(status::stats))
        .route("/stats/history", get(status::history))
        .route("/metrics", get(status::metrics))
        .route("/alerts", get(lists::alerts))
        .route("/alerts/{id}", get(lists::alert))
        .route(
            "/decisions",
            get(lists::decisions).post(commands::add).delete(commands::delete_many),
        )
        .route(
            "/decisions/{id}",
            get(lists::decision).merge(delete(commands::delete_one)),
        )
        .route("/decisions/{id}/confirm", post(commands::confirm))
        .route("/decisions/{id}/proof", get(lists::proof))
        .route("/investigations", get(lists::investigations))
        .route("/investigations/{id}", get(lists::investigation))
        .route("/actions", get(lists::actions))
        .route("/actions/{id}", get(lists::action))
        .route("/actions/{id}/revert", post(commands::revert))
        .route("/audit", get(lists::audit))
        .route("/audit/verify", get(lists::verify_audit))
        .route("/protected", get(lists::protected))
        .route("/acting", get(acting::status).post(acting::wish))
        .route(
            "/allowlist",
            get(allowlist::list).post(allowlist::add).delete(allowlist::remove),
        )
        .route("/simulation", get(simulation::report))
        .route("/allowlist/check", get(allowlist::check))
        .route("/intel", get(intel::status))
        .route("/intel/check", post(intel::check))
        .route("/learn", get(learn::status))
        .route("/learn/{wish}", post(learn::wish))
        .route("/stream", get(stream::stream))
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
