//! Every key that an operator may write, once: its name, its default, what it means, and whether a reload is enough.
//! The command line, the environment, the file, `deploy/hairpin.toml` and the help text all come from here.

pub use crate::config::key::{Group, Key, Shape};

/// Every key of the file's top level, each of which is a flag and a variable too.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    GROUPS.iter().flat_map(|group| group.keys)
}

/// The keys of a group.
pub fn group(title: &str) -> impl Iterator<Item = &'static Key> {
    GROUPS
        .iter()
        .filter(move |group| group.title == title)
        .flat_map(|group| group.keys)
}

/// The key of that name.
pub fn key(name: &str) -> Option<&'static Key> {
    keys().find(|key| key.name == name)
}

/// What replaces the removed key of that name.
pub fn replacement(name: &str) -> Option<&'static str> {
    REMOVED_KEYS
        .iter()
        .find(|(removed, _)| *removed == name)
        .map(|(_, replacement)| *replacement)
}

/// Where clients reach the server.
pub const LISTEN: Key = Key::many("listen", "IP:PORT").default(r#"["0.0.0.0:3478", "[::]:3478"]"#).about(
    "Where clients reach the server, by UDP and TCP, and with a certificate by DTLS and TLS on the same ports. The \
         default has ports 5349 and 443 too with a certificate. Where the host has no IPv6, [::] beside 0.0.0.0 is left \
         out. One that a reload takes away takes no new clients; allocations that came by it live on.",
);
/// Where relay sockets bind.
pub const RELAY_ADDRESS: Key = Key::many("relay_address", "IP").example(r#"["10.0.0.5"]"#).restart().about(
    "Where relay sockets bind. Without it, the source addresses of the default routes, one for each family. Several \
         addresses of a family are used in turn.",
);
/// What clients are told instead.
pub const EXTERNAL_ADDRESS: Key = Key::many("external_address", "IP").example(r#"["203.0.113.7"]"#).restart().about(
    "What clients are told instead of a relay address, for clouds with 1:1 NAT. The first of a family stands for the \
     first relay address of that family, and so on; `10.0.0.5=203.0.113.7` stands for the relay address that it \
     names. `auto` asks external_stun, or without one the metadata service of the cloud.",
);
/// Who is asked.
pub const EXTERNAL_STUN: Key = Key::one("external_stun", "HOST:PORT")
    .example(r#""stun.example.net:3478""#)
    .restart()
    .about("The STUN server that external_address = \"auto\" asks; it must lie outside the NAT.");
/// The range of relayed ports.
pub const RELAY_PORTS: Key = Key::one("relay_ports", "MIN-MAX").default(r#""49152-65535""#).restart().about(
    "The ports of relayed transport addresses: open them for UDP in the firewall. Which of them an allocation gets \
     cannot be foretold.",
);

/// The realm's name.
pub const REALM: Key = Key::one("realm", "NAME")
    .default(r#""hairpin""#)
    .about("The realm of users and secrets: any text, usually a domain name. Clients see it.");
/// Static users.
pub const USER: Key = Key::many("user", "NAME:PASSWORD").example(r#"["alice:a long password"]"#).secret().about(
    "A user whose credentials do not expire. Without any user and any shared secret the server draws a secret and \
     prints credentials at its start.",
);
/// Static users, from a file.
pub const USER_FILE: Key = Key::one("user_file", "FILE")
    .example(r#""/etc/hairpin/users""#)
    .file()
    .about("A file of users, one NAME:PASSWORD a line; empty lines and lines that start with # are passed over.");
/// The secrets of time-limited credentials.
pub const SHARED_SECRET: Key = Key::many("shared_secret", "SECRET").example(r#"["a long random text"]"#).secret().about(
    "A secret that time-limited credentials are made with, here and in the application's back end: user name \
     `EXPIRY:NAME`, password base64(HMAC-SHA1(secret, user name)). Two may be valid at once while one replaces the other.",
);
/// The same from files.
pub const SHARED_SECRET_FILE: Key = Key::many("shared_secret_file", "FILE")
    .example(r#"["/run/secrets/hairpin"]"#)
    .file()
    .about("A file that holds one shared secret; the line break at its end does not count.");

/// RFC 7635.
pub const TOKEN_KEY: Key = Key::many("token_key", "KID:BASE64").example(r#"["auth-1:MDEyMzQ1Njc4OWFiY2RlZg=="]"#).secret().about(
    "A key, 16 or 32 octets in Base64, with which an authorization server seals access tokens (RFC 7635), and the name \
     that it goes by. Several are good at once while one replaces the other.",
);
/// The same, from a file.
pub const TOKEN_KEY_FILE: Key = Key::one("token_key_file", "FILE")
    .example(r#""/etc/hairpin/token-keys""#)
    .file()
    .about("A file of such keys, one KID:BASE64 a line.");
/// To whom tokens are bound.
pub const TOKEN_SERVER: Key = Key::one("token_server", "NAME")
    .example(r#""relay.example.net""#)
    .about("This server's name, which every token is bound to and which clients are told (THIRD-PARTY-AUTHORIZATION).");
/// Certificates.
pub const CERTIFICATE: Key = Key::many("certificate", "FILE").example(r#"["/etc/hairpin/fullchain.pem"]"#).file().about(
    "A certificate chain in PEM, the server's own first: with it every listener speaks TLS and DTLS too. Of several, the \
     one for the server name that a client asks for is shown. A file that changes is read again by itself.",
);
/// Their keys.
pub const PRIVATE_KEY: Key = Key::many("private_key", "FILE")
    .example(r#"["/etc/hairpin/privkey.pem"]"#)
    .file()
    .about("The certificate's private key in PEM; one for each certificate, in the same order.");
/// Automatic certificates.
pub const ACME_DOMAIN: Key = Key::many("acme_domain", "NAME").example(r#"["relay.example.net"]"#).restart().about(
    "Names to order a certificate for by ACME (RFC 8555), instead of certificate or beside it. The names must lead to this \
     server's port 443, where it proves itself (TLS-ALPN-01); ordering agrees to the authority's terms of service.",
);
/// Whom from.
pub const ACME_DIRECTORY: Key = Key::one("acme_directory", "URL")
    .default(r#""https://acme-v02.api.letsencrypt.org/directory""#)
    .restart()
    .about("The ACME server's directory.");
/// Whom to write to.
pub const ACME_CONTACT: Key = Key::one("acme_contact", "ADDRESS")
    .example(r#""operator@example.net""#)
    .restart()
    .about("The mail address that the authority may write to.");
/// Its own certificate's authority.
pub const ACME_AUTHORITY: Key = Key::one("acme_authority", "FILE")
    .example(r#""/etc/hairpin/acme-root.pem""#)
    .file()
    .restart()
    .about("Certificates in PEM that the ACME server's own may come from, besides the well-known authorities.");
/// Where things are kept.
pub const STATE_DIRECTORY: Key = Key::one("state_directory", "DIRECTORY")
    .default(r#""/var/lib/hairpin""#)
    .restart()
    .about("Where the ACME account and what it ordered are kept.");
/// Mutual TLS.
pub const CLIENT_AUTHORITY: Key =
    Key::many("client_authority", "FILE").example(r#"["/etc/hairpin/clients.pem"]"#).file().restart().about(
        "Certificates in PEM of authorities: TLS and DTLS clients must show a certificate that one of them signed (over \
     DTLS without others in between).",
    );
/// Balancers in front.
pub const BALANCER: Key = Key::many("balancer", "CIDR").example(r#"["10.0.0.7"]"#).restart().about(
    "Load balancers whose TCP connections begin with a PROXY protocol header, version 1 or 2: the client's address is \
     the one it says, everywhere. Nobody else may send one.",
);
/// How long a handshake may take.
pub const HANDSHAKE_TIME: Key = Key::one("handshake_time", "DURATION")
    .default(r#""10s""#)
    .restart()
    .about("How long a TLS or DTLS handshake may take.");
/// Handshakes of an address.
pub const ADDRESS_HANDSHAKES: Key = Key::one("address_handshakes", "N")
    .default("128")
    .restart()
    .about("Handshakes at a time of one IPv4 address or IPv6 /64, on each core; more are refused.");
/// Handshakes of all.
pub const HANDSHAKES: Key = Key::one("handshakes", "N")
    .default("4096")
    .restart()
    .about("Handshakes at a time of all clients, on each core.");

/// Peers that may be reached all the same.
pub const ALLOW_PEER: Key = Key::many("allow_peer", "CIDR").example(r#"["10.1.0.0/16"]"#).about(
    "Peers that may be reached although they lie in a range that is refused by default: loopback, private, \
     link-local, shared, multicast, documentation, reserved. The longest prefix decides between this and deny_peer.",
);
/// Peers that may not.
pub const DENY_PEER: Key = Key::many("deny_peer", "CIDR")
    .example(r#"["198.18.0.0/15"]"#)
    .about("Peers that may not be reached (403).");

/// Unauthenticated answers.
pub const ANSWER_RATE: Key = Key::one("answer_rate", "N").default("2000").about(
    "Unauthenticated answers a second for each source prefix, an IPv4 /24 or an IPv6 /48; 0 for no bound. Whoever \
     sends more from there, or pretends to, gets no answer. Loopback is exempt.",
);
/// Allocations in all.
pub const MAX_ALLOCATIONS: Key = Key::one("max_allocations", "N")
    .default("0")
    .about("Allocations in all, on all cores; 0 for as many as there are ports. Beyond it, 508.");
/// Allocations of a user.
pub const USER_ALLOCATIONS: Key = Key::one("user_allocations", "N")
    .default("0")
    .about("Allocations of one user; 0 for no bound. Beyond it, 486.");
/// Allocations of an address.
pub const ADDRESS_ALLOCATIONS: Key = Key::one("address_allocations", "N").default("0").about(
    "Allocations from one client address; 0 for no bound. Beyond it, 486. Mind that many clients share an address \
     behind a carrier's NAT.",
);
/// Allocations of a realm.
pub const REALM_ALLOCATIONS: Key = Key::one("realm_allocations", "N")
    .default("0")
    .about("Allocations of one realm; 0 for no bound. Beyond it, 486.");
/// Bandwidth of an allocation.
pub const ALLOCATION_BANDWIDTH: Key = Key::one("allocation_bandwidth", "SIZE").default(r#""0""#).about(
    "Bytes of payload a second that one allocation may relay, both directions together; 0 for no bound. What is more is \
     dropped and counted; bursts of 100 ms pass.",
);
/// Bandwidth of a user.
pub const USER_BANDWIDTH: Key = Key::one("user_bandwidth", "SIZE")
    .default(r#""0""#)
    .about("Bytes a second that all allocations of one user may relay together; 0 for no bound.");
/// Bandwidth of a realm.
pub const REALM_BANDWIDTH: Key = Key::one("realm_bandwidth", "SIZE")
    .default(r#""0""#)
    .about("Bytes a second that all users of one realm may relay together; 0 for no bound.");
/// Bandwidth of all.
pub const MAX_BANDWIDTH: Key = Key::one("max_bandwidth", "SIZE")
    .default(r#""0""#)
    .about("Bytes a second in all; 0 for no bound.");
/// Bytes of a user.
pub const USER_BYTES: Key = Key::one("user_bytes", "SIZE").default(r#""0""#).about(
    "Bytes that one user may relay in each user_period; 0 for no bound. Beyond it new allocations get 486 and what is \
     relayed is dropped.",
);
/// In which time.
pub const USER_PERIOD: Key = Key::one("user_period", "DURATION")
    .default(r#""1d""#)
    .about("The period of user_bytes.");
/// New peers.
pub const NEW_PEERS: Key = Key::one("new_peers", "N").default("0").about(
    "New peers a second that one allocation may reach, against port scans through the relay; 0 for no bound. A second's \
     worth may come at once.",
);
/// Data connections.
pub const DATA_CONNECTIONS: Key = Key::one("data_connections", "N")
    .default("64")
    .about("TCP connections to peers of one allocation. Beyond it, 508.");
/// Permissions of an allocation.
pub const PERMISSIONS: Key = Key::one("permissions", "N")
    .default("1024")
    .about("Permissions of one allocation. Beyond it, 508.");
/// Channels of an allocation.
pub const CHANNELS: Key = Key::one("channels", "N")
    .default("1024")
    .about("Channels of one allocation. Beyond it, 508.");
/// The longest lifetime.
pub const MAX_LIFETIME: Key = Key::one("max_lifetime", "DURATION")
    .default(r#""1h""#)
    .about("The longest lifetime that an allocation is granted at a time, at least 10m; clients refresh it.");

/// SHA-256 and its negotiation.
pub const PASSWORD_ALGORITHMS: Key = Key::switch("password_algorithms", "true").about(
    "Offer the password algorithms of RFC 8489, and with them SHA-256. Clients that know nothing of it are served as \
     before.",
);
/// Old clients.
pub const SHA1: Key = Key::switch("sha1", "true").about(
    "Serve clients that know only SHA-1 integrity and MD5 keys, as all browsers do today. Without it they get 401.",
);
/// RFC 8016.
pub const MOBILITY: Key = Key::switch("mobility", "true")
    .about("Let clients keep their allocation when their address changes (RFC 8016).");
/// RFC 6062.
pub const TCP_RELAYS: Key =
    Key::switch("tcp_relays", "true").about("Grant relays toward TCP peers (RFC 6062).");
/// What SOFTWARE says.
pub const SOFTWARE: Key = Key::one("software", "TEXT").example(r#""hairpin""#).about(
    "What the SOFTWARE attribute of answers says. Without it there is none, which keeps answers small and tells \
     nobody what runs here.",
);

/// RFC 5780.
pub const ALTERNATE_LISTEN: Key = Key::many("alternate_listen", "IP:PORT").example(r#"["198.51.100.2:3479"]"#).about(
    "A second address with a second port for NAT behaviour discovery (RFC 5780), one for each family. The server then \
         listens on both addresses and both ports, four in all; the listener of that family must name its address.",
);
/// Where clients are sent instead.
pub const ALTERNATE_SERVER: Key = Key::many("alternate_server", "IP:PORT").example(r#"["203.0.113.8:3478"]"#).about(
    "A sibling that takes new clients while this server drains or redirects (300 Try Alternate), one for each family. \
     Without it they get 508 while it drains.",
);
/// The sibling's name.
pub const ALTERNATE_DOMAIN: Key = Key::one("alternate_domain", "NAME")
    .example(r#""relay-2.example.net""#)
    .about("The name that the sibling's certificate bears (ALTERNATE-DOMAIN).");
/// Always somewhere else.
pub const REDIRECT: Key = Key::switch("redirect", "false")
    .about("Send all new allocations to alternate_server, although this server stays.");
/// How long a nonce is good.
pub const NONCE_LIFETIME: Key = Key::one("nonce_lifetime", "DURATION")
    .default(r#""1h""#)
    .about("After this a nonce is stale and clients get a new one (438): at most 1h by RFC 8656.");

/// The address of the web listener.
pub const WEB: Key = Key::one("web", "IP:PORT").default(r#""127.0.0.1:8080""#).restart().about(
    "Address of the web listener: call page, signaling, ICE servers; `off` disables it. Browsers allow cameras only on \
     localhost and on pages loaded over TLS.",
);
/// Origins that may use the signaling.
pub const WEB_ORIGIN: Key = Key::many("web_origin", "ORIGIN").example(r#"["https://app.example.net"]"#).about(
    "Other origins whose pages may use the signaling, as scheme://host[:port]; `any` allows all. Pages of this server \
     are always allowed, with one exception: on loopback, a page loaded over plain HTTP under a DNS name must be listed, \
     because anyone can point a DNS name at loopback.",
);
/// Who may fetch ICE servers.
pub const ICE_OPEN: Key = Key::one("ice_open", "page|loopback|anyone|nobody").default(r#""page""#).about(
    "Who may fetch ICE servers and credentials: this server's own page in a room (and this host), this host alone, \
     anyone, or only back ends with an API key. With `loopback` and `nobody` the signaling's welcome contains \
     credentials only for clients that may fetch them, showed a room token, or passed room_hook; other clients get STUN \
     servers only.",
);
/// Lifetime of minted credentials.
pub const ICE_TTL: Key = Key::one("ice_ttl", "DURATION")
    .default(r#""24h""#)
    .about(
        "Lifetime of credentials that the web listener hands out. An API key may request another, up to 48h or this \
         value, whichever is longer.",
    );
/// API keys.
pub const ICE_KEY: Key = Key::many("ice_key", "KEY:BEARER").example(r#"["app:a long random text"]"#).secret().about(
    "Key and bearer token with which a back end calls POST /v1/turn/keys/KEY/credentials/generate-ice-servers, the API of \
     hosted TURN services.",
);
/// API keys, from a file.
pub const ICE_KEY_FILE: Key = Key::one("ice_key_file", "FILE")
    .example(r#""/etc/hairpin/ice-keys""#)
    .file()
    .about("File of API keys, one KEY:BEARER per line.");
/// The secret of room access tokens.
pub const ROOM_SECRET: Key = Key::one("room_secret", "SECRET").example(r#""a long random text""#).secret().about(
    "Secret of the room access tokens that the application's back end issues. Without it anyone who can reach the page \
     may enter any room.",
);
/// The same, from a file.
pub const ROOM_SECRET_FILE: Key = Key::one("room_secret_file", "FILE")
    .example(r#""/run/secrets/rooms""#)
    .file()
    .about("File that contains the room secret.");
/// The authentication hook.
pub const ROOM_HOOK: Key = Key::one("room_hook", "URL").example(r#""https://app.example.net/may-enter""#).about(
    "URL that decides who may enter a room. The server sends it a POST with JSON; a 2xx status admits the client, any \
     other status refuses it.",
);
/// Limit of rooms.
pub const ROOMS: Key = Key::one("rooms", "N")
    .default("10000")
    .about("Maximum number of rooms.");
/// Limit of peers in a room.
pub const ROOM_MOST_PEERS: Key = Key::one("room_most_peers", "N").default("16").about(
    "Largest room size a client may request, at least 2. A room holds 2 peers unless its first peer requests another size.",
);
/// Limit of WebSocket connections.
pub const SIGNAL_CONNECTIONS: Key = Key::one("signal_connections", "N")
    .default("20000")
    .about("Maximum number of WebSocket connections.");
/// Limit of WebSocket connections from one address.
pub const SIGNAL_ADDRESS_CONNECTIONS: Key = Key::one("signal_address_connections", "N").default("2000").about(
    "Maximum number of WebSocket connections from one IPv4 address or IPv6 /64; 0 = unlimited. Loopback is exempt because \
     reverse proxies connect from there; behind a proxy on another host all clients share the proxy's address.",
);

/// The number of shards.
pub const SHARDS: Key = Key::one("shards", "N")
    .example("4")
    .restart()
    .about("Cores that relay, each with its own thread and sockets. Without it, as many as this process may run on.");
/// How packets are moved.
pub const SOCKETS: Key = Key::one("sockets", "batched|plain").default(r#""batched""#).restart().about(
    "How packets are moved: many a system call where the kernel can, or one by one as every system can. For comparing \
     and for tests.",
);
/// The operators' listener.
pub const ADMIN: Key = Key::one("admin", "IP:PORT|unix:PATH").default(r#""127.0.0.1:9641""#).restart().about(
    "Where operators reach the server: status page, metrics, health, allocations, reload, drain. An address, or \
     unix:/run/hairpin/admin.sock for a UNIX socket; `off` opens nothing.",
);
/// What operators show.
pub const ADMIN_TOKEN: Key =
    Key::one("admin_token", "TOKEN").example(r#""a long random text""#).secret().restart().about(
        "A bearer token that operators must show for everything but metrics and health. Without it only a listener on \
     loopback or a UNIX socket answers them.",
    );
/// The same from a file.
pub const ADMIN_TOKEN_FILE: Key = Key::one("admin_token_file", "FILE")
    .example(r#""/run/secrets/hairpin-admin""#)
    .file()
    .restart()
    .about("A file that holds it.");
/// How one server takes over from another.
pub const HANDOVER: Key = Key::one("handover", "PATH").example(r#""/run/hairpin/handover.sock""#).restart().about(
    "A UNIX socket by which the next server on this host takes over from this one, and no call is dropped. Started with \
     the same configuration under the same user, it listens on the same ports and gets every new client; the old one \
     serves those that it has until they end or drain_timeout is over. Linux only.",
);
/// How long allocations may live on.
pub const DRAIN_TIMEOUT: Key = Key::one("drain_timeout", "DURATION").default(r#""5s""#).about(
    "How long allocations may live on after SIGTERM. Until then the server takes no new ones; it ends with the last of \
     them. A second SIGTERM ends it at once. For restarts that nobody notices, set as long as calls last.",
);
/// How much is logged.
pub const LOG_LEVEL: Key = Key::one("log_level", "FILTER")
    .default(r#""info""#)
    .about("How much is logged: error, warn, info, debug or trace, or a list such as `info,crate::relay=debug`.");
/// How it is logged.
pub const LOG_FORMAT: Key = Key::one("log_format", "human|json")
    .default(r#""human""#)
    .restart()
    .about(
        "How it is logged, on standard error: lines for people, or an object a line for machines.",
    );

/// Whose addresses the log tells.
pub const LOG_ADDRESSES: Key = Key::one("log_addresses", "full|network")
    .default(r#""full""#)
    .restart()
    .about("Whether the log tells clients' addresses, or only their networks: an IPv4 /24 or an IPv6 /48.");

/// Usage as a file.
pub const USAGE_FILE: Key = Key::one("usage_file", "FILE")
    .example(r#""/var/log/hairpin/usage.jsonl""#)
    .restart()
    .about(
        "A file that a JSON object is appended to when an allocation starts, every usage_interval of its life, and when \
         it ends: who, from where, how many bytes and packets each way, peers, how long, why it ended.",
    );
/// Usage as posts.
pub const USAGE_WEBHOOK: Key =
    Key::one("usage_webhook", "URL").example(r#""https://billing.example.net/usage""#).restart().about(
        "A URL that the same objects are posted to, in arrays, until it answers 2xx; in order, and each at least once.",
    );
/// How often.
pub const USAGE_INTERVAL: Key = Key::one("usage_interval", "DURATION")
    .default(r#""5m""#)
    .restart()
    .about("How often an allocation that lives is told.");
/// Where lines wait.
pub const USAGE_SPOOL: Key = Key::one("usage_spool", "DIRECTORY")
    .default(r#""/var/lib/hairpin/usage""#)
    .restart()
    .about("Where objects wait on disk while the webhook does not take them, also over restarts.");
/// How many.
pub const USAGE_SPOOL_SIZE: Key = Key::one("usage_spool_size", "SIZE")
    .default(r#""64Mi""#)
    .restart()
    .about("How much may wait there; what comes when it is full is lost, and counted.");

/// What chooses a further realm.
pub const ORIGIN: Key = Key::many("origin", "ORIGIN")
    .example(r#"["https://app.example.net"]"#)
    .about("The values of a request's ORIGIN that choose this realm.");
/// The same by TLS.
pub const SERVER_NAME: Key = Key::many("server_name", "NAME")
    .example(r#"["relay.example.net"]"#)
    .about("The TLS server names that choose this realm.");
/// The same by listener.
pub const OF_LISTENER: Key = Key::many("listener", "IP:PORT")
    .example(r#"["0.0.0.0:3479"]"#)
    .about("The listeners that choose this realm; an unspecified address stands for any.");
/// The name of a further realm.
pub const NAME: Key = Key::one("name", "NAME")
    .example(r#""example.com""#)
    .about("The realm's name.");

/// The keys of a further realm, each a `[[realms]]` table at the end of the file.
pub const REALM_KEYS: &[Key] = &[
    NAME,
    OF_LISTENER,
    ORIGIN,
    SERVER_NAME,
    USER,
    USER_FILE,
    SHARED_SECRET,
    SHARED_SECRET_FILE,
    TOKEN_KEY,
    TOKEN_KEY_FILE,
    TOKEN_SERVER,
    ALLOW_PEER,
    DENY_PEER,
    USER_ALLOCATIONS,
    REALM_ALLOCATIONS,
    ADDRESS_ALLOCATIONS,
    ALLOCATION_BANDWIDTH,
    USER_BANDWIDTH,
    REALM_BANDWIDTH,
    USER_BYTES,
    USER_PERIOD,
    NEW_PEERS,
    PERMISSIONS,
    CHANNELS,
    DATA_CONNECTIONS,
    MAX_LIFETIME,
    NONCE_LIFETIME,
];

/// Keys of earlier releases that no longer exist: name, and what applies instead. Files, flags and variables that still
/// use them are refused with this text; `deploy/README.md` lists it.
pub const REMOVED_KEYS: &[(&str, &str)] = &[
    (
        "web_connections",
        "the web listener serves 1,024 HTTP connections at once",
    ),
    (
        "ice_longest_ttl",
        "an API key may request up to 48h, or ice_ttl if that is longer",
    ),
    (
        "room_peers",
        "a room holds 2 peers unless its first peer requests another size with `peers` in the URL of /signal, up to room_most_peers",
    ),
    ("room_name", "a room name has at most 64 characters"),
    (
        "room_alphabet",
        "a room name consists of letters, digits and `-_.~`",
    ),
    ("signal_message", "a signaling message has at most 64 KiB"),
    (
        "signal_message_time",
        "a signaling message must be complete within 10s",
    ),
    (
        "signal_rate",
        "a peer may send 50 signaling messages per second",
    ),
    (
        "signal_burst",
        "a peer may send 200 signaling messages in a burst",
    ),
    ("signal_queue", "at most 256 messages wait for a peer"),
    ("signal_queue_bytes", "at most 1 MiB waits for a peer"),
    ("signal_ping", "a peer is pinged every 2s"),
    (
        "signal_silence",
        "a connection counts as lost after 5s without any sign of life",
    ),
    (
        "signal_grace",
        "a peer that lost its connection has 3s to resume before the others are told that it left",
    ),
    (
        "signal_idle",
        "a peer that sends no message for 2h is disconnected",
    ),
];

/// Every key, in the order of the file.
pub const GROUPS: &[Group] = &[
    Group {
        title: "Addresses",
        keys: &[
            LISTEN,
            RELAY_ADDRESS,
            EXTERNAL_ADDRESS,
            EXTERNAL_STUN,
            RELAY_PORTS,
        ],
    },
    Group {
        title: "Users",
        keys: &[
            REALM,
            USER,
            USER_FILE,
            SHARED_SECRET,
            SHARED_SECRET_FILE,
            TOKEN_KEY,
            TOKEN_KEY_FILE,
            TOKEN_SERVER,
        ],
    },
    Group {
        title: "Encryption",
        keys: &[
            CERTIFICATE,
            PRIVATE_KEY,
            ACME_DOMAIN,
            ACME_DIRECTORY,
            ACME_CONTACT,
            ACME_AUTHORITY,
            STATE_DIRECTORY,
            CLIENT_AUTHORITY,
            BALANCER,
            HANDSHAKE_TIME,
            ADDRESS_HANDSHAKES,
            HANDSHAKES,
        ],
    },
    Group {
        title: "Peers",
        keys: &[ALLOW_PEER, DENY_PEER],
    },
    Group {
        title: "Bounds",
        keys: &[
            ANSWER_RATE,
            MAX_ALLOCATIONS,
            USER_ALLOCATIONS,
            REALM_ALLOCATIONS,
            ADDRESS_ALLOCATIONS,
            ALLOCATION_BANDWIDTH,
            USER_BANDWIDTH,
            REALM_BANDWIDTH,
            MAX_BANDWIDTH,
            USER_BYTES,
            USER_PERIOD,
            NEW_PEERS,
            PERMISSIONS,
            CHANNELS,
            DATA_CONNECTIONS,
            MAX_LIFETIME,
        ],
    },
    Group {
        title: "Protocol",
        keys: &[
            PASSWORD_ALGORITHMS,
            SHA1,
            MOBILITY,
            TCP_RELAYS,
            SOFTWARE,
            NONCE_LIFETIME,
            ALTERNATE_LISTEN,
            ALTERNATE_SERVER,
            ALTERNATE_DOMAIN,
            REDIRECT,
        ],
    },
    Group {
        title: "Web page, signaling, ICE servers",
        keys: &[
            WEB,
            WEB_ORIGIN,
            ICE_OPEN,
            ICE_TTL,
            ICE_KEY,
            ICE_KEY_FILE,
            ROOM_SECRET,
            ROOM_SECRET_FILE,
            ROOM_HOOK,
            ROOMS,
            ROOM_MOST_PEERS,
            SIGNAL_CONNECTIONS,
            SIGNAL_ADDRESS_CONNECTIONS,
        ],
    },
    Group {
        title: "Running",
        keys: &[
            SHARDS,
            SOCKETS,
            ADMIN,
            ADMIN_TOKEN,
            ADMIN_TOKEN_FILE,
            DRAIN_TIMEOUT,
            HANDOVER,
            LOG_LEVEL,
            LOG_FORMAT,
            LOG_ADDRESSES,
        ],
    },
    Group {
        title: "Usage",
        keys: &[
            USAGE_FILE,
            USAGE_WEBHOOK,
            USAGE_INTERVAL,
            USAGE_SPOOL,
            USAGE_SPOOL_SIZE,
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_guide_lists_every_removed_key() {
        let guide = include_str!("../../deploy/README.md");
        for (name, replacement) in REMOVED_KEYS {
            assert!(key(name).is_none(), "{name} exists");
            let row = format!("| `{name}` | {replacement} |\n");
            assert!(guide.contains(&row), "missing in deploy/README.md: {row}");
        }
    }
}
