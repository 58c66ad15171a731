//! Limits: lifetimes, quotas and rates.

use std::time::Duration;

/// Every limit that the protocol enforces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The lifetime of an allocation that requests no longer one: 600 s. RFC 8656 §3.2.
    pub default_lifetime: Duration,
    /// The longest lifetime that is granted: 3600 s. RFC 8656 §7.2.
    pub maximum_lifetime: Duration,
    /// The lifetime of a nonce, at most an hour by RFC 8656 §5.
    pub nonce_lifetime: Duration,
    /// Most allocations of the server, over all shards. Beyond it Allocate gets 508.
    pub allocations: u32,
    /// Most allocations of one realm. Beyond it Allocate gets 486.
    pub allocations_per_realm: u32,
    /// Most allocations of one user. Beyond it Allocate gets 486.
    pub allocations_per_user: u32,
    /// Most allocations from one client address. Beyond it Allocate gets 486.
    pub allocations_per_address: u32,
    /// Most permissions of one allocation. Beyond it the request gets 508.
    pub permissions: usize,
    /// Most channels of one allocation, bound or reserved after expiry. Beyond it ChannelBind gets
    /// 508.
    pub channels: usize,
    /// Most data connections of one allocation. Beyond it Connect gets 508.
    pub connections: usize,
    /// New peers of one allocation per second, against port scans; 0 for no limit. Beyond it
    /// requests get 508 and Send indications are dropped.
    pub new_peers: u32,
    /// Bandwidth of relayed payload.
    pub bandwidth: Bandwidth,
    /// Octets that one user may relay, and the period. Beyond it payload is dropped and new
    /// allocations get 486.
    pub user_octets: Option<(u64, Duration)>,
}

/// Limits in octets of payload per second, both directions together; `None` for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// Limit of each allocation.
    pub allocation: Option<u64>,
    /// Limit shared by all allocations of a user.
    pub user: Option<u64>,
    /// Limit shared by all allocations of a realm.
    pub realm: Option<u64>,
    /// Limit shared by all allocations of the server.
    pub all: Option<u64>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            default_lifetime: Duration::from_secs(600),
            maximum_lifetime: Duration::from_secs(3600),
            nonce_lifetime: Duration::from_secs(3600),
            allocations: u32::MAX,
            allocations_per_realm: u32::MAX,
            allocations_per_user: 100,
            allocations_per_address: u32::MAX,
            permissions: 256,
            channels: 256,
            connections: 64,
            new_peers: 50,
            bandwidth: Bandwidth::default(),
            user_octets: None,
        }
    }
}
