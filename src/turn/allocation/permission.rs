//! Permissions. RFC 8656 §9.

use crate::turn::ids::time::Instant;
use crate::turn::policy::PERMISSION_LIFETIME;
use std::net::IpAddr;

/// Permission for an address to exchange data with the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The permitted address, with any port.
    pub address: IpAddr,
    /// When the permission expires unless refreshed.
    pub expires: Instant,
    /// The operator's rules refuse the address, so that only live relayed addresses on it are
    /// permitted.
    pub relayed_only: bool,
}

/// The permissions of one allocation, sorted by address.
#[derive(Debug, Default)]
pub struct Permissions(Vec<Permission>);

impl Permissions {
    /// The permission for an address, unless it has expired.
    pub fn find(&self, address: IpAddr, now: Instant) -> Option<&Permission> {
        let index = self
            .0
            .binary_search_by_key(&address, |permission| permission.address)
            .ok()?;
        self.0
            .get(index)
            .filter(|permission| now < permission.expires)
    }

    /// Installs or refreshes a permission for 300 seconds.
    pub fn install(&mut self, now: Instant, address: IpAddr, relayed_only: bool) {
        let permission = Permission {
            address,
            expires: now + PERMISSION_LIFETIME,
            relayed_only,
        };
        match self
            .0
            .binary_search_by_key(&address, |permission| permission.address)
        {
            Ok(index) => {
                if let Some(existing) = self.0.get_mut(index) {
                    *existing = permission;
                }
            }
            Err(index) => self.0.insert(index, permission),
        }
    }

    /// Removes expired permissions, then returns true if permissions for `addresses` fit below
    /// `limit`.
    pub fn has_room_for(
        &mut self,
        now: Instant,
        addresses: impl Iterator<Item = IpAddr>,
        limit: usize,
    ) -> bool {
        self.0.retain(|permission| now < permission.expires);
        let mut new: Vec<IpAddr> = addresses
            .filter(|address| self.find(*address, now).is_none())
            .collect();
        new.sort_unstable();
        new.dedup();
        self.0.len() + new.len() <= limit
    }

    /// Removes the permissions for which `keep` returns false.
    pub fn retain(&mut self, keep: impl FnMut(&Permission) -> bool) {
        self.0.retain(keep);
    }

    /// All permissions, including expired ones.
    pub fn iter(&self) -> impl Iterator<Item = &Permission> {
        self.0.iter()
    }
}
