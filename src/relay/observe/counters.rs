//! What a shard counts beside the protocol: one writer, any reader, no lock. Every counter stands here once.

use crate::net::TlsServer;
use crate::relay::observe::request_duration::Times;
use crate::turn;
use crate::turn::counters::Counter;
use std::sync::Arc;

macro_rules! counters {
    ($($name:ident $kind:ident $help:literal;)*) => {
        /// The counters of one shard.
        #[derive(Debug, Default)]
        pub struct Counters {
            $(#[doc = $help] pub $name: Counter,)*
            /// How long requests took.
            pub times: Times,
        }

        impl Counters {
            /// Name, kind, explanation and value of each.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, Kind, &'static str, u64)> {
                [$((stringify!($name), Kind::$kind, $help, self.$name.get()),)*].into_iter()
            }
        }
    };
}

counters! {
    busy_nanoseconds Total "Time spent at work, in nanoseconds; its rate is the shard's load.";
    turns Total "Turns of the loop.";
    receive_calls Total "System calls that received datagrams.";
    send_calls Total "System calls that sent datagrams.";
    client_datagrams Total "Datagrams received by listeners.";
    peer_datagrams Total "Datagrams received by relay sockets.";
    retired Total "Datagrams of strangers at listeners that a reload took away.";
    sent_datagrams Total "Datagrams sent.";
    send_dropped Total "Datagrams dropped because a send buffer was full.";
    send_failed Total "Datagrams that the system refused to send.";
    receive_overflowed Total "Datagrams that the kernel dropped because a receive buffer was full.";
    hop_limit_exceeded Total "Datagrams dropped because their TTL or hop limit ran out.";
    icmp_errors Total "ICMP errors about datagrams sent to peers.";
    relay_sockets Gauge "Relay sockets open.";
    relay_bind_failures Total "Relay sockets that could not be bound.";
    connections Gauge "Client connections open.";
    connections_accepted Total "Client connections accepted.";
    connections_refused Total "Client connections closed at once: too many of them, or too few descriptors left for relays.";
    connections_failed Total "Client connections that could not be accepted.";
    connections_idle Total "Client connections closed because they were silent and had no allocation.";
    connections_malformed Total "Client connections closed because what they sent is no STUN, TURN or ChannelData.";
    connections_overfull Total "Client connections closed because answers were not read.";
    tls_handshakes Total "TLS handshakes completed.";
    dtls_handshakes Total "DTLS handshakes completed.";
    handshakes_failed Total "TLS and DTLS handshakes that failed or took too long.";
    handshakes_refused Total "TLS and DTLS handshakes refused because too many were under way.";
    dtls_challenged Total "DTLS clients sent back for a cookie.";
    dtls_discarded Total "DTLS datagrams that belong to no association or ask for none.";
    visitors Total "Connections handed to the web service.";
    visitors_refused Total "Connections for the web service that it had no room for.";
    stream_reads Total "Reads from client connections.";
    stream_writes Total "Writes to client connections.";
    stream_dropped Total "Relayed packets dropped because a connection's output was full.";
    passed_on Total "Packets passed to another shard: clients that moved there (RFC 8016), and their answers.";
    pass_dropped Total "Packets that could not be passed because too many waited.";
    data_connections Gauge "Client connections joined to a peer's (RFC 6062).";
    data_octets_to_peers Total "Octets carried from clients to peers on joined connections.";
    data_octets_to_clients Total "Octets carried from peers to clients on joined connections.";
    unsendable Total "Packets for clients whose listener or connection is gone.";
}

/// Whether a number only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Total,
    /// It goes up and down.
    Gauge,
}

/// Everything that one shard counts.
#[derive(Clone, Debug)]
pub struct ShardStatistics {
    /// Its sockets.
    pub relay: Arc<Counters>,
    /// Its protocol.
    pub turn: Arc<turn::Counters>,
}

/// Everything that a supervisor can tell at once, without asking a shard.
#[derive(Clone, Debug)]
pub struct Statistics {
    /// One for each shard.
    pub shards: Vec<ShardStatistics>,
    /// Since the supervisor started.
    pub uptime: std::time::Duration,
    /// Allocations alive.
    pub allocations: u32,
    /// Relayed ports taken.
    pub ports_taken: u64,
    /// Relayed ports there are, on all relay addresses.
    pub ports: u64,
    /// What TLS shows, and how often it could not be replaced; `None` where TLS is not spoken.
    pub tls: Option<Arc<TlsServer>>,
}
