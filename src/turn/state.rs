//! The parts of a server and the rules that span them: whom a relay may reach, how routes follow from channels and
//! permissions, how an allocation ends.

use crate::turn::FiveTuple;
use crate::turn::allocation::channel::Channel;
use crate::turn::allocation::mobility::ForeignClients;
use crate::turn::allocation::reservation::ReservationToken;
use crate::turn::allocation::{Allocation, AllocationId};
use crate::turn::counters::Counters;
use crate::turn::effect::{ChannelPath, Effect, EndReason};
use crate::turn::forward::{Forward, Framing};
use crate::turn::ids::five_tuple::Client;
use crate::turn::ids::random::Random;
use crate::turn::ids::relayed::{Protocol, RelayedId};
use crate::turn::ids::time::Instant;
use crate::turn::policy::Policy;
use crate::turn::policy::realm::Realm;
use crate::turn::policy::reject::{Discard, Reject};
use crate::turn::shared::Shared;
use crate::turn::shared::connection_ids::{ConnectionId, Stage};
use crate::turn::shared::relays::RelayedEntry;
use crate::turn::table::Table;
use crate::turn::table::route::{ClientRoute, PeerRoute, PeerScope, Routes};
use crate::turn::table::timer::Timers;
use crate::wire::ErrorCode;
use crate::wire::attribute::Family;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Everything that a shard's protocol knows.
#[derive(Debug)]
pub struct State {
    pub(super) policy: Arc<Policy>,
    pub(super) shared: Arc<Shared>,
    pub(super) shard: u16,
    pub(super) random: Random,
    /// The time of day at the epoch of [`Instant`].
    pub(super) unix_at_epoch: Duration,
    pub(super) table: Table,
    pub(super) routes: Routes,
    pub(super) timers: Timers,
    pub(super) guests: ForeignClients,
    pub(super) counters: Arc<Counters>,
    pub(super) effects: Vec<Effect>,
    /// The octets of [`Effect::Send`].
    pub(super) messages: Vec<u8>,
    pub(super) serial: u64,
}

/// A stretch of payload in a packet, from `start` to `end`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Payload {
    pub start: usize,
    pub end: usize,
    pub dont_fragment: bool,
}

impl Payload {
    pub fn length(&self) -> usize {
        self.end - self.start
    }
}

impl State {
    /// The time of day.
    pub(super) fn unix(&self, now: Instant) -> Duration {
        self.unix_at_epoch + now.since(Instant(0))
    }

    /// How a peer may be reached over `protocol`, as a permission, a channel or a connection is asked for.
    ///
    /// # Errors
    /// 403 when the operator's rules refuse the peer and no live relayed address is there.
    pub(super) fn reach(
        &self,
        realm: &Realm,
        peer: SocketAddr,
        protocol: Protocol,
    ) -> Result<PeerScope, Reject> {
        let forbidden = Err(Reject::Code(ErrorCode::FORBIDDEN));
        if self.policy.own_addresses.is_listener(peer) {
            return forbidden;
        }
        let own = self.policy.own_addresses.contains(peer.ip());
        let permitted = realm.peers.permits(peer.ip(), own);
        match (permitted, own) {
            (true, false) => Ok(PeerScope::External),
            (true, true) => Ok(PeerScope::OwnAddress),
            (false, _) if self.is_live(peer, protocol) => Ok(PeerScope::RelayedOnly),
            (false, _) => forbidden,
        }
    }

    /// How a peer of an existing permission is reached.
    pub(super) fn reach_of_permitted(&self, relayed_only: bool, peer: IpAddr) -> PeerScope {
        match (relayed_only, self.policy.own_addresses.contains(peer)) {
            (true, _) => PeerScope::RelayedOnly,
            (false, true) => PeerScope::OwnAddress,
            (false, false) => PeerScope::External,
        }
    }

    /// Counts a payload on its way to a peer; false when it is more than its client may have relayed.
    pub(super) fn note_to_peer(
        &mut self,
        now: Instant,
        id: AllocationId,
        client: &Client,
        octets: usize,
    ) -> bool {
        let unix_at_epoch = self.unix_at_epoch;
        let Some(allocation) = self.table.get_mut(id) else {
            return false;
        };
        if !allocation
            .grant
            .admits(now, || unix_at_epoch + now.since(Instant(0)), octets)
        {
            return false;
        }
        allocation.traffic.to_peers.add(octets);
        Counters::flow(&self.counters.to_peers, client.five_tuple.transport).add(octets);
        true
    }

