//! Keys of earlier versions. Their use is an error: ignoring a limit that an operator set would be
//! worse.

/// A key that no longer exists.
pub(crate) struct RemovedKey {
    pub name: &'static str,
    /// The behavior that replaced the key, as the error message states it.
    pub replacement: &'static str,
}

/// The removed key of that name.
pub(crate) fn removed_key(name: &str) -> Option<&'static RemovedKey> {
    REMOVED_KEYS.iter().find(|key| key.name == name)
}

const fn removed(name: &'static str, replacement: &'static str) -> RemovedKey {
    RemovedKey { name, replacement }
}

pub(crate) static REMOVED_KEYS: &[RemovedKey] = &[
    removed(
        "web_connections",
        "the web listener serves 1,024 HTTP connections at once",
    ),
    removed(
        "ice_longest_ttl",
        "an API key may request up to 48h, or ice_ttl if that is longer",
    ),
    removed(
        "room_peers",
        "a room holds 2 peers unless its first peer requests another size with `peers` in the URL of /signal, up to room_most_peers",
    ),
    removed("room_name", "a room name has at most 64 characters"),
    removed(
        "room_alphabet",
        "a room name consists of letters, digits and `-_.~`",
    ),
    removed("signal_message", "a signaling message has at most 64 KiB"),
    removed(
        "signal_message_time",
        "a signaling message must be complete within 10s",
    ),
    removed(
        "signal_rate",
        "a peer may send 50 signaling messages per second",
    ),
    removed(
        "signal_burst",
        "a peer may send 200 signaling messages in a burst",
    ),
    removed("signal_queue", "at most 256 messages wait for a peer"),
    removed("signal_queue_bytes", "at most 1 MiB waits for a peer"),
    removed("signal_ping", "a peer is pinged every 2s"),
    removed(
        "signal_silence",
        "a connection counts as lost after 5s without any sign of life",
    ),
    removed(
        "signal_grace",
        "a peer that lost its connection has 3s to resume before the others get `left`",
    ),
    removed(
        "signal_idle",
        "a peer that sends no message for 2h is disconnected",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema;

    #[test]
    fn the_operators_guide_lists_every_removed_key() {
        let guide = include_str!("../../../deploy/README.md");
        for RemovedKey { name, replacement } in REMOVED_KEYS {
            assert!(schema::key(name).is_none(), "{name} exists");
            let row = format!("| `{name}` | {replacement} |\n");
            assert!(guide.contains(&row), "missing in deploy/README.md: {row}");
        }
    }
}
