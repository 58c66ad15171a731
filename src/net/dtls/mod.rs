//! DTLS for clients on UDP (RFC 7350).
//!
//! # The stateless cookie exchange
//!
//! The source address of a datagram can be forged. If a server created an association for each
//! ClientHello, a few forged hellos per second would fill its memory; and if the server answered
//! with its certificates, it would send several times as many octets as it received to the victim
//! whose address was forged. DTLS therefore lets the server ask the client to repeat its hello with
//! a cookie (RFC 6347 §4.2.1, RFC 9147 §5.1):
//!
//! ```text
//!   client                                   server
//!     │ ClientHello (message 0)                │
//!     │ ─────────────────────────────────────▶ │ check_cookie: Reply. Stores nothing; the reply is not longer
//!     │       HelloVerifyRequest (DTLS 1.2) or │ than the hello.
//!     │       HelloRetryRequest (DTLS 1.3),    │
//!     │ ◀──────────────────────── with cookie  │
//!     │ ClientHello (message 1) with cookie    │
//!     │ ─────────────────────────────────────▶ │ check_cookie: Verified. DtlsServer::accept creates the
//!     │            ServerHello, Certificate, … │ Association.
//!     │ ◀────────────────────────────────────▶ │ Association: records in, events out
//! ```
//!
//! The cookie is a MAC, under a secret of this process, over addresses, ports, the minute, and the
//! hello. Therefore it proves that the sender receives at its address, and it is of no use to
//! another client or after two minutes.
//!
//! The DTLS library (`dimpl`) can make and check cookies too, but only in an association that
//! exists already, which is what the exchange must avoid. So this module does the exchange by
//! itself, and then replays it to the new association:
//!
//! 1. The server did not store the first hello, but the second equals it except for the message
//!    number, the cookie and, in DTLS 1.3, the padding. The first is rebuilt from the second
//!    (`cookie::VerifiedHello::first_hello`). The length of its padding, the only fact that the
//!    second does not contain, is stored in the first two octets of the cookie.
//! 2. The association receives the first hello and answers with a cookie. DTLS 1.3 mixes that
//!    answer into its keys, so it must be octet for octet the answer that the client received. To
//!    that end the association's crypto provider returns the verified cookie instead of computing
//!    one (`association::CookieHmac`). The answer itself is discarded.
//! 3. The association receives the second hello, and accepts the cookie as one that it issued.
//!
//! The cost is one HMAC for each hello, and a second parse of both hellos for each association.

pub mod association;
pub(crate) mod client_hello;
pub mod cookie;
pub mod server;
#[cfg(test)]
mod tests;

pub use crate::net::dtls::association::{Association, Event};
pub use crate::net::dtls::cookie::{CookieCheck, VerifiedHello};
pub use crate::net::dtls::server::DtlsServer;
