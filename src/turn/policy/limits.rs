//! Bounds: how long things last, how many there may be, and how fast.

use std::time::Duration;

/// How long things last, and how many there may be; every bound that the protocol keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time-to-expiry of an allocation that asks for no longer: 600 s. RFC 8656 §3.2.
    pub default_lifetime: Duration,
    /// The longest that is granted: 3600 s. RFC 8656 §7.2.
    pub maximum_lifetime: Duration,
    /// After this a nonce is stale: at most an hour by RFC 8656 §5.
    pub nonce_lifetime: Duration,
    /// Allocations in all, on all shards.
    pub allocations: u32,
    /// Allocations of one realm (486 beyond).
    pub allocations_per_realm: u32,
    /// Allocations of one user (486 beyond).
    pub allocations_per_user: u32,
    /// Allocations from one client address (486 beyond).
    pub allocations_per_address: u32,
    /// Permissions of one allocation (508 beyond).
    pub permissions: usize,
    /// Channels of one allocation, bound or cooling off (508 beyond).
    pub channels: usize,
    /// Data connections of one allocation (508 beyond).
    pub connections: usize,
    /// New peers of one allocation a second, against port scans; 0 for no bound. More are refused (508), or dropped.
    pub new_peers: u32,
    /// How fast may be relayed, both directions together.
    pub bandwidth: Bandwidth,
    /// How many octets one user may have relayed in each period; 486 and dropped beyond.
    pub user_octets: Option<(u64, Duration)>,
}

/// Bounds of what is relayed, in octets of payload a second, both directions together; `None` for no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// Of one allocation.
    pub allocation: Option<u64>,
    /// Of one user's allocations together.
    pub user: Option<u64>,
    /// Of one realm's.
    pub realm: Option<u64>,
    /// Of all.
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
            allocations_per_user: u32::MAX,
            allocations_per_address: u32::MAX,
            permissions: 1024,
            channels: 1024,
            connections: 64,
            new_peers: 0,
            bandwidth: Bandwidth::default(),
            user_octets: None,
        }
    }
}
