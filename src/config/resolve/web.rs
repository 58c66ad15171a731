//! The web listener: its address, and every bound of the signaling.

use crate::config::layers::Resolver;
use crate::config::resolve::realms;
use crate::config::resolve::realms::CredentialSource;
use crate::config::schema;
use crate::config::schema::Key;
use crate::config::value;
use crate::relay::Plan;
use crate::service::ice_servers::{ApiKey, Credentials, IceServers, Open};
use crate::service::signaling::{Bounds, Hook, RoomTokens};
use crate::service::web::{Origins, Settings};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// What the web listener is to do.
#[derive(Clone, Debug)]
pub struct Web {
    /// Where it listens; nowhere when it is off.
    pub address: Option<SocketAddr>,
    /// How it serves; the relay's URLs are filled in once it listens.
    pub settings: Settings,
}

/// Understands the keys of the web listener.
pub(crate) fn settings(reader: &mut Resolver, login: &CredentialSource) -> Web {
    let default = Settings::default();
    let mut secrets: Vec<String> = reader
        .one(&schema::ROOM_SECRET, value::text)
        .into_iter()
        .collect();
    secrets.extend(realms::secrets_of_files(reader, &schema::ROOM_SECRET_FILE));
    let settings = Settings {
        ice: ice(reader, login),
        bounds: bounds(reader),
        origins: origins(reader),
        tokens: secrets
            .first()
            .map(|secret| RoomTokens::new(secret.as_bytes())),
        hook: reader
            .one(&schema::ROOM_HOOK, value::url)
            .map(|url| Hook::new(&url)),
        connections: reader
            .one(&schema::WEB_CONNECTIONS, at_least_one)
            .unwrap_or(default.connections),
        ..default
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
    let open = match web.settings.ice.open {
        Open::Anyone => true,
        Open::Page => !guarded,
        Open::Loopback | Open::Nobody => false,
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
    let mut keys = reader.many(&schema::ICE_KEY, value::user);
    keys.extend(realms::pairs_of_file(reader, &schema::ICE_KEY_FILE));
    IceServers {
        credentials,
        ttl: reader.one(&schema::ICE_TTL, span).unwrap_or(default.ttl),
        longest_ttl: reader
            .one(&schema::ICE_LONGEST_TTL, span)
            .unwrap_or(default.longest_ttl),
        open: reader
            .one(&schema::ICE_OPEN, |text| value::choice(text, OPEN))
            .unwrap_or(default.open),
        keys: keys
            .into_iter()
            .map(|(key, bearer)| ApiKey { key, bearer })
            .collect(),
        ..default
    }
}

fn bounds(reader: &mut Resolver) -> Bounds {
    let default = Bounds::default();
    let mut count = |key: &Key, or: usize| reader.one(key, at_least_one).unwrap_or(or);
    let (rooms, peers) = (
        count(&schema::ROOMS, default.rooms),
        count(&schema::ROOM_PEERS, default.peers),
    );
    let most_peers = count(&schema::ROOM_MOST_PEERS, default.most_peers);
    let room_name = count(&schema::ROOM_NAME, default.room_name);
    let connections = count(&schema::SIGNAL_CONNECTIONS, default.connections);
    let queue = count(&schema::SIGNAL_QUEUE, default.queue);
    let mut size = |key: &Key, or: usize| reader.one(key, octets).unwrap_or(or);
    let message = size(&schema::SIGNAL_MESSAGE, default.message);
    let queue_octets = size(&schema::SIGNAL_QUEUE_BYTES, default.queue_octets);
    let mut time = |key: &Key, or: Duration| reader.one(key, span).unwrap_or(or);
    let (ping, silence) = (
        time(&schema::SIGNAL_PING, default.ping),
        time(&schema::SIGNAL_SILENCE, default.silence),
    );
    let message_time = time(&schema::SIGNAL_MESSAGE_TIME, default.message_time);
    let (grace, idle) = (
        time(&schema::SIGNAL_GRACE, default.grace),
        time(&schema::SIGNAL_IDLE, default.idle),
    );
    if peers > most_peers {
        reader.wrong(
            &schema::ROOM_PEERS,
            &format!("{peers} is more than room_most_peers, {most_peers}"),
        );
    }
    if ping >= silence {
        reader.wrong(
            &schema::SIGNAL_PING,
            "a peer that is pinged so rarely counts as lost; make it shorter than signal_silence",
        );
    }
    Bounds {
        message,
        message_time,
        rate: reader
            .one(&schema::SIGNAL_RATE, value::number)
            .unwrap_or(default.rate),
        burst: reader
            .one(&schema::SIGNAL_BURST, value::number)
            .unwrap_or(default.burst),
        rooms,
        connections,
        address_connections: reader
            .one(&schema::SIGNAL_ADDRESS_CONNECTIONS, value::number)
            .unwrap_or(default.address_connections),
        peers,
        most_peers,
        room_name,
        room_alphabet: reader
            .one(&schema::ROOM_ALPHABET, value::text)
            .unwrap_or(default.room_alphabet),
        queue,
        queue_octets,
        ping,
        silence,
        grace,
        idle,
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
        0 => Err("0 would let nobody in".into()),
        count => Ok(count),
    }
}

fn octets(text: &str) -> Result<usize, String> {
    let octets = value::octets(text)?;
    usize::try_from(octets)
        .ok()
        .filter(|octets| *octets >= 256)
        .ok_or_else(|| format!("`{text}` is less than 256 bytes"))
}

fn span(text: &str) -> Result<Duration, String> {
    match value::duration(text)? {
        Duration::ZERO => Err("it must last longer than nothing".into()),
        span => Ok(span),
    }
}

const OPEN: &[(&str, Open)] = &[
    ("page", Open::Page),
    ("loopback", Open::Loopback),
    ("anyone", Open::Anyone),
    ("nobody", Open::Nobody),
];
/// The default of `web`.
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
