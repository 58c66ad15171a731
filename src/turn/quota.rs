//! How much one user, one address, and all together may have: the [`Ledger`] counts, a [`Grant`] is one allocation's
//! place in it.

use super::policy::Limits;
use super::reject::Reject;
use crate::wire::ErrorCode;
use papaya::{Compute, HashMap, Operation};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Counts allocations across all shards, without a lock.
#[derive(Debug, Default)]
pub struct Ledger {
    all: AtomicU32,
    /// Key: realm and user, both from authenticated requests. Read at Allocate; the standard library's keyed hasher.
    users: HashMap<Owner, u32>,
    /// Key: a client's address, authenticated by then. Read at Allocate; the same hasher.
    addresses: HashMap<IpAddr, u32>,
}

/// A realm and a user of it.
type Owner = (Arc<str>, Arc<str>);

impl Ledger {
    /// Enters one more allocation.
    ///
    /// # Errors
    /// 486 when the user or the client's address has as many as the limits allow, 508 when all together have.
    pub fn grant(
        self: &Arc<Ledger>,
        limits: &Limits,
        realm: &Arc<str>,
        user: &Arc<str>,
        address: IpAddr,
    ) -> Result<Grant, Reject> {
        const QUOTA: Reject = Reject::Code(ErrorCode::ALLOCATION_QUOTA_REACHED);
        // What is entered comes out again when a later limit refuses and the grant is dropped.
        let mut grant = Grant { ledger: self.clone(), owner: None, address: None };
        let below = |all: u32| (all < limits.allocations).then_some(all + 1);
        self.all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below).map_err(|_| Reject::CAPACITY)?;
        let owner = (realm.clone(), user.clone());
        if !enter(&self.users, &owner, limits.allocations_per_user) {
            self.all.fetch_sub(1, Ordering::Relaxed);
            return Err(QUOTA);
        }
        grant.owner = Some(owner);
        if !enter(&self.addresses, &address, limits.allocations_per_address) {
            return Err(QUOTA);
        }
        grant.address = Some(address);
        Ok(grant)
    }

    /// How many allocations there are.
    pub fn allocations(&self) -> u32 {
        self.all.load(Ordering::Relaxed)
    }
}

/// One allocation's place in the ledger; dropping it gives the place back.
#[derive(Debug)]
pub struct Grant {
    ledger: Arc<Ledger>,
    owner: Option<Owner>,
    address: Option<IpAddr>,
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some(owner) = &self.owner {
            self.ledger.all.fetch_sub(1, Ordering::Relaxed);
            leave(&self.ledger.users, owner);
        }
        if let Some(address) = &self.address {
            leave(&self.ledger.addresses, address);
        }
    }
}

/// Counts one more under a key, unless there are `most`.
fn enter<K: Hash + Eq + Clone>(counts: &HashMap<K, u32>, key: &K, most: u32) -> bool {
    let counts = counts.pin();
    let outcome = counts.compute(key.clone(), |entry| match entry {
        Some((_, count)) if *count >= most => Operation::Abort(()),
        None if most == 0 => Operation::Abort(()),
        entry => Operation::Insert(entry.map_or(0, |(_, count)| *count) + 1),
    });
    !matches!(outcome, Compute::Aborted(()))
}

/// Counts one less, and forgets a key that has none.
fn leave<K: Hash + Eq + Clone>(counts: &HashMap<K, u32>, key: &K) {
    counts.pin().compute(key.clone(), |entry| match entry {
        None => Operation::Abort(()),
        Some((_, 0 | 1)) => Operation::Remove,
        Some((_, count)) => Operation::Insert(count - 1),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_granted_comes_back_and_nothing_stays() {
        let ledger = Arc::new(Ledger::default());
        let limits = Limits { allocations: 3, allocations_per_user: 2, ..Limits::default() };
        let (realm, a, b): (Arc<str>, Arc<str>, Arc<str>) = ("r".into(), "a".into(), "b".into());
        let address = "192.0.2.1".parse().unwrap();
        let grant = |user| ledger.grant(&limits, &realm, user, address);
        let first = grant(&a).unwrap();
        let _second = grant(&a).unwrap();
        assert_eq!(grant(&a).unwrap_err(), Reject::Code(ErrorCode::ALLOCATION_QUOTA_REACHED));
        let third = grant(&b).unwrap();
        assert_eq!(grant(&b).unwrap_err(), Reject::CAPACITY);
        drop((first, third));
        assert_eq!(ledger.allocations(), 1);
        assert_eq!(ledger.users.len(), 1, "a user without allocations is forgotten");
    }
}
