//! The face of the protocol: every input, every output.

use crate::turn::allocation::Allocation;
use crate::turn::allocation::record::{AllocationDetail, AllocationRecord, EndReason};
use crate::turn::counters::Counters;
use crate::turn::effect::{BindError, Effect, Icmp};
use crate::turn::forward::Forward;
use crate::turn::ids::connection_id::ConnectionId;
use crate::turn::ids::five_tuple::{Client, FiveTuple};
use crate::turn::ids::random::Random;
use crate::turn::ids::realm::RealmId;
use crate::turn::ids::relayed::RelayedId;
use crate::turn::ids::return_path::ReturnPath;
use crate::turn::ids::time::{Instant, WallClock};
use crate::turn::ids::traffic::Volume;
use crate::turn::method;
use crate::turn::policy::Policy;
use crate::turn::policy::realm::Realm;
use crate::turn::policy::reject::Discard;
use crate::turn::quota::meter::Meter;
use crate::turn::shared::Shared;
use crate::turn::state::forwarding::Payload;
use crate::turn::state::output::Output;
use crate::turn::state::response::Outcome;
use crate::turn::state::{SerialNumbers, State, forwarding, lifecycle, mobility, response};
use crate::turn::table::foreign_clients::ForeignClients;
use crate::turn::table::route::{PeerRoute, Routes};
use crate::turn::table::timer::Timers;
use crate::turn::table::{PublishedClients, Table};
use crate::wire::{
    AttributeType, ChannelData, Class, Message, Method, Packet, attribute, channel_data, integrity,
};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// The protocol of one shard.
///
/// Every call that takes `&mut self`, except [`Server::take_effects`], may add effects and discards
/// the message octets of the previous call: take the effects after each call and send their
/// messages before the next.
#[derive(Debug)]
pub struct Server {
    state: State,
}

/// What a server starts with.
#[derive(Debug)]
pub struct Setup {
    /// The operator's decisions.
    pub policy: Arc<Policy>,
    /// The state that all shards share.
    pub shared: Arc<Shared>,
    /// The number of this shard.
    pub shard: u16,
    /// 32 octets of randomness, different for each shard.
    pub seed: [u8; 32],
    /// The Unix time at `Instant(0)`.
    pub unix_at_epoch: Duration,
}

impl Server {
    /// A server without allocations.
    pub fn new(setup: Setup) -> Server {
        let Setup {
            policy,
            shared,
            shard,
            seed,
            unix_at_epoch,
        } = setup;
        let published = shared.multiple_shards.then(|| PublishedClients {
            directory: shared.directory.clone(),
            shard,
        });
        Server {
            state: State {
                policy,
                shared,
                shard,
                random: Random::new(seed),
                clock: WallClock::new(unix_at_epoch),
                serials: SerialNumbers::new(shard, unix_at_epoch),
                table: Table::new(published),
                routes: Routes::default(),
                timers: Timers::default(),
                foreign_clients: ForeignClients::default(),
                counters: Arc::default(),
                output: Output::default(),
            },
        }
    }

    /// Handles a datagram, or one message of a stream, from a client.
    pub fn from_client(&mut self, now: Instant, client: &Client, octets: &[u8]) -> Forward {
        self.packet(now, client, octets, Receiver::ThisShard)
    }

    /// Handles a packet that another shard received and forwarded with [`Forward::ToShard`]. If
    /// this returns `ToShard` too, the client's allocation is not here: return the packet to the
    /// forwarding shard, which calls [`Server::remove_foreign_client`] and handles it again.
    pub fn from_shard(&mut self, now: Instant, client: &Client, octets: &[u8]) -> Forward {
        self.packet(now, client, octets, Receiver::OtherShard)
    }

    /// Handles a datagram of `length` octets that a peer sent to a relayed transport address.
    pub fn from_peer(
        &mut self,
        now: Instant,
        relayed: RelayedId,
        peer: SocketAddr,
        length: usize,
    ) -> Forward {
        self.state.output.clear_messages();
        let peer = forwarding::external_peer(&self.state, peer);
        let payload = Payload {
            start: 0,
            end: length,
            dont_fragment: false,
        };
        forwarding::to_client(&mut self.state, now, relayed, peer, payload)
    }

