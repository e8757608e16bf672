//! What is said of the paths of CrowdSec's local API.

use super::op::Op;
use crate::api::bouncers::shape::{DecisionsDto, StreamDto};
use utoipa::openapi::Required;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::ApiKeyValue;

/// How bouncers are known.
pub(super) fn key() -> ApiKeyValue {
    ApiKeyValue::with_description(
        "X-Api-Key",
        "A bouncer's key; `sentinel token create NAME --role bouncer` makes one.",
    )
}

/// What bouncers are refused with.
pub(super) fn secured(op: Op) -> Op {
    op.with(|builder| builder.extensions(Some(ExtensionsBuilder::new().add("x-role", "bouncer").build())))
        .refuses(403, "No key, one that opens nothing, or no bouncer's.")
        .refuses(404, "`api.crowdsec` is off.")
        .refuses(429, "Too many failures from this address.")
}

/// Parameters that narrow; others are passed over.
const NARROWING: &[(&str, &str, Type)] = &[
    (
        "scopes",
        "`ip` and `range`, with commas; in any case of letters.",
        Type::String,
    ),
    ("origins", "`crowdsec` and `cscli`, with commas.", Type::String),
    (
        "scenarios_containing",
        "Texts, with commas, one of which stands in the scenario.",
        Type::String,
    ),
    (
        "scenarios_not_containing",
        "Texts, with commas, none of which stands in it.",
        Type::String,
    ),
    ("simulated", "Those that only count, too.", Type::Boolean),
];

const OF_A_LIST: &[(&str, &str, Type)] = &[
    ("scope", "`ip` or `range`.", Type::String),
    ("value", "Exactly this address or prefix.", Type::String),
    ("type", "`ban`, `throttle` or `redirect`.", Type::String),
    ("ip", "What covers this address.", Type::String),
    ("range", "What covers this prefix.", Type::String),
    ("contains", "`false`: what lies in it instead.", Type::Boolean),
    ("limit", "So many at most.", Type::Integer),
    ("offset", "Without the first so many.", Type::Integer),
];

fn narrowed(op: Op, parameters: &[(&str, &str, Type)]) -> Op {
    let op = parameters.iter().fold(op, |op, (name, says, kind)| {
        op.with(|builder| {
            let parameter = ParameterBuilder::new()
                .name(*name)
                .parameter_in(ParameterIn::Query)
                .required(Required::False)
                .description(Some(*says))
                .schema(Some(ObjectBuilder::new().schema_type(kind.clone())));
            builder.parameter(parameter)
        })
    });
    op.untagged().refuses(
        400,
        "A parameter cannot be read; the detail says what to write instead.",
    )
}

pub(in crate::api) fn bouncer_decisions() -> Op {
    let op = Op::new("bouncers", "What is in force")
        .says("As CrowdSec's local API answers. Parameters that are not told of here are passed over.")
        .answers::<DecisionsDto>(
            200,
            "Of each address and remediation the decision that holds longest; `null` for none.",
        );
    narrowed(narrowed(op, NARROWING), OF_A_LIST)
}

pub(in crate::api) fn bouncer_stream() -> Op {
    let op = Op::new("bouncers", "What changed since the bouncer last asked")
        .says(
            "With `startup=true`, and the first time, all that is in force. What changed is told in two answers, since one may \
             be lost on its way. HEAD moves nothing on.",
        )
        .answers::<StreamDto>(200, "What came and what ended.");
    let startup = ("startup", "Everything in force.", Type::Boolean);
    narrowed(narrowed(op, &[startup]), NARROWING)
}

pub(in crate::api) fn bouncer_usage() -> Op {
    Op::new("bouncers", "What a bouncer counted")
        .says("Taken, so that bouncers need not complain, and not kept.")
        .answers_nothing(201, "Taken.")
        .refuses(422, "The body is no JSON.")
}
