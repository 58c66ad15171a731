//! How a UDP socket is made.

/// How a socket is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpOptions {
    /// Which calls move the packets.
    pub io_mode: IoMode,
    /// Several sockets (one of each shard) share address and port, and the kernel spreads five-tuples over them.
    pub reuse_port: bool,
    /// Tell DSCP and ECN of what is received.
    pub receive_traffic_class: bool,
    /// Tell TTL or hop limit of what is received.
    pub receive_hop_limit: bool,
    /// Collect ICMP errors, for [`UdpSocket::errors`].
    pub receive_icmp_errors: bool,
    /// IPv4: DF stays clear unless a datagram asks for it, and path MTUs are left to the routers. Else the system's default.
    pub allow_fragmentation: bool,
    /// What it sends in a row mostly looks alike: TTL, DSCP and ECN are set on the socket when they change, instead of
    /// with each datagram.
    pub sticky_ip_fields: bool,
    /// Coalesce what is received (GRO) and segment what is sent (GSO) where the system can.
    pub offload: bool,
    /// Octets of receive buffer to ask for.
    pub receive_buffer_size: Option<usize>,
    /// Octets of send buffer to ask for.
    pub send_buffer_size: Option<usize>,
}

impl Default for UdpOptions {
    /// A batched socket of its own with offload and nothing else.
    fn default() -> Self {
        UdpOptions {
            io_mode: IoMode::default(),
            reuse_port: false,
            receive_traffic_class: false,
            receive_hop_limit: false,
            receive_icmp_errors: false,
            allow_fragmentation: false,
            sticky_ip_fields: false,
            offload: true,
            receive_buffer_size: None,
            send_buffer_size: None,
        }
    }
}

/// Which calls move the packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoMode {
    /// `recvmmsg` and `sendmmsg` with GRO and GSO on Linux; elsewhere the same as `Plain`.
    #[default]
    Batched,
    /// One packet a call, as every system can: no packet info, no DSCP or ECN, no hop limits, no ICMP errors.
    Portable,
}
