//! The TURN protocol as a value: packets and time in, effects out.

pub mod client;
