//! Client side of STUN and TURN: URIs and transports, shared by `peer` and `bench`.

pub mod credentials;
pub(crate) mod dtls;
pub mod line;
pub mod tls;
pub mod uri;
