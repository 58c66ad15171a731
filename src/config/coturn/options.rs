//! Tables of coturn's options.

/// Options that only have another name.
pub(super) const RENAMED: &[(&str, &str)] = &[
    ("relay-ip", "relay_address"),
    ("realm", "realm"),
    ("user", "user"),
    ("static-auth-secret", "shared_secret"),
    ("user-quota", "user_allocations"),
    ("total-quota", "max_allocations"),
    ("cert", "certificate"),
    ("pkey", "private_key"),
    ("CA-file", "client_authority"),
    ("server-name", "token_server"),
];
/// Options that are switches.
pub(super) const SWITCHES: &[&str] = &[
    "allow-loopback-peers",
    "no-tcp-relay",
    "mobility",
    "Verbose",
    "no-tls",
    "no-dtls",
];
/// Values that turn a switch off.
pub(super) const OFF_VALUES: &[&str] = &[
    "0", "no", "n", "No", "NO", "off", "Off", "OFF", "false", "f", "False", "FALSE",
];
/// Options without an effect: Hairpin behaves so anyway, or they are off by default.
pub(super) const NO_EFFECT: &[&str] = &[
    "lt-cred-mech",
    "use-auth-secret",
    "fingerprint",
    "no-multicast-peers",
    "no-cli",
    "no-rfc5780",
    "no-stun-backward-compatibility",
    "response-origin-only-with-rfc5780",
    "prometheus",
    "no-software-attribute",
    "prod",
    "no-tlsv1",
    "no-tlsv1_1",
    "simple-log",
    "new-log-timestamp",
    "verbose",
    "daemon",
    "no-auth-pings",
    "no-dynamic-ip-list",
    "no-dynamic-realms",
    "check-origin-consistency",
    "max-allocate-timeout",
    "udp-self-balance",
    "ne",
];
/// Options without a counterpart, and what to do instead.
pub(super) const UNSUPPORTED: &[(&[&str], &str)] = &[
    (
        &[
            "log-file",
            "syslog",
            "syslog-facility",
            "no-stdout-log",
            "log-binding",
            "new-log-timestamp-format",
        ],
        "logs go to standard error; let the service manager keep them",
    ),
    (
        &[
            "userdb",
            "db",
            "psql-userdb",
            "sql-userdb",
            "mysql-userdb",
            "mongo-userdb",
            "redis-userdb",
            "secret-key-file",
        ],
        "write users into user_file, or use shared_secret",
    ),
    (
        &["redis-statsdb"],
        "statistics are at /metrics and in usage_file",
    ),
    (
        &["prometheus-port", "prometheus-address"],
        "metrics are at the address of `admin`, by default 127.0.0.1:9641",
    ),
    (&["prometheus-path"], "metrics are at /metrics"),
    (
        &["prometheus-username-labels"],
        "metrics have no user label; see usage_file and `hairpin admin users`",
    ),
    (
        &["proc-user", "proc-group", "pidfile"],
        "the service manager does this",
    ),
    (
        &[
            "cli-ip",
            "cli-port",
            "cli-password",
            "cli-max-output-sessions",
            "web-admin",
            "web-admin-ip",
            "web-admin-port",
            "web-admin-listen-on-workers",
        ],
        "see `admin` and `hairpin admin`",
    ),
    (&["relay-threads"], "see `shards`"),
    (
        &["no-auth", "stun-only"],
        "a relay without users would be open to everyone",
    ),
    (
        &["no-stun", "secure-stun"],
        "Binding requests are answered without authentication, within answer_rate",
    ),
    (
        &["listening-device", "relay-device"],
        "name addresses with `listen` and `relay_address`",
    ),
    (
        &["alt-listening-port", "alt-tls-listening-port"],
        "see `alternate_listen`",
    ),
    (
        &["tcp-proxy-port"],
        "every port accepts the PROXY protocol from addresses in `balancer`",
    ),
    (&["oauth"], "see `token_key`"),
    (&["rest-api-separator"], "user names are EXPIRY:NAME"),
    (
        &["no-udp", "no-tcp"],
        "every listener speaks both; close one in the firewall",
    ),
    (&["no-udp-relay"], "the server always relays UDP"),
    (
        &["channel-lifetime", "permission-lifetime"],
        "they are fixed by RFC 8656: 10 and 5 minutes",
    ),
    (
        &["keep-address-family", "allocation-default-address-family"],
        "an allocation has the requested address family, or IPv4",
    ),
    (
        &["pkey-pwd"],
        "encrypted keys are not supported; write the key without a password, readable by the server only",
    ),
    (
        &[
            "cipher-list",
            "ec-curve-name",
            "dh-file",
            "dh566",
            "dh1066",
            "no-tlsv1_2",
        ],
        "TLS is 1.2 and 1.3 with strong cipher suites only",
    ),
    (
        &["tls-alternate-server"],
        "alternate_server applies to all transports",
    ),
    (&["acme-redirect"], "see `acme_domain`"),
    (
        &["server-relay"],
        "it would open the relay to forbidden peer addresses",
    ),
];