    /// Sends a payload on from a relayed transport address: to the wire, or, where another allocation is behind the
    /// peer's address, straight to its client.
    pub(super) fn forward_to_peer(
        &mut self,
        now: Instant,
        from: RelayedId,
        to: SocketAddr,
        reach: PeerScope,
        payload: Payload,
    ) -> Forward {
        let Payload {
            start,
            end,
            dont_fragment,
        } = payload;
        if reach == PeerScope::External {
            return Forward::ToPeer {
                relayed: from,
                to,
                start,
                end,
                dont_fragment,
            };
        }
        if let (Some(target), Some(source)) = (
            self.find_relayed(to, Protocol::Udp),
            self.table.relayed(from),
        ) {
            let source = source.external;
            self.counters.hairpinned.add(payload.length());
            return self.forward_to_client(now, target, source, payload);
        }
        let to = match self
            .shared
            .relays
            .find(to)
            .filter(|relay| relay.protocol == Protocol::Udp)
        {
            Some(relay) => match self.through_door(now, from, to, payload) {
                Some(onward) => return onward,
                None => relay.local,
            },
            None if reach == PeerScope::RelayedOnly
                || self.policy.own_addresses.is_listener(to) =>
            {
                return self.discard(Discard::PeerRefused);
            }
            None => to,
        };
        Forward::ToPeer {
            relayed: from,
            to,
            start,
            end,
            dont_fragment,
        }
    }

    /// Sends a payload on to the client of another shard's relayed transport address, if there is a door.
    fn through_door(
        &self,
        now: Instant,
        from: RelayedId,
        to: SocketAddr,
        payload: Payload,
    ) -> Option<Forward> {
        let source = self.table.relayed(from)?.external;
        let (client, channel) = self.shared.doors.enter(now, to, source, payload.length())?;
        self.counters.hairpinned.add(payload.length());
        Counters::flow(&self.counters.to_clients, client.five_tuple.transport)
            .add(payload.length());
        let framing = channel.map_or(Framing::Data(source), Framing::Channel);
        Some(Forward::ToClient {
            client,
            start: payload.start,
            end: payload.end,
            framing,
        })
    }

    /// Sends a payload from a peer on to the client of a relayed transport address. RFC 8656 §11.3.
    pub(super) fn forward_to_client(
        &mut self,
        now: Instant,
        at: RelayedId,
        peer: SocketAddr,
        payload: Payload,
    ) -> Forward {
        let Payload { start, end, .. } = payload;
        let route = self
            .routes
            .to_client(at, peer)
            .filter(|route| now < route.expires);
        let (id, channel) = match route {
            // Whoever has the port of a relayed address that is gone is no permitted peer.
            Some(route)
                if route.reach == PeerScope::RelayedOnly && !self.is_live(peer, Protocol::Udp) =>
            {
                return self.discard(Discard::NoPermission);
            }
            Some(route) => (route.allocation, Some((route.client, route.channel))),
            None => match self.table.relayed(at) {
                Some(relayed) => (relayed.allocation, None),
                None => return self.discard(Discard::NoRelayed),
            },
        };
        let live = channel.is_some() || self.admits(now, id, peer);
        let unix_at_epoch = self.unix_at_epoch;
        let Some(allocation) = self.table.get_mut(id).filter(|_| live) else {
            return self.discard(Discard::NoPermission);
        };
        if !allocation.grant.admits(
            now,
            || unix_at_epoch + now.since(Instant(0)),
            payload.length(),
        ) {
            return self.discard(Discard::Bandwidth);
        }
        allocation.traffic.to_client.add(payload.length());
        let (client, framing) = match channel {
            Some((client, number)) => (client, Framing::Channel(number)),
            None => (allocation.client, Framing::Data(peer)),
        };
        Counters::flow(&self.counters.to_clients, client.five_tuple.transport)
            .add(payload.length());
        Forward::ToClient {
            client,
            start,
            end,
            framing,
        }
    }

