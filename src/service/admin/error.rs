//! Errors of the admin API, as JSON: `{"error": "…"}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

/// Why a request failed. A request that failed has changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiError {
    /// The request is invalid; the message says what to change.
    BadRequest(String),
    /// The object of the request does not exist.
    NotFound(String),
    /// The server is shutting down and executes no more commands.
    ShuttingDown,
}

/// The body of an error response.
#[derive(Serialize, ToSchema)]
pub(super) struct ErrorBody {
    error: String,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, error) = match self {
            ApiError::BadRequest(message) => (StatusCode::BAD_REQUEST, message),
            ApiError::NotFound(message) => (StatusCode::NOT_FOUND, message),
            ApiError::ShuttingDown => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the server is shutting down".into(),
            ),
        };
        (status, Json(ErrorBody { error })).into_response()
    }
}

/// The error responses of every operation that needs authorization, for the OpenAPI document.
pub(super) struct GuardedErrors;

impl IntoResponses for GuardedErrors {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let body = || Content::new(Some(Ref::from_schema_name("ErrorBody")));
        let invalid = ResponseBuilder::new()
            .description("invalid parameter, body or configuration; nothing has changed")
            .content("application/json", body());
        let token = ResponseBuilder::new().description("the admin_token is missing or wrong");
        let forbidden = ResponseBuilder::new()
            .description("cross-origin request, or a listener without token that is not local");
        [("400", invalid), ("401", token), ("403", forbidden)]
            .map(|(status, response)| (status.to_owned(), RefOr::T(response.build())))
            .into()
    }
}
