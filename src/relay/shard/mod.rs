//! One shard: an event loop on one core.

pub(crate) mod admission;
pub(crate) mod coalesce;
pub(crate) mod commands;
pub(crate) mod demux;
pub(crate) mod egress;
pub(crate) mod event_loop;
pub(crate) mod forwarding;
pub(crate) mod handover;
pub mod mailbox;
pub(crate) mod messages;
pub(crate) mod timeouts;
