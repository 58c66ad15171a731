//! How the process runs: shards, admin API, shutdown, logs, usage records.

use crate::config::schema::format::{
    ADMIN_ADDRESS, BYTE_COUNT, Format, PATH, Syntax, choice_word, duration,
};
use crate::config::schema::key::section;
use crate::config::schema::{Key, KeyInfo, OptionalKey};
use crate::config::value;
use crate::config::value::AdminAddress;
use crate::net::IoMode;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

section! { OPERATION = "Operation";
    SHARDS: OptionalKey<usize> = OptionalKey::new(
        KeyInfo::new(
            "shards",
            "N",
            "Cores that relay, each with its own thread and sockets. Without it, as many as the \
             process may run on.",
        )
        .example("4")
        .restart(),
        value::shard_count,
    );
    SOCKETS: Key<IoMode> = Key::new(
        KeyInfo::new(
            "sockets",
            "batched|plain",
            "How packets are moved. `batched` moves many per system call if the kernel can, \
             `plain` one, as every system can. For comparisons and tests.",
        )
        .restart(),
        Format {
            parse: |text| value::choice(text, SOCKET_CHOICES),
            write: |path| choice_word(path, SOCKET_CHOICES),
            syntax: Syntax::Quoted,
        },
        IoMode::default,
    );
    ADMIN: Key<Option<AdminAddress>> = Key::new(
        KeyInfo::new(
            "admin",
            "IP:PORT|unix:PATH",
            "Address of the status page, metrics, health and the admin API. A TCP address, or \
             unix:/run/hairpin/admin.sock for a UNIX socket. `off` disables it.",
        )
        .restart(),
        ADMIN_ADDRESS,
        || Some(AdminAddress::Tcp((Ipv4Addr::LOCALHOST, 9641).into())),
    );
    ADMIN_TOKEN: OptionalKey<String> = OptionalKey::new(
        KeyInfo::new(
            "admin_token",
            "TOKEN",
            "Bearer token that admin requires for everything but metrics and health. Without it \
             the admin API answers only on loopback or a UNIX socket.",
        )
        .example(r#""a long random text""#)
        .secret()
        .restart(),
        value::non_empty,
    );
    ADMIN_TOKEN_FILE: OptionalKey<PathBuf> = OptionalKey::new(
        KeyInfo::new(
            "admin_token_file",
            "FILE",
            "File that holds the admin token.",
        )
        .example(r#""/run/secrets/hairpin-admin""#)
        .file()
        .restart(),
        value::path,
    );
    DRAIN_TIMEOUT: Key<Duration> = Key::new(
        KeyInfo::new(
            "drain_timeout",
            "DURATION",
            "How long allocations may live on after SIGTERM. Until then the server refuses new \
             ones; it exits with the last of them. A second SIGTERM stops it at once. For \
             restarts without dropped calls, set it as long as calls last.",
        ),
        duration(value::duration),
        || Duration::from_secs(5),
    );
    HANDOVER: OptionalKey<PathBuf> = OptionalKey::new(
        KeyInfo::new(
            "handover",
            "PATH",
            "UNIX socket by which the next server process takes over without dropping calls. \
             Start it with the same configuration as the same user: it listens on the same \
             ports and gets every new client, while the old process serves its allocations \
             until they end or drain_timeout expires. Linux only.",
        )
        .example(r#""/run/hairpin/handover.sock""#)
        .restart(),
        value::path,
    );
    LOG_LEVEL: Key<String> = Key::new(
        KeyInfo::new(
            "log_level",
            "FILTER",
            "Least severe level to log: error, warn, info, debug or trace. Or a list of targets \
             and levels such as `info,hairpin::relay=debug`.",
        ),
        Format::displayed(value::log_filter),
        || "info".into(),
    );
    LOG_FORMAT: Key<LogFormat> = Key::new(
        KeyInfo::new(
            "log_format",
            "human|json",
            "Format of the log on standard error. Lines of text, or one JSON object per line.",
        )
        .restart(),
        Format {
            parse: |text| value::choice(text, LOG_FORMATS),
            write: |format| choice_word(format, LOG_FORMATS),
            syntax: Syntax::Quoted,
        },
        || LogFormat::Human,
    );
    LOG_ADDRESSES: Key<LogAddresses> = Key::new(
        KeyInfo::new(
            "log_addresses",
            "full|network",
            "Whether the log contains clients' addresses or only their networks. A network is \
             an IPv4 /24 or an IPv6 /48.",
        )
        .restart(),
        Format {
            parse: |text| value::choice(text, LOG_ADDRESS_CHOICES),
            write: |addresses| choice_word(addresses, LOG_ADDRESS_CHOICES),
            syntax: Syntax::Quoted,
        },
        || LogAddresses::Full,
    );
}

section! { USAGE = "Usage records";
    USAGE_FILE: OptionalKey<PathBuf> = OptionalKey::new(
        KeyInfo::new(
            "usage_file",
            "FILE",
            "File to append usage records to, one JSON object per line. A record is written \
             when an allocation starts, every usage_interval of its life, and when it ends: \
             user, client, bytes and packets in each direction, peers, duration, reason of its \
             end.",
        )
        .example(r#""/var/log/hairpin/usage.jsonl""#)
        .restart(),
        value::path,
    );
    USAGE_WEBHOOK: OptionalKey<String> = OptionalKey::new(
        KeyInfo::new(
            "usage_webhook",
            "URL",
            "URL to post usage records to, in JSON arrays. A post is repeated until the answer \
             is 2xx; records arrive in order, each at least once.",
        )
        .example(r#""https://billing.example.net/usage""#)
        .restart(),
        value::url,
    );
    USAGE_INTERVAL: Key<Duration> = Key::new(
        KeyInfo::new(
            "usage_interval",
            "DURATION",
            "Interval of the usage records of a live allocation.",
        )
        .restart(),
        duration(value::at_least_one_second),
        || Duration::from_secs(300),
    );
    USAGE_SPOOL: Key<PathBuf> = Key::new(
        KeyInfo::new(
            "usage_spool",
            "DIRECTORY",
            "Directory of usage records that the webhook has not accepted yet. They survive a \
             restart.",
        )
        .restart(),
        PATH,
        || "/var/lib/hairpin/usage".into(),
    );
    USAGE_SPOOL_SIZE: Key<u64> = Key::new(
        KeyInfo::new(
            "usage_spool_size",
            "SIZE",
            "Size of the usage spool. Records beyond it are dropped and counted.",
        )
        .restart(),
        BYTE_COUNT,
        || 64 << 20,
    );
}

/// Format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines of text.
    Human,
    /// One JSON object per line.
    Json,
}

/// How much of a client's address the log contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogAddresses {
    /// The address.
    Full,
    /// The network: an IPv4 /24 or an IPv6 /48.
    Network,
}

const SOCKET_CHOICES: &[(&str, IoMode)] =
    &[("batched", IoMode::Batched), ("plain", IoMode::Portable)];
const LOG_FORMATS: &[(&str, LogFormat)] = &[("human", LogFormat::Human), ("json", LogFormat::Json)];
const LOG_ADDRESS_CHOICES: &[(&str, LogAddresses)] = &[
    ("full", LogAddresses::Full),
    ("network", LogAddresses::Network),
];
