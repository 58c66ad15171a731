//! One allocation: a client, its relayed transport addresses, and the peers that it can reach
//! through them. RFC 8656 §3.2.
//!
//! Resident memory of an idle allocation, on 64-bit, is about 1,000 octets: 480 for [`Allocation`]
//! (client 80, owner with its key 80, grant 72, relayed addresses 48, traffic 32, empty lists 88,
//! flags and times 80), 120 in the table of five-tuples, 200 for its relayed address (its socket's
//! entry, by address, and in the directory of all shards), 40 for its timer, 30 in the index of
//! serial numbers, 100 for its socket's state. A user's name takes memory of its own unless the
//! user is static. With several shards a datagram client has some 50 octets more in the directory.

pub(crate) mod channel;
pub(crate) mod connection;
pub(crate) mod mobility;
pub(crate) mod permission;
pub(crate) mod record;
pub(crate) mod reservation;

use crate::turn::allocation::channel::Channels;
use crate::turn::allocation::connection::{ConnectionStage, DataConnection};
use crate::turn::allocation::mobility::Mobility;
use crate::turn::allocation::permission::Permissions;
use crate::turn::allocation::record::{AllocationDetail, AllocationRecord, EndReason};
use crate::turn::allocation::reservation::ReservationToken;
use crate::turn::auth::owner::Owner;
use crate::turn::ids::five_tuple::Client;
use crate::turn::ids::relayed::{Protocol, RelayedId};
use crate::turn::ids::return_path::ReturnPath;
use crate::turn::ids::time::Instant;
use crate::turn::ids::traffic::Traffic;
use crate::turn::quota::ledger::Grant;
use crate::turn::quota::new_peer_rate::NewPeerRate;
use crate::wire::attribute::Family;
use crate::wire::{ErrorCode, TransactionId};
use std::net::SocketAddr;
use std::time::Duration;

/// The index of an allocation in its shard's table. It is reused; [`Allocation::serial`] is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AllocationId(pub u32);

/// An allocation, from the Allocate request on.
#[derive(Debug)]
pub struct Allocation {
    /// [`AllocationRecord::id`].
    pub serial: u64,
    /// The client, with the five-tuple to which data is sent.
    pub client: Client,
    /// The user that made the allocation.
    pub owner: Owner,
    /// The transaction of the Allocate request. A retransmission gets the same response.
    pub transaction: TransactionId,
    /// The relayed protocol.
    pub protocol: Protocol,
    /// The relayed transport addresses and when they expire.
    pub relayed: RelayedAddresses,
    /// The Allocate request while sockets are bound for it, `None` afterwards.
    pub pending_bind: Option<Box<PendingBind>>,
    /// The requested family that has no relayed address, and why: ADDRESS-ERROR-CODE.
    pub failed_family: Option<(Family, ErrorCode)>,
    /// The token of the port that was reserved along with the allocation.
    pub reservation: Option<ReservationToken>,
    /// The peer addresses that may send and be sent to.
    pub permissions: Permissions,
    /// The channel bindings.
    pub channels: Channels,
    /// Mobility state; boxed because most allocations are not mobile.
    pub mobility: Option<Box<Mobility>>,
    /// The data connections of a TCP relay.
    pub connections: Vec<DataConnection>,
    /// The keys of the allocation's hairpin routes.
    pub hairpin_routes: Box<[HairpinKey]>,
    /// When the allocation was made.
    pub started: Instant,
    /// When the allocation's timer entry is due: at its earliest deadline or before.
    pub timer: Instant,
    /// The relayed payload.
    pub traffic: Traffic,
    /// Limits how fast the client may reach new peers.
    pub new_peer_rate: NewPeerRate,
    /// The allocation's share of the quotas.
    pub grant: Grant,
}

/// The key of a hairpin route: a relayed transport address, and a peer whose port is 0 if the route
/// follows from a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HairpinKey {
    /// The relayed transport address, as clients see it.
    pub relayed: SocketAddr,
    /// The peer.
    pub peer: SocketAddr,
}

/// One relayed transport address of an allocation.
#[derive(Clone, Copy, Debug)]
pub struct RelayedAddress {
    /// Its entry in the shard's table.
    pub id: RelayedId,
    /// When it expires unless refreshed. The two addresses of a dual allocation are refreshed
    /// separately.
    pub expires: Instant,
}

/// The IPv4 and the IPv6 relayed address. A living allocation has at least one of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct RelayedAddresses {
    v4: Option<RelayedAddress>,
    v6: Option<RelayedAddress>,
}

