//! The client side of STUN and TURN, shared by `peer` and `bench`: where a server is, what it is
//! shown, and connections to it.
//!
//! ```text
//!   uri            turn:HOST:PORT?transport=…, resolved to addresses
//!   credentials    a username and password, or a shared secret that yields both
//!   duration       durations on the command line and in the configuration
//!   transport/     connection   whole messages over UDP, TCP, TLS or DTLS, awaited
//!                  stream       message framing on a byte stream
//!                  tls          configurations: verifying, recording, unverified
//!                  dtls         DTLS without a socket, and an awaited socket around it
//!                  certificate  the validity dates of a certificate
//! ```
//!
//! The requests themselves are `turn::client_state`'s. `bench` polls thousands of sockets from a
//! few threads and so does not use [`transport::Connection`], which is awaited; it shares the
//! configurations of TLS and the [`transport::dtls::DtlsClient`].

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod credentials;
pub mod duration;
pub mod transport;
pub mod uri;
