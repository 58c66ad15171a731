//! Quotas of allocations. The [`Ledger`] counts the allocations of realms, users and addresses; a
//! [`Grant`] is one allocation's share and returns it when dropped.

use crate::turn::ids::time::Instant;
use crate::turn::policy::limits::Limits;
use crate::turn::policy::reject::Reject;
use crate::turn::quota::meter::{Meter, OctetQuota, TokenBucket};
use crate::wire::ErrorCode;
use crate::wire::client_prefix::client_prefix;
use papaya::{Compute, HashMap, Operation, ResizeMode};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The counts of allocations and the shared bandwidth limits of a server. Shared by all shards
/// without a lock.
#[derive(Debug)]
pub struct Ledger {
    all: AtomicU32,
    /// Key: names of realms. Reader of all these tables: Allocate. Hasher: the standard library's,
    /// which is keyed.
    realms: HashMap<Arc<str>, u32>,
    /// Key: realm and user of authenticated requests.
    users: HashMap<UserKey, u32>,
    /// Key: prefixes of authenticated clients, see [`client_prefix`].
    addresses: HashMap<IpAddr, u32>,
    /// Key: the user, realm or server that shares a bandwidth limit. Holds entries only for limits
    /// that the operator set.
    buckets: HashMap<BandwidthScope, Arc<TokenBucket>>,
    /// Key: realm and user. Holds entries only if the operator set an octet quota.
    octet_quotas: HashMap<UserKey, Arc<OctetQuota>>,
}

/// A realm and the account of a user of it.
pub(crate) type UserKey = (Arc<str>, Arc<str>);

/// The allocations that share a bandwidth limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum BandwidthScope {
    User(UserKey),
    Realm(Arc<str>),
    All,
}

/// A request for one allocation.
#[derive(Debug)]
pub struct QuotaRequest<'a> {
    /// The name of the realm.
    pub realm: &'a Arc<str>,
    /// The account of the user, see [`crate::turn::policy::credentials::account`].
    pub user: &'a Arc<str>,
    /// The address of the client.
    pub address: IpAddr,
    /// The Unix time.
    pub unix_time: Duration,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger {
            all: AtomicU32::new(0),
            realms: counts(),
            users: counts(),
            addresses: counts(),
            buckets: HashMap::default(),
            octet_quotas: HashMap::default(),
        }
    }
}

/// An empty table of counts, for [`increment`] and [`decrement`]. It resizes in one step: in
/// papaya's incremental mode `compute` never helps to move the entries of an outgrown table, so
/// every call would walk one table more than the last.
pub(crate) fn counts<K: Hash + Eq>() -> HashMap<K, u32> {
    HashMap::builder().resize_mode(ResizeMode::Blocking).build()
}

impl Ledger {
    /// Counts one more allocation.
    ///
    /// # Errors
    /// 486 if the realm, the user or the address is at its limit, 508 if the server is.
    pub fn grant(
        self: &Arc<Ledger>,
        limits: &Limits,
        request: &QuotaRequest,
    ) -> Result<Grant, Reject> {
        let below = |all: u32| (all < limits.allocations).then_some(all + 1);
        self.all
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, below)
            .map_err(|_| Reject::CAPACITY)?;
        // If a later limit refuses, dropping the grant decrements what was counted so far.
        let user = (request.realm.clone(), request.user.clone());
        let address = client_prefix(request.address);
        let mut grant = Grant {
            ledger: self.clone(),
            user: user.clone(),
            address,
            counted: Counted::Server,
            meter: None,
        };
        increment(&self.realms, request.realm, limits.allocations_per_realm)?;
        grant.counted = Counted::Realm;
        increment(&self.users, &user, limits.allocations_per_user)?;
        grant.counted = Counted::User;
        increment(&self.addresses, &address, limits.allocations_per_address)?;
        grant.counted = Counted::Address;
        let octet_quota = limits
            .user_octets
            .map(|bounds| self.octet_quota(&user, bounds, request.unix_time));
        if octet_quota
            .as_ref()
            .is_some_and(|quota| !quota.has_octets(request.unix_time))
        {
            return Err(QUOTA);
        }
        let bandwidth = &limits.bandwidth;
        let buckets = [
            bandwidth
                .allocation
                .map(|rate| Arc::new(TokenBucket::new(rate))),
            bandwidth
                .user
                .map(|rate| self.bucket(BandwidthScope::User(user), rate)),
            bandwidth
                .realm
                .map(|rate| self.bucket(BandwidthScope::Realm(request.realm.clone()), rate)),
            bandwidth
                .all
                .map(|rate| self.bucket(BandwidthScope::All, rate)),
        ];
        grant.meter = Meter::new(buckets, octet_quota);
        Ok(grant)
    }

    /// The number of allocations.
    pub fn allocations(&self) -> u32 {
        self.all.load(Ordering::Relaxed)
    }

    /// The bucket of a scope; a new one if the rate changed.
    fn bucket(&self, scope: BandwidthScope, rate: u64) -> Arc<TokenBucket> {
        let buckets = self.buckets.pin();
        if let Some(bucket) = buckets.get(&scope).filter(|bucket| bucket.rate() == rate) {
            return bucket.clone();
        }
        let bucket = Arc::new(TokenBucket::new(rate));
        buckets.insert(scope, bucket.clone());
        bucket
    }

    /// The octet quota of a user; a new one if the limit changed. If there are many, unused ones
    /// are removed first.
    fn octet_quota(
        &self,
        user: &UserKey,
        (limit, period): (u64, Duration),
        unix_time: Duration,
    ) -> Arc<OctetQuota> {
        let quotas = self.octet_quotas.pin();
        if let Some(quota) = quotas
            .get(user)
            .filter(|quota| quota.has_limit(limit, period))
        {
            return quota.clone();
        }
        if quotas.len() >= MANY_QUOTAS {
            quotas.retain(|_, quota| !quota.is_unused(unix_time) || Arc::strong_count(quota) > 1);
        }
        let quota = Arc::new(OctetQuota::new(limit, period));
        quotas.insert(user.clone(), quota.clone());
        quota
    }
}

