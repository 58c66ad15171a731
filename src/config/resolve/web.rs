//! The web service: page, signaling, ICE servers.

use crate::config::host_info::HostInfo;
use crate::config::resolve::realms::CredentialSource;
use crate::config::resolve::secret_files;
use crate::config::resolver::Resolver;
use crate::config::schema;
use crate::config::value::ANY;
use crate::service::ice_servers::{ApiKey, Credentials, IceAccess, IceServers};
use crate::service::signaling::{Limits, RoomHook, RoomTokens};
use crate::service::web::{Origins, WebSettings};
use std::net::SocketAddr;

/// The web service and where it listens.
#[derive(Clone, Debug)]
pub struct WebListener {
    /// The address of the plain listener; `None` if it is off.
    pub address: Option<SocketAddr>,
    /// The relay's TLS listeners serve it too.
    pub tls: bool,
    /// The settings of the web service. The relay's URLs are added when the relay listens.
    pub settings: WebSettings,
}

impl WebListener {
    /// Returns true if any listener serves it.
    pub fn is_enabled(&self) -> bool {
        self.address.is_some() || self.tls
    }
}

pub(super) fn settings(
    resolver: &mut Resolver,
    source: &CredentialSource,
    host: &HostInfo,
) -> WebListener {
    let secret = resolver.get_optional(&schema::ROOM_SECRET);
    let secret_file = secret_files::secrets(resolver, &schema::ROOM_SECRET_FILE);
    let settings = WebSettings {
        ice: ice_servers(resolver, source, host),
        limits: Limits {
            rooms: resolver.get(&schema::ROOMS),
            room_size: resolver.get(&schema::ROOM_MOST_PEERS),
            connections: resolver.get(&schema::SIGNAL_CONNECTIONS),
            connections_per_address: resolver.get(&schema::SIGNAL_ADDRESS_CONNECTIONS),
            ..Limits::default()
        },
        origins: origins(resolver),
        tokens: secret
            .into_iter()
            .chain(secret_file)
            .next()
            .map(|secret| RoomTokens::new(secret.as_bytes())),
        hook: resolver
            .get_optional(&schema::ROOM_HOOK)
            .map(|url| RoomHook::new(&url)),
        ..WebSettings::default()
    };
    let web = WebListener {
        address: resolver.get(&schema::WEB),
        tls: resolver.get(&schema::WEB_TLS),
        settings,
    };
    let has_secret = matches!(source, CredentialSource::Secret { .. });
    if web.is_enabled() && web.settings.ice.access == IceAccess::Public && !has_secret {
        let message = "`public` hands out credentials to everyone, and the users' passwords do not expire; \
                       set shared_secret, from which the server makes credentials that do";
        resolver.error(&schema::ICE_OPEN, message);
    }
    web
}

/// A client of the web service never gets the password of a static user, which does not expire. If
/// there is no shared secret, its credentials come from the secret that is generated for this run.
fn ice_servers(resolver: &mut Resolver, source: &CredentialSource, host: &HostInfo) -> IceServers {
    let default = IceServers::default();
    let secret = match source {
        CredentialSource::Secret { secret, .. } => secret,
        CredentialSource::User { .. } => &host.secret,
    };
    let credentials = match secret.is_empty() {
        true => Credentials::None,
        false => Credentials::Minted {
            secret: secret.clone(),
        },
    };
    let ttl = resolver.get(&schema::ICE_TTL);
    let mut keys = resolver.get_list(&schema::ICE_KEY);
    keys.extend(secret_files::pairs(resolver, &schema::ICE_KEY_FILE));
    IceServers {
        credentials,
        ttl,
        max_ttl: default.max_ttl.max(ttl),
        access: resolver.get(&schema::ICE_OPEN),
        keys: keys
            .into_iter()
            .map(|(key, bearer)| ApiKey { key, bearer })
            .collect(),
        ..default
    }
}

fn origins(resolver: &mut Resolver) -> Origins {
    let origins = resolver.get_list(&schema::WEB_ORIGIN);
    if origins.is_empty() {
        Origins::Same
    } else if origins.iter().any(|origin| origin == ANY) {
        Origins::Any
    } else {
        Origins::Listed(origins)
    }
}
