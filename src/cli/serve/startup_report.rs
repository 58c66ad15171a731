//! The report on standard output when the server has started: where it listens, and how a client
//! connects. People read it, and scripts parse it.

use crate::cli::ice_servers;
use crate::cli::ice_servers::UserCredentials;
use crate::cli::output::{PrintError, print};
use crate::config::{CredentialSource, HostInfo, Settings};
use crate::relay::Supervisor;
use crate::service::ice_servers::HOST_PLACEHOLDER;
use crate::service::web::WebSettings;
use std::net::SocketAddr;

/// Prints a line for each listener, relay address and service, and the `iceServers` object last.
pub(super) fn print_report(
    settings: &Settings,
    relay: &Supervisor,
    host: &HostInfo,
    services: &[(&str, String)],
) -> Result<(), PrintError> {
    let listeners = relay.listener_addresses();
    let mut lines = Vec::new();
    for address in &listeners {
        lines.push(format!("listening udp {address}"));
        lines.push(format!("listening tcp {address}"));
        if settings.plan.secure.tls.is_some() {
            lines.push(format!("listening tls {address}"));
            lines.push(format!("listening dtls {address}"));
        }
    }
    for relay in &settings.plan.policy.relay_addresses {
        lines.push(match relay.local == relay.external {
            true => format!("relaying {}", relay.local),
            false => format!("relaying {} as {}", relay.local, relay.external),
        });
    }
    for (name, url) in services {
        lines.push(format!("{name} {url}"));
    }
    if let CredentialSource::Secret {
        secret,
        generated: true,
    } = &settings.credentials
    {
        lines.push(format!("shared-secret {secret}"));
    }
    let addresses = settings.advertised_addresses(&listeners, host);
    let servers: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    lines.push(ice_servers::json(
        &servers,
        &tls_servers(settings, &addresses),
        &UserCredentials::from_source(&settings.credentials),
    ));
    print(&lines.join("\n"))
}

/// The settings of the web service, completed with the relay's URLs. The URL of a relay that
/// listens on every address and is not behind 1:1 NAT contains a placeholder for the host name that
/// the browser used.
pub(super) fn web_settings(
    settings: &Settings,
    relay: &Supervisor,
    host: &HostInfo,
) -> WebSettings {
    let is_mapped = settings
        .plan
        .policy
        .relay_addresses
        .iter()
        .any(|relay| relay.local != relay.external);
    let listeners = relay.listener_addresses();
    let (wildcards, named): (Vec<SocketAddr>, Vec<SocketAddr>) = listeners
        .iter()
        .partition(|address| address.ip().is_unspecified() && !is_mapped);
    let wildcards = wildcards
        .iter()
        .map(|address| format!("{HOST_PLACEHOLDER}:{}", address.port()));
    let named = settings.advertised_addresses(&named, host);
    let mut servers: Vec<String> = wildcards
        .chain(named.iter().map(SocketAddr::to_string))
        .collect();
    servers.dedup();
    let mut web = settings.web.settings.clone();
    web.ice.urls = ice_servers::urls(&servers, &tls_servers(settings, &listeners));
    web
}

/// The servers for `turns:` URLs, `HOST:PORT`: a name in the certificate, and the port that passes
/// most firewalls.
fn tls_servers(settings: &Settings, addresses: &[SocketAddr]) -> Vec<String> {
    let Some(tls) = &settings.plan.secure.tls else {
        return Vec::new();
    };
    let has_port = |port: &u16| addresses.iter().any(|address| address.port() == *port);
    let first = addresses.first().map(SocketAddr::port);
    let Some(port) = [443, 5349].into_iter().find(has_port).or(first) else {
        return Vec::new();
    };
    let certificates = tls.certificates();
    let acme_names = settings.tls.acme.iter().flat_map(|acme| &acme.names);
    let mut names = certificates
        .iter()
        .flat_map(|certificate| certificate.names())
        .chain(acme_names);
    match names.find(|name| !name.starts_with('*')) {
        Some(name) => vec![format!("{name}:{port}")],
        None => addresses
            .iter()
            .filter(|address| address.port() == port)
            .map(SocketAddr::to_string)
            .collect(),
    }
}
