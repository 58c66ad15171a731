//! Where a request comes from: this host, a page of this server, a page of another origin, or none
//! of these.

use std::net::{IpAddr, SocketAddr};

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};

use crate::service::web::settings::Origins;
use crate::service::{http, ice_servers};

/// The connection of a request. [`super::Web::serve_stream`] adds it to the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// The client's address.
    pub client: SocketAddr,
    /// The address on which the client was accepted.
    pub local: SocketAddr,
    /// The connection is encrypted, by TLS that ends in this process.
    pub secure: bool,
}

/// A request's connection and headers.
pub struct RequestSource<'a> {
    /// The connection, if known; a request without a known connection is not trusted.
    pub connection: Option<ConnectionInfo>,
    /// The headers.
    pub headers: &'a HeaderMap,
}

impl RequestSource<'_> {
    /// The client's IP address.
    pub fn address(&self) -> Option<IpAddr> {
        self.connection
            .map(|connection| connection.client.ip().to_canonical())
    }

    /// Returns true if the client runs on this host. A reverse proxy does not count, because its
    /// clients may be anywhere, and neither does a request to a DNS name, because anyone can point
    /// a name at loopback (DNS rebinding).
    pub fn is_local(&self) -> bool {
        let is_proxied = PROXY_HEADERS
            .iter()
            .any(|name| self.headers.contains_key(*name));
        let has_dns_name = self.header("host").is_none_or(http::is_dns_name);
        self.address().is_some_and(|address| address.is_loopback()) && !is_proxied && !has_dns_name
    }

    /// The host under which the client reached this server, for use in a URL; the local address if
    /// the client sent none.
    pub fn host(&self) -> String {
        let local = self.connection.map(|connection| connection.local.ip());
        self.header("host")
            .and_then(|host| ice_servers::url_host(host, local))
            .or_else(|| local.map(ice_servers::url_literal))
            .unwrap_or_else(|| "localhost".into())
    }

    /// The `Origin` header; `null` if it is not text.
    pub fn origin(&self) -> Option<&str> {
        self.headers
            .get(header::ORIGIN)
            .map(|origin| origin.to_str().unwrap_or("null"))
    }

    /// Returns true if the request comes from an allowed page, or from no page.
    pub fn is_allowed(&self, origins: &Origins) -> bool {
        let Some(origin) = self.origin() else {
            return true;
        };
        *origins == Origins::Any || self.is_ours(origin, origins) || origins.lists(origin)
    }

    /// Returns true if the request comes from a page of this server, according to the browser.
    pub fn is_own_page(&self, origins: &Origins) -> bool {
        match (
            self.header("sec-fetch-site"),
            self.origin(),
            self.header("referer"),
        ) {
            // Browsers send this header only to potentially trustworthy hosts: over TLS, or to
            // loopback.
            (Some(site), ..) => site == "same-origin",
            (None, Some(origin), _) => self.is_ours(origin, origins),
            (None, None, Some(referer)) => self.is_ours(referer, origins),
            (None, None, None) => false,
        }
    }

    /// Returns true if the browser says that a page of another site sent the request.
    pub fn is_cross_site(&self) -> bool {
        matches!(
            self.header("sec-fetch-site"),
            Some("cross-site" | "same-site")
        )
    }

    /// Returns true if `url` has the authority to which this request is addressed, and DNS
    /// rebinding cannot explain that.
    fn is_ours(&self, url: &str, origins: &Origins) -> bool {
        let Ok(uri) = url.parse::<Uri>() else {
            return false;
        };
        let default_port = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => return false,
        };
        let Some(Ok(host)) = self.header("host").map(str::parse::<Authority>) else {
            return false;
        };
        let same_port =
            uri.port_u16().unwrap_or(default_port) == host.port_u16().unwrap_or(default_port);
        let same_host = uri
            .host()
            .is_some_and(|name| name.eq_ignore_ascii_case(host.host()));
        same_port
            && same_host
            && (!self.may_be_rebound(&uri)
                || *origins == Origins::Any
                || origins.lists(&origin_of(&uri)))
    }

    /// Returns true if a page at `uri` may be an attacker's whose DNS name resolves to loopback
    /// (DNS rebinding).
    ///
    /// Such a page was loaded over plain HTTP under the attacker's name, because this listener
    /// speaks only plain HTTP. An `https` origin means a reverse proxy on this host, which is how a
    /// listener on loopback usually serves its users: a page can add a proxy's headers, but cannot
    /// choose the scheme of its Origin or Referer. The origin of a proxy that itself serves plain
    /// HTTP must be listed. A name without a dot cannot be registered. If the listener is not on
    /// loopback, rebinding gains an attacker nothing, because it can send direct requests.
    fn may_be_rebound(&self, uri: &Uri) -> bool {
        let plain_on_loopback = self.connection.is_some_and(|connection| {
            !connection.secure && connection.local.ip().to_canonical().is_loopback()
        });
        let name = uri.host().unwrap_or_default();
        plain_on_loopback
            && uri.scheme_str() == Some("http")
            && name.contains('.')
            && http::is_dns_name(name)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

fn origin_of(uri: &Uri) -> String {
    format!(
        "{}://{}",
        uri.scheme_str().unwrap_or_default(),
        uri.authority().map_or("", Authority::as_str)
    )
}

/// Headers that reverse proxies add.
const PROXY_HEADERS: [&str; 5] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-real-ip",
    "via",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn is_allowed(origin: &str, host: &str, origins: &Origins) -> bool {
        let headers = headers(&[("origin", origin), ("host", host)]);
        RequestSource {
            connection: None,
            headers: &headers,
        }
        .is_allowed(origins)
    }

    #[test]
    fn a_dns_name_that_points_to_loopback_is_ours_over_tls_or_if_listed() {
        let loopback = ConnectionInfo {
            client: "127.0.0.1:5".parse().unwrap(),
            local: "127.0.0.1:80".parse().unwrap(),
            secure: false,
        };
        let outside = ConnectionInfo {
            local: "192.0.2.1:80".parse().unwrap(),
            ..loopback
        };
        let listed = Origins::Listed(vec!["http://call.example:8080".into()]);
        for (connection, origin, host, origins, ours) in [
            (
                loopback,
                "http://evil.example:8080",
                "evil.example:8080",
                &Origins::Same,
                false,
            ),
            (
                loopback,
                "http://evil.example:8080",
                "evil.example:8080",
                &listed,
                false,
            ),
            (
                loopback,
                "http://call.example:8080",
                "call.example:8080",
                &listed,
                true,
            ),
            (
                loopback,
                "https://call.example",
                "call.example",
                &Origins::Same,
                true,
            ),
            (
                loopback,
                "http://localhost:8080",
                "localhost:8080",
                &Origins::Same,
                true,
            ),
            (
                loopback,
                "http://a.localhost:8080",
                "a.localhost:8080",
                &Origins::Same,
                true,
            ),
            (
                loopback,
                "http://mybox:8080",
                "mybox:8080",
                &Origins::Same,
                true,
            ),
            (
                loopback,
                "http://127.0.0.1:8080",
                "127.0.0.1:8080",
                &Origins::Same,
                true,
            ),
            (
                loopback,
                "http://[::1]:8080",
                "[::1]:8080",
                &Origins::Same,
                true,
            ),
            (
                ConnectionInfo {
                    secure: true,
                    ..loopback
                },
                "http://b.example",
                "b.example",
                &Origins::Same,
                true,
            ),
            (
                outside,
                "http://call.example:8080",
                "call.example:8080",
                &Origins::Same,
                true,
            ),
        ] {
            for name in ["origin", "referer"] {
                let headers = headers(&[(name, origin), ("host", host)]);
                let source = RequestSource {
                    connection: Some(connection),
                    headers: &headers,
                };
                assert_eq!(source.is_own_page(origins), ours, "{name} {origin}");
                assert!(
                    name == "referer" || source.is_allowed(origins) == ours,
                    "{origin}"
                );
            }
        }
    }

    #[test]
    fn an_origin_is_ours_if_host_and_port_match() {
        for (origin, host, ours) in [
            ("http://call.example:8080", "call.example:8080", true),
            ("https://call.example", "call.example", true),
            ("https://call.example", "CALL.example:443", true),
            ("https://call.example", "call.example:80", false),
            ("http://call.example", "call.example:8080", false),
            ("http://call.example.evil", "call.example", false),
            ("http://[::1]:8080", "[::1]:8080", true),
            ("null", "call.example", false),
            ("file://", "call.example", false),
        ] {
            assert_eq!(
                is_allowed(origin, host, &Origins::Same),
                ours,
                "{origin} at {host}"
            );
        }
        assert!(is_allowed(
            "https://app.example",
            "call.example",
            &Origins::Listed(vec!["https://app.example/".into()])
        ));
        assert!(!is_allowed(
            "https://b.example",
            "call.example",
            &Origins::Listed(vec!["https://app.example".into()])
        ));
        assert!(is_allowed("null", "call.example", &Origins::Any));
    }

    #[test]
    fn a_client_of_a_proxy_on_this_host_is_not_local() {
        let connection = ConnectionInfo {
            client: "127.0.0.1:5".parse().unwrap(),
            local: "127.0.0.1:80".parse().unwrap(),
            secure: false,
        };
        let remote = ConnectionInfo {
            client: "192.0.2.7:5".parse().unwrap(),
            ..connection
        };
        let host = ("host", "127.0.0.1:8080");
        for (connection, pairs, local) in [
            (Some(connection), &[host][..], true),
            (Some(connection), &[], false),
            (
                Some(connection),
                &[host, ("x-forwarded-for", "192.0.2.7")],
                false,
            ),
            (Some(remote), &[host], false),
            (None, &[host], false),
        ] {
            let headers = headers(pairs);
            let source = RequestSource {
                connection,
                headers: &headers,
            };
            assert_eq!(source.is_local(), local, "{connection:?} {pairs:?}");
        }
        for (host, local) in [
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("localhost", true),
            ("LocalHost:8080", true),
            ("rebound.example:8080", false),
            ("localhost.example", false),
            ("", false),
        ] {
            let headers = headers(&[("host", host)]);
            assert_eq!(
                RequestSource {
                    connection: Some(connection),
                    headers: &headers
                }
                .is_local(),
                local,
                "{host}"
            );
        }
    }
}
