//! The web listener: page, signaling, ICE servers.

use crate::config::resolve::realms::CredentialSource;
use crate::config::resolve::secret_files;
use crate::config::resolver::Resolver;
use crate::config::schema;
use crate::config::value::ANY;
use crate::service::ice_servers::{ApiKey, Credentials, IceServers};
use crate::service::signaling::{Limits, RoomHook, RoomTokens};
use crate::service::web::{Origins, WebSettings};
use std::net::SocketAddr;

/// The web listener.
#[derive(Clone, Debug)]
pub struct WebListener {
    /// The address; `None` if the web listener is off.
    pub address: Option<SocketAddr>,
    /// The settings of the web service. The relay's URLs are added when the relay listens.
    pub settings: WebSettings,
}

pub(super) fn settings(resolver: &mut Resolver, source: &CredentialSource) -> WebListener {
    let secret = resolver.get_optional(&schema::ROOM_SECRET);
    let secret_file = secret_files::secrets(resolver, &schema::ROOM_SECRET_FILE);
    let settings = WebSettings {
        ice: ice_servers(resolver, source),
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
    WebListener {
        address: resolver.get(&schema::WEB),
        settings,
    }
}

fn ice_servers(resolver: &mut Resolver, source: &CredentialSource) -> IceServers {
    let default = IceServers::default();
    let credentials = match source {
        CredentialSource::Secret { secret, .. } => Credentials::Minted {
            secret: secret.clone(),
        },
        CredentialSource::User { name, password } => Credentials::Fixed {
            username: name.clone(),
            password: password.clone(),
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
