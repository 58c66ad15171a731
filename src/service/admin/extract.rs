//! Strict extractors: an unknown parameter or body field is an error, so that a misspelled `for`
//! does not block a user for the default time.

use crate::client::duration::parse_duration;
use crate::service::admin::error::ApiError;
use axum::body::HttpBody;
use axum::extract::{FromRequest, Query, Request};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use std::time::Duration;

/// The query parameters of a request without a body. `T` has to deny unknown fields.
pub(super) struct Parameters<T>(pub(super) T);

/// The body of a request without query parameters, as text.
pub(super) struct TextBody(pub(super) String);

/// For operations without query parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParameters {}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Parameters<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Parameters<T>, ApiError> {
        let parameters = parse_query(request.uri())?;
        if request.body().is_end_stream() {
            Ok(Parameters(parameters))
        } else {
            Err(ApiError::BadRequest("this request takes no body".into()))
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for TextBody {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<TextBody, Response> {
        let NoParameters {} = parse_query(request.uri()).map_err(IntoResponse::into_response)?;
        let text = String::from_request(request, state).await;
        text.map(TextBody).map_err(IntoResponse::into_response)
    }
}

fn parse_query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    match Query::try_from_uri(uri) {
        Ok(Query(parameters)) => Ok(parameters),
        Err(rejection) => Err(ApiError::BadRequest(format!("invalid query: {rejection}"))),
    }
}

/// Deserializes a duration such as `500ms`, `90s` or `1h30m`; a number without a unit is in
/// seconds.
pub(super) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    match parse_duration(&text) {
        Some(duration) => Ok(Some(duration)),
        None => Err(D::Error::custom(format!(
            "`{text}` is not a duration; write 90s, 10m or 1h"
        ))),
    }
}
