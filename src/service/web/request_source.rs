//! Where a request comes from: this host or another, a page of this server, of another origin, or
//! no page.
//!
//! A program can send every header that a browser sends, so headers only ever remove trust: those
//! of a browser show that a page of another site sent the request, those of a proxy show that the
//! client runs elsewhere. Trust comes from the address of the connection, and from secrets.

use std::net::{IpAddr, SocketAddr};

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Request, Uri, Version, header};

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
    /// The version of HTTP.
    pub version: Version,
    /// The headers.
    pub headers: &'a HeaderMap,
}

impl<'a> RequestSource<'a> {
    /// The source of a request.
    pub fn of<T>(request: &'a Request<T>) -> RequestSource<'a> {
        RequestSource {
            connection: request.extensions().get().copied(),
            version: request.version(),
            headers: request.headers(),
        }
    }

    /// The client's IP address.
    pub fn address(&self) -> Option<IpAddr> {
        self.connection
            .map(|connection| connection.client.ip().to_canonical())
    }

    /// Returns true if a program on this host, or a page of this server in its browser, connected
    /// directly to loopback.
    ///
    /// These do not count, because the client may be anywhere: a request of a reverse proxy; a
    /// connection over TLS, which is the public side of the server and may come through a load
    /// balancer on this host; and a request to a DNS name, because anyone can point a name at
    /// loopback (DNS rebinding). A proxy that speaks HTTP/1.1 and adds no header at all looks like
    /// a program on this host.
    pub fn is_local(&self) -> bool {
        let is_direct = self.connection.is_some_and(|connection| {
            !connection.secure && connection.client.ip().to_canonical().is_loopback()
        });
        let to_loopback = self.header("host").is_some_and(http::is_loopback_host);
        is_direct
            && to_loopback
            && !self.is_proxied()
            && !self.is_cross_site()
            && self.is_allowed(&Origins::Same)
    }

    /// Returns true if a reverse proxy sent the request. Some, such as older versions of nginx, add
    /// no header but speak HTTP/1.0, which no browser does.
    fn is_proxied(&self) -> bool {
        let is_forwarded = |name: &HeaderName| {
            name.as_str().starts_with("x-forwarded-") || PROXY_HEADERS.contains(&name.as_str())
        };
        self.version < Version::HTTP_11 || self.headers.keys().any(is_forwarded)
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

    /// Returns true if the browser says that a page of another site sent the request.
    fn is_cross_site(&self) -> bool {
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
    /// choose the scheme of its Origin. The origin of a proxy that itself serves plain
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

/// Headers that reverse proxies add, beside all that begin with `x-forwarded-`.
const PROXY_HEADERS: [&str; 8] = [
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "fly-client-ip",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

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
            version: Version::HTTP_11,
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
            let headers = headers(&[("origin", origin), ("host", host)]);
            let source = RequestSource {
                connection: Some(connection),
                version: Version::HTTP_11,
                headers: &headers,
            };
            assert_eq!(source.is_allowed(origins), ours, "{origin}");
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

    const LOOPBACK: ConnectionInfo = ConnectionInfo {
        client: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5),
        local: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
        secure: false,
    };
    const HOST: (&str, &str) = ("host", "127.0.0.1:8080");

    fn is_local(
        connection: ConnectionInfo,
        version: Version,
        pairs: &[(&'static str, &str)],
    ) -> bool {
        let headers = headers(pairs);
        RequestSource {
            connection: Some(connection),
            version,
            headers: &headers,
        }
        .is_local()
    }

    #[test]
    fn a_client_is_local_if_it_connects_directly_from_loopback() {
        for client in [
            "127.0.0.1:5",
            "127.9.9.9:5",
            "[::1]:5",
            "[::ffff:127.0.0.1]:5",
        ] {
            let client = client.parse().unwrap();
            let connection = ConnectionInfo { client, ..LOOPBACK };
            assert!(is_local(connection, Version::HTTP_11, &[HOST]), "{client}");
        }
        for client in ["192.0.2.7:5", "10.0.0.1:5", "[fe80::1]:5"] {
            let client = client.parse().unwrap();
            let connection = ConnectionInfo { client, ..LOOPBACK };
            assert!(!is_local(connection, Version::HTTP_11, &[HOST]), "{client}");
        }
        let headers = headers(&[HOST]);
        let unknown = RequestSource {
            connection: None,
            version: Version::HTTP_11,
            headers: &headers,
        };
        assert!(!unknown.is_local());
    }

    #[test]
    fn a_client_of_a_proxy_on_this_host_is_not_local() {
        for header in [
            "forwarded",
            "via",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-real-ip",
            "cf-connecting-ip",
        ] {
            assert!(
                !is_local(LOOPBACK, Version::HTTP_11, &[HOST, (header, "127.0.0.1")]),
                "{header}"
            );
        }
        assert!(!is_local(LOOPBACK, Version::HTTP_10, &[HOST]), "nginx");
        let behind_balancer = ConnectionInfo {
            secure: true,
            ..LOOPBACK
        };
        assert!(!is_local(behind_balancer, Version::HTTP_11, &[HOST]));
    }

    #[test]
    fn a_request_from_loopback_that_names_another_host_is_not_local() {
        for (host, local) in [
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("localhost", true),
            ("LocalHost:8080", true),
            ("rebound.example:8080", false),
            ("localhost.example", false),
            ("192.0.2.1:8080", false),
            ("", false),
        ] {
            let headers = [("host", host)];
            assert_eq!(
                is_local(LOOPBACK, Version::HTTP_11, &headers),
                local,
                "{host}"
            );
        }
        assert!(!is_local(LOOPBACK, Version::HTTP_11, &[]), "no host");
    }

    #[test]
    fn a_page_of_another_origin_in_a_local_browser_is_not_local() {
        for (name, value, local) in [
            ("sec-fetch-site", "same-origin", true),
            ("sec-fetch-site", "none", true),
            ("sec-fetch-site", "same-site", false),
            ("sec-fetch-site", "cross-site", false),
            ("origin", "http://127.0.0.1:8080", true),
            ("origin", "http://127.0.0.1:9000", false),
            ("origin", "https://app.example", false),
            ("origin", "null", false),
        ] {
            let headers = [HOST, (name, value)];
            assert_eq!(
                is_local(LOOPBACK, Version::HTTP_11, &headers),
                local,
                "{name}: {value}"
            );
        }
    }

    #[test]
    fn no_header_makes_a_stranger_local() {
        let stranger = ConnectionInfo {
            client: "192.0.2.7:5".parse().unwrap(),
            ..LOOPBACK
        };
        for header in [
            ("sec-fetch-site", "same-origin"),
            ("origin", "http://127.0.0.1:8080"),
            ("referer", "http://127.0.0.1:8080/?room=blue"),
            ("x-forwarded-for", "127.0.0.1"),
            ("forwarded", "for=127.0.0.1"),
            ("x-real-ip", "127.0.0.1"),
        ] {
            assert!(
                !is_local(stranger, Version::HTTP_11, &[HOST, header]),
                "{header:?}"
            );
        }
    }
}
