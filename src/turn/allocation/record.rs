//! An allocation as shown to operators and in logs.

use crate::turn::ids::five_tuple::FiveTuple;
use crate::turn::ids::time::Instant;
use crate::turn::ids::traffic::Traffic;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// The life of an allocation, for logs, listings and usage records.
#[derive(Clone, Debug)]
pub struct AllocationRecord {
    /// Unique among the allocations of this server, and above the ids of its earlier runs.
    pub id: u64,
    /// The user's name.
    pub user: Arc<str>,
    /// The realm's name.
    pub realm: Arc<str>,
    /// The client's five-tuple.
    pub client: FiveTuple,
    /// The relayed transport addresses, as clients see them.
    pub relayed: Vec<SocketAddr>,
    /// The addresses with a permission, for an ended allocation at the time of its end.
    pub peers: Vec<IpAddr>,
    /// When the allocation was made.
    pub started: Instant,
    /// The time from its start to its end, or until now.
    pub elapsed: Duration,
    /// The payload that it relayed.
    pub traffic: Traffic,
    /// Why the allocation ended; `None` while it exists.
    pub end_reason: Option<EndReason>,
}

/// An allocation with its permissions and channels.
#[derive(Clone, Debug)]
pub struct AllocationDetail {
    /// The allocation's record.
    pub record: AllocationRecord,
    /// Time to expiry unless refreshed. IPv4 and IPv6 of a dual allocation expire on their own;
    /// this is the earlier.
    pub remaining: Duration,
    /// The permitted addresses and their time to expiry.
    pub permissions: Vec<(IpAddr, Duration)>,
    /// Number, peer and time to expiry of each channel. An expired channel, which stays reserved
    /// for a while, has zero.
    pub channels: Vec<(u16, SocketAddr, Duration)>,
}

/// Why an allocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// The client deleted it with a Refresh of lifetime 0.
    Deleted,
    /// Its lifetime ran out.
    Expired,
    /// The client's connection closed.
    Disconnected,
    /// An operator closed it.
    Closed,
    /// The server stopped.
    Stopped,
}

impl EndReason {
    /// All reasons, in the order of [`EndReason::index`].
    pub const ALL: [EndReason; 5] = [
        EndReason::Deleted,
        EndReason::Expired,
        EndReason::Disconnected,
        EndReason::Closed,
        EndReason::Stopped,
    ];

    /// The lower-case name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            EndReason::Deleted => "deleted",
            EndReason::Expired => "expired",
            EndReason::Disconnected => "disconnected",
            EndReason::Closed => "closed",
            EndReason::Stopped => "stopped",
        }
    }

    /// The position in [`EndReason::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}
