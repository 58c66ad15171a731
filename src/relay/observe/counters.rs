//! Counters of a shard other than the protocol's. One shard writes them, any thread reads them
//! without a lock. The table below is the only place that lists them: fields, metrics and help
//! texts come from it.

use crate::net::TlsServer;
use crate::relay::observe::request_duration::RequestDurations;
use crate::turn;
use crate::turn::counters::Counter;
use std::sync::Arc;

macro_rules! counters {
    ($($kind:ident $family:literal $help:literal $(by $label:ident)?:
        $($field:ident $(= $value:literal)?),+;)*) => {
        /// The counters of one shard.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[doc = concat!($help, "." $(, " Label: ", $value)?)] pub $field: Counter,)+)*
            /// Durations of requests.
            pub request_durations: RequestDurations,
        }

        impl Counters {
            /// A snapshot of all metric families, in the order of the table.
            pub fn families(&self) -> Vec<Family> {
                vec![$(Family {
                    name: $family,
                    kind: Kind::$kind,
                    help: $help,
                    label: [$(stringify!($label))?].first().copied(),
                    samples: vec![$((concat!($($value)?), self.$field.get())),+],
                }),*]
            }
        }
    };
}

// Kind, name without the prefix `hairpin_shard_`, help, label; then each counter with its value of
// the label.
counters! {
    Seconds "busy" "Time that the shard worked instead of waiting; its rate is the load of the shard":
        busy_nanoseconds;
    Counter "iterations" "Iterations of the event loop":
        iterations;
    Counter "syscalls" "System calls on sockets, by what they do" by call:
        receive_calls = "receive",
        send_calls = "send",
        stream_reads = "read",
        stream_writes = "write";
    Counter "datagrams_received" "UDP datagrams received, by kind of socket" by socket:
        client_datagrams = "listener",
        peer_datagrams = "relay";
    Counter "datagrams_sent" "UDP datagrams sent":
        sent_datagrams;
    Counter "packets_dropped" "Packets dropped at the sockets of the shard, by reason" by reason:
        receive_overflowed = "receive_buffer_full",
        send_dropped = "send_buffer_full",
        send_failed = "send_error",
        stream_dropped = "stream_buffer_full",
        hop_limit_exceeded = "hop_limit_exceeded",
        client_gone = "client_gone",
        dtls_unassociated = "no_dtls_association",
        retired_listener_dropped = "retired_listener",
        shard_queue_dropped = "shard_queue_full";
    Counter "packets_forwarded" "Packets forwarded to another shard for clients that moved (RFC 8016)":
        forwarded_to_shards;
    Counter "icmp_errors" "ICMP errors received for datagrams sent to peers":
        icmp_errors;
    Gauge "relay_sockets" "Open relay sockets":
        relay_sockets;
    Counter "relay_bind_failures" "Relay sockets that could not be bound":
        relay_bind_failures;
    Gauge "client_connections" "Open client connections":
        connections;
    Counter "client_connections_accepted" "Client connections accepted":
        connections_accepted;
    Counter "client_connections_rejected" "Client connections not accepted, by reason" by reason:
        connections_refused = "limit",
        connections_failed = "error";
    Counter "client_connections_closed" "Client connections closed by the server, by reason" by reason:
        connections_idle = "idle",
        connections_malformed = "malformed",
        connections_unread = "unread_output";
    Counter "handshakes_completed" "TLS and DTLS handshakes completed, by protocol" by protocol:
        tls_handshakes = "tls",
        dtls_handshakes = "dtls";
    Counter "handshakes_failed" "TLS and DTLS handshakes not completed, by reason" by reason:
        handshakes_failed = "error",
        handshakes_refused = "limit";
    Counter "dtls_cookies_sent" "Cookies sent to DTLS clients whose address was not verified":
        dtls_cookies_sent;
    Counter "web_connections" "TLS connections passed to the web service, by outcome" by outcome:
        web_connections = "accepted",
        web_connections_refused = "refused";
    Gauge "tcp_data_connections" "Client connections joined to a connection of a peer (RFC 6062)":
        data_connections;
    Counter "tcp_data_bytes" "Bytes carried on joined connections (RFC 6062), by direction" by direction:
        data_bytes_to_peers = "to_peer",
        data_bytes_to_clients = "to_client";
}

/// One metric of a shard with its samples.
#[derive(Clone, Debug)]
pub struct Family {
    /// The name, without prefix, unit and `_total`.
    pub name: &'static str,
    /// The type.
    pub kind: Kind,
    /// The help text.
    pub help: &'static str,
    /// The label that distinguishes the samples; `None` if there is a single sample.
    pub label: Option<&'static str>,
    /// The value of the label, empty without a label, and the number.
    pub samples: Vec<(&'static str, u64)>,
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number that only grows.
    Counter,
    /// A counter of nanoseconds, which is exported in seconds.
    Seconds,
    /// A number that goes up and down.
    Gauge,
}

/// All counters of one shard.
#[derive(Clone, Debug)]
pub struct ShardStatistics {
    /// Counters of sockets and the event loop.
    pub relay: Arc<Counters>,
    /// Counters of the protocol.
    pub turn: Arc<turn::Counters>,
}

/// The statistics of a supervisor, which can be read without a message to the shards.
#[derive(Clone, Debug)]
pub struct Statistics {
    /// Statistics of each shard.
    pub shards: Vec<ShardStatistics>,
    /// Time since the supervisor started.
    pub uptime: std::time::Duration,
    /// Number of allocations.
    pub allocations: u32,
    /// Number of relayed ports in use.
    pub ports_taken: u64,
    /// Number of relayed ports on all relay addresses.
    pub ports: u64,
    /// The TLS server, for its certificates and the number of failures to replace them; `None` if
    /// TLS is not served.
    pub tls: Option<Arc<TlsServer>>,
}