    /// Whether an allocation has a permission that a peer may use, and a client to hear of it.
    pub(super) fn admits(&self, now: Instant, id: AllocationId, peer: SocketAddr) -> bool {
        let Some(allocation) = self
            .table
            .get(id)
            .filter(|allocation| !allocation.is_away())
        else {
            return false;
        };
        let permission = allocation.permissions.find(peer.ip(), now);
        permission.is_some_and(|permission| {
            !permission.relayed_only || self.is_live(peer, allocation.protocol)
        })
    }

    /// Whether a transport address is a live relayed one of this server, on whatever shard, over `protocol`: another
    /// protocol's port of that number may be anybody's.
    fn is_live(&self, address: SocketAddr, protocol: Protocol) -> bool {
        self.find_relayed(address, protocol).is_some()
            || self
                .shared
                .relays
                .find(address)
                .is_some_and(|relay| relay.protocol == protocol)
    }

    /// The live relayed transport address of this shard over `protocol` that clients know as `external`.
    fn find_relayed(&self, external: SocketAddr, protocol: Protocol) -> Option<RelayedId> {
        let id = self.table.find_relayed(external)?;
        self.table
            .relayed(id)
            .filter(|relayed| relayed.protocol == protocol)
            .map(|_| id)
    }

    /// What clients call the sender of a datagram: behind a 1:1 NAT, a live relayed address of ours by its public side.
    pub(super) fn known_as(&self, source: SocketAddr) -> SocketAddr {
        let external = self.policy.external(source);
        if external == source || self.shared.relays.find(external).is_none() {
            source
        } else {
            external
        }
    }

    /// Where data goes of a client that has no allocation here: to the shard that knows it, or nowhere.
    pub(super) fn not_here(&self, client: &Client) -> Forward {
        match self.table.elsewhere(&client.five_tuple) {
            Some(shard) => Forward::ToShard { shard },
            None => self.discard(Discard::NoAllocation),
        }
    }

    /// Counts a silence.
    pub(super) fn discard(&self, discard: Discard) -> Forward {
        self.counters.count_discard(discard);
        Forward::Discarded(discard)
    }

    /// Makes the routes of an allocation's channels follow what was refreshed: those that `which` names are laid until
    /// the earliest of channel, permission and allocation, or taken up when the channel has expired.
    pub(super) fn renew_routes(
        &mut self,
        now: Instant,
        id: AllocationId,
        which: impl Fn(&Channel) -> bool,
    ) {
        let Some(allocation) = self.table.get(id) else {
            return;
        };
        let client = allocation.client;
        for channel in allocation.channels.iter().filter(|channel| which(channel)) {
            let half = allocation.halves.get(Family::of(channel.peer.ip()));
            let permission = allocation.permissions.find(channel.peer.ip(), now);
            let (Some(half), Some(permission), true) = (half, permission, now < channel.expires)
            else {
                continue;
            };
            let Some(relayed) = self.table.relayed(half.relayed) else {
                continue;
            };
            let expires = channel.expires.min(permission.expires).min(half.expires);
            let reach = self.reach_of_permitted(permission.relayed_only, channel.peer.ip());
            let there = PeerRoute {
                allocation: id,
                relayed: half.relayed,
                peer: channel.peer,
                reach,
                arriving: false,
                expires,
            };
            if let Some(arriving) = allocation.arriving() {
                self.routes.lay_one_way(
                    &arriving.five_tuple,
                    channel.number,
                    PeerRoute {
                        arriving: true,
                        ..there
                    },
                );
            }
            self.routes.lay(
                there,
                ClientRoute {
                    allocation: id,
                    client,
                    channel: channel.number,
                    reach,
                    expires,
                },
            );
            let path = path(client.five_tuple, channel, relayed.local);
            self.effects.push(Effect::Route {
                path: Box::new(path),
                expires,
            });
        }
        self.renew_doors(now, id);
    }

