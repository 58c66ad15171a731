//! Sockets without protocol: the only floor with `unsafe`.
//!
//! A relay's price is what the kernel takes for each packet, so everything here moves *batches*: one call receives up to
//! a [`Batch`] of datagrams (and one slot of it may hold a whole train of them, coalesced by UDP GRO), one call sends
//! what a batch became (neighbours to the same place leave as one UDP GSO message). Nothing is allocated per packet.
//!
//! ```text
//!   UdpSocket::receive ──▶ Batch [48 free octets | payload] × N ──▶ Datagram { source, local, range, room, … }
//!                                                                      │  the caller decides
//!   UdpSocket::send    ◀── Outgoing { to, header piece, payload piece }◀┘
//!                             header written in front of the payload in place, or into an arena of the caller
//! ```
//!
//! * [`buffer`]: what one batch received, and where. [`outgoing`]: what one batch sends.
//! * [`udp`]: the socket: `recvmmsg`, `sendmmsg`, GSO, GRO, packet info, DSCP and ECN, hop limits, ICMP errors; and
//!   [`IoMode::Plain`], the portable way of doing the same with one packet a call, behind the same type.
//! * [`port`]: the same socket, watched by a runtime; [`watch`]: many of them, watched as one.
//! * [`icmp`]: what the error queue of a socket tells. [`tcp`]: listeners and connections. [`cpu`]: cores.
//!   [`descriptors`]: how many sockets there may be. [`interface`]: the addresses of this host. [`network`]: who counts as
//!   one client.
//! * [`tls`], [`certificate`]: secure streams, and what a server proves its name with, replaceable while it runs.
//!   [`dtls`]: the same on datagrams, behind a door that remembers nobody; [`hello`]: what knocks there.
//!   [`prefixed`]: a stream of which something was read already. [`proxy_protocol`]: whom a balancer carries.
//!
//! Errors are [`std::io::Error`]; what concerns one datagram is counted in [`SendCounts`] and never stops the others.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod client_prefix;
pub mod dtls;
pub mod host;
pub mod proxy_protocol;
pub mod tcp;
pub mod tls;
pub mod udp;

pub use crate::net::tls::certificate::Certificate;
pub use crate::net::tls::rewind::Rewind;
pub use crate::net::tls::server::TlsServer;
pub use crate::net::udp::buffer::{Batch, Datagram, HEADROOM, Received};
pub use crate::net::udp::icmp::{IcmpError, IcmpOrigin};
pub use crate::net::udp::options::{IoMode, UdpOptions};
pub use crate::net::udp::polled_socket::{PolledSocket, Readiness};
pub use crate::net::udp::poller::Poller;
pub use crate::net::udp::socket::{SendScratch, UdpSocket};
pub use crate::net::udp::transmit::{Buffer, BufferRange, Buffers, SendCounts, Transmit};
