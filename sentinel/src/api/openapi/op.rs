//! What the document says of one method of one path.

use crate::api::error::Problem;
use crate::store::PAGE_MAX;
use crate::types::Target;
use axum::http::StatusCode;
use std::collections::BTreeMap;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{OperationBuilder, ParameterBuilder, ParameterIn, ParameterStyle};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{ContentBuilder, KnownFormat, Ref, RefOr, Required, Schema, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

pub(in crate::api) const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

/// Schemas by name.
pub(super) type Schemas = Vec<(String, RefOr<Schema>)>;

/// One answer: what it is for, and its bodies by media type.
struct Told {
    text: String,
    bodies: Vec<(&'static str, Option<RefOr<Schema>>)>,
    headers: Vec<(&'static str, Header)>,
}

/// One method of one path, as it is told.
pub(in crate::api) struct Op {
    builder: OperationBuilder,
    answers: BTreeMap<u16, Told>,
    schemas: Schemas,
    pub(super) in_path: bool,
    takes: bool,
    pub(super) tagged: bool,
}

/// A text, such as these.
pub(in crate::api) fn text(examples: &[&str]) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .examples(examples.iter().copied())
        .into()
}

/// One of these words.
pub(in crate::api) fn one_of(words: &[&str]) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words.iter().copied()))
        .into()
}

/// A whole number within these bounds.
pub(in crate::api) fn number(least: u32, most: u32) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(least))
        .maximum(Some(most))
        .into()
}

/// `true` or `false`.
pub(in crate::api) fn flag() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::Boolean).into()
}

/// `true`.
pub(in crate::api) fn only_true() -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::Boolean)
        .enum_values(Some([true]))
        .into()
}

/// A whole number from zero on.
pub(in crate::api) fn count() -> RefOr<Schema> {
    number(0, u32::MAX)
}

/// An identifier of `types/ids`.
pub(in crate::api) fn uuid() -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)))
        .into()
}

/// Several of them, with commas.
pub(in crate::api) fn uuids() -> RefOr<Schema> {
    text(&["019b76da-a800-7000-8000-000000000000"])
}

/// `4h`, `1h30m`.
pub(in crate::api) fn duration() -> RefOr<Schema> {
    text(&["30s", "4h", "1h30m"])
}

impl Op {
    pub(in crate::api) fn new(tag: &str, summary: &str) -> Self {
        Self {
            builder: OperationBuilder::new().tag(tag).summary(Some(summary)),
            answers: BTreeMap::new(),
            schemas: Vec::new(),
            in_path: false,
            takes: false,
            tagged: true,
        }
    }

    /// More than a line of what is to be known.
    pub(in crate::api) fn says(mut self, text: &str) -> Self {
        self.builder = self.builder.description(Some(text));
        self
    }

    /// An answer that is never the same twice, or no whole one.
    pub(in crate::api) fn untagged(mut self) -> Self {
        self.tagged = false;
        self
    }

    fn reference<T: ToSchema>(&mut self) -> RefOr<Schema> {
        let name = T::name().into_owned();
        self.schemas.push((name.clone(), T::schema()));
        T::schemas(&mut self.schemas);
        RefOr::Ref(Ref::from_schema_name(name))
    }

