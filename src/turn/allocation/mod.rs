//! One allocation: a client, its relayed transport addresses, and what it may reach through them. RFC 8656 §3.2.
//!
//! Resident memory of an idle one, on 64-bit, is about 1,000 octets in all: 488 here (client 80, owner with its key 80, grant
//! 72, halves 48, what it carried 32, four empty lists 96, flags and times 80), 120 in the table of five-tuples, 200 for its
//! relayed address (here, by address, and in the table that all shards read), 40 for its timer, 100 for its socket's state;
//! a name of its own only where it is no static user's. Where there are several shards, some 50 more in the table of homes.

pub(crate) mod channel;
pub(crate) mod mobility;
pub(crate) mod permission;
pub(crate) mod reservation;

use crate::turn::allocation::channel::Channels;
use crate::turn::allocation::mobility::Mobility;
use crate::turn::allocation::permission::Permissions;
use crate::turn::allocation::reservation::ReservationToken;
use crate::turn::auth::owner::Owner;
use crate::turn::effect::{AllocationDetail, AllocationRecord, EndReason};
use crate::turn::ids::five_tuple::Client;
use crate::turn::ids::relayed::{Protocol, RelayedId};
use crate::turn::ids::time::Instant;
use crate::turn::ids::traffic::Traffic;
use crate::turn::quota::ledger::Grant;
use crate::turn::quota::meter::NewPeerRate;
use crate::turn::return_path::ReturnPath;
use crate::turn::shared::connection_ids::{Connection, Stage};
use crate::wire::attribute::Family;
use crate::wire::{ErrorCode, TransactionId};
use std::net::SocketAddr;

/// Where in a shard's table an allocation stands; used again when it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AllocationId(pub u32);

/// An allocation, from the Allocate request that asks for it on.
#[derive(Debug)]
pub struct Allocation {
    /// Unique among this server's allocations since its start.
    pub serial: u64,
    /// Whose five-tuple it is.
    pub client: Client,
    /// Who made it.
    pub owner: Owner,
    /// The transaction that made it: a retransmission gets the same answer.
    pub transaction: TransactionId,
    /// What it relays.
    pub protocol: Protocol,
    /// Its relayed transport addresses.
    pub halves: RelayedAddresses,
    /// The request that is answered once its sockets are bound; `None` once it is.
    pub binding: Option<Box<Binding>>,
    /// Why a half that was asked for is not there: ADDRESS-ERROR-CODE.
    pub failed: Option<(Family, ErrorCode)>,
    /// The token of the port that was reserved with it.
    pub reserved: Option<ReservationToken>,
    /// Which addresses may send and be sent to.
    pub permissions: Permissions,
    /// Which numbers stand for which peers.
    pub channels: Channels,
    /// What it has besides when its client may move; most may not, so it is boxed.
    pub mobility: Option<Box<Mobility>>,
    /// Its data connections, of a TCP relay.
    pub connections: Vec<Connection>,
    /// The doors that it keeps open for other shards: relayed transport address, and peer.
    pub doors: Vec<(SocketAddr, SocketAddr)>,
    /// When it began.
    pub started: Instant,
    /// When it is looked at next: never later than the first of its halves or connections expires.
    pub look: Instant,
    /// What it carried.
    pub traffic: Traffic,
    /// How fast new peers came.
    pub pace: NewPeerRate,
    /// Its place in the ledger.
    pub grant: Grant,
}

/// One relayed transport address of an allocation and when it ends.
#[derive(Clone, Copy, Debug)]
pub struct RelayedAddress {
    /// The relayed transport address.
    pub relayed: RelayedId,
    /// Time-to-expiry, as a point in time. The halves of a dual allocation are refreshed one by one.
    pub expires: Instant,
}

/// The IPv4 and the IPv6 half, of which a living allocation has at least one.
#[derive(Clone, Copy, Debug, Default)]
pub struct RelayedAddresses {
    v4: Option<RelayedAddress>,
    v6: Option<RelayedAddress>,
}

