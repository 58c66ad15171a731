//! The face of the protocol: every input, every output.

use crate::turn::allocation::Allocation;
use crate::turn::allocation::channel::Channel;
use crate::turn::allocation::mobility::ForeignClients;
use crate::turn::counters::Counters;
use crate::turn::effect::{AllocationDetail, AllocationRecord, BindError, Effect, EndReason, Icmp};
use crate::turn::forward::Forward;
use crate::turn::ids::five_tuple::{Client, FiveTuple};
use crate::turn::ids::random::Random;
use crate::turn::ids::realm::RealmId;
use crate::turn::ids::relayed::RelayedId;
use crate::turn::ids::time::Instant;
use crate::turn::ids::traffic::Volume;
use crate::turn::method;
use crate::turn::policy::Policy;
use crate::turn::policy::realm::Realm;
use crate::turn::policy::reject::Discard;
use crate::turn::quota::meter::Meter;
use crate::turn::respond::Outcome;
use crate::turn::return_path::ReturnPath;
use crate::turn::shared::Shared;
use crate::turn::shared::connection_ids::ConnectionId;
use crate::turn::state::{Payload, State};
use crate::turn::table::Table;
use crate::turn::table::route::{PeerRoute, Routes};
use crate::turn::table::timer::Timers;
use crate::wire::{
    AttributeType, ChannelData, Class, Message, Method, Packet, Writer, attribute, channel_data,
    integrity,
};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// The protocol of one shard.
///
/// Every call but [`Server::take_effects`], [`Server::message`] and the readers makes new effects and forgets the octets
/// of old ones: take the effects after each.
#[derive(Debug)]
pub struct Server {
    state: State,
}

/// What a server starts from.
#[derive(Debug)]
pub struct Setup {
    /// What the operator decided.
    pub policy: Arc<Policy>,
    /// What it has in common with the other shards.
    pub shared: Arc<Shared>,
    /// Which shard it is.
    pub shard: u16,
    /// 32 octets of randomness, of its own.
    pub seed: [u8; 32],
    /// The time of day, since the Unix epoch, when its [`Instant`] is 0.
    pub unix_at_epoch: Duration,
}

impl Server {
    /// A server without allocations.
    pub fn new(setup: Setup) -> Server {
        let homes = setup
            .shared
            .multiple_shards
            .then(|| (setup.shared.homes.clone(), setup.shard));
        Server {
            state: State {
                policy: setup.policy,
                shared: setup.shared,
                shard: setup.shard,
                random: Random::new(setup.seed),
                unix_at_epoch: setup.unix_at_epoch,
                table: Table::new(homes),
                routes: Routes::default(),
                timers: Timers::default(),
                guests: ForeignClients::default(),
                counters: Arc::default(),
                effects: Vec::new(),
                messages: Vec::new(),
                // Later than all of an earlier run, unless that made more than 16,000 a second all its life.
                serial: (setup.unix_at_epoch.as_nanos() / SERIAL_NANOSECONDS) as u64 & SERIALS,
            },
        }
    }

    /// A datagram, or one message of a stream, from a client.
    pub fn from_client(&mut self, now: Instant, client: &Client, octets: &[u8]) -> Forward {
        self.packet(now, client, octets, Via::Socket)
    }

    /// The same from a client whose socket another shard reads, and whose home this is or was: what that shard passed on.
    /// [`Forward::ToShard`] has to be passed back to it, which forgets its guest and decides again.
    pub fn from_shard(&mut self, now: Instant, client: &Client, octets: &[u8]) -> Forward {
        self.packet(now, client, octets, Via::Shard)
    }

    fn packet(&mut self, now: Instant, client: &Client, octets: &[u8], via: Via) -> Forward {
        self.state.messages.clear();
        match Packet::classify(octets) {
            Ok(Packet::ChannelData(data)) => self.channel_data(now, client, data, via),
            Ok(Packet::Message(message)) => self.message_from_client(now, client, &message, via),
            Ok(Packet::Dtls) => self.state.discard(Discard::Dtls),
            Err(_) => self.state.discard(Discard::Malformed),
        }
    }

    /// A datagram of `length` octets that a peer sent to a relayed transport address.
    pub fn from_peer(
        &mut self,
        now: Instant,
        relayed: RelayedId,
        peer: SocketAddr,
        length: usize,
    ) -> Forward {
        self.state.messages.clear();
        let peer = self.state.known_as(peer);
        self.state.forward_to_client(
            now,
            relayed,
            peer,
            Payload {
                start: 0,
                end: length,
                dont_fragment: false,
            },
        )
    }

