//! How addresses are told of in the API's document: what goes out is their text.

use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{KnownFormat, RefOr, Schema, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

/// An IPv4 or IPv6 address.
#[derive(Debug)]
pub struct Address;

/// An address or prefix with its length.
#[derive(Debug)]
pub struct Prefix;

impl PartialSchema for Address {
    fn schema() -> RefOr<Schema> {
        let text = |format| {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .format(Some(SchemaFormat::KnownFormat(format)))
        };
        OneOfBuilder::new()
            .item(text(KnownFormat::Ipv4))
            .item(text(KnownFormat::Ipv6))
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
