//! How much one user, one address, and all together may have: the [`Ledger`] counts, a [`Grant`] is one allocation's
//! place in it.

use super::policy::Limits;
use super::reject::Reject;
use crate::wire::ErrorCode;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts allocations across all shards. Its lock is taken once for each allocation's start and end, never for a packet.
#[derive(Debug, Default)]
pub struct Ledger {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: u32,
    /// Key: realm and user, both from authenticated requests. Read at Allocate; the standard library's keyed hasher.
    users: HashMap<(Arc<str>, Arc<str>), u32>,
    /// Key: a client's address, authenticated by then. Read at Allocate; the same hasher.
    addresses: HashMap<IpAddr, u32>,
}

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
        let owner = (realm.clone(), user.clone());
        let mut counts = self.lock();
        let users = counts.users.get(&owner).copied().unwrap_or(0);
        let addresses = counts.addresses.get(&address).copied().unwrap_or(0);
        if users >= limits.allocations_per_user || addresses >= limits.allocations_per_address {
            return Err(Reject::Code(ErrorCode::ALLOCATION_QUOTA_REACHED));
        }
        if counts.all >= limits.allocations {
            return Err(Reject::CAPACITY);
        }
        counts.all += 1;
        *counts.users.entry(owner.clone()).or_default() += 1;
        *counts.addresses.entry(address).or_default() += 1;
        drop(counts);
        Ok(Grant { ledger: self.clone(), owner, address })
    }

    /// How many allocations there are.
    pub fn allocations(&self) -> u32 {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One allocation's place in the ledger; dropping it gives the place back.
#[derive(Debug)]
pub struct Grant {
    ledger: Arc<Ledger>,
    owner: (Arc<str>, Arc<str>),
    address: IpAddr,
}

impl Drop for Grant {
    fn drop(&mut self) {
        let mut counts = self.ledger.lock();
        counts.all = counts.all.saturating_sub(1);
        if let Some(count) = counts.users.get_mut(&self.owner) {
            *count -= 1;
            if *count == 0 {
                counts.users.remove(&self.owner);
            }
        }
        if let Some(count) = counts.addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.addresses.remove(&self.address);
            }
        }
    }
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
        assert_eq!(ledger.lock().users.len(), 1, "a user without allocations is forgotten");
    }
}
