//! Who asks: what a request's connection and headers say about where it comes from.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, Uri, header};

use super::settings::Origins;
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
        self.address().is_some_and(|address| address.is_loopback()) && !speaks_for_another && !misled
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
        self.headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or("null"))
    }

    /// Whether the page that asks, if it is one, is admitted.
    pub fn is_admitted(&self, origins: &Origins) -> bool {
        let Some(origin) = self.origin() else {
            return true;
        };
        let listed =
            |list: &[String]| list.iter().any(|listed| listed.trim_end_matches('/').eq_ignore_ascii_case(origin));
        match origins {
            Origins::Any => true,
            Origins::Same => self.is_ours(origin),
            Origins::Listed(list) => self.is_ours(origin) || listed(list),
        }
    }

    /// Whether the asker is, as far as a browser's word goes, a page of ours.
    pub fn is_our_page(&self) -> bool {
        match (self.text("sec-fetch-site"), self.origin(), self.text("referer")) {
            (Some(site), ..) => site == "same-origin",
            (None, Some(origin), _) => self.is_ours(origin),
            (None, None, Some(referer)) => self.is_ours(referer),
            (None, None, None) => false,
        }
    }

    /// Whether a browser says that a page of another site asks.
    pub fn is_foreign_page(&self) -> bool {
        matches!(self.text("sec-fetch-site"), Some("cross-site" | "same-site"))
    }

    /// Whether `url` has the authority that this request is addressed to.
    fn is_ours(&self, url: &str) -> bool {
        let Ok(uri) = url.parse::<Uri>() else {
            return false;
        };
        let standard = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => return false,
        };
        let Some(Ok(host)) = self.text("host").map(str::parse::<axum::http::uri::Authority>) else {
            return false;
        };
        let same_port = uri.port_u16().unwrap_or(standard) == host.port_u16().unwrap_or(standard);
        same_port && uri.host().is_some_and(|name| name.eq_ignore_ascii_case(host.host()))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// What reverse proxies add.
const PROXIED: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn admitted(origin: &str, host: &str, origins: &Origins) -> bool {
        let headers = headers(&[("origin", origin), ("host", host)]);
        Asking { arrival: None, headers: &headers }.is_admitted(origins)
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
            assert_eq!(admitted(origin, host, &Origins::Same), ours, "{origin} at {host}");
        }
        assert!(admitted("https://app.example", "call.example", &Origins::Listed(vec!["https://app.example/".into()])));
        assert!(!admitted("https://b.example", "call.example", &Origins::Listed(vec!["https://app.example".into()])));
        assert!(admitted("null", "call.example", &Origins::Any));
    }

    #[test]
    fn a_proxy_on_this_machine_is_not_its_client() {
        let arrival =
            Arrival { peer: "127.0.0.1:5".parse().unwrap(), local: "127.0.0.1:80".parse().unwrap(), secure: false };
        let direct = headers(&[("host", "127.0.0.1:8080")]);
        let proxied = headers(&[("host", "127.0.0.1:8080"), ("x-forwarded-for", "192.0.2.7")]);
        assert!(!Asking { arrival: Some(arrival), headers: &headers(&[]) }.is_here(), "no host");
        assert!(Asking { arrival: Some(arrival), headers: &direct }.is_here());
        assert!(!Asking { arrival: Some(arrival), headers: &proxied }.is_here());
        let remote = Arrival { peer: "192.0.2.7:5".parse().unwrap(), ..arrival };
        assert!(!Asking { arrival: Some(remote), headers: &direct }.is_here());
        assert!(!Asking { arrival: None, headers: &direct }.is_here());
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
            assert_eq!(Asking { arrival: Some(arrival), headers: &headers }.is_here(), here, "{host}");
        }
    }
}