    /// Takes up the routes of all of an allocation's channels that start from `client`.
    pub(super) fn take_up_routes(&mut self, id: AllocationId, client: FiveTuple) {
        let Some(allocation) = self.table.get(id) else {
            return;
        };
        for channel in allocation.channels.iter() {
            let half = allocation.halves.get(Family::of(channel.peer.ip()));
            let local = half
                .and_then(|half| self.table.relayed(half.relayed))
                .map(|relayed| relayed.local);
            let taken_up = self.routes.take_up(&client, channel.number, id);
            if let Some(local) = local.filter(|_| taken_up) {
                self.effects.push(Effect::Unroute {
                    path: Box::new(path(client, channel, local)),
                });
            }
        }
    }

    /// Forgets the channels of an allocation that have expired and cooled off.
    pub(super) fn purge_channels(&mut self, now: Instant, id: AllocationId) {
        let Some(allocation) = self.table.get_mut(id) else {
            return;
        };
        let cold = allocation.channels.purge(now);
        if cold.is_empty() {
            return;
        }
        let (client, arriving) = (allocation.client, allocation.arriving());
        for channel in &cold {
            self.routes.take_up(&client.five_tuple, channel.number, id);
            if let Some(arriving) = &arriving {
                self.routes
                    .take_up_one_way(&arriving.five_tuple, channel.number, id);
            }
        }
    }

    /// Brings a new allocation to life: its sockets are bound.
    pub(super) fn begin(&mut self, now: Instant, id: AllocationId, lifetime: Duration) {
        let expires = now + lifetime;
        let Some(allocation) = self.table.get_mut(id) else {
            return;
        };
        for family in [Family::V4, Family::V6] {
            if let Some(half) = allocation.halves.place(family) {
                half.expires = expires;
            }
        }
        let transport = allocation.client.five_tuple.transport;
        self.look_in_time(id);
        self.counters.started.add(1);
        if let Some(counter) = self.counters.allocations.get(transport.index()) {
            counter.add(1);
        }
        if let Some(allocation) = self.table.get(id) {
            for relayed in allocation
                .halves
                .iter()
                .filter_map(|(_, half)| self.table.relayed(half.relayed))
            {
                self.shared.relays.insert(
                    relayed.external,
                    RelayedEntry {
                        shard: self.shard,
                        protocol: relayed.protocol,
                        local: relayed.local,
                    },
                );
            }
            self.effects.push(Effect::Started(allocation.record(
                now,
                self.table.externals(id),
                None,
            )));
        }
    }

    /// Ends an allocation that has come to life.
    pub(super) fn end(&mut self, now: Instant, id: AllocationId, end: EndReason) {
        let externals = self.table.externals(id);
        let permitted = self
            .table
            .get(id)
            .into_iter()
            .flat_map(|allocation| allocation.permissions.iter());
        let peers = permitted.map(|permission| permission.address).collect();
        for family in [Family::V4, Family::V6] {
            self.remove_half(now, id, family);
        }
        let Some(allocation) = self.table.remove(id) else {
            return;
        };
        self.counters
            .allocations
            .get(allocation.client.five_tuple.transport.index())
            .inspect(|c| c.subtract(1));
        self.counters.ended.get(end.index()).inspect(|c| c.add(1));
        let mut record = allocation.record(now, externals, Some(end));
        record.peers = peers;
        for connection in allocation.connections {
            self.table.forget_connection(connection.id);
            self.shared.connections.withdraw(connection.id);
            self.effects.push(Effect::CloseConnection {
                connection: connection.id,
            });
            // A Connect that waits is answered, unless there is nobody to hear it. RFC 8489 §6.3.1.
            if let (Stage::Connecting(path), false) =
                (connection.stage, end == EndReason::Disconnected)
            {
                self.respond(
                    now,
                    &path,
                    &Err(Reject::Code(ErrorCode::CONNECTION_TIMEOUT_OR_FAILURE)),
                );
            }
        }
        self.effects.push(Effect::Ended(record));
    }