/// One allocation's share of the quotas. Dropping it decrements the counts.
#[derive(Debug)]
pub struct Grant {
    ledger: Arc<Ledger>,
    user: UserKey,
    address: IpAddr,
    counted: Counted,
    meter: Option<Box<Meter>>,
}

/// The counts in which a grant is included, in the order of counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Counted {
    Server,
    Realm,
    User,
    Address,
}

impl Grant {
    /// Takes the octets of a packet from the allocation's limits; returns false if they are
    /// exhausted. `unix_time` is called only if there are limits.
    pub fn allows(
        &self,
        now: Instant,
        unix_time: impl FnOnce() -> Duration,
        octets: usize,
    ) -> bool {
        self.meter
            .as_ref()
            .is_none_or(|meter| meter.allows(now, unix_time(), octets))
    }

    /// The user that the allocation counts for.
    pub(crate) fn user(&self) -> &UserKey {
        &self.user
    }

    /// The meter of the allocation; `None` if nothing is limited.
    pub fn meter(&self) -> Option<&Meter> {
        self.meter.as_deref()
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.ledger.all.fetch_sub(1, Ordering::Relaxed);
        if self.counted >= Counted::Realm {
            decrement(&self.ledger.realms, &self.user.0);
        }
        if self.counted >= Counted::User && decrement(&self.ledger.users, &self.user) {
            self.ledger
                .buckets
                .pin()
                .remove(&BandwidthScope::User(self.user.clone()));
        }
        if self.counted >= Counted::Address {
            decrement(&self.ledger.addresses, &self.address);
        }
    }
}

/// Increments the count of a key.
///
/// # Errors
/// 486 if the count is at `limit`.
pub(crate) fn increment<K: Hash + Eq + Clone>(
    counts: &HashMap<K, u32>,
    key: &K,
    limit: u32,
) -> Result<(), Reject> {
    let counts = counts.pin();
    let outcome = counts.compute(key.clone(), |entry| match entry {
        Some((_, count)) if *count >= limit => Operation::Abort(()),
        None if limit == 0 => Operation::Abort(()),
        entry => Operation::Insert(entry.map_or(0, |(_, count)| *count) + 1),
    });
    if matches!(outcome, Compute::Aborted(())) {
        Err(QUOTA)
    } else {
        Ok(())
    }
}

/// Decrements the count of a key. Returns true if it was the last one, and the key was removed.
pub(crate) fn decrement<K: Hash + Eq + Clone>(counts: &HashMap<K, u32>, key: &K) -> bool {
    let counts = counts.pin();
    let outcome = counts.compute(key.clone(), |entry| match entry {
        None => Operation::Abort(()),
        Some((_, 0 | 1)) => Operation::Remove,
        Some((_, count)) => Operation::Insert(count - 1),
    });
    matches!(outcome, Compute::Removed(..))
}

