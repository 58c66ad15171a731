//! How much one user, one address, and all together may have: the [`Ledger`] counts, a [`Grant`] is one allocation's
//! place in it.

use crate::turn::ids::time::Instant;
use crate::turn::policy::limits::Limits;
use crate::turn::policy::reject::Reject;
use crate::turn::quota::meter::{Meter, OctetQuota, TokenBucket};
use crate::wire::ErrorCode;
use papaya::{Compute, HashMap, Operation, ResizeMode};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Counts allocations and holds what their users share, across all shards, without a lock.
#[derive(Debug)]
pub struct Ledger {
    all: AtomicU32,
    /// Key: realms, of the policy. Read at Allocate; the standard library's keyed hasher, as for all of these.
    realms: HashMap<Arc<str>, u32>,
    /// Key: realm and user, both from authenticated requests.
    users: HashMap<UserKey, u32>,
    /// Key: a client's address, authenticated by then.
    addresses: HashMap<IpAddr, u32>,
    /// Key: who shares a bandwidth. Only where bandwidth is limited, and while there are allocations.
    buckets: HashMap<Sharer, Arc<TokenBucket>>,
    /// Key: realm and user. Only where octets are limited, and while some were used in the period.
    allowances: HashMap<UserKey, Arc<OctetQuota>>,
}

/// A realm and a user of it.
type UserKey = (Arc<str>, Arc<str>);

/// Who shares a bandwidth.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Sharer {
    User(UserKey),
    Realm(Arc<str>),
    All,
}

/// Who asks for an allocation, when.
#[derive(Debug)]
pub struct QuotaRequest<'a> {
    /// The realm.
    pub realm: &'a Arc<str>,
    /// The user, as quotas count.
    pub user: &'a Arc<str>,
    /// The client's address.
    pub address: IpAddr,
    /// The time of day.
    pub unix: Duration,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger {
            all: AtomicU32::new(0),
            realms: counts(),
            users: counts(),
            addresses: counts(),
            buckets: HashMap::default(),
            allowances: HashMap::default(),
        }
    }
}

/// An empty table of counts. It is resized at once: in papaya's incremental mode `compute` never helps to move what an
/// outgrown table held, so that every call walks one more table than the last, for ever.
fn counts<K: Hash + Eq>() -> HashMap<K, u32> {
    HashMap::builder().resize_mode(ResizeMode::Blocking).build()
}

impl Ledger {
    /// Enters one more allocation.
    ///
    /// # Errors
    /// 486 when the realm, the user or the client's address has as much as the limits allow, 508 when all together have.
    pub fn grant(
        self: &Arc<Ledger>,
        limits: &Limits,
        applicant: &QuotaRequest,
    ) -> Result<Grant, Reject> {
        let below = |all: u32| (all < limits.allocations).then_some(all + 1);
        self.all
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, below)
            .map_err(|_| Reject::CAPACITY)?;
        // What is entered comes out again when a later limit refuses and the grant is dropped.
        let owner = (applicant.realm.clone(), applicant.user.clone());
        let address = applicant.address;
        let mut grant = Grant {
            ledger: self.clone(),
            owner: owner.clone(),
            address,
            entered: 0,
            meter: None,
        };
        enter(&self.realms, applicant.realm, limits.allocations_per_realm)?;
        grant.entered = 1;
        enter(&self.users, &owner, limits.allocations_per_user)?;
        grant.entered = 2;
        enter(&self.addresses, &address, limits.allocations_per_address)?;
        grant.entered = 3;
        let allowance = limits
            .user_octets
            .map(|bounds| self.allowance(&owner, bounds, applicant.unix));
        if allowance
            .as_ref()
            .is_some_and(|allowance| !allowance.is_left(applicant.unix))
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
                .map(|rate| self.bucket(Sharer::User(owner), rate)),
            bandwidth
                .realm
                .map(|rate| self.bucket(Sharer::Realm(applicant.realm.clone()), rate)),
            bandwidth.all.map(|rate| self.bucket(Sharer::All, rate)),
        ];
        grant.meter = Meter::new(buckets, allowance);
        Ok(grant)
    }

    /// How many allocations there are.
    pub fn allocations(&self) -> u32 {
        self.all.load(Ordering::Relaxed)
    }

    /// The bucket of a sharer; a new one when its rate was changed.
    fn bucket(&self, sharer: Sharer, rate: u64) -> Arc<TokenBucket> {
        let buckets = self.buckets.pin();
        if let Some(bucket) = buckets.get(&sharer).filter(|bucket| bucket.rate() == rate) {
            return bucket.clone();
        }
        let bucket = Arc::new(TokenBucket::new(rate));
        buckets.insert(sharer, bucket.clone());
        bucket
    }

    /// The allowance of a user. When there are many, those that were not used in their period are forgotten first.
    fn allowance(
        &self,
        owner: &UserKey,
        (most, period): (u64, Duration),
        unix: Duration,
    ) -> Arc<OctetQuota> {
        let allowances = self.allowances.pin();
        if let Some(allowance) = allowances
            .get(owner)
            .filter(|allowance| allowance.is(most, period))
        {
            return allowance.clone();
        }
        if allowances.len() >= MANY {
            allowances.retain(|_, allowance| {
                !allowance.is_fresh(unix) || Arc::strong_count(allowance) > 1
            });
        }
        let allowance = Arc::new(OctetQuota::new(most, period));
        allowances.insert(owner.clone(), allowance.clone());
        allowance
    }
}