    /// Takes an allocation's half away, with the permissions and channels of its family. RFC 8656 §8.1.
    pub(super) fn remove_half(&mut self, now: Instant, id: AllocationId, family: Family) {
        let Some(allocation) = self.table.get_mut(id) else {
            return;
        };
        let of_family = |address: IpAddr| Family::of(address) == family;
        allocation
            .permissions
            .retain(|permission| !of_family(permission.address));
        let gone = allocation
            .channels
            .extract(|channel| of_family(channel.peer.ip()));
        let (client, arriving) = (allocation.client, allocation.arriving());
        let Some(half) = allocation.halves.place(family).take() else {
            return;
        };
        let local = self
            .table
            .relayed(half.relayed)
            .map(|relayed| relayed.local);
        for channel in &gone {
            if let Some(arriving) = &arriving {
                self.routes
                    .take_up_one_way(&arriving.five_tuple, channel.number, id);
            }
            let taken_up = self.routes.take_up(&client.five_tuple, channel.number, id);
            if let Some(local) = local.filter(|_| taken_up) {
                self.effects.push(Effect::Unroute {
                    path: Box::new(path(client.five_tuple, channel, local)),
                });
            }
        }
        self.renew_doors(now, id);
        self.release(half.relayed);
    }

    /// Gives a relayed transport address back, with its port and its socket.
    pub(super) fn release(&mut self, id: RelayedId) {
        let Some(relayed) = self.table.remove_relayed(id) else {
            return;
        };
        if relayed.bound {
            self.shared.relays.remove(relayed.external);
            self.effects.push(Effect::Unbind { relayed: id });
        }
        self.shared.ports.release(relayed.local);
    }

    /// Looks after the allocations whose time has come.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((at, id, serial)) = self.timers.due(now) {
            let same =
                |allocation: &&mut Allocation| allocation.serial == serial && allocation.look == at;
            let Some(allocation) = self.table.get_mut(id).filter(same) else {
                continue;
            };
            allocation.look = Instant::NEVER;
            let halves = allocation.halves;
            if halves.last_expiry() <= now {
                self.end(now, id, EndReason::Expired);
                continue;
            }
            for (family, _) in halves.iter().filter(|(_, half)| half.expires <= now) {
                self.remove_half(now, id, family);
            }
            self.expire_connections(now, id);
            self.look_in_time(id);
            self.purge_channels(now, id);
        }
    }

    /// Closes the data connections that nobody bound in time. One that is not waiting any more was bound, here or by
    /// another shard. RFC 6062 §5.2.
    fn expire_connections(&mut self, now: Instant, id: AllocationId) {
        let Some(allocation) = self.table.get_mut(id) else {
            return;
        };
        let mut unbound = Vec::new();
        for connection in &mut allocation.connections {
            if !matches!(connection.stage, Stage::Pending(until) if until <= now) {
                continue;
            }
            if self.shared.connections.withdraw(connection.id) {
                unbound.push(connection.id);
            } else {
                connection.stage = Stage::Bound;
            }
        }
        for connection in unbound {
            self.forget_connection(connection);
            self.effects.push(Effect::CloseConnection { connection });
        }
    }

    /// Forgets a data connection that is gone.
    pub(super) fn forget_connection(&mut self, connection: ConnectionId) {
        self.shared.connections.withdraw(connection);
        let Some(id) = self.table.forget_connection(connection) else {
            return;
        };
        if let Some(allocation) = self.table.get_mut(id) {
            allocation
                .connections
                .retain(|other| other.id != connection);
        }
    }

    /// Sees to it that an allocation is looked at when its deadline comes. A look that comes earlier anyway will do, so
    /// that refreshing over and over leaves nothing behind.
    pub(super) fn look_in_time(&mut self, id: AllocationId) {
        let Some(allocation) = self.table.get_mut(id) else {
            return;
        };
        let deadline = allocation.deadline();
        if deadline < allocation.look {
            allocation.look = deadline;
            self.timers.set(deadline, id, allocation.serial);
        }
    }

    /// Gives a reserved port back.
    pub(super) fn release_reserved(&self, now: Instant, token: &ReservationToken) {
        if let Some(local) = self.shared.reservations.redeem(now, token) {
            self.shared.ports.release(local);
        }
    }

    /// A serial number that no other allocation of this server has had.
    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        u64::from(self.shard) << 48 | self.serial
    }
}

fn path(client: FiveTuple, channel: &Channel, local: SocketAddr) -> ChannelPath {
    ChannelPath {
        client,
        channel: channel.number,
        local,
        peer: channel.peer,
    }
}
