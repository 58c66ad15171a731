//! Authorization of admin requests. A page of another site that a browser shows must not control a
//! listener on loopback, and requests from other hosts have to carry a token.

use crate::service::http::is_dns_name;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Decides which requests may do more than read metrics and health.
#[derive(Clone)]
pub struct AccessControl {
    token: Option<Zeroizing<String>>,
    exposure: Exposure,
}

/// From where a listener can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// From other hosts.
    AnyHost,
    /// From this host, by browsers too.
    Loopback,
    /// From this host by a UNIX socket, which browsers cannot open.
    UnixSocket,
}

impl std::fmt::Debug for AccessControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let AccessControl { token, exposure } = self;
        write!(
            f,
            "AccessControl(token: {}, exposure: {exposure:?})",
            token.is_some()
        )
    }
}

impl AccessControl {
    /// Requires `token` of every request. Without a token only requests from this host are allowed.
    pub fn new(token: Option<String>, exposure: Exposure) -> AccessControl {
        AccessControl {
            token: token.map(Zeroizing::new),
            exposure,
        }
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        let Some(token) = &self.token else {
            return match (self.exposure, text(headers, header::HOST)) {
                (Exposure::AnyHost, _) => Err((StatusCode::FORBIDDEN, NOT_LOCAL)),
                (Exposure::UnixSocket, _) => Ok(()),
                (Exposure::Loopback, Some(host)) if !is_dns_name(host) => Ok(()),
                // DNS rebinding: a page whose name resolves to loopback sends no Origin with a GET.
                // A request without Host is no browser's, but may pass on what a browser sent.
                (Exposure::Loopback, _) => Err((StatusCode::FORBIDDEN, REBOUND)),
            };
        };
        let presented = text(headers, header::AUTHORIZATION)
            .and_then(|value| value.strip_prefix("Bearer "))
            .unwrap_or_default();
        match bool::from(presented.as_bytes().ct_eq(token.as_bytes())) {
            true => Ok(()),
            false => Err((StatusCode::UNAUTHORIZED, WRONG_TOKEN)),
        }
    }
}

/// Middleware: requires the token, or a request from this host if no token is set.
pub(super) async fn authorize(
    State(access): State<AccessControl>,
    request: Request,
    next: Next,
) -> Response {
    match access.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err((status, message)) => {
            (status, [(header::WWW_AUTHENTICATE, "Bearer")], message).into_response()
        }
    }
}

/// Middleware: rejects requests that a browser sends for a page of another origin.
pub(super) async fn reject_cross_origin(request: Request, next: Next) -> Response {
    if !is_cross_origin(request.headers()) {
        return next.run(request).await;
    }
    let origin = text(request.headers(), header::ORIGIN).unwrap_or("none");
    let message = format!("cross-origin request refused (Origin: {origin})\n");
    (StatusCode::FORBIDDEN, message).into_response()
}

fn is_cross_origin(headers: &HeaderMap) -> bool {
    let site = text(headers, header::HeaderName::from_static("sec-fetch-site"));
    let cross_site = site.is_some_and(|site| site == "cross-site");
    let Some(origin) = text(headers, header::ORIGIN) else {
        return cross_site;
    };
    let host = origin.split_once("://").map_or(origin, |(_, host)| host);
    // An origin with a name that DNS controls is foreign even if Host is the same: DNS rebinding.
    cross_site || text(headers, header::HOST) != Some(host) || is_dns_name(host)
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

const NOT_LOCAL: &str =
    "this listener accepts other hosts: set admin_token to use more than metrics and health\n";
const REBOUND: &str =
    "request refused because of its Host: use an IP address or localhost, or set admin_token\n";
const WRONG_TOKEN: &str =
    "token missing or wrong: send the admin_token as Authorization: Bearer TOKEN\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn requests_of_other_origins_are_refused() {
        for (pairs, refused) in [
            (&[("host", "127.0.0.1:9641")][..], false),
            (
                &[
                    ("host", "127.0.0.1:9641"),
                    ("origin", "http://127.0.0.1:9641"),
                ],
                false,
            ),
            (
                &[
                    ("host", "localhost:9641"),
                    ("origin", "http://localhost:9641"),
                ],
                false,
            ),
            (
                &[("host", "[::1]:9641"), ("origin", "http://[::1]:9641")],
                false,
            ),
            (
                &[
                    ("host", "127.0.0.1:9641"),
                    ("origin", "https://evil.example"),
                ],
                true,
            ),
            (
                &[
                    ("host", "evil.example:9641"),
                    ("origin", "http://evil.example:9641"),
                ],
                true,
            ),
            (&[("host", "127.0.0.1:9641"), ("origin", "null")], true),
            (
                &[("host", "127.0.0.1:9641"), ("sec-fetch-site", "cross-site")],
                true,
            ),
        ] {
            assert_eq!(is_cross_origin(&headers(pairs)), refused, "{pairs:?}");
        }
    }

    #[test]
    fn a_token_must_match_exactly() {
        let access = AccessControl::new(Some("north".into()), Exposure::Loopback);
        assert!(
            access
                .check(&headers(&[("authorization", "Bearer north")]))
                .is_ok()
        );
        for wrong in ["Bearer nort", "Bearer northh", "north", "Bearer "] {
            assert!(
                access.check(&headers(&[("authorization", wrong)])).is_err(),
                "{wrong}"
            );
        }
        assert!(
            AccessControl::new(None, Exposure::Loopback)
                .check(&headers(&[]))
                .is_err(),
            "a request without Host"
        );
        for (host, refused) in [
            ("127.0.0.1:9641", false),
            ("[::1]", false),
            ("localhost", false),
            ("evil.example:9641", true),
        ] {
            assert_eq!(
                AccessControl::new(None, Exposure::Loopback)
                    .check(&headers(&[("host", host)]))
                    .is_err(),
                refused,
                "{host}"
            );
            let presented = [("host", host), ("authorization", "Bearer north")];
            assert!(access.check(&headers(&presented)).is_ok(), "{host}");
        }
        assert!(
            AccessControl::new(None, Exposure::UnixSocket)
                .check(&headers(&[("host", "unix")]))
                .is_ok()
        );
        assert_eq!(
            AccessControl::new(None, Exposure::AnyHost)
                .check(&headers(&[]))
                .unwrap_err()
                .0,
            StatusCode::FORBIDDEN
        );
    }
}
