//! Sockets without protocol. The only floor with `unsafe`.
//!
//! ```text
//!   recvmmsg                                                                               sendmmsg
//!   ───────▶ Batch                     Datagram                    Transmit               ────────▶
//!             [headroom│payload] ────▶ source, local, ──▶ the  ──▶ to, from, payload ──▶ the batch
//!             [headroom│payload]       range, …         caller     header ─────────────▶ the caller's
//!             [headroom│payload│payload│…]  (GRO)       decides                           buffer
//! ```
//!
//! A relay spends most of its time in system calls. Datagrams therefore move in batches, and a
//! payload stays where the kernel wrote it: a [`Datagram`] is a range of its [`Batch`], and a
//! [`Transmit`] refers to ranges of that batch and of one buffer of the caller. The header that a
//! forwarded payload needs is written into the headroom in front of it, or into the caller's buffer
//! if there is no headroom (all but the first datagram of a GRO message). Nothing is allocated or
//! copied per datagram.
//!
//! * [`udp`]: sockets with `recvmmsg`, `sendmmsg`, GRO, GSO, packet info, IP fields, and ICMP
//!   errors, and the portable fallback. Its documentation explains batches.
//! * [`tcp`]: listeners and options of connections.
//! * [`tls`]: the TLS server, whose certificates can be replaced while it runs, and [`Rewind`], a
//!   stream with octets that were read before.
//! * [`dtls`]: the DTLS server. Its documentation explains the stateless cookie exchange.
//! * [`proxy_protocol`]: the client's address as a load balancer reports it.
//! * [`host`]: CPU cores, interface addresses, the limit of file descriptors, resources of a
//!   process.
//!
//! Errors are [`std::io::Error`], and [`TlsError`] for certificates. An error of one datagram is
//! counted in [`SendCounts`] and does not stop the others.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod dtls;
pub mod host;
pub mod proxy_protocol;
pub mod tcp;
pub mod tls;
pub mod udp;

pub use crate::net::tls::certificate::Certificate;
pub use crate::net::tls::error::TlsError;
pub use crate::net::tls::rewind::Rewind;
pub use crate::net::tls::server::{TlsOptions, TlsServer};
pub use crate::net::udp::buffer::{Batch, Datagram, HEADROOM, Received};
pub use crate::net::udp::icmp::{IcmpError, IcmpOrigin};
pub use crate::net::udp::options::{IoMode, UdpOptions};
pub use crate::net::udp::polled_socket::{PolledSocket, Readiness};
pub use crate::net::udp::poller::Poller;
pub use crate::net::udp::socket::{SendScratch, UdpSocket};
pub use crate::net::udp::transmit::{Buffer, BufferRange, Buffers, SendCounts, Transmit};
