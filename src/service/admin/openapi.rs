//! The OpenAPI document, which is built from the handlers and their types.

use crate::turn::{Discard, EndReason, Transport};
use axum::{Extension, Json};
use std::sync::Arc;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Object, OpenApi as Document, RefOr, Schema};
use utoipa::{Modify, OpenApi};

/// The document without paths.
#[derive(OpenApi)]
#[openapi(
    info(title = "Hairpin admin API", description = "Inspect and control a running server."),
    components(schemas(super::error::ErrorBody)),
    security((), ("token" = [])),
    modifiers(&TokenScheme)
)]
struct Base;

struct TokenScheme;

impl Modify for TokenScheme {
    fn modify(&self, document: &mut Document) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("token", scheme);
    }
}

/// The document to which the router adds paths.
pub(super) fn base() -> Document {
    Base::openapi()
}

/// This document
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "openapi",
    security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
pub(super) async fn document(Extension(document): Extension<Arc<Document>>) -> Json<Document> {
    Json(Document::clone(&document))
}

/// The name of a transport.
pub(super) fn transport() -> Object {
    let names = Transport::ALL.map(Transport::name);
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(names))
        .build()
}

/// A number for each transport.
pub(super) fn by_transport() -> Object {
    members(Transport::ALL.map(Transport::name), Type::Integer)
}

/// A number for each reason why an allocation ends.
pub(super) fn by_end() -> Object {
    members(EndReason::ALL.iter().map(|end| end.name()), Type::Integer)
}

/// A number for each reason of a discard.
pub(super) fn by_discard() -> Object {
    members(
        Discard::ALL.iter().map(|discard| discard.name()),
        Type::Integer,
    )
}

/// A text for each reason of a discard.
pub(super) fn discard_texts() -> RefOr<Schema> {
    members(
        Discard::ALL.iter().map(|discard| discard.name()),
        Type::String,
    )
    .into()
}

/// An object that has exactly these members.
fn members(names: impl IntoIterator<Item = &'static str>, kind: Type) -> Object {
    let member = || ObjectBuilder::new().schema_type(SchemaType::new(kind.clone()));
    let object = ObjectBuilder::new().schema_type(Type::Object);
    let members = names.into_iter();
    members
        .fold(object, |object, name| {
            object.property(name, member()).required(name)
        })
        .build()
}
