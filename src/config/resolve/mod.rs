//! Resolves the layers into [`Settings`]: every value parsed, every default filled in, every
//! contradiction reported.

mod addresses;
mod advertised;
mod limits;
mod listeners;
mod realms;
mod secret_files;
#[cfg(test)]
mod tests;
mod tls;
mod warnings;
mod web;

pub use crate::config::resolve::realms::CredentialSource;
pub use crate::config::resolve::tls::TlsSettings;
pub use crate::config::resolve::web::WebListener;

use crate::config::error::{Diagnostic, Error};
use crate::config::host_info::HostInfo;
use crate::config::layer::Layer;
use crate::config::resolver::Resolver;
use crate::config::schema;
use crate::config::schema::{LogAddresses, LogFormat};
use crate::config::value::AdminAddress;
use crate::relay::Plan;
use crate::service::ice_servers::Credentials;
use crate::service::usage::UsageSettings;
use crate::turn::policy::Alternate;
use crate::turn::policy::acl::OwnAddresses;
use crate::turn::policy::realm::Realm;
use crate::turn::{Limits, Policy};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A resolved configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The relay's plan.
    pub plan: Plan,
    /// Address of the admin API.
    pub admin: Option<AdminAddress>,
    /// Bearer token that the admin API requires.
    pub admin_token: Option<String>,
    /// Time after SIGTERM after which allocations are ended.
    pub drain_timeout: Duration,
    /// UNIX socket through which the next server process takes over.
    pub handover: Option<PathBuf>,
    /// The web listener.
    pub web: WebListener,
    /// Where usage records go.
    pub usage: UsageSettings,
    /// Certificates; the part that the relay needs is in its plan too.
    pub tls: TlsSettings,
    /// The log.
    pub logs: LogSettings,
    /// What the credentials that the server issues are made from.
    pub credentials: CredentialSource,
    /// Probable mistakes that the server can run with.
    pub warnings: Vec<Diagnostic>,
    /// Legal but notable settings.
    pub advice: Vec<Diagnostic>,
}

/// The log on standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// A level, or a list of targets with levels.
    pub level: String,
    /// Lines of text or JSON.
    pub format: LogFormat,
}

/// Resolves a configuration for a host.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
pub fn resolve(layer: &Layer, host: &HostInfo) -> Result<Settings, Error> {
    let mut resolver = Resolver::new(layer);
    let mut listeners = listeners::listeners(&mut resolver, host);
    let relay_addresses = addresses::relay_addresses(&mut resolver, host);
    let limits = limits::limits(&mut resolver, &Limits::default());
    let (mut realms, credentials) = realms::realms(&mut resolver, layer, host, &limits);
    let admin = resolver.get(&schema::ADMIN);
    let admin_token = resolver.get_optional(&schema::ADMIN_TOKEN);
    let admin_token_file = secret_files::secrets(&mut resolver, &schema::ADMIN_TOKEN_FILE);
    let web = web::settings(&mut resolver, &credentials, host);
    if web.is_enabled()
        && let CredentialSource::User { .. } = credentials
        && let Credentials::Minted { secret } = &web.settings.ice.credentials
        && let Some(realm) = realms.first_mut()
    {
        realm.credentials.set_internal_secret(secret.clone());
    }
    let tls = tls::settings(&mut resolver, web.tls);

    let mut policy = Policy::new(Realm::new(""), relay_addresses);
    policy.realms = realms.into_iter().map(Arc::new).collect();
    policy.limits = limits;
    policy.redirect = resolver.get(&schema::REDIRECT);
    policy.alternate = alternate(&mut resolver, policy.redirect);
    policy.password_algorithms = resolver.get(&schema::PASSWORD_ALGORITHMS);
    policy.sha1 = resolver.get(&schema::SHA1);
    policy.mobility = resolver.get(&schema::MOBILITY);
    policy.tcp_relays = resolver.get(&schema::TCP_RELAYS);
    policy.software = resolver.get_optional(&schema::SOFTWARE);
    policy.own_addresses = OwnAddresses {
        listeners: tcp_address(&admin).into_iter().chain(web.address).collect(),
        addresses: Vec::new(),
    };
    policy.discovery = listeners::discovery(&mut resolver, &mut listeners);

    let mut plan = Plan::new([], policy);
    plan.listeners = listeners;
    plan.secure = tls.plan.clone();
    plan.connection_limits.handshakes = tls::handshake_limits(&mut resolver);
    plan.relay_ports = resolver.get(&schema::RELAY_PORTS);
    plan.answer_rate = resolver.get(&schema::ANSWER_RATE);
    plan.shards = resolver.get_optional(&schema::SHARDS).unwrap_or(0);
    plan.path = resolver.get(&schema::SOCKETS);
    plan.allocation_log.anonymous = match resolver.get(&schema::LOG_ADDRESSES) {
        LogAddresses::Full => false,
        LogAddresses::Network => true,
    };
    listeners::refuse_port_conflicts(&mut resolver, &plan, tcp_address(&admin), web.address);
    let drain_timeout = resolver.get(&schema::DRAIN_TIMEOUT);
    let handover = resolver.get_optional(&schema::HANDOVER);
    let usage = usage_settings(&mut resolver);
    let logs = LogSettings {
        level: resolver.get(&schema::LOG_LEVEL),
        format: resolver.get(&schema::LOG_FORMAT),
    };
    if !resolver.diagnostics.is_empty() {
        return Err(Error::new(resolver.diagnostics));
    }
    let warnings = warnings::warnings(layer, &plan, &web);
    let advice = warnings::advice(layer, &web);
    Ok(Settings {
        plan,
        admin,
        admin_token: admin_token.into_iter().chain(admin_token_file).next(),
        drain_timeout,
        handover,
        web,
        usage,
        tls,
        logs,
        credentials,
        warnings,
        advice,
    })
}

impl Settings {
    /// The addresses under which clients reach listeners that are bound to `bound`.
    pub fn advertised_addresses(&self, bound: &[SocketAddr], host: &HostInfo) -> Vec<SocketAddr> {
        advertised::advertised_addresses(bound, &self.plan.policy.relay_addresses, host)
    }
}

fn tcp_address(admin: &Option<AdminAddress>) -> Option<SocketAddr> {
    match admin {
        Some(AdminAddress::Tcp(address)) => Some(*address),
        Some(AdminAddress::Unix(_)) | None => None,
    }
}

/// The server that new clients are redirected to.
fn alternate(resolver: &mut Resolver, redirect: bool) -> Option<Alternate> {
    let servers = resolver.get_list(&schema::ALTERNATE_SERVER);
    let domain = resolver.get_optional(&schema::ALTERNATE_DOMAIN);
    if !servers.is_empty() {
        return Some(Alternate { servers, domain });
    }
    if domain.is_some() {
        resolver.error(
            &schema::ALTERNATE_DOMAIN,
            "clients cannot be redirected to a name alone; set alternate_server too",
        );
    }
    if redirect {
        resolver.error(
            &schema::REDIRECT,
            "there is no server to redirect clients to; set alternate_server too",
        );
    }
    None
}

fn usage_settings(resolver: &mut Resolver) -> UsageSettings {
    UsageSettings {
        file: resolver.get_optional(&schema::USAGE_FILE),
        webhook: resolver.get_optional(&schema::USAGE_WEBHOOK),
        spool: resolver.get(&schema::USAGE_SPOOL),
        spool_bytes: resolver.get(&schema::USAGE_SPOOL_SIZE),
        interval: resolver.get(&schema::USAGE_INTERVAL),
    }
}