    /// Reports an ICMP error for a datagram from a relay socket to `peer` to the client, if the
    /// peer is permitted. RFC 8656 §11.5.
    pub fn icmp_error(&mut self, now: Instant, relayed: RelayedId, peer: SocketAddr, icmp: Icmp) {
        let state = &mut self.state;
        state.output.clear_messages();
        if !icmp.is_reported(peer) {
            return;
        }
        let Some(id) = state.table.socket(relayed).map(|socket| socket.allocation) else {
            return;
        };
        let peer = forwarding::external_peer(state, peer);
        if !forwarding::has_permission(state, now, id, peer) {
            return state.counters.count_discard(Discard::NoPermission);
        }
        let Some(client) = state.table.get(id).map(|allocation| allocation.client) else {
            return;
        };
        let transaction = state.random.octets();
        let mut writer = state
            .output
            .message_writer(Class::Indication, Method::DATA, &transaction);
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        let value = attribute::icmp(icmp.kind, icmp.code, icmp.error_data(peer).to_be_bytes());
        writer.attribute(AttributeType::ICMP, &value);
        let message = writer.finish();
        state.output.send(client, None, message);
    }

    /// Handles the outcome of an [`Effect::Bind`].
    pub fn bound(&mut self, now: Instant, relayed: RelayedId, outcome: Result<(), BindError>) {
        self.state.output.clear_messages();
        method::allocate::bound(&mut self.state, now, relayed, outcome);
    }

    /// Handles the outcome of an [`Effect::Connect`]. RFC 6062 §5.2.
    pub fn connected(&mut self, now: Instant, connection: ConnectionId, succeeded: bool) {
        self.state.output.clear_messages();
        method::connect::connected(&mut self.state, now, connection, succeeded);
    }

    /// Handles a peer's connection to the relayed address of a TCP relay. Returns `None` if the
    /// connection must be closed. Otherwise keep the connection, without reading from it, until
    /// [`Effect::Splice`] or [`Effect::CloseConnection`]. RFC 6062 §5.3.
    pub fn accepted(
        &mut self,
        now: Instant,
        relayed: RelayedId,
        peer: SocketAddr,
    ) -> Option<ConnectionId> {
        self.state.output.clear_messages();
        method::connect::accepted(&mut self.state, now, relayed, peer)
    }

    /// Handles the close of a data connection at either end.
    pub fn connection_closed(&mut self, connection: ConnectionId) {
        self.state.output.clear_messages();
        lifecycle::remove_connection(&mut self.state, connection);
    }

    /// Handles the close of a client's connection. The allocation ends unless the client can return
    /// with a ticket. If another shard has the client's allocation, returns that shard's
    /// number; the caller notifies it.
    pub fn client_disconnected(&mut self, now: Instant, client: &Client) -> Option<u16> {
        let state = &mut self.state;
        state.output.clear_messages();
        let owner = state.foreign_clients.shard_of(now, &client.five_tuple);
        mobility::disconnect(state, now, &client.five_tuple);
        owner
    }

    /// Stops forwarding the client's packets to another shard.
    pub fn remove_foreign_client(&mut self, client: &Client) {
        self.state.foreign_clients.remove(&client.five_tuple);
    }

    /// Handles the timers that are due.
    pub fn timeout(&mut self, now: Instant) {
        self.state.output.clear_messages();
        lifecycle::expire(&mut self.state, now);
    }