    /// An ICMP error came back for a datagram that a relay socket sent to `peer`: its client is told, if the peer is
    /// permitted. RFC 8656 §11.5.
    pub fn icmp_error(&mut self, now: Instant, relayed: RelayedId, peer: SocketAddr, icmp: Icmp) {
        self.state.messages.clear();
        let relevant = if peer.is_ipv4() {
            matches!(icmp.kind, 3 | 11)
        } else {
            matches!(icmp.kind, 1..=3)
        };
        let Some(id) = self
            .state
            .table
            .relayed(relayed)
            .map(|relayed| relayed.allocation)
            .filter(|_| relevant)
        else {
            return;
        };
        let peer = self.state.known_as(peer);
        if !self.state.admits(now, id, peer) {
            return self.state.counters.count_discard(Discard::NoPermission);
        }
        let Some(client) = self.state.table.get(id).map(|allocation| allocation.client) else {
            return;
        };
        // Error Data is the next hop's MTU where the error has one, and zero otherwise (§18.13).
        let too_big = if peer.is_ipv4() {
            (icmp.kind, icmp.code) == (3, 4)
        } else {
            icmp.kind == 2
        };
        let data = if too_big { icmp.data } else { 0 };
        let transaction = self.state.random.octets();
        let mut writer = Writer::new(
            &mut self.state.messages,
            Class::Indication,
            Method::DATA,
            &transaction,
        );
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        writer.attribute(
            AttributeType::ICMP,
            &attribute::icmp(icmp.kind, icmp.code, data.to_be_bytes()),
        );
        let message = writer.finish();
        self.state.effects.push(Effect::Send {
            to: client,
            from: None,
            message,
        });
    }

    /// How an [`Effect::Bind`] went.
    pub fn bound(&mut self, now: Instant, relayed: RelayedId, outcome: Result<(), BindError>) {
        self.state.messages.clear();
        method::allocate::bound(&mut self.state, now, relayed, outcome);
    }

    /// How an [`Effect::Connect`] went. RFC 6062 §5.2.
    pub fn connected(&mut self, now: Instant, connection: ConnectionId, succeeded: bool) {
        self.state.messages.clear();
        method::connect::connected(&mut self.state, now, connection, succeeded);
    }

    /// A peer connected to a relayed address of a TCP relay. `None` when the connection must be closed at once; else it
    /// is kept, with what it sends unread, until [`Effect::Splice`] or [`Effect::CloseConnection`]. RFC 6062 §5.3.
    pub fn accepted(
        &mut self,
        now: Instant,
        relayed: RelayedId,
        peer: SocketAddr,
    ) -> Option<ConnectionId> {
        self.state.messages.clear();
        method::connect::accepted(&mut self.state, now, relayed, peer)
    }

    /// A data connection closed, at either end.
    pub fn connection_closed(&mut self, connection: ConnectionId) {
        self.state.messages.clear();
        self.state.forget_connection(connection);
    }

    /// Does no longer pass on what a client sends.
    pub fn remove_foreign_client(&mut self, client: &Client) {
        self.state.guests.forget(&client.five_tuple);
    }

    /// A client's connection closed: its allocation ends with it, unless the client may come back with a ticket.
    /// The shard where its allocation lives, if that is another: it must be told.
    pub fn client_disconnected(&mut self, now: Instant, client: &Client) -> Option<u16> {
        self.state.messages.clear();
        let home = self.state.guests.home(now, &client.five_tuple);
        self.state.client_gone(now, &client.five_tuple);
        home
    }

    /// Does what is due.
    pub fn timeout(&mut self, now: Instant) {
        self.state.messages.clear();
        self.state.expire(now);
    }

