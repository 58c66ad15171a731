//! Says on standard output, for people and for scripts, where the server is and how a client gets in.

use crate::cli::{ice_servers, output};
use crate::config::{CredentialSource, HostInfo, Settings};
use crate::relay::Supervisor;
use crate::service::ice_servers::HOST_PLACEHOLDER;
use crate::service::web;
use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};

/// Prints a line for each listener, relay address and service, and the `iceServers` object on the last. Nobody has to read it.
///
/// # Errors
/// Any other reason why it is not written, as a sentence.
pub fn print(
    settings: &Settings,
    relay: &Supervisor,
    host: &HostInfo,
    services: &[(&str, Option<String>)],
) -> Result<(), String> {
    let text = text(settings, relay, host, services).map_err(|error| error.to_string())?;
    output::print(&text.trim_end()).map_err(|error| error.to_string())
}

fn text(
    settings: &Settings,
    relay: &Supervisor,
    host: &HostInfo,
    services: &[(&str, Option<String>)],
) -> Result<String, fmt::Error> {
    let mut out = String::new();
    for address in relay.listener_addresses() {
        writeln!(out, "listening udp {address}")?;
        writeln!(out, "listening tcp {address}")?;
        if settings.plan.secure.tls.is_some() {
            writeln!(out, "listening tls {address}")?;
            writeln!(out, "listening dtls {address}")?;
        }
    }
    for relay in &settings.plan.policy.relay_addresses {
        writeln!(out, "relaying {}", Relaying(relay.local, relay.external))?;
    }
    for (name, url) in services {
        if let Some(url) = url {
            writeln!(out, "{name} {url}")?;
        }
    }
    if let CredentialSource::Secret {
        secret,
        generated: true,
    } = &settings.credentials
    {
        writeln!(out, "shared-secret {secret}")?;
    }
    let reached = settings.advertised_addresses(&relay.listener_addresses(), host);
    let servers: Vec<String> = reached.iter().map(SocketAddr::to_string).collect();
    let secure = secure_servers(settings, &reached);
    writeln!(
        out,
        "{}",
        ice_servers::json(
            &servers,
            &secure,
            &ice_servers::UserCredentials::from_source(&settings.credentials)
        )
    )?;
    Ok(out)
}

/// The web listener's settings with the relay's URLs: under the host that a browser reached this one by where the relay
/// listens everywhere and stands behind no NAT that maps addresses.
pub fn web_settings(settings: &Settings, relay: &Supervisor, host: &HostInfo) -> web::WebSettings {
    let mapped = settings
        .plan
        .policy
        .relay_addresses
        .iter()
        .any(|relay| relay.local != relay.external);
    let (anywhere, named): (Vec<SocketAddr>, Vec<SocketAddr>) = relay
        .listener_addresses()
        .into_iter()
        .partition(|address| address.ip().is_unspecified() && !mapped);
    let mut servers: Vec<String> = anywhere
        .iter()
        .map(|address| format!("{HOST_PLACEHOLDER}:{}", address.port()))
        .collect();
    servers.extend(
        settings
            .advertised_addresses(&named, host)
            .iter()
            .map(SocketAddr::to_string),
    );
    servers.dedup();
    let mut web = settings.web.settings.clone();
    web.ice.urls = ice_servers::urls(
        &servers,
        &secure_servers(settings, &relay.listener_addresses()),
    );
    web
}

/// Where clients come in by TLS, as `NAME:PORT`: under a name that the certificate bears, or will once it has been ordered, by the
/// port that gets through most firewalls.
fn secure_servers(settings: &Settings, reached: &[SocketAddr]) -> Vec<String> {
    let Some(tls) = &settings.plan.secure.tls else {
        return Vec::new();
    };
    let port = |wanted: u16| {
        reached
            .iter()
            .map(SocketAddr::port)
            .find(|port| *port == wanted)
    };
    let Some(port) = port(443)
        .or_else(|| port(5349))
        .or_else(|| reached.first().map(SocketAddr::port))
    else {
        return Vec::new();
    };
    let certificates = tls.certificates();
    let ordered = settings.tls.acme.iter().flat_map(|acme| &acme.names);
    let mut names = certificates
        .iter()
        .flat_map(|certificate| certificate.names())
        .chain(ordered);
    match names.find(|name| !name.starts_with('*')) {
        Some(name) => vec![format!("{name}:{port}")],
        None => reached
            .iter()
            .filter(|address| address.port() == port)
            .map(SocketAddr::to_string)
            .collect(),
    }
}

/// A relay address, and what clients are told instead.
struct Relaying(IpAddr, IpAddr);

impl fmt::Display for Relaying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 == self.1 {
            true => write!(f, "{}", self.0),
            false => write!(f, "{} as {}", self.0, self.1),
        }
    }
}
