//! What a request says and nobody understands is refused, and not passed over: whoever misspells `for` must not block a user for
//! the hour that is the default.

use crate::service::admin::openapi;
use crate::service::admin::order::Refused;
use axum::body::HttpBody;
use axum::extract::{MatchedPath, Request};
use axum::http::{Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Lets through what the OpenAPI document knows.
pub(super) async fn understood(path: MatchedPath, request: Request, next: Next) -> Response {
    let empty = request.body().is_end_stream();
    match strange(request.method(), path.as_str(), request.uri(), empty) {
        Some(refused) => refused.into_response(),
        None => next.run(request).await,
    }
}

fn strange(method: &Method, path: &str, uri: &Uri, empty: bool) -> Option<Refused> {
    let method = if *method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    let (known, body) = openapi::understood(method.as_str(), path)?;
    let known: Vec<&str> = known.collect();
    let list = if known.is_empty() {
        "nothing".to_owned()
    } else {
        known.join(", ")
    };
    let names = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|part| !part.is_empty());
    let mut names = names.map(|part| part.split_once('=').map_or(part, |(name, _)| name));
    if let Some(name) = names.find(|name| !known.contains(name)) {
        return Some(Refused::wrong(format!(
            "`{name}` is not understood; behind ? there may be {list}"
        )));
    }
    (!body && !empty).then(|| {
        Refused::wrong(format!(
            "no body is understood here; behind ? there may be {list}"
        ))
    })
}