    /// When [`Server::timeout`] must be called next.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.state.timers.next_due()
    }

    /// Appends the effects of the previous calls to `into`.
    pub fn take_effects(&mut self, into: &mut Vec<Effect>) {
        self.state.output.take_effects(into);
    }

    /// The octets of an [`Effect::Send`], valid until the next call that adds effects.
    pub fn message(&self, range: &Range<usize>) -> &[u8] {
        self.state.output.message(range)
    }

    /// Ends all allocations.
    pub fn end_all(&mut self, now: Instant, reason: EndReason) {
        self.state.output.clear_messages();
        let all: Vec<_> = self.state.table.iter().map(|(id, _)| id).collect();
        for id in all {
            lifecycle::end(&mut self.state, now, id, reason);
        }
    }

    /// Ends the allocation with this [`AllocationRecord::id`]. Returns false if there is none.
    pub fn end_allocation(&mut self, now: Instant, id: u64, reason: EndReason) -> bool {
        self.state.output.clear_messages();
        let found = self.state.table.find_serial(id);
        if let Some(found) = found {
            lifecycle::end(&mut self.state, now, found, reason);
        }
        found.is_some()
    }

    /// The allocation with this [`AllocationRecord::id`].
    pub fn allocation(&self, now: Instant, id: u64) -> Option<AllocationDetail> {
        let table = &self.state.table;
        let found = table.find_serial(id)?;
        let allocation = table.get(found)?;
        let mut detail = allocation.detail(now, table.externals(found));
        detail.record.traffic.to_client += self.hairpin_traffic(allocation);
        Some(detail)
    }

    /// One page of a listing: at most `limit` allocations whose [`AllocationRecord::id`] is above
    /// `after`, in ascending order. A listing starts with 0 and continues with the last id of the
    /// previous page until a page is empty. It contains every allocation that lives from the first
    /// page to the last exactly once, even if other allocations begin or end meanwhile.
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
            record.traffic.to_client += self.hairpin_traffic(allocation);
            record
        })
        .collect()
    }

    /// Traffic that other shards delivered and that is not yet added to the allocation's.
    fn hairpin_traffic(&self, allocation: &Allocation) -> Volume {
        let mut traffic = Volume::default();
        for key in &allocation.hairpin_routes {
            traffic += self.state.shared.hairpin_routes.traffic(*key);
        }
        traffic
    }

    /// The number of allocations.
    pub fn allocation_count(&self) -> usize {
        self.state.table.count()
    }

    /// Returns true if the five-tuple has an allocation on this shard.
    pub fn has_allocation(&self, client: &FiveTuple) -> bool {
        self.state.table.find_client(client).is_some()
    }

    /// The other shard that has the five-tuple's allocation, if this one does not have it.
    pub fn owning_shard(&self, client: &FiveTuple) -> Option<u16> {
        self.state.table.other_shard_of(client)
    }

    /// Returns true if the five-tuple has an allocation on this shard, or if its packets are
    /// forwarded to the shard that has it.
    pub fn is_known_client(&self, client: &FiveTuple) -> bool {
        self.has_allocation(client) || self.state.foreign_clients.contains(client)
    }

    /// The clients of all allocations, and the five-tuples that they are moving to.
    pub fn clients(&self) -> impl Iterator<Item = Client> {
        self.state
            .table
            .iter()
            .flat_map(|(_, allocation)| [Some(allocation.client), allocation.arriving()])
            .flatten()
    }

    /// Replaces the policy. Allocations keep what they were granted, and the rules of their realm:
    /// a realm that the new policy lacks but that has allocations is kept in [`Policy::retired`].
    pub fn replace_policy(&mut self, mut policy: Arc<Policy>) {
        let old = &self.state.policy;
        let remains =
            |realm: &Arc<Realm>| policy.realms.iter().any(|other| other.name == realm.name);
        let has_allocations = |realm: &&Arc<Realm>| {
            let mut allocations = self.state.table.iter();
            allocations.any(|(_, allocation)| allocation.owner.realm == realm.name)
        };
        let retired: Vec<_> = old
            .realms
            .iter()
            .chain(&old.retired)
            .filter(|realm| !remains(realm))
            .filter(has_allocations)
            .cloned()
            .collect();
        if !retired.is_empty() {
            Arc::make_mut(&mut policy).retired = retired;
        }
        self.state.policy = policy;
    }

    /// The realm that a TLS server name selects under the current policy, for [`Client::realm`].
    pub fn realm_of_server_name(&self, name: &str) -> Option<RealmId> {
        let realm = self.state.policy.realm_of_server_name(name)?;
        self.state.shared.realm_ids.id(&realm.name)
    }

    /// Takes a permit for a response to a client whose address is not verified. Returns false if
    /// the response must not be sent, because the source prefix exceeds the limit.
    pub fn allows_unverified_answer(&self, now: Instant, client: IpAddr) -> bool {
        self.state.shared.answer_rate.allows(now, client)
    }

    /// Sets the Unix time at `Instant(0)`, after the system's clock was set.
    pub fn set_unix_epoch(&mut self, unix_at_epoch: Duration) {
        self.state.clock = WallClock::new(unix_at_epoch);
    }

    /// The Unix time at `now`.
    pub fn unix_time(&self, now: Instant) -> Duration {
        self.state.clock.unix_time(now)
    }

    /// The counters of this shard.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.state.counters
    }

    /// The meter of a data connection, if its allocation has a bandwidth limit.
    pub fn meter(&self, connection: ConnectionId) -> Option<Meter> {
        let id = self.state.table.find_connection(connection)?;
        self.state.table.get(id)?.grant.meter().cloned()
    }

    /// Counts the octets that a data connection carried to its peer and to its client.
    pub fn record_stream_traffic(
        &mut self,
        connection: ConnectionId,
        to_peer: u64,
        to_client: u64,
    ) {
        let Some(id) = self.state.table.find_connection(connection) else {
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

    fn packet(
        &mut self,
        now: Instant,
        client: &Client,
        octets: &[u8],
        receiver: Receiver,
    ) -> Forward {
        self.state.output.clear_messages();
        match Packet::classify(octets) {
            Ok(Packet::ChannelData(data)) => self.channel_data(now, client, data, receiver),
            Ok(Packet::Message(message)) => self.stun_message(now, client, &message, receiver),
            // The caller decrypts DTLS; a record that arrives here came where DTLS is not spoken.
            Ok(Packet::Dtls) => forwarding::discard(&self.state, Discard::Dtls),
            Err(_) => forwarding::discard(&self.state, Discard::Malformed),
        }
    }

    /// The fast path. RFC 8656 §12.6.
    fn channel_data(
        &mut self,
        now: Instant,
        client: &Client,
        data: ChannelData,
        receiver: Receiver,
    ) -> Forward {
        let state = &mut self.state;
        let Some(route) = state
            .routes
            .to_peer(&client.five_tuple, data.number)
            .filter(|route| now < route.expires)
        else {
            return self.without_route(now, client, data.number, receiver);
        };
        let PeerRoute {
            allocation,
            relayed,
            peer,
            scope,
            arriving,
            ..
        } = *route;
        if arriving {
            mobility::complete_move(state, now, allocation);
        }
        if !forwarding::count_to_peer(state, now, allocation, client, data.payload.len()) {
            return forwarding::discard(state, Discard::Bandwidth);
        }
        let payload = Payload {
            start: channel_data::HEADER,
            end: channel_data::HEADER + data.payload.len(),
            dont_fragment: false,
        };
        forwarding::to_peer(state, now, relayed, peer, scope, payload)
    }

    /// The verdict on ChannelData without a valid route.
    fn without_route(
        &mut self,
        now: Instant,
        client: &Client,
        number: u16,
        receiver: Receiver,
    ) -> Forward {
        if let Some(shard) = self.shard_of_foreign_client(now, client, receiver) {
            return Forward::ToShard { shard };
        }
        let state = &self.state;
        let id = state.table.find_client(&client.five_tuple);
        let Some(allocation) = id.and_then(|id| state.table.get(id)) else {
            return forwarding::unknown_client(state, client);
        };
        let discard = if allocation.channels.contains(number) {
            Discard::NoPermission
        } else {
            Discard::NoChannel
        };
        forwarding::discard(state, discard)
    }

    fn stun_message(
        &mut self,
        now: Instant,
        client: &Client,
        message: &Message,
        receiver: Receiver,
    ) -> Forward {
        if !integrity::fingerprint_matches(message) {
            return forwarding::discard(&self.state, Discard::Fingerprint);
        }
        if message.method() != Method::BINDING
            && let Some(shard) = self.shard_of_foreign_client(now, client, receiver)
        {
            return Forward::ToShard { shard };
        }
        let state = &mut self.state;
        match (message.class(), message.method()) {
            (Class::Request, _) => {}
            (Class::Indication, Method::SEND) => {
                return method::send::handle(state, now, client, message);
            }
            // A keep-alive, which refreshes bindings of NATs by having passed. RFC 8489 §5.
            (Class::Indication, Method::BINDING) => return Forward::Answered,
            (Class::Indication | Class::Success | Class::Error, _) => {
                return forwarding::discard(state, Discard::NotForServers);
            }
        }
        let mut path = ReturnPath::new(client, message);
        path.from_shard = receiver == Receiver::OtherShard;
        match method::handle(state, now, message, &mut path) {
            Ok(Outcome::Pending) => {}
            Ok(Outcome::Success(success)) => response::send(state, now, &path, &Ok(success)),
            Ok(Outcome::OtherShard(shard)) => return Forward::ToShard { shard },
            Err(reject) => response::send(state, now, &path, &Err(reject)),
        }
        Forward::Answered
    }

    /// The shard to forward a client's packet to. A packet that was forwarded already is not
    /// forwarded again, or two shards could send it back and forth.
    fn shard_of_foreign_client(
        &mut self,
        now: Instant,
        client: &Client,
        receiver: Receiver,
    ) -> Option<u16> {
        match receiver {
            Receiver::ThisShard => self.state.foreign_clients.shard_of(now, &client.five_tuple),
            Receiver::OtherShard => None,
        }
    }
}

/// The shard that received a packet from the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receiver {
    ThisShard,
    OtherShard,
}
