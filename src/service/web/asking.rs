//! Who asks: what a request's connection and headers say about where it comes from.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, Uri, header};

use crate::service::web::settings::Origins;
use crate::service::{http, ice_servers};

/// How a request reached us. The accept loop puts it into the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// Our end of it.
    pub local: SocketAddr,
    /// Whether it is encrypted up to us.
    pub secure: bool,
}

/// A request's arrival and headers, read together.
pub struct Asking<'a> {
    /// How it reached us, where that is known.
    pub arrival: Option<Arrival>,
    /// What it says of itself.
    pub headers: &'a HeaderMap,
}

impl Asking<'_> {
    /// The asker's IP address.
    pub fn address(&self) -> Option<IpAddr> {
        self.arrival.map(|arrival| arrival.peer.ip().to_canonical())
    }

    /// Whether the asker is on this machine, and neither does a reverse proxy speak for somebody else nor a page that
    /// reached us under a name of its own (its DNS may say what it likes). Who says no host does not say either.
    pub fn is_here(&self) -> bool {
        let speaks_for_another = PROXIED.iter().any(|name| self.headers.contains_key(*name));
        let misled = self.text("host").is_none_or(http::is_name);
        self.address().is_some_and(|address| address.is_loopback())
            && !speaks_for_another
            && !misled
    }

    /// The host that the asker reached us under, fit for a URL; our own address where it does not say.
    pub fn host(&self) -> String {
        let local = self.arrival.map(|arrival| arrival.local.ip());
        self.text("host")
            .and_then(|host| ice_servers::host_of(host, local))
            .or_else(|| local.map(ice_servers::literal))
            .unwrap_or_else(|| "localhost".into())
    }

    /// The `Origin` header; `null` for one that is not text.
    pub fn origin(&self) -> Option<&str> {
        self.headers
            .get(header::ORIGIN)
            .map(|origin| origin.to_str().unwrap_or("null"))
    }

    /// Whether the page that asks, if it is one, is admitted.
    pub fn is_admitted(&self, origins: &Origins) -> bool {
        self.origin().is_none() || *origins == Origins::Any || self.is_page_of(origins)
    }

    /// Whether a page asks that is ours, or of an origin that is listed.
    fn is_page_of(&self, origins: &Origins) -> bool {
        self.origin()
            .is_some_and(|origin| self.is_ours(origin, origins) || origins.lists(origin))
    }

    /// Whether the asker is, as far as a browser's word goes, a page of ours.
    pub fn is_our_page(&self, origins: &Origins) -> bool {
        match (
            self.text("sec-fetch-site"),
            self.origin(),
            self.text("referer"),
        ) {
            // Browsers say this only to hosts that they trust: by TLS, or at home.
            (Some(site), ..) => site == "same-origin",
            (None, Some(origin), _) => self.is_ours(origin, origins),
            (None, None, Some(referer)) => self.is_ours(referer, origins),
            (None, None, None) => false,
        }
    }

    /// Whether a browser says that a page of another site asks.
    pub fn is_foreign_page(&self) -> bool {
        matches!(
            self.text("sec-fetch-site"),
            Some("cross-site" | "same-site")
        )
    }

    /// Whether `url` has the authority that this request is addressed to, and that cannot be somebody else's by DNS.
    fn is_ours(&self, url: &str, origins: &Origins) -> bool {
        let Ok(uri) = url.parse::<Uri>() else {
            return false;
        };
        let standard = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => return false,
        };
        let Some(Ok(host)) = self
            .text("host")
            .map(str::parse::<axum::http::uri::Authority>)
        else {
            return false;
        };
        let same_port = uri.port_u16().unwrap_or(standard) == host.port_u16().unwrap_or(standard);
        let same = same_port
            && uri
                .host()
                .is_some_and(|name| name.eq_ignore_ascii_case(host.host()));
        same && (!self.may_be_rebound(&uri)
            || *origins == Origins::Any
            || origins.lists(&origin_of(&uri)))
    }

    /// Whether a page at `uri` may be a stranger's whose DNS led a browser of this machine here.
    ///
    /// Such a page came by plain HTTP, as this listener speaks it, under a name of the stranger's. The same name over
    /// `https` is what a reverse proxy on this machine passes on, which is how a listener on loopback usually serves
    /// people, so it goes on as it is; no browser lets a page choose its Origin or Referer's scheme, while it may well
    /// set what proxies add. A proxy that speaks plain HTTP to people has its origin listed. A name without a dot is
    /// nobody's to register. Where others reach the listener too, a name that leads here gives nobody more than he has.
    fn may_be_rebound(&self, uri: &Uri) -> bool {
        let inside = self
            .arrival
            .is_some_and(|way| !way.secure && way.local.ip().to_canonical().is_loopback());
        let name = uri.host().unwrap_or_default();
        inside && uri.scheme_str() == Some("http") && name.contains('.') && http::is_name(name)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

fn origin_of(uri: &Uri) -> String {
    let [scheme, authority] = [
        uri.scheme_str(),
        uri.authority().map(|authority| authority.as_str()),
    ];
    format!(
        "{}://{}",
        scheme.unwrap_or_default(),
        authority.unwrap_or_default()
    )
}

/// What reverse proxies add.
const PROXIED: [&str; 5] = [
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

    fn admitted(origin: &str, host: &str, origins: &Origins) -> bool {
        let headers = headers(&[("origin", origin), ("host", host)]);
        Asking {
            arrival: None,
            headers: &headers,
        }
        .is_admitted(origins)
    }

    #[test]
    fn a_name_that_leads_to_loopback_is_ours_by_tls_or_by_list() {
        let loopback = Arrival {
            peer: "127.0.0.1:5".parse().unwrap(),
            local: "127.0.0.1:80".parse().unwrap(),
            secure: false,
        };
        let outside = Arrival {
            local: "192.0.2.1:80".parse().unwrap(),
            ..loopback
        };
        let listed = Origins::Listed(vec!["http://call.example:8080".into()]);
        for (arrival, origin, host, origins, ours) in [
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
                Arrival {
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
                let asking = Asking {
                    arrival: Some(arrival),
                    headers: &headers,
                };
                assert_eq!(asking.is_our_page(origins), ours, "{name} {origin}");
                assert!(
                    name == "referer" || asking.is_admitted(origins) == ours,
                    "{origin}"
                );
                assert!(
                    name == "referer" || asking.is_page_of(origins) == ours,
                    "{origin}"
                );
            }
        }
    }

    #[test]
    fn an_origin_is_ours_when_host_and_port_are() {
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
                admitted(origin, host, &Origins::Same),
                ours,
                "{origin} at {host}"
            );
        }
        assert!(admitted(
            "https://app.example",
            "call.example",
            &Origins::Listed(vec!["https://app.example/".into()])
        ));
        assert!(!admitted(
            "https://b.example",
            "call.example",
            &Origins::Listed(vec!["https://app.example".into()])
        ));
        assert!(admitted("null", "call.example", &Origins::Any));
    }

    #[test]
    fn a_proxy_on_this_machine_is_not_its_client() {
        let arrival = Arrival {
            peer: "127.0.0.1:5".parse().unwrap(),
            local: "127.0.0.1:80".parse().unwrap(),
            secure: false,
        };
        let direct = headers(&[("host", "127.0.0.1:8080")]);
        let proxied = headers(&[("host", "127.0.0.1:8080"), ("x-forwarded-for", "192.0.2.7")]);
        assert!(
            !Asking {
                arrival: Some(arrival),
                headers: &headers(&[])
            }
            .is_here(),
            "no host"
        );
        assert!(
            Asking {
                arrival: Some(arrival),
                headers: &direct
            }
            .is_here()
        );
        assert!(
            !Asking {
                arrival: Some(arrival),
                headers: &proxied
            }
            .is_here()
        );
        let remote = Arrival {
            peer: "192.0.2.7:5".parse().unwrap(),
            ..arrival
        };
        assert!(
            !Asking {
                arrival: Some(remote),
                headers: &direct
            }
            .is_here()
        );
        assert!(
            !Asking {
                arrival: None,
                headers: &direct
            }
            .is_here()
        );
        for (host, here) in [
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
                Asking {
                    arrival: Some(arrival),
                    headers: &headers
                }
                .is_here(),
                here,
                "{host}"
            );
        }
    }
}
