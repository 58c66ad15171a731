//! A WebRTC call: candidates, offers and answers, media.

pub mod agent;
pub(crate) mod candidates;
pub(crate) mod exchange;
pub(crate) mod gather;
pub(crate) mod media;
pub(crate) mod negotiation;
pub(crate) mod relayed;
pub(crate) mod relays;