/// One allocation's place in the ledger; dropping it gives the place back.
#[derive(Debug)]
pub struct Grant {
    ledger: Arc<Ledger>,
    owner: UserKey,
    address: IpAddr,
    /// In how many of the ledger's counts it is entered: realms, then users, then addresses.
    entered: u8,
    meter: Option<Box<Meter>>,
}

impl Grant {
    /// Whether a packet of so many octets may be relayed now; `unix` tells the time of day, where that matters.
    pub fn admits(&self, now: Instant, unix: impl FnOnce() -> Duration, octets: usize) -> bool {
        self.meter
            .as_ref()
            .is_none_or(|meter| meter.admits(now, unix(), octets))
    }

    /// What the allocation's streams draw from, wherever they are carried; `None` where nothing is limited.
    pub fn meter(&self) -> Option<&Meter> {
        self.meter.as_deref()
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.ledger.all.fetch_sub(1, Ordering::Relaxed);
        if self.entered > 0 {
            leave(&self.ledger.realms, &self.owner.0);
        }
        if self.entered > 1 && leave(&self.ledger.users, &self.owner) {
            self.ledger
                .buckets
                .pin()
                .remove(&Sharer::User(self.owner.clone()));
        }
        if self.entered > 2 {
            leave(&self.ledger.addresses, &self.address);
        }
    }
}

/// Counts one more under a key.
///
/// # Errors
/// 486 when there are `most`.
fn enter<K: Hash + Eq + Clone>(counts: &HashMap<K, u32>, key: &K, most: u32) -> Result<(), Reject> {
    let counts = counts.pin();
    let outcome = counts.compute(key.clone(), |entry| match entry {
        Some((_, count)) if *count >= most => Operation::Abort(()),
        None if most == 0 => Operation::Abort(()),
        entry => Operation::Insert(entry.map_or(0, |(_, count)| *count) + 1),
    });
    if matches!(outcome, Compute::Aborted(())) {
        Err(QUOTA)
    } else {
        Ok(())
    }
}

/// Counts one less; says whether that was the last, and the key is forgotten.
fn leave<K: Hash + Eq + Clone>(counts: &HashMap<K, u32>, key: &K) -> bool {
    let counts = counts.pin();
    let outcome = counts.compute(key.clone(), |entry| match entry {
        None => Operation::Abort(()),
        Some((_, 0 | 1)) => Operation::Remove,
        Some((_, count)) => Operation::Insert(count - 1),
    });
    matches!(outcome, Compute::Removed(..))
}

const QUOTA: Reject = Reject::Code(ErrorCode::ALLOCATION_QUOTA_REACHED);
/// With so many allowances those that are not needed are looked for.
const MANY: usize = 100_000;

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
                unix: Duration::ZERO,
            },
        )
    }

    #[test]
    fn what_is_granted_comes_back_and_nothing_stays() {
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
            "a user without allocations is forgotten"
        );
    }

    #[test]
    fn a_realm_and_an_address_have_their_limits() {
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
    fn a_users_allocations_share_their_bandwidth_and_their_allowance() {
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
                .filter(|_| grant.admits(now, || Duration::ZERO, 100))
                .count()
        };
        assert_eq!((pass(&one, 0), pass(&two, 0), pass(&other, 0)), (10, 0, 10));
        assert_eq!(
            (pass(&two, 1_000), pass(&one, 2_000)),
            (5, 0),
            "the allowance is used up"
        );
        assert_eq!(granted(&ledger, &limits, "a").unwrap_err(), QUOTA);
        drop((one, two, other));
        assert_eq!(ledger.buckets.len(), 0);
    }
}
