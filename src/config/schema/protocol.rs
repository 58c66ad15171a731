//! Options of STUN and TURN.

use crate::config::schema::format::{BOOLEAN, duration};
use crate::config::schema::key::section;
use crate::config::schema::{Key, KeyInfo, ListKey, OptionalKey};
use crate::config::value;
use crate::turn::Limits;
use std::net::SocketAddr;
use std::time::Duration;

section! { PROTOCOL = "Protocol";
    PASSWORD_ALGORITHMS: Key<bool> = Key::new(
        KeyInfo::new(
            "password_algorithms",
            BOOL,
            "Offer the password algorithms of RFC 8489, and with them SHA-256. Clients that do \
             not know them are served as before.",
        ),
        BOOLEAN,
        || true,
    );
    SHA1: Key<bool> = Key::new(
        KeyInfo::new(
            "sha1",
            BOOL,
            "Accept SHA-1 integrity and MD5 keys, the only ones that browsers know today. \
             Without it such clients get 401.",
        ),
        BOOLEAN,
        || true,
    );
    MOBILITY: Key<bool> = Key::new(
        KeyInfo::new(
            "mobility",
            BOOL,
            "Let clients keep their allocation when their address changes (RFC 8016).",
        ),
        BOOLEAN,
        || true,
    );
    TCP_RELAYS: Key<bool> = Key::new(
        KeyInfo::new(
            "tcp_relays",
            BOOL,
            "Relay to TCP peers (RFC 6062), which no browser uses.",
        ),
        BOOLEAN,
        || false,
    );
    SOFTWARE: OptionalKey<String> = OptionalKey::new(
        KeyInfo::new(
            "software",
            "TEXT",
            "Value of the SOFTWARE attribute of responses. Without it there is no such \
             attribute, which keeps responses small and does not disclose the software.",
        )
        .example(r#""hairpin""#),
        value::software,
    );
    NONCE_LIFETIME: Key<Duration> = Key::new(
        KeyInfo::new(
            "nonce_lifetime",
            "DURATION",
            "Lifetime of a nonce, at most 1h by RFC 8656. Then clients get a new one (438).",
        )
        .per_realm(),
        duration(value::nonce_lifetime),
        || Limits::default().nonce_lifetime,
    );
    ALTERNATE_LISTEN: ListKey<SocketAddr> = ListKey::new(
        KeyInfo::new(
            "alternate_listen",
            "IP:PORT",
            "Second address and port for NAT behavior discovery (RFC 5780), one for each \
             family. The server then listens on both addresses with both ports, four \
             combinations. The listener of that family must name its address.",
        )
        .example(r#"["198.51.100.2:3479"]"#),
        value::transport_address,
    );
    ALTERNATE_SERVER: ListKey<SocketAddr> = ListKey::new(
        KeyInfo::new(
            "alternate_server",
            "IP:PORT",
            "Server that new clients are redirected to (300 Try Alternate) while this one \
             drains or redirects, one for each family. Without it they get 508 while it drains.",
        )
        .example(r#"["203.0.113.8:3478"]"#),
        value::transport_address,
    );
    ALTERNATE_DOMAIN: OptionalKey<String> = OptionalKey::new(
        KeyInfo::new(
            "alternate_domain",
            "NAME",
            "Name in the certificate of alternate_server (ALTERNATE-DOMAIN).",
        )
        .example(r#""relay-2.example.net""#),
        value::non_empty,
    );
    REDIRECT: Key<bool> = Key::new(
        KeyInfo::new(
            "redirect",
            BOOL,
            "Redirect all new allocations to alternate_server, although this server does not \
             drain.",
        ),
        BOOLEAN,
        || false,
    );
}

const BOOL: &str = "true|false";