impl RelayedAddresses {
    /// The address of a family.
    pub fn get(&self, family: Family) -> Option<&RelayedAddress> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }

    /// The slot of a family, to set, change or clear its address.
    pub fn slot(&mut self, family: Family) -> &mut Option<RelayedAddress> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    /// The addresses and their families, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = (Family, &RelayedAddress)> {
        let v4 = self.v4.as_ref().map(|address| (Family::V4, address));
        v4.into_iter()
            .chain(self.v6.as_ref().map(|address| (Family::V6, address)))
    }

    /// Sets the expiry of all addresses.
    pub fn set_expiry(&mut self, expires: Instant) {
        for address in [&mut self.v4, &mut self.v6].into_iter().flatten() {
            address.expires = expires;
        }
    }

    /// Returns true if there is no address.
    pub fn is_empty(&self) -> bool {
        self.v4.is_none() && self.v6.is_none()
    }

    /// When the first address expires.
    pub fn first_expiry(&self) -> Instant {
        self.iter()
            .map(|(_, address)| address.expires)
            .min()
            .unwrap_or(Instant::NEVER)
    }

    /// When the last address expires, and the allocation with it.
    pub fn last_expiry(&self) -> Instant {
        self.iter()
            .map(|(_, address)| address.expires)
            .max()
            .unwrap_or_default()
    }
}

/// An Allocate request whose sockets are being bound.
#[derive(Debug)]
pub struct PendingBind {
    /// The request's return path.
    pub path: ReturnPath,
    /// The lifetime that the allocation will have.
    pub lifetime: Duration,
    /// Sockets whose outcome is not known yet.
    pub outstanding: u8,
    /// Ports that were tried and found in use.
    pub tries: u8,
    /// The request's constraint on the port.
    pub port: PortRequest,
}

/// What an Allocate request demands of its relayed port. RFC 8656 §7.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortRequest {
    /// Any port.
    Any,
    /// An even port: EVEN-PORT.
    Even,
    /// An even port, with the next port reserved: EVEN-PORT with its R bit.
    EvenAndReserveNext,
    /// The port that a RESERVATION-TOKEN stands for.
    Reserved,
}

impl Allocation {
    /// The client on the five-tuple that it is moving to.
    pub fn arriving(&self) -> Option<Client> {
        self.mobility
            .as_ref()
            .and_then(|mobility| mobility.arriving)
    }

    /// Returns true if the client's connection is closed and the client may return with a ticket.
    pub fn is_detached(&self) -> bool {
        self.mobility
            .as_ref()
            .is_some_and(|mobility| mobility.detached)
    }

    /// The first time at which a relayed address expires or an unbound data connection times out.
    pub fn deadline(&self) -> Instant {
        let timeouts = self
            .connections
            .iter()
            .filter_map(|connection| match connection.stage {
                ConnectionStage::Unbound(timeout) => Some(timeout),
                ConnectionStage::Connecting(_) | ConnectionStage::Bound => None,
            });
        timeouts.fold(self.relayed.first_expiry(), Instant::min)
    }

    /// The allocation's record; `relayed` are its relayed transport addresses as clients see them.
    pub fn record(
        &self,
        now: Instant,
        relayed: Vec<SocketAddr>,
        end_reason: Option<EndReason>,
    ) -> AllocationRecord {
        AllocationRecord {
            id: self.serial,
            user: self.owner.name.clone(),
            realm: self.owner.realm.clone(),
            client: self.client.five_tuple,
            relayed,
            peers: self
                .permissions
                .iter()
                .map(|permission| permission.address)
                .collect(),
            started: self.started,
            elapsed: now.since(self.started),
            traffic: self.traffic,
            end_reason,
        }
    }

    /// The allocation's record with permissions and channels.
    pub fn detail(&self, now: Instant, relayed: Vec<SocketAddr>) -> AllocationDetail {
        let permissions = self
            .permissions
            .iter()
            .filter(|permission| now < permission.expires);
        AllocationDetail {
            record: self.record(now, relayed, None),
            remaining: self.relayed.first_expiry().since(now),
            permissions: permissions
                .map(|permission| (permission.address, permission.expires.since(now)))
                .collect(),
            channels: self
                .channels
                .iter()
                .map(|channel| (channel.number, channel.peer, channel.expires.since(now)))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_allocation_has_the_documented_size() {
        let parts = [
            size_of::<Client>(),
            size_of::<Owner>(),
            size_of::<Grant>(),
            size_of::<RelayedAddresses>(),
        ];
        assert_eq!(parts, [80, 80, 72, 48]);
        assert!(
            size_of::<Allocation>() <= 480,
            "{}",
            size_of::<Allocation>()
        );
    }
}
