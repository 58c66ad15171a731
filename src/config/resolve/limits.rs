//! How much the users of a realm may have.

use crate::config::layers::Resolver;
use crate::config::schema;
use crate::config::schema::{Key, REALM_KEYS};
use crate::config::value;
use crate::turn::Limits;
use crate::turn::policy::limits::Bandwidth;
use std::time::Duration;

/// The limits that are written, and those of `base` for whatever is not.
pub(crate) fn limits(reader: &mut Resolver, base: Limits) -> Limits {
    let bandwidth = Bandwidth {
        allocation: rate(
            reader,
            &schema::ALLOCATION_BANDWIDTH,
            base.bandwidth.allocation,
        ),
        user: rate(reader, &schema::USER_BANDWIDTH, base.bandwidth.user),
        realm: rate(reader, &schema::REALM_BANDWIDTH, base.bandwidth.realm),
        all: rate(reader, &schema::MAX_BANDWIDTH, base.bandwidth.all),
    };
    let (octets, period) = base
        .user_octets
        .map_or((None, DAY), |(octets, period)| (Some(octets), period));
    let octets = rate(reader, &schema::USER_BYTES, octets);
    let period = reader
        .one(&schema::USER_PERIOD, at_least_a_second)
        .unwrap_or(period);
    Limits {
        allocations: bound(reader, &schema::MAX_ALLOCATIONS, base.allocations),
        allocations_per_realm: bound(
            reader,
            &schema::REALM_ALLOCATIONS,
            base.allocations_per_realm,
        ),
        allocations_per_user: bound(reader, &schema::USER_ALLOCATIONS, base.allocations_per_user),
        allocations_per_address: bound(
            reader,
            &schema::ADDRESS_ALLOCATIONS,
            base.allocations_per_address,
        ),
        permissions: reader
            .one(&schema::PERMISSIONS, value::number)
            .unwrap_or(base.permissions),
        channels: reader
            .one(&schema::CHANNELS, value::number)
            .unwrap_or(base.channels),
        connections: reader
            .one(&schema::DATA_CONNECTIONS, value::number)
            .unwrap_or(base.connections),
        maximum_lifetime: reader
            .one(&schema::MAX_LIFETIME, lifetime)
            .unwrap_or(base.maximum_lifetime),
        nonce_lifetime: reader
            .one(&schema::NONCE_LIFETIME, nonce_lifetime)
            .unwrap_or(base.nonce_lifetime),
        new_peers: reader
            .one(&schema::NEW_PEERS, value::number)
            .unwrap_or(base.new_peers),
        bandwidth,
        user_octets: octets.map(|octets| (octets, period)),
        ..base
    }
}

/// Whether a further realm has limits of its own.
pub(crate) fn are_written(reader: &Resolver) -> bool {
    let of_limits = |key: &&Key| schema::group("Bounds").any(|bound| bound.name == key.name);
    REALM_KEYS
        .iter()
        .filter(of_limits)
        .chain([&schema::NONCE_LIFETIME])
        .any(|key| reader.has(key))
}

/// A number, of which 0 stands for no bound.
fn bound(reader: &mut Resolver, key: &Key, base: u32) -> u32 {
    match reader.one(key, value::number) {
        None => base,
        Some(0) => u32::MAX,
        Some(bound) => bound,
    }
}

/// An amount of octets, of which 0 stands for no bound.
fn rate(reader: &mut Resolver, key: &Key, base: Option<u64>) -> Option<u64> {
    match reader.one(key, value::octets) {
        None => base,
        Some(0) => None,
        Some(octets) => Some(octets),
    }
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = value::duration(text)?;
    if lifetime < Limits::default().default_lifetime {
        return Err(format!(
            "`{text}` is shorter than the 10m which RFC 8656 makes the default"
        ));
    }
    Ok(lifetime)
}

fn nonce_lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = value::duration(text)?;
    if lifetime.is_zero() || lifetime > Duration::from_secs(3600) {
        return Err(format!(
            "`{text}` is not between 1s and the 1h that RFC 8656 allows"
        ));
    }
    Ok(lifetime)
}

fn at_least_a_second(text: &str) -> Result<Duration, String> {
    let period = value::duration(text)?;
    if period < Duration::from_secs(1) {
        Err(format!("`{text}` is shorter than 1s"))
    } else {
        Ok(period)
    }
}

const DAY: Duration = Duration::from_secs(86_400);