    /// When [`Server::timeout`] is to be called next.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.state.timers.next()
    }

    /// Moves the effects of the last call behind those in `into`.
    pub fn take_effects(&mut self, into: &mut Vec<Effect>) {
        into.append(&mut self.state.effects);
    }

    /// The octets of an [`Effect::Send`], until the next call that makes effects.
    pub fn message(&self, at: &Range<usize>) -> &[u8] {
        self.state.messages.get(at.clone()).unwrap_or_default()
    }

    /// Ends all allocations.
    pub fn end_all(&mut self, now: Instant, end: EndReason) {
        self.state.messages.clear();
        let all: Vec<_> = self.state.table.iter().map(|(id, _)| id).collect();
        for id in all {
            self.state.end(now, id, end);
        }
    }

    /// Ends the allocation with this [`AllocationRecord::id`]. Returns false if there is none.
    pub fn end_allocation(&mut self, now: Instant, id: u64, reason: EndReason) -> bool {
        self.state.messages.clear();
        let found = self.state.table.find_serial(id);
        if let Some(found) = found {
            self.state.end(now, found, reason);
        }
        found.is_some()
    }

    /// The allocation with this [`AllocationRecord::id`].
    pub fn allocation(&self, now: Instant, id: u64) -> Option<AllocationDetail> {
        let table = &self.state.table;
        let found = table.find_serial(id)?;
        let allocation = table.get(found)?;
        let mut detail = allocation.detail(now, table.externals(found));
        detail.record.traffic.to_client += self.by_doors(allocation);
        Some(detail)
    }

    /// One page of a listing: at most `limit` allocations whose [`AllocationRecord::id`] is above `after`, in ascending
    /// order. A listing starts with 0 and continues with the last id of the previous page until a page is empty. It
    /// contains every allocation that lives from the first page to the last exactly once, whatever begins or ends
    /// meanwhile.
    pub fn list_allocations(
        &self,
        now: Instant,
        after: u64,
        limit: usize,
    ) -> Vec<AllocationRecord> {
        let table = &self.state.table;
        let page = table.iter_after(after).take(limit);
        page.map(|(id, allocation)| {
            let mut record = allocation.record(now, table.externals(id), None);
            record.traffic.to_client += self.by_doors(allocation);
            *record
        })
        .collect()
    }

    /// Whether the five-tuple has an allocation.
    pub fn has_allocation(&self, client: &FiveTuple) -> bool {
        self.state.table.of_client(client).is_some()
    }

    /// The other shard whose client this is, if it is none of this one's.
    pub fn owning_shard(&self, client: &FiveTuple) -> Option<u16> {
        self.state.table.elsewhere(client)
    }

    /// Whether the five-tuple has an allocation, here or, of a guest, at home.
    pub fn is_known_client(&self, client: &FiveTuple) -> bool {
        self.has_allocation(client) || self.state.guests.has(client)
    }

    /// Goes by a new policy from here on. What was granted stays granted, and under the rules of its realm.
    pub fn replace_policy(&mut self, mut policy: Arc<Policy>) {
        let old = &self.state.policy;
        let kept = |realm: &&Arc<Realm>| policy.realms.iter().any(|other| other.name == realm.name);
        let lives = |realm: &&Arc<Realm>| {
            self.state
                .table
                .iter()
                .any(|(_, one)| one.owner.realm == realm.name)
        };
        let gone = old
            .realms
            .iter()
            .chain(&old.retired)
            .filter(|realm| !kept(realm));
        let retired: Vec<_> = gone.filter(lives).cloned().collect();
        if !retired.is_empty() {
            Arc::make_mut(&mut policy).retired = retired;
        }
        self.state.policy = policy;
    }

    /// The realm that a TLS server name chooses by the present policy, for [`Client::realm`].
    pub fn realm_of_server_name(&self, name: &str) -> Option<RealmId> {
        let realm = self.state.policy.realm_of_server_name(name)?;
        self.state.shared.realm_ids.id(&realm.name)
    }

    /// Counts an answer to a client whose address is not verified; returns false if it must not be sent, because its
    /// source prefix exceeds the limit.
    pub fn allows_unverified_answer(&self, now: Instant, client: IpAddr) -> bool {
        self.state.shared.answer_rate.allows(now, client)
    }

    /// The time of day at the epoch of [`Instant`], when the clock was set.
    pub fn set_unix_epoch(&mut self, unix_at_epoch: Duration) {
        self.state.unix_at_epoch = unix_at_epoch;
    }

    /// What has been counted.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.state.counters
    }

    /// The allocations that live.
    pub fn records(&self, now: Instant) -> impl Iterator<Item = Box<AllocationRecord>> {
        let table = &self.state.table;
        table.iter().map(move |(id, allocation)| {
            let mut record = allocation.record(now, table.externals(id), None);
            record.traffic.to_client += self.by_doors(allocation);
            record
        })
    }

    /// What other shards brought an allocation's client that the allocation does not know of yet.
    fn by_doors(&self, allocation: &Allocation) -> Volume {
        let mut all = Volume::default();
        allocation
            .doors
            .iter()
            .for_each(|(relayed, peer)| all += self.state.shared.doors.came_in(*relayed, *peer));
        all
    }

    /// What a data connection draws from, where its allocation is limited.
    pub fn meter(&self, connection: ConnectionId) -> Option<Meter> {
        let id = self.state.table.of_connection(connection)?;
        self.state.table.get(id)?.grant.meter().cloned()
    }

    /// Counts the octets that a data connection carried to its peer and to its client.
    pub fn record_stream_traffic(
        &mut self,
        connection: ConnectionId,
        to_peer: u64,
        to_client: u64,
    ) {
        let Some(id) = self.state.table.of_connection(connection) else {
            return;
        };
        let Some(allocation) = self.state.table.get_mut(id) else {
            return;
        };
        allocation.traffic.to_peers.octets += to_peer;
        allocation.traffic.to_client.octets += to_client;
        let (transport, counters) = (allocation.client.five_tuple.transport, &self.state.counters);
        Counters::flow(&counters.to_peers, transport)
            .octets
            .add(to_peer);
        Counters::flow(&counters.to_clients, transport)
            .octets
            .add(to_client);
    }

    /// The time of day.
    pub fn unix_time(&self, now: Instant) -> Duration {
        self.state.unix(now)
    }

    /// The clients of the allocations that live, and of those that move here.
    pub fn clients(&self) -> impl Iterator<Item = Client> {
        self.state
            .table
            .iter()
            .flat_map(|(_, allocation)| [Some(allocation.client), allocation.arriving()])
            .flatten()
    }

    /// How many allocations live.
    pub fn allocation_count(&self) -> usize {
        self.state.table.count()
    }

    /// ChannelData from a client: the fast path. RFC 8656 §12.6.
    fn channel_data(
        &mut self,
        now: Instant,
        client: &Client,
        data: ChannelData,
        via: Via,
    ) -> Forward {
        let state = &mut self.state;
        let Some(route) = state
            .routes
            .to_peer(&client.five_tuple, data.number)
            .filter(|route| now < route.expires)
        else {
            return self.no_route(now, client, data.number, via);
        };
        let PeerRoute {
            allocation,
            relayed,
            peer,
            reach,
            arriving,
            ..
        } = *route;
        if arriving {
            state.arrive(now, allocation);
        }
        if !state.note_to_peer(now, allocation, client, data.payload.len()) {
            return state.discard(Discard::Bandwidth);
        }
        let (start, end) = (
            channel_data::HEADER,
            channel_data::HEADER + data.payload.len(),
        );
        state.forward_to_peer(
            now,
            relayed,
            peer,
            reach,
            Payload {
                start,
                end,
                dont_fragment: false,
            },
        )
    }

    /// Says why ChannelData has nowhere to go.
    fn no_route(&mut self, now: Instant, client: &Client, number: u16, via: Via) -> Forward {
        if let Some(shard) = self.home(now, client, via) {
            return Forward::ToShard { shard };
        }
        let id = self.state.table.of_client(&client.five_tuple);
        let Some(allocation) = id.and_then(|id| self.state.table.get(id)) else {
            return self.state.not_here(client);
        };
        let bound = |channel: &Channel| channel.number == number;
        let discard = if allocation.channels.iter().any(bound) {
            Discard::NoPermission
        } else {
            Discard::NoChannel
        };
        self.state.discard(discard)
    }

    fn message_from_client(
        &mut self,
        now: Instant,
        client: &Client,
        message: &Message,
        via: Via,
    ) -> Forward {
        if !integrity::fingerprint_matches(message) {
            return self.state.discard(Discard::Fingerprint);
        }
        if message.method() != Method::BINDING
            && let Some(shard) = self.home(now, client, via)
        {
            return Forward::ToShard { shard };
        }
        match (message.class(), message.method()) {
            (Class::Request, _) => {}
            (Class::Indication, Method::SEND) => {
                return method::send::relay(&mut self.state, now, client, message);
            }
            // A keep-alive, which wants nothing but to have passed. RFC 8489 §5.
            (Class::Indication, Method::BINDING) => return Forward::Answered,
            _ => return self.state.discard(Discard::NotForServers),
        }
        let mut path = ReturnPath::of(client, message);
        path.passed = matches!(via, Via::Shard);
        match method::answer(&mut self.state, now, message, &mut path) {
            Ok(Outcome::Later) => {}
            Ok(Outcome::Reply(reply)) => self.state.respond(now, &path, &Ok(reply)),
            Ok(Outcome::Elsewhere(shard)) => return Forward::ToShard { shard },
            Err(reject) => self.state.respond(now, &path, &Err(reject)),
        }
        Forward::Answered
    }

    /// The shard to which a client's packets are to be passed.
    fn home(&mut self, now: Instant, client: &Client, via: Via) -> Option<u16> {
        match via {
            Via::Socket => self.state.guests.home(now, &client.five_tuple),
            Via::Shard => None,
        }
    }
}

/// Who read a packet.
#[derive(Clone, Copy)]
enum Via {
    /// This shard.
    Socket,
    /// Another, which passed it on.
    Shard,
}

/// A new run's serial numbers begin at the time of day in such steps: 16,000 a second.
const SERIAL_NANOSECONDS: u128 = 62_500;
/// What a serial number has room for beside the shard.
const SERIALS: u64 = (1 << 48) - 1;
