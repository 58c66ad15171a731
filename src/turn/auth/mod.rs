//! Authentication: who sent a request. RFC 8489 §9.2, RFC 7635.

pub mod authenticate;
pub mod nonce;
pub mod owner;