impl RelayedAddresses {
    /// The half of a family.
    pub fn get(&self, family: Family) -> Option<&RelayedAddress> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }

    /// The place of a family's half.
    pub fn place(&mut self, family: Family) -> &mut Option<RelayedAddress> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    /// The halves that are there.
    pub fn iter(&self) -> impl Iterator<Item = (Family, &RelayedAddress)> {
        let v4 = self.v4.as_ref().map(|half| (Family::V4, half));
        v4.into_iter()
            .chain(self.v6.as_ref().map(|half| (Family::V6, half)))
    }

    /// Whether none is there.
    pub fn is_empty(&self) -> bool {
        self.v4.is_none() && self.v6.is_none()
    }

    /// When the first of them ends.
    pub fn first_expiry(&self) -> Instant {
        self.iter()
            .map(|(_, half)| half.expires)
            .min()
            .unwrap_or(Instant::NEVER)
    }

    /// When the last of them ends.
    pub fn last_expiry(&self) -> Instant {
        self.iter()
            .map(|(_, half)| half.expires)
            .max()
            .unwrap_or_default()
    }
}

/// An Allocate request whose sockets are being bound.
#[derive(Debug)]
pub struct Binding {
    /// Where the answer goes.
    pub path: ReturnPath,
    /// What the halves' time-to-expiry will be.
    pub lifetime: std::time::Duration,
    /// Sockets that have not been reported on yet.
    pub outstanding: u8,
    /// How often another port was tried.
    pub tries: u8,
    /// What kind of port was asked for.
    pub wish: PortRequest,
}

/// What an Allocate request asks of its relayed port. RFC 8656 §7.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortRequest {
    /// Any.
    Any,
    /// An even one: EVEN-PORT.
    Even,
    /// An even one, and the next-higher reserved: EVEN-PORT with R.
    EvenAndNext,
    /// The one that a RESERVATION-TOKEN stands for.
    Reserved,
}

impl Allocation {
    /// The client on the five-tuple to which the allocation moves.
    pub fn arriving(&self) -> Option<Client> {
        self.mobility
            .as_ref()
            .and_then(|mobility| mobility.arriving)
    }

    /// Whether its client's connection is gone, and may come back with a ticket.
    pub fn is_away(&self) -> bool {
        self.mobility.as_ref().is_some_and(|mobility| mobility.away)
    }

    /// When it has to be looked at: the first of its halves expires, or a data connection has waited long enough.
    pub fn deadline(&self) -> Instant {
        let waits = self
            .connections
            .iter()
            .filter_map(|connection| match connection.stage {
                Stage::Pending(until) => Some(until),
                Stage::Connecting(_) | Stage::Bound => None,
            });
        waits.fold(self.halves.first_expiry(), Instant::min)
    }

    /// All that an operator may want to know of it.
    pub fn detail(&self, now: Instant, relayed: Vec<SocketAddr>) -> AllocationDetail {
        let live = self
            .permissions
            .iter()
            .filter(|permission| now < permission.expires);
        AllocationDetail {
            record: *self.record(now, relayed, None),
            remaining: self.halves.first_expiry().since(now),
            permissions: live
                .map(|permission| (permission.address, permission.expires.since(now)))
                .collect(),
            channels: self
                .channels
                .iter()
                .map(|one| (one.number, one.peer, one.expires.since(now)))
                .collect(),
        }
    }

    /// The allocation's life so far, with its relayed transport addresses as clients are told them.
    pub fn record(
        &self,
        now: Instant,
        relayed: Vec<SocketAddr>,
        end: Option<EndReason>,
    ) -> Box<AllocationRecord> {
        Box::new(AllocationRecord {
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
            end_reason: end,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_allocation_takes_as_little_as_the_account_above_says() {
        let parts = [
            size_of::<Client>(),
            size_of::<Owner>(),
            size_of::<Grant>(),
            size_of::<RelayedAddresses>(),
        ];
        assert_eq!(parts, [80, 80, 72, 48]);
        assert!(
            size_of::<Allocation>() <= 488,
            "{}",
            size_of::<Allocation>()
        );
    }
}