const QUOTA: Reject = Reject::Code(ErrorCode::ALLOCATION_QUOTA_REACHED);
/// At this number of octet quotas unused ones are removed.
const MANY_QUOTAS: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::policy::limits::Bandwidth;

    fn granted(ledger: &Arc<Ledger>, limits: &Limits, user: &str) -> Result<Grant, Reject> {
        let (realm, user) = ("r".into(), user.into());
        let address = "192.0.2.1".parse().unwrap();
        ledger.grant(
            limits,
            &QuotaRequest {
                realm: &realm,
                user: &user,
                address,
                unix_time: Duration::ZERO,
            },
        )
    }

    #[test]
    fn a_dropped_grant_leaves_no_count() {
        let ledger = Arc::new(Ledger::default());
        let limits = Limits {
            allocations: 3,
            allocations_per_user: 2,
            ..Limits::default()
        };
        let first = granted(&ledger, &limits, "a").unwrap();
        let _second = granted(&ledger, &limits, "a").unwrap();
        assert_eq!(granted(&ledger, &limits, "a").unwrap_err(), QUOTA);
        let third = granted(&ledger, &limits, "b").unwrap();
        assert_eq!(
            granted(&ledger, &limits, "b").unwrap_err(),
            Reject::CAPACITY
        );
        drop((first, third));
        assert_eq!(ledger.allocations(), 1);
        assert_eq!(
            ledger.users.len(),
            1,
            "a user without allocations has no entry"
        );
    }

    #[test]
    fn realms_and_addresses_are_limited() {
        let ledger = Arc::new(Ledger::default());
        for limits in [
            Limits {
                allocations_per_realm: 1,
                ..Limits::default()
            },
            Limits {
                allocations_per_address: 1,
                ..Limits::default()
            },
        ] {
            let first = granted(&ledger, &limits, "a").unwrap();
            assert_eq!(granted(&ledger, &limits, "b").unwrap_err(), QUOTA);
            drop(first);
            assert_eq!(ledger.allocations(), 0);
            assert!(granted(&ledger, &limits, "b").is_ok());
        }
    }

    #[test]
    fn the_addresses_of_an_ipv6_slash_64_are_one_client() {
        let ledger = Arc::new(Ledger::default());
        let limits = Limits {
            allocations_per_address: 1,
            ..Limits::default()
        };
        let (realm, user) = ("r".into(), "a".into());
        let from = |address: &str| {
            let request = QuotaRequest {
                realm: &realm,
                user: &user,
                address: address.parse().unwrap(),
                unix_time: Duration::ZERO,
            };
            ledger.grant(&limits, &request)
        };
        let first = from("2001:db8:1:2::1").unwrap();
        assert_eq!(from("2001:db8:1:2:ffff::2").unwrap_err(), QUOTA);
        let neighbor = from("2001:db8:1:3::1").unwrap();
        let _v4 = from("192.0.2.1").unwrap();
        assert_eq!(from("::ffff:192.0.2.1").unwrap_err(), QUOTA);
        drop(first);
        assert!(from("2001:db8:1:2:ffff::2").is_ok());
        drop(neighbor);
        assert_eq!(ledger.addresses.len(), 1, "only the IPv4 address is left");
    }

    #[test]
    fn allocations_of_a_user_share_bandwidth_and_octet_quota() {
        let ledger = Arc::new(Ledger::default());
        let bandwidth = Bandwidth {
            user: Some(10_000),
            ..Bandwidth::default()
        };
        let limits = Limits {
            bandwidth,
            user_octets: Some((1_500, Duration::from_secs(60))),
            ..Limits::default()
        };
        let (one, two) = (
            granted(&ledger, &limits, "a").unwrap(),
            granted(&ledger, &limits, "a").unwrap(),
        );
        let other = granted(&ledger, &limits, "b").unwrap();
        let pass = |grant: &Grant, at_ms: u64| {
            let now = Instant(1_000_000_000) + Duration::from_millis(at_ms);
            (0..100)
                .filter(|_| grant.allows(now, || Duration::ZERO, 100))
                .count()
        };
        assert_eq!((pass(&one, 0), pass(&two, 0), pass(&other, 0)), (10, 0, 10));
        assert_eq!(
            (pass(&two, 1_000), pass(&one, 2_000)),
            (5, 0),
            "the quota is exhausted"
        );
        assert_eq!(granted(&ledger, &limits, "a").unwrap_err(), QUOTA);
        drop((one, two, other));
        assert_eq!(ledger.buckets.len(), 0);
    }
}
