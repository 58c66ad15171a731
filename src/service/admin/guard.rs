//! Who may ask what. A browser that shows a stranger's page must not be able to give orders to a listener on loopback, and whoever
//! comes from elsewhere must show a token.

use crate::service::http::is_name;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Whom the operators' listener trusts.
#[derive(Clone)]
pub struct Guard {
    token: Option<Zeroizing<String>>,
    reached: Reached,
}

/// From where a listener can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// From other hosts too.
    Anywhere,
    /// Over loopback, by browsers as well.
    Loopback,
    /// By a UNIX socket, which no browser speaks to: whatever host a request names, nobody was misled.
    Socket,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Guard(token: {}, reached: {:?})",
            self.token.is_some(),
            self.reached
        )
    }
}

impl Guard {
    /// A guard that wants `token` from everybody, or without one lets in whom a local listener brings.
    pub fn new(token: Option<String>, reached: Reached) -> Guard {
        Guard {
            token: token.map(Zeroizing::new),
            reached,
        }
    }

    fn admits(&self, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        let Some(token) = &self.token else {
            let elsewhere =
                "this listener is not local: set admin_token to use more than metrics and health\n";
            // A page whose name was made to lead here (DNS rebinding) says no Origin when it only reads. Who does not say
            // whom it means is no browser, but may carry what one said; metrics and health ask for nothing.
            let misled = "name the listener by its address or as localhost, or set admin_token\n";
            return match (self.reached, text(headers, header::HOST)) {
                (Reached::Anywhere, _) => Err((StatusCode::FORBIDDEN, elsewhere)),
                (Reached::Socket, _) => Ok(()),
                (Reached::Loopback, Some(host)) if !is_name(host) => Ok(()),
                (Reached::Loopback, _) => Err((StatusCode::FORBIDDEN, misled)),
            };
        };
        let shown = text(headers, header::AUTHORIZATION)
            .and_then(|value| value.strip_prefix("Bearer "))
            .unwrap_or_default();
        match bool::from(shown.as_bytes().ct_eq(token.as_bytes())) {
            true => Ok(()),
            false => Err((
                StatusCode::UNAUTHORIZED,
                "send Authorization: Bearer and the admin_token\n",
            )),
        }
    }
}

/// Lets through who shows the token, or needs none.
pub(super) async fn authorized(
    State(guard): State<Guard>,
    request: Request,
    next: Next,
) -> Response {
    match guard.admits(request.headers()) {
        Ok(()) => next.run(request).await,
        Err((status, sentence)) => {
            (status, [(header::WWW_AUTHENTICATE, "Bearer")], sentence).into_response()
        }
    }
}

/// Turns away what a browser sends in the name of another site: a foreign Origin, or a name that was made to lead here.
pub(super) async fn same_site(request: Request, next: Next) -> Response {
    if is_foreign(request.headers()) {
        return (StatusCode::FORBIDDEN, "another site's page asks\n").into_response();
    }
    next.run(request).await
}

fn is_foreign(headers: &HeaderMap) -> bool {
    let site = text(headers, header::HeaderName::from_static("sec-fetch-site"));
    let cross = site.is_some_and(|site| site == "cross-site");
    let Some(origin) = text(headers, header::ORIGIN) else {
        return cross;
    };
    let of_origin = origin.split_once("://").map_or(origin, |(_, host)| host);
    cross || text(headers, header::HOST) != Some(of_origin) || is_name(of_origin)
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

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
    fn pages_of_other_sites_are_foreign() {
        for (pairs, foreign) in [
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
            assert_eq!(is_foreign(&headers(pairs)), foreign, "{pairs:?}");
        }
    }

    #[test]
    fn a_token_is_wanted_whole() {
        let guard = Guard::new(Some("north".into()), Reached::Loopback);
        assert!(
            guard
                .admits(&headers(&[("authorization", "Bearer north")]))
                .is_ok()
        );
        for wrong in ["Bearer nort", "Bearer northh", "north", "Bearer "] {
            assert!(
                guard.admits(&headers(&[("authorization", wrong)])).is_err(),
                "{wrong}"
            );
        }
        assert!(
            Guard::new(None, Reached::Loopback)
                .admits(&headers(&[]))
                .is_err(),
            "no host is not ours"
        );
        for (host, named) in [
            ("127.0.0.1:9641", false),
            ("[::1]", false),
            ("localhost", false),
            ("evil.example:9641", true),
        ] {
            assert_eq!(
                Guard::new(None, Reached::Loopback)
                    .admits(&headers(&[("host", host)]))
                    .is_err(),
                named,
                "{host}"
            );
            let shown = [("host", host), ("authorization", "Bearer north")];
            assert!(guard.admits(&headers(&shown)).is_ok(), "{host}");
        }
        assert!(
            Guard::new(None, Reached::Socket)
                .admits(&headers(&[("host", "unix")]))
                .is_ok()
        );
        assert_eq!(
            Guard::new(None, Reached::Anywhere)
                .admits(&headers(&[]))
                .unwrap_err()
                .0,
            StatusCode::FORBIDDEN
        );
    }
}
