//! The web listener: call page, signaling, ICE servers.

use crate::config::schema::format::{
    ADDRESS_OR_OFF, BOOLEAN, Format, Syntax, choice_word, duration,
};
use crate::config::schema::key::section;
use crate::config::schema::{Key, KeyInfo, ListKey, OptionalKey};
use crate::config::value;
use crate::config::value::{ValueError, out_of_range};
use crate::service::ice_servers::{IceAccess, IceServers};
use crate::service::signaling::Limits;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

section! { WEB_SECTION = "Web page, signaling, ICE servers";
    WEB: Key<Option<SocketAddr>> = Key::new(
        KeyInfo::new(
            "web",
            "IP:PORT",
            "Address of the web listener: call page, signaling, ICE servers. `off` disables it. \
             Browsers allow cameras only on localhost and on pages loaded over TLS.",
        )
        .restart(),
        ADDRESS_OR_OFF,
        || Some((Ipv4Addr::LOCALHOST, 8080).into()),
    );
    WEB_TLS: Key<bool> = Key::new(
        KeyInfo::new(
            "web_tls",
            "true|false",
            "Serve the call page, signaling and ICE servers over HTTPS too, on every listener of \
             the relay. It needs a certificate, and works with `web` off too.",
        )
        .restart(),
        BOOLEAN,
        || false,
    );
    WEB_ORIGIN: ListKey<String> = ListKey::new(
        KeyInfo::new(
            "web_origin",
            "ORIGIN",
            "Other origins whose pages may use the signaling, as scheme://host[:port]; `any` \
             allows all. Pages of this server are always allowed, with one exception: on \
             loopback, a page loaded over plain HTTP under a DNS name must be listed, because \
             anyone can point a DNS name at loopback.",
        )
        .example(r#"["https://app.example.net"]"#),
        value::web_origin,
    );
    ICE_OPEN: Key<IceAccess> = Key::new(
        KeyInfo::new(
            "ice_open",
            "loopback|public|nobody",
            "Who gets credentials for the relay without authorization. With `loopback` clients on \
             this host that use a loopback address or localhost, with `public` everyone who \
             reaches the web listener, with `nobody` no one. Clients that show a token of \
             room_secret or pass room_hook always get credentials, and so do back ends with an \
             ice_key; all others get STUN servers only. Behind a reverse proxy on this host that \
             adds no X-Forwarded-For header, write `nobody`: its clients look like local ones.",
        ),
        Format {
            parse: ice_access,
            write: |access| choice_word(access, ICE_ACCESS),
            syntax: Syntax::Quoted,
        },
        || IceServers::default().access,
    );
    ICE_TTL: Key<Duration> = Key::new(
        KeyInfo::new(
            "ice_ttl",
            "DURATION",
            "Lifetime of credentials that the web listener hands out. An API key may request \
             another, up to 48h or this value, whichever is longer.",
        ),
        duration(value::positive_duration),
        || IceServers::default().ttl,
    );
    ICE_KEY: ListKey<(String, String)> = ListKey::new(
        KeyInfo::new(
            "ice_key",
            "KEY:BEARER",
            "Key and bearer token with which a back end requests ICE servers. It calls POST \
             /v1/turn/keys/KEY/credentials/generate-ice-servers, the API of hosted TURN \
             services.",
        )
        .example(r#"["app:a long random text"]"#)
        .secret(),
        value::user,
    );
    ICE_KEY_FILE: OptionalKey<PathBuf> = OptionalKey::new(
        KeyInfo::new(
            "ice_key_file",
            "FILE",
            "File of API keys, one KEY:BEARER per line.",
        )
        .example(r#""/etc/hairpin/ice-keys""#)
        .file(),
        value::path,
    );
    ROOM_SECRET: OptionalKey<String> = OptionalKey::new(
        KeyInfo::new(
            "room_secret",
            "SECRET",
            "Secret of the room access tokens that the application's back end issues. Without \
             it anyone who can reach the page may enter any room.",
        )
        .example(r#""a long random text""#)
        .secret(),
        value::non_empty,
    );
    ROOM_SECRET_FILE: OptionalKey<PathBuf> = OptionalKey::new(
        KeyInfo::new(
            "room_secret_file",
            "FILE",
            "File that contains the room secret.",
        )
        .example(r#""/run/secrets/rooms""#)
        .file(),
        value::path,
    );
    ROOM_HOOK: OptionalKey<String> = OptionalKey::new(
        KeyInfo::new(
            "room_hook",
            "URL",
            "URL that decides who may enter a room. The server sends it a POST with JSON; a 2xx \
             status admits the client, any other status refuses it.",
        )
        .example(r#""https://app.example.net/may-enter""#),
        value::url,
    );
    ROOMS: Key<usize> = Key::new(
        KeyInfo::new(
            "rooms",
            "N",
            "Maximum number of rooms.",
        ),
        Format::number(value::positive_number),
        || Limits::default().rooms,
    );
    ROOM_MOST_PEERS: Key<usize> = Key::new(
        KeyInfo::new(
            "room_most_peers",
            "N",
            "Largest room size a client may request, at least 2. A room holds 2 peers unless \
             its first peer requests another size.",
        ),
        Format::number(room_size),
        || Limits::default().room_size,
    );
    SIGNAL_CONNECTIONS: Key<usize> = Key::new(
        KeyInfo::new(
            "signal_connections",
            "N",
            "Maximum number of WebSocket connections.",
        ),
        Format::number(value::positive_number),
        || Limits::default().connections,
    );
    SIGNAL_ADDRESS_CONNECTIONS: Key<usize> = Key::new(
        KeyInfo::new(
            "signal_address_connections",
            "N",
            "Maximum number of WebSocket connections from one IPv4 address or IPv6 /64; 0 for \
             no limit. Loopback is exempt because reverse proxies connect from there. Behind a \
             proxy on another host all clients share the proxy's address.",
        ),
        Format::number(value::number),
        || Limits::default().connections_per_address,
    );
}

fn room_size(text: &str) -> Result<usize, ValueError> {
    match value::number(text)? {
        0 | 1 => Err(out_of_range(text, "2 or more")),
        size => Ok(size),
    }
}

fn ice_access(text: &str) -> Result<IceAccess, ValueError> {
    let replacement = match text {
        "page" => {
            "any program can claim to be a page; write public to give everyone credentials, \
             or loopback and set room_secret or room_hook"
        }
        "anyone" => "write public",
        _ => return value::choice(text, ICE_ACCESS),
    };
    Err(ValueError::RemovedWord {
        text: text.into(),
        replacement,
    })
}

const ICE_ACCESS: &[(&str, IceAccess)] = &[
    ("loopback", IceAccess::Loopback),
    ("public", IceAccess::Public),
    ("nobody", IceAccess::Nobody),
];
