//! DTLS for clients on UDP. RFC 7350.

pub mod association;
pub mod client_hello;
