//! The API's document: OpenAPI 3.1, made of the table of paths, of what each of its rows says, and of the shapes themselves.

mod access;
mod acts;
mod bouncers;
mod op;
mod shows;
mod system;

pub(super) use op::Op;
pub(super) mod told {
    //! What is said of each method of each path, for the table.
    pub(in crate::api) use super::access::*;
    pub(in crate::api) use super::acts::*;
    pub(in crate::api) use super::bouncers::*;
    pub(in crate::api) use super::shows::*;
    pub(in crate::api) use super::system::*;
}

use super::access::{COOKIE, Need, Needs};
use super::dto::VERSION;
use super::error::Problem;
use super::router;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use std::sync::LazyLock;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{OperationBuilder, ParameterBuilder, ParameterIn, PathsBuilder};
use utoipa::openapi::schema::{ComponentsBuilder, ObjectBuilder, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{HttpMethod, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, Required};

/// What belongs together, in the order of the viewer.
pub(super) const TAGS: [(&str, &str); 10] = [
    ("alerts", "What detectors said, with the numbers that made them say so."),
    (
        "investigations",
        "What is known of the source of an alert, here and outside, and the risk it adds up to.",
    ),
    (
        "decisions",
        "What is to be done about an address or prefix, until when and why.",
    ),
    (
        "actions",
        "What was done, read back from the kernel or the container engine, and how to undo it.",
    ),
    ("allowlist", "Who is never touched."),
    ("intelligence", "Sources, feeds and databases outside."),
    ("model", "The trained model and what it learns of this site."),
    (
        "system",
        "Health, counters, metrics, the stream, the audit, the global stop.",
    ),
    ("access", "Logging in and out, tokens, pages."),
    (
        "bouncers",
        "What CrowdSec's bouncers ask, where `api.crowdsec` says so: they carry our decisions out elsewhere.",
    ),
];

const ABOUT: &str = "Everything Sentinel's dashboard and command line do goes through these paths. Lists come newest first in \
    pages of `{items, next_cursor, total}`; times are RFC 3339 in UTC, identifiers UUIDv7, addresses in canonical text. \
    Parameters that are not told of here are refused. What was wrong with a request is told as a problem document \
    (RFC 9457), with what to write instead. An answer to GET has an ETag: whoever sends it back in `If-None-Match` is \
    answered 304 until something changed. What acts is answered after the kernel was read back and the disk has it.";

/// The document as it is served; it is the same for every agent of this version.
static DOCUMENT: LazyLock<Result<Bytes, String>> = LazyLock::new(|| {
    // By way of a value, whose keys are in order.
    let document = serde_json::to_value(document()).map_err(|error| error.to_string())?;
    Ok(Bytes::from(document.to_string()))
});

/// `GET /openapi.json`.
pub(super) async fn openapi() -> Result<Response, Problem> {
    let document = DOCUMENT.as_ref().map_err(|error| Problem::internal(error))?;
    let media = (header::CONTENT_TYPE, HeaderValue::from_static(op::JSON));
    Ok(([media], document.clone()).into_response())
}

/// The document, from the table of paths.
pub(super) fn document() -> OpenApi {
    let mut components = ComponentsBuilder::new()
        .security_scheme("token", SecurityScheme::Http(bearer()))
        .security_scheme("bouncer", SecurityScheme::ApiKey(ApiKey::Header(bouncers::key())))
        .security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(session())));
    let mut paths = PathsBuilder::new();
    for (path, needs, methods) in router::told() {
        let mut item = PathItem::default();
        for (method, told) in methods {
            let need = if method == HttpMethod::Get {
                needs.look
            } else {
                needs.act
            };
            let id = operation_id(&method, &path);
            let (operation, schemas) = common(told(), &method, need).done();
            components = components.schemas_from_iter(schemas);
            let operation = operation.operation_id(Some(id));
            item.merge_operations(PathItem::new(method, operation));
        }
        paths = paths.path(path, item);
    }
    let tags = TAGS.map(|(name, text)| TagBuilder::new().name(name).description(Some(text)).build());
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Sentinel")
                .version(VERSION)
                .description(Some(ABOUT)),
        )
        .tags(Some(tags))
        .paths(paths)
        .components(Some(components.build()))
        .build()
}

fn bearer() -> utoipa::openapi::security::Http {
    HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "A token; `sentinel token create NAME --role viewer|operator|admin` makes one.",
        ))
        .build()
}

fn session() -> ApiKeyValue {
    ApiKeyValue::with_description(COOKIE, "The session of a browser that logged in at /login.")
}

/// `get_decisions_id`: stable as long as the path is.
fn operation_id(method: &HttpMethod, path: &str) -> String {
    let verb = match method {
        HttpMethod::Post => "post",
        HttpMethod::Delete => "delete",
        _ => "get",
    };
    let name: String = path
        .chars()
        .filter(|c| !matches!(c, '{' | '}'))
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    format!("{verb}{}", name.trim_end_matches('_'))
}

/// What goes for all alike: who may ask, and what the layers answer.
fn common(op: Op, method: &HttpMethod, need: Need) -> Op {
    let op = secured(op, need)
        .refuses(
            403,
            "A page of another origin asked, or by a host name that is not ours.",
        )
        .refuses(500, "Sentinel failed to answer; the cause is in its log.")
        .refuses(
            503,
            "Not available now, or no answer in time; the detail says whether it is to be asked again.",
        );
    match method {
        HttpMethod::Get if op.tagged => tagged(op),
        HttpMethod::Post => op
            .wordless()
            .refuses(413, "The body is larger than this path takes.")
            .refuses(415, "The body is not said to be of a type that this path takes."),
        _ => op,
    }
}

fn secured(op: Op, need: Need) -> Op {
    let either = |op: Op| {
        op.with(|builder| builder.security(requires("token")).security(requires("session")))
            .refuses(401, "Nobody is logged in, or the token or session holds no longer.")
            .header(401, "WWW-Authenticate", "`Bearer`")
            .refuses(429, "Too many failures from this address.")
    };
    match need {
        Need::Nothing => op.with(|builder| builder.security(SecurityRequirement::default())),
        Need::Metrics => either(op.with(|builder| builder.security(SecurityRequirement::default()))),
        Need::Page => either(op)
            .answers_nothing(303, "To the log-in, where nobody is logged in.")
            .header(303, "Location", "/login"),
        Need::Bouncer => bouncers::secured(op.with(|builder| builder.security(requires("bouncer")))),
        Need::Role(role) => either(op)
            .with(|builder| {
                let role = ExtensionsBuilder::new().add("x-role", role.as_str()).build();
                builder.extensions(Some(role))
            })
            .refuses(403, &format!("That needs the role `{role}`.")),
    }
}

fn requires(scheme: &str) -> SecurityRequirement {
    SecurityRequirement::new(scheme, std::iter::empty::<String>())
}

fn tagged(op: Op) -> Op {
    let known = |builder: OperationBuilder| {
        let parameter = ParameterBuilder::new()
            .name("If-None-Match")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some("The ETag of an earlier answer."))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)));
        builder.parameter(parameter)
    };
    op.with(known)
        .header(200, "ETag", "A weak tag of what is answered.")
        .answers_nothing(304, "It is as it was.")
        .header(304, "ETag", "The tag it still has.")
}

/// A path as OpenAPI spells it: a hole is a hole, whether it takes one part or all that follow.
pub(super) fn spelled(path: &str) -> String {
    path.replace("{*", "{")
}

/// A path with what it needs, and what it says of each of its methods.
pub(super) type Row = (String, Needs, Vec<(HttpMethod, fn() -> Op)>);