    /// A hole of the path.
    pub(in crate::api) fn hole(mut self, name: &str, says: &str, schema: RefOr<Schema>) -> Self {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some(says))
            .schema(Some(schema));
        self.builder = self.builder.parameter(parameter);
        self.in_path = true;
        self.refuses(400, "The path is not UTF-8.")
    }

    /// `{id}`.
    pub(in crate::api) fn id(self, noun: &str) -> Self {
        self.hole("id", &format!("Of the {noun}."), uuid())
            .refuses(404, &format!("There is no {noun} of this name."))
    }

    fn any_query(mut self, name: &str, says: &str, required: Required, schema: RefOr<Schema>) -> Self {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Query)
            .required(required)
            .description(Some(says))
            .schema(Some(schema));
        self.builder = self.builder.parameter(parameter);
        self.refuses(422, "The request is not valid; the detail says what to write instead.")
    }

    /// A parameter of the query. Each may be given once, and none that is not told of here.
    pub(in crate::api) fn query(self, name: &str, says: &str, schema: RefOr<Schema>) -> Self {
        self.any_query(name, says, Required::False, schema)
    }

    /// One that must be there.
    pub(in crate::api) fn must(self, name: &str, says: &str, schema: RefOr<Schema>) -> Self {
        self.any_query(name, says, Required::True, schema)
    }

    /// Names of a noun, several with commas.
    pub(in crate::api) fn words<T: ToSchema>(mut self, name: &str, says: &str) -> Self {
        let one = self.reference::<T>();
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some(says))
            .style(Some(ParameterStyle::Form))
            .explode(Some(false))
            .schema(Some(ArrayBuilder::new().items(one).min_items(Some(1))));
        self.builder = self.builder.parameter(parameter);
        self.refuses(422, "The request is not valid; the detail says what to write instead.")
    }

    /// A name of a noun.
    pub(in crate::api) fn word<T: ToSchema>(mut self, name: &str, says: &str) -> Self {
        let one = self.reference::<T>();
        self.query(name, says, one)
    }

    /// `ip`.
    pub(in crate::api) fn ip(self, says: &str) -> Self {
        self.query("ip", says, target())
    }

    /// `limit`, `cursor` and `since`, which every list takes.
    pub(in crate::api) fn window(self) -> Self {
        let page = u32::try_from(PAGE_MAX).unwrap_or(u32::MAX);
        self.query("limit", "Items of a page at most; 100 where absent.", number(1, page))
            .query(
                "cursor",
                "`next_cursor` of the page before, unchanged; it belongs to that list and its filters.",
                text(&[]),
            )
            .query(
                "since",
                "Nothing older: an RFC 3339 time, or a duration such as `4h` back from now.",
                text(&["4h", "2026-01-31T12:00:00Z"]),
            )
    }

    /// A JSON body.
    pub(in crate::api) fn takes<T: ToSchema>(mut self) -> Self {
        let schema = self.reference::<T>();
        self.body(&[JSON], &schema)
            .refuses(422, "The request is not valid; the detail says what to write instead.")
    }

    /// A body of these types.
    pub(in crate::api) fn body(mut self, media: &[&str], schema: &RefOr<Schema>) -> Self {
        let mut body = RequestBodyBuilder::new().required(Some(Required::True));
        for media in media {
            body = body.content(*media, ContentBuilder::new().schema(Some(schema.clone())).build());
        }
        self.builder = self.builder.request_body(Some(body.build()));
        self.takes = true;
        self
    }

    /// An order without words: what stands in the body is not read, and a browser's page must say that it is JSON all the same.
    pub(super) fn wordless(self) -> Self {
        if self.takes {
            return self;
        }
        let anything = ObjectBuilder::new()
            .schema_type(SchemaType::AnyValue)
            .description(Some("Not read; `{}` will do."));
        self.body(&[JSON], &anything.into())
    }

    fn told(&mut self, status: u16, text: &str) -> &mut Told {
        let told = self.answers.entry(status).or_insert_with(|| Told {
            text: String::new(),
            bodies: Vec::new(),
            headers: Vec::new(),
        });
        if !told.text.contains(text) {
            if !told.text.is_empty() {
                told.text.push(' ');
            }
            told.text.push_str(text);
        }
        told
    }

    /// An answer in JSON.
    pub(in crate::api) fn answers<T: ToSchema>(mut self, status: u16, text: &str) -> Self {
        let schema = self.reference::<T>();
        self.told(status, text).bodies.push((JSON, Some(schema)));
        self
    }

    /// An answer in JSON of no particular shape.
    pub(in crate::api) fn answers_any(mut self, status: u16, text: &str) -> Self {
        let object = ObjectBuilder::new().schema_type(Type::Object).into();
        self.told(status, text).bodies.push((JSON, Some(object)));
        self
    }

    /// An answer of another type.
    pub(in crate::api) fn answers_as(mut self, status: u16, media: &[&'static str], text: &str) -> Self {
        let told = self.told(status, text);
        for media in media {
            let any = ObjectBuilder::new().schema_type(Type::String).into();
            told.bodies.push((media, Some(any)));
        }
        self
    }

    /// An answer without a body.
    pub(in crate::api) fn answers_nothing(mut self, status: u16, text: &str) -> Self {
        self.told(status, text);
        self
    }

    /// A header of an answer.
    pub(in crate::api) fn header(mut self, status: u16, name: &'static str, text: &str) -> Self {
        let header = HeaderBuilder::new()
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
            .description(Some(text))
            .build();
        self.told(status, "").headers.push((name, header));
        self
    }

    /// A refusal, told as a problem document.
    pub(in crate::api) fn refuses(mut self, status: u16, text: &str) -> Self {
        let known = self.answers.get(&status).is_some_and(|told| !told.bodies.is_empty());
        let schema = self.reference::<Problem>();
        let told = self.told(status, text);
        if !known {
            told.bodies.push((PROBLEM, Some(schema)));
        }
        if status == StatusCode::TOO_MANY_REQUESTS.as_u16() {
            return self.header(status, "Retry-After", "Seconds until it may be worth asking again.");
        }
        self
    }

    /// Parameters and the like that only the whole document knows of.
    pub(super) fn with(mut self, change: impl FnOnce(OperationBuilder) -> OperationBuilder) -> Self {
        self.builder = change(self.builder);
        self
    }

    /// The finished part of the document, and the schemas it names.
    pub(super) fn done(self) -> (OperationBuilder, Schemas) {
        let mut builder = self.builder;
        for (status, told) in self.answers {
            let mut response = ResponseBuilder::new().description(told.text);
            for (media, schema) in told.bodies {
                response = response.content(media, ContentBuilder::new().schema(schema).build());
            }
            for (name, header) in told.headers {
                response = response.header(name, header);
            }
            builder = builder.response(status.to_string(), response);
        }
        (builder, self.schemas)
    }
}

/// An address or prefix as people write it.
pub(in crate::api) fn target() -> RefOr<Schema> {
    Target::schema()
}
