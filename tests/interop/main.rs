//! Other implementations of STUN and TURN clients against this server.

#[path = "../support/mod.rs"]
mod support;

mod coturn;
mod libraries;
mod webrtc;
