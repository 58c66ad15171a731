//! Permissions: which addresses may send to an allocation's client, and be sent to. RFC 8656 §9.

use crate::turn::ids::time::Instant;
use crate::turn::policy::PERMISSION_LIFETIME;
use std::net::IpAddr;

/// One permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The address that is permitted, whatever the port.
    pub address: IpAddr,
    /// When it ends unless refreshed.
    pub expires: Instant,
    /// Whether the address is one that the operator's rules refuse, so that only live relayed addresses on it count.
    pub relayed_only: bool,
}

/// The permissions of one allocation, sorted by address.
#[derive(Debug, Default)]
pub struct Permissions(Vec<Permission>);

impl Permissions {
    /// The permission for an address, if it has not expired.
    pub fn find(&self, address: IpAddr, now: Instant) -> Option<&Permission> {
        let at = self
            .0
            .binary_search_by_key(&address, |permission| permission.address)
            .ok()?;
        self.0.get(at).filter(|permission| now < permission.expires)
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
            Ok(at) => {
                if let Some(place) = self.0.get_mut(at) {
                    *place = permission;
                }
            }
            Err(at) => self.0.insert(at, permission),
        }
    }

    /// Whether these addresses fit beside what is there, of which the expired is forgotten first.
    pub fn has_room_for(
        &mut self,
        now: Instant,
        addresses: impl Iterator<Item = IpAddr>,
        most: usize,
    ) -> bool {
        self.0.retain(|permission| now < permission.expires);
        let mut new: Vec<IpAddr> = addresses
            .filter(|address| self.find(*address, now).is_none())
            .collect();
        new.sort_unstable();
        new.dedup();
        self.0.len() + new.len() <= most
    }

    /// Forgets the permissions that `keep` does not want kept.
    pub fn retain(&mut self, keep: impl FnMut(&Permission) -> bool) {
        self.0.retain(keep);
    }

    /// All of them, the expired included.
    pub fn iter(&self) -> impl Iterator<Item = &Permission> {
        self.0.iter()
    }
}
