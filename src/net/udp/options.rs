//! Options of a UDP socket.

/// Options of a UDP socket. The kernel's lack of an optional feature is not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpOptions {
    /// System calls to receive and send with.
    pub io_mode: IoMode,
    /// Sets `SO_REUSEPORT`: the sockets of all shards share address and port, and the kernel picks
    /// one of them for each packet by a hash of its addresses and ports.
    pub reuse_port: bool,
    /// Reports DSCP and ECN of received datagrams.
    pub receive_traffic_class: bool,
    /// Reports TTL or hop limit of received datagrams.
    pub receive_hop_limit: bool,
    /// Collects ICMP errors for
    /// [`UdpSocket::read_icmp_errors`](crate::net::UdpSocket::read_icmp_errors).
    pub receive_icmp_errors: bool,
    /// IPv4: sends with DF clear unless a datagram sets it, and adopts no path MTU from ICMP
    /// errors, which can be forged. If false, the system's default applies.
    pub allow_fragmentation: bool,
    /// Sets TTL, DSCP and ECN on the socket when they change, instead of on each datagram. Cheaper
    /// if successive datagrams mostly agree. (RFC 3542 §6 calls options of a socket "sticky".)
    pub sticky_ip_fields: bool,
    /// Uses GRO and GSO if the system supports them.
    pub offload: bool,
    /// Size of the receive buffer in octets; `None` for the system's default.
    pub receive_buffer_size: Option<usize>,
    /// Size of the send buffer in octets; `None` for the system's default.
    pub send_buffer_size: Option<usize>,
}

impl Default for UdpOptions {
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

/// System calls that a socket receives and sends with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoMode {
    /// `recvmmsg` and `sendmmsg` with GRO and GSO on Linux; the same as `Portable` on other
    /// systems.
    #[default]
    Batched,
    /// `recvfrom` and `sendto`: one datagram per call, without packet info, IP fields, and ICMP
    /// errors.
    Portable,
}
