//! The web listener: its address, and every bound of the signaling.

use crate::config::layers::Resolver;
use crate::config::resolve::realms;
use crate::config::resolve::realms::CredentialSource;
use crate::config::schema;
use crate::config::schema::Key;
use crate::config::value;
use crate::relay::Plan;
use crate::service::ice_servers::{ApiKey, Credentials, IceAccess, IceServers};
use crate::service::signaling::{Limits, RoomHook, RoomTokens};
use crate::service::web::{Origins, WebSettings};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// What the web listener is to do.
#[derive(Clone, Debug)]
pub struct Web {
    /// Where it listens; nowhere when it is off.
    pub address: Option<SocketAddr>,
    /// How it serves; the relay's URLs are filled in once it listens.
    pub settings: WebSettings,
}

/// Understands the keys of the web listener.
pub(crate) fn settings(reader: &mut Resolver, login: &CredentialSource) -> Web {
    let mut secrets: Vec<String> = reader
        .one(&schema::ROOM_SECRET, value::text)
        .into_iter()
        .collect();
    secrets.extend(realms::secrets_of_files(reader, &schema::ROOM_SECRET_FILE));
    let settings = WebSettings {
        ice: ice(reader, login),
        limits: limits(reader),
        origins: origins(reader),
        tokens: secrets
            .first()
            .map(|secret| RoomTokens::new(secret.as_bytes())),
        hook: reader
            .one(&schema::ROOM_HOOK, value::url)
            .map(|url| RoomHook::new(&url)),
        ..WebSettings::default()
    };
    Web {
        address: reader
            .one(&schema::WEB, value::optional_address)
            .unwrap_or(Some(ADDRESS)),
        settings,
    }
}

/// Notes a password that does not expire where strangers are told it.
pub(crate) fn given_away(reader: &mut Resolver, web: &Web, plan: &Plan) {
    let Credentials::Fixed { username, .. } = &web.settings.ice.credentials else {
        return;
    };
    let guarded = web.settings.tokens.is_some() || web.settings.hook.is_some();
    let open = match web.settings.ice.access {
        IceAccess::Anyone => true,
        IceAccess::Page => !guarded,
        IceAccess::Loopback | IceAccess::Nobody => false,
    };
    // By TLS the page is on the relay's own ports too.
    let secure = plan
        .listeners
        .iter()
        .filter(|_| plan.secure.tls.is_some())
        .map(|listener| listener.address);
    let reached = web.address.is_some_and(|own| {
        secure
            .chain([own])
            .any(|address| !address.ip().is_loopback())
    });
    if open && reached {
        let key = if reader.has(&schema::USER) {
            &schema::USER
        } else {
            &schema::USER_FILE
        };
        let message = format!(
            "the web listener tells the password of `{username}`, which does not expire, to whoever opens its page; \
             write a shared_secret too, or room_secret or room_hook, or ice_open = \"loopback\", or web = \"off\""
        );
        reader.wrong(key, &message);
    }
}

fn ice(reader: &mut Resolver, login: &CredentialSource) -> IceServers {
    let default = IceServers::default();
    let credentials = match login {
        CredentialSource::Secret { secret, .. } => Credentials::Minted {
            secret: secret.to_string(),
        },
        CredentialSource::User { name, password } => Credentials::Fixed {
            username: name.clone(),
            password: password.clone(),
        },
    };
    let ttl = reader.one(&schema::ICE_TTL, span).unwrap_or(default.ttl);
    let mut keys = reader.many(&schema::ICE_KEY, value::user);
    keys.extend(realms::pairs_of_file(reader, &schema::ICE_KEY_FILE));
    IceServers {
        credentials,
        ttl,
        max_ttl: default.max_ttl.max(ttl),
        access: reader
            .one(&schema::ICE_OPEN, |text| value::choice(text, OPEN))
            .unwrap_or(default.access),
        keys: keys
            .into_iter()
            .map(|(key, bearer)| ApiKey { key, bearer })
            .collect(),
        ..default
    }
}

fn limits(reader: &mut Resolver) -> Limits {
    let default = Limits::default();
    let mut count = |key: &Key, default: usize| reader.one(key, at_least_one).unwrap_or(default);
    let (rooms, connections) = (
        count(&schema::ROOMS, default.rooms),
        count(&schema::SIGNAL_CONNECTIONS, default.connections),
    );
    Limits {
        rooms,
        connections,
        room_size: reader
            .one(&schema::ROOM_MOST_PEERS, at_least_two)
            .unwrap_or(default.room_size),
        connections_per_address: reader
            .one(&schema::SIGNAL_ADDRESS_CONNECTIONS, value::number)
            .unwrap_or(default.connections_per_address),
        ..default
    }
}

fn origins(reader: &mut Resolver) -> Origins {
    let listed = reader.many(&schema::WEB_ORIGIN, origin);
    match listed.as_slice() {
        [] => Origins::Same,
        listed if listed.iter().any(|origin| origin == "any") => Origins::Any,
        listed => Origins::Listed(listed.to_vec()),
    }
}

fn origin(text: &str) -> Result<String, String> {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() && !host.contains(['/', ' ']) => Ok(text.to_lowercase()),
        None if text == "any" => Ok("any".into()),
        _ => Err(format!(
            "`{text}` is no origin; write https://app.example.net or any"
        )),
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match value::number(text)? {
        0 => Err("0 would admit no one; write 1 or more".into()),
        count => Ok(count),
    }
}

fn at_least_two(text: &str) -> Result<usize, String> {
    match value::number(text)? {
        0 | 1 => Err(format!(
            "{text} leaves a peer alone; a room holds at least 2"
        )),
        count => Ok(count),
    }
}

fn span(text: &str) -> Result<Duration, String> {
    match value::duration(text)? {
        Duration::ZERO => Err("0 is too short; write a longer time".into()),
        span => Ok(span),
    }
}

const OPEN: &[(&str, IceAccess)] = &[
    ("page", IceAccess::Page),
    ("loopback", IceAccess::Loopback),
    ("anyone", IceAccess::Anyone),
    ("nobody", IceAccess::Nobody),
];
/// The default of `web`.
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
