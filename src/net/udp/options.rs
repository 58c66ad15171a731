//! How a UDP socket is made.

/// How a socket is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which calls move the packets.
    pub path: Path,
    /// Several sockets (one of each shard) share address and port, and the kernel spreads five-tuples over them.
    pub reuse_port: bool,
    /// Tell DSCP and ECN of what is received.
    pub traffic_class: bool,
    /// Tell TTL or hop limit of what is received.
    pub hop_limit: bool,
    /// Collect ICMP errors, for [`UdpSocket::errors`].
    pub icmp_errors: bool,
    /// IPv4: DF stays clear unless a datagram asks for it, and path MTUs are left to the routers. Else the system's default.
    pub fragmentable: bool,
    /// What it sends in a row mostly looks alike: TTL, DSCP and ECN are set on the socket when they change, instead of
    /// with each datagram.
    pub steady: bool,
    /// Coalesce what is received (GRO) and segment what is sent (GSO) where the system can.
    pub offload: bool,
    /// Octets of receive buffer to ask for.
    pub receive_buffer: Option<usize>,
    /// Octets of send buffer to ask for.
    pub send_buffer: Option<usize>,
}

impl Default for Options {
    /// A batched socket of its own with offload and nothing else.
    fn default() -> Self {
        Options {
            path: Path::default(),
            reuse_port: false,
            traffic_class: false,
            hop_limit: false,
            icmp_errors: false,
            fragmentable: false,
            steady: false,
            offload: true,
            receive_buffer: None,
            send_buffer: None,
        }
    }
}

/// Which calls move the packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Path {
    /// `recvmmsg` and `sendmmsg` with GRO and GSO on Linux; elsewhere the same as `Plain`.
    #[default]
    Batched,
    /// One packet a call, as every system can: no packet info, no DSCP or ECN, no hop limits, no ICMP errors.
    Plain,
}
