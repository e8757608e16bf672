//! How addresses are told of in the API's document: what goes out is their text.

use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{KnownFormat, RefOr, Schema, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

/// An IPv4 or IPv6 address.
#[derive(Debug)]
pub struct Address;

/// An address or prefix with its length.
#[derive(Debug)]
pub struct Prefix;

/// An address or prefix as people write it, without bits behind its length.
#[derive(Debug)]
pub struct Target;

fn formatted(format: KnownFormat) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(format)))
}

impl PartialSchema for Target {
    fn schema() -> RefOr<Schema> {
        let prefix = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[0-9a-fA-F:.]{2,45}/[0-9]{1,3}$"));
        AnyOfBuilder::new()
            .item(formatted(KnownFormat::Ipv4))
            .item(formatted(KnownFormat::Ipv6))
            .item(prefix)
            .description(Some("An address, or a prefix without bits behind its length"))
            .examples(["203.0.113.7", "203.0.113.0/24", "2001:db8::/32"])
            .into()
    }
}

impl ToSchema for Target {}

impl PartialSchema for Address {
    fn schema() -> RefOr<Schema> {
        OneOfBuilder::new()
            .item(formatted(KnownFormat::Ipv4))
            .item(formatted(KnownFormat::Ipv6))
            .description(Some("An IPv4 or IPv6 address in its canonical text (RFC 5952)"))
            .examples(["203.0.113.7", "2001:db8::7"])
            .into()
    }
}

impl ToSchema for Address {}

impl PartialSchema for Prefix {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(r"^[0-9a-fA-F:.]{2,45}/[0-9]{1,3}$"))
            .description(Some("A prefix; a single address has the length 32 or 128"))
            .examples(["203.0.113.7/32", "2001:db8::/32"])
            .into()
    }
}

impl ToSchema for Prefix {}
