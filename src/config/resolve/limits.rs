//! The limits of the server, and of the realms that have their own.

use crate::config::resolver::Resolver;
use crate::config::schema;
use crate::turn::Limits;
use crate::turn::policy::limits::Bandwidth;

/// The limits that the operator set. Every other limit is inherited.
pub(super) fn limits(resolver: &mut Resolver, inherited: &Limits) -> Limits {
    let bandwidth = inherited.bandwidth;
    let (bytes, period) = match inherited.user_octets {
        Some((bytes, period)) => (Some(bytes), period),
        None => (None, schema::USER_PERIOD.default()),
    };
    let bytes = resolver.get_or(&schema::USER_BYTES, bytes);
    let period = resolver.get_or(&schema::USER_PERIOD, period);
    Limits {
        default_lifetime: inherited.default_lifetime,
        maximum_lifetime: resolver.get_or(&schema::MAX_LIFETIME, inherited.maximum_lifetime),
        nonce_lifetime: resolver.get_or(&schema::NONCE_LIFETIME, inherited.nonce_lifetime),
        allocations: resolver.get_or(&schema::MAX_ALLOCATIONS, inherited.allocations),
        allocations_per_realm: resolver
            .get_or(&schema::REALM_ALLOCATIONS, inherited.allocations_per_realm),
        allocations_per_user: resolver
            .get_or(&schema::USER_ALLOCATIONS, inherited.allocations_per_user),
        allocations_per_address: resolver.get_or(
            &schema::ADDRESS_ALLOCATIONS,
            inherited.allocations_per_address,
        ),
        permissions: resolver.get_or(&schema::PERMISSIONS, inherited.permissions),
        channels: resolver.get_or(&schema::CHANNELS, inherited.channels),
        connections: resolver.get_or(&schema::DATA_CONNECTIONS, inherited.connections),
        new_peers: resolver.get_or(&schema::NEW_PEERS, inherited.new_peers),
        bandwidth: Bandwidth {
            allocation: resolver.get_or(&schema::ALLOCATION_BANDWIDTH, bandwidth.allocation),
            user: resolver.get_or(&schema::USER_BANDWIDTH, bandwidth.user),
            realm: resolver.get_or(&schema::REALM_BANDWIDTH, bandwidth.realm),
            all: resolver.get_or(&schema::MAX_BANDWIDTH, bandwidth.all),
        },
        user_octets: bytes.map(|bytes| (bytes, period)),
    }
}

/// Returns true if a realm has limits of its own.
pub(super) fn has_own_limits(resolver: &Resolver) -> bool {
    schema::realm_limits().any(|key| resolver.has(key))
}
