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
    /// Allocations of the server, on all shards (508 beyond).
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
    /// Of one allocation.
    pub allocation: Option<u64>,
    /// Of all allocations of one user.
    pub user: Option<u64>,
    /// Of all allocations of one realm.
    pub realm: Option<u64>,
    /// Of the server.
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
