//! The model: the rules of RFC 8656, 6062 and 8016 on plain lists, which are searched from end to
//! end. It shares nothing with the server's implementation. It takes the random values (ports,
//! tokens, tickets, connection ids) from the server's output and checks them.

use super::answer::Answer;
use super::operation::{Ask, Operation};
use super::world::{Bind, RANGE, SECOND, Sealed, Seen, Setting, World, limits};
use hairpin::turn::{
    BindError, Client, ConnectionId, Discard, EndReason, FiveTuple, Forward, Framing, Icmp,
    Instant, RelayedId,
};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// Fails with both values unless they are equal.
macro_rules! same {
    ($got:expr, $wanted:expr, $($what:tt)+) => {{
        let (got, wanted) = (&$got, &$wanted);
        if got != wanted {
            return Err(format!("{}: the server says {got:?}, the model {wanted:?}", format!($($what)+)));
        }
    }};
}

/// The state of the model.
pub struct Naive {
    setting: Setting,
    now: u64,
    allocations: Vec<Allocation>,
    /// Token, port, end.
    reservations: Vec<([u8; 8], SocketAddr, u64)>,
    /// Every ticket ever issued, with its allocation.
    tickets: Vec<(Vec<u8>, u64)>,
    serial: u64,
    started: usize,
    ended: Vec<EndReason>,
    hung_up: Vec<ConnectionId>,
    /// Connect requests that were pending when their allocation ended: transaction, user, client.
    refused: Vec<([u8; 12], usize, Client)>,
}

struct Allocation {
    serial: u64,
    client: Client,
    /// The five-tuple to which it moves.
    arriving: Option<Client>,
    /// The client's connection has closed; a ticket may still move the allocation.
    away: bool,
    user: usize,
    transaction: [u8; 12],
    tcp: bool,
    relayed_addresses: Vec<RelayedAddress>,
    failed: Option<(u8, u16)>,
    token: Option<[u8; 8]>,
    /// Address, end, and whether only live relayed addresses at it are permitted.
    permissions: Vec<(IpAddr, u64, bool)>,
    /// Number, peer, end; blocked for five more minutes.
    channels: Vec<(u16, SocketAddr, u64)>,
    ticket: Option<Vec<u8>>,
    moved_by: Option<[u8; 12]>,
    connections: Vec<(ConnectionId, SocketAddr, Stage)>,
    /// The client address at creation, which quotas use.
    address: IpAddr,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct RelayedAddress {
    id: RelayedId,
    local: SocketAddr,
    external: SocketAddr,
    ends: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// The pending Connect request: transaction, user, client.
    Connecting([u8; 12], usize, Client),
    Pending(u64),
    Bound,
}

/// The result of a request.
enum Verdict {
    /// The response, with any new ticket.
    Answered(Answer),
    /// Nothing yet.
    Silent,
}

type Judged<T = ()> = Result<T, String>;

impl Naive {
    pub fn new(setting: Setting, now: Instant) -> Naive {
        Naive {
            setting,
            now: now.0,
            allocations: Vec::new(),
            reservations: Vec::new(),
            tickets: Vec::new(),
            serial: 0,
            started: 0,
            ended: Vec::new(),
            hung_up: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Performs the operation on the model and compares the results.
    pub fn step(
        &mut self,
        operation: &Operation,
        before: &[Client; 8],
        world: &World,
        seen: &Seen,
    ) -> Judged {
        self.now = world.now.0;
        (self.started, self.ended, self.hung_up) = (0, Vec::new(), Vec::new());
        // The response to a pending Connect, or an indication; other messages are compared where
        // they arise.
        match operation {
            Operation::Ask { client, .. } | Operation::Repeat { client, .. } => {
                self.request(&before[*client], world, seen)?;
            }
            Operation::Unsealed { client } => {
                same!(seen.sent.len(), 1, "challenges");
                same!(
                    Answer::read(&seen.sent[0], before[*client], world, None)?.code,
                    Some(401),
                    "a challenge"
                );
            }
            Operation::Send {
                client,
                peer,
                length,
                dont_fragment,
            } => {
                let wanted = self.send(&before[*client], *peer, *length, *dont_fragment);
                self.compare_onward(seen, wanted)?;
            }
            Operation::ChannelData {
                client,
                number,
                length,
            } => {
                let cold = self.is_cold(&before[*client], *number);
                let wanted = self.channel_data(&before[*client], *number, *length);
                let forgotten = Forward::Discarded(Discard::NoChannel);
                // The time at which an expired channel is removed shows only in the reason for
                // which its data is dropped.
                let wanted = if cold && seen.onward == Some(forgotten) {
                    forgotten
                } else {
                    wanted
                };
                self.compare_onward(seen, wanted)?;
            }
            Operation::FromPeer {
                socket,
                peer,
                length,
            } => {
                let peer = self.known_as(*peer);
                let wanted = self.to_client(*socket, peer, 0, *length);
                self.compare_onward(seen, wanted)?;
            }
            Operation::PeerError { socket, peer, icmp } => {
                self.peer_error(*socket, *peer, *icmp, seen)?
            }
            Operation::Gone { client } => self.gone(&before[*client]),
            Operation::Connected {
                connection,
                succeeded,
            } => self.connected(*connection, *succeeded, world, seen)?,
            Operation::Accepted { socket, peer } => self.accepted(*socket, *peer, seen)?,
            Operation::Closed { connection } => {
                for allocation in &mut self.allocations {
                    allocation.connections.retain(|(id, ..)| id != connection);
                }
            }
            Operation::Pass { .. } => self.pass(),
            Operation::Raw { .. } => return Err("the model does not read octets".into()),
        }
        self.compare_effects(operation, world, seen)?;
        self.compare_state(world)
    }

    // ---- comparison ----

    fn compare_onward(&self, seen: &Seen, wanted: Forward) -> Judged {
        same!(seen.onward, Some(wanted), "onward");
        Ok(())
    }

    fn compare_effects(&mut self, operation: &Operation, world: &World, seen: &Seen) -> Judged {
        let silent = matches!(
            operation,
            Operation::Send { .. }
                | Operation::ChannelData { .. }
                | Operation::FromPeer { .. }
                | Operation::Gone { .. }
                | Operation::Closed { .. }
                | Operation::Pass { .. }
        );
        if silent {
            same!(self.after_refusals(world, seen)?.len(), 0, "messages");
        }
        if !matches!(operation, Operation::Ask { .. } | Operation::Repeat { .. }) {
            same!(
                (seen.binds.len(), seen.connects.len(), seen.spliced.len()),
                (0, 0, 0),
                "binds, connects, splices"
            );
        }
        same!(seen.started, self.started, "allocations begun");
        same!(seen.ended, self.ended, "allocations ended");
        let mut hung_up = seen.hung_up.clone();
        hung_up.sort();
        self.hung_up.sort();
        same!(hung_up, self.hung_up, "data connections closed");
        Ok(())
    }

    /// Checks the responses to Connect requests whose allocation ended, which come first; returns
    /// the other messages.
    fn after_refusals<'a>(
        &mut self,
        world: &World,
        seen: &'a Seen,
    ) -> Judged<&'a [(Client, Vec<u8>)]> {
        let refused = std::mem::take(&mut self.refused);
        let messages = seen
            .sent
            .split_at_checked(refused.len())
            .ok_or("a Connect is left without an answer")?;
        for (transaction, user, client) in refused {
            let message = messages
                .0
                .iter()
                .find(|(_, octets)| octets.get(8..20) == Some(&transaction));
            let message = message.ok_or("another Connect is answered")?;
            let answer =
                Answer::read(message, client, world, Some(&connect_of(transaction, user)))?;
            same!(
                answer,
                Answer::error(447),
                "answer to a Connect whose allocation ended"
            );
        }
        Ok(messages.1)
    }

    fn compare_state(&mut self, world: &World) -> Judged {
        if let Some(fault) = world.faults.first() {
            return Err(fault.clone());
        }
        same!(
            world.server.allocation_count(),
            self.allocations.len(),
            "allocations"
        );
        same!(
            world.shared.ledger.allocations() as usize,
            self.allocations.len(),
            "grants"
        );
        let mut bound: Vec<_> = world
            .sockets
            .iter()
            .map(|socket| (socket.id, socket.local))
            .collect();
        let mut relayed_addresses: Vec<_> = self
            .relayed_addresses()
            .map(|relayed| (relayed.id, relayed.local))
            .collect();
        bound.sort();
        relayed_addresses.sort();
        same!(bound, relayed_addresses, "bound sockets");
        for client in &world.clients {
            same!(
                world.server.has_allocation(&client.five_tuple),
                self.of(&client.five_tuple).is_some(),
                "{client:?} has one"
            );
        }
        // An expired reservation may be removed later, but no longer blocks its port.
        let lapsed = self
            .reservations
            .iter()
            .filter(|(.., until)| *until <= self.now)
            .count() as u64;
        let held = self.reservations.len() as u64 - lapsed;
        let taken = world.shared.ports.taken();
        let wanted = relayed_addresses.len() as u64 + held;
        if !(wanted..=wanted + lapsed).contains(&taken) {
            return Err(format!(
                "ports taken: the server says {taken}, the model {wanted} and {lapsed} lapsed"
            ));
        }
        same!(
            world
                .server
                .next_timeout()
                .is_some_and(|at| at.0 <= self.now),
            false,
            "something due was left"
        );
        self.compare_routes(world)?;
        self.compare_counters(world)
    }

    /// The routes of an offload must be the channels of the model.
    fn compare_routes(&self, world: &World) -> Judged {
        let mut wanted = Vec::new();
        for allocation in self
            .allocations
            .iter()
            .filter(|allocation| !allocation.away)
        {
            for &(number, peer, _) in &allocation.channels {
                let (Some(ends), Some(relayed)) = (
                    self.channel_ends(allocation, number),
                    allocation.relayed(peer),
                ) else {
                    continue;
                };
                wanted.push((
                    format!(
                        "{:?} {number:x} {} {peer}",
                        allocation.client.five_tuple, relayed.local
                    ),
                    ends,
                ));
            }
        }
        let text = |path: &hairpin::turn::effect::ChannelPath| {
            format!(
                "{:?} {:x} {} {}",
                path.client, path.channel, path.local, path.peer
            )
        };
        let mut known: Vec<_> = world
            .routes
            .iter()
            .map(|(path, ends)| (text(path), ends.0))
            .collect();
        wanted.sort();
        known.sort();
        same!(known, wanted, "routes of an offload");
        Ok(())
    }

    fn compare_counters(&self, world: &World) -> Judged {
        for (index, counter) in world.server.counters().allocations.iter().enumerate() {
            let of_transport = |a: &&Allocation| a.client.five_tuple.transport.index() == index;
            same!(
                counter.get(),
                self.allocations.iter().filter(of_transport).count() as u64,
                "counted, transport {index}"
            );
        }
        Ok(())
    }

    // ---- lookups ----

    fn relayed_addresses(&self) -> impl Iterator<Item = &RelayedAddress> {
        self.allocations
            .iter()
            .flat_map(|allocation| &allocation.relayed_addresses)
    }

    /// The allocation of a five-tuple.
    fn of(&self, five_tuple: &FiveTuple) -> Option<usize> {
        self.allocations.iter().position(|a| {
            let here = a.client.five_tuple == *five_tuple && !a.away;
            here || a
                .arriving
                .is_some_and(|arriving| arriving.five_tuple == *five_tuple)
        })
    }

    /// The allocation of a relayed transport address, and the entry of that address.
    fn of_half(&self, id: RelayedId) -> Option<(usize, RelayedAddress)> {
        let mut all = self.allocations.iter().enumerate();
        all.find_map(|(at, a)| {
            a.relayed_addresses
                .iter()
                .find(|relayed| relayed.id == id)
                .map(|relayed| (at, *relayed))
        })
    }

    /// The live relayed address with this external address, of allocations with the same protocol.
    fn live(&self, external: SocketAddr, tcp: bool) -> Option<RelayedAddress> {
        let same = self
            .allocations
            .iter()
            .filter(|allocation| allocation.tcp == tcp);
        same.flat_map(|allocation| &allocation.relayed_addresses)
            .find(|relayed| relayed.external == external)
            .copied()
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.setting
            .relays()
            .iter()
            .any(|relay| relay.local == address || relay.external == address)
    }

    fn is_listener(peer: SocketAddr) -> bool {
        peer.port() == 3478
    }

    /// Returns true if the policy permits an address.
    fn permits(&self, address: IpAddr) -> bool {
        let text = address.to_string();
        let special =
            text.starts_with("10.") || text.starts_with("192.0.2.") || text.starts_with("2001:db8");
        (self.setting.own && text == "192.0.2.1") || !special
    }

    /// The address by which clients know the source of a datagram.
    fn known_as(&self, source: SocketAddr) -> SocketAddr {
        self.relayed_addresses()
            .find(|relayed| relayed.local == source)
            .map_or(source, |relayed| relayed.external)
    }

    /// The earliest expiry of channel, permission and allocation; `None` if the channel relays
    /// nothing now.
    fn channel_ends(&self, allocation: &Allocation, number: u16) -> Option<u64> {
        let (_, peer, ends) = allocation.channels.iter().find(|(n, ..)| *n == number)?;
        let (_, permitted, _) = allocation.permission(peer.ip(), self.now)?;
        let ends = *ends.min(&permitted).min(&allocation.relayed(*peer)?.ends);
        (self.now < ends).then_some(ends)
    }

    fn is_free(&self, local: SocketAddr, besides: &[SocketAddr]) -> bool {
        let reserved = self
            .reservations
            .iter()
            .any(|(_, port, until)| *port == local && self.now < *until);
        RANGE.contains(&local.port())
            && !reserved
            && !self
                .relayed_addresses()
                .any(|relayed| relayed.local == local)
            && !besides.contains(&local)
    }

    /// Returns true if a port is free and fits the request, and the next one too if it is to be
    /// reserved.
    fn suits(&self, local: SocketAddr, even: Option<bool>, besides: &[SocketAddr]) -> bool {
        let above = SocketAddr::new(local.ip(), local.port() + 1);
        self.is_free(local, besides)
            && (even.is_none() || local.port().is_multiple_of(2))
            && (even != Some(true) || self.is_free(above, besides))
    }

    fn is_any_left(&self, address: IpAddr, even: Option<bool>, besides: &[SocketAddr]) -> bool {
        RANGE
            .into_iter()
            .any(|port| self.suits(SocketAddr::new(address, port), even, besides))
    }

    // ---- data ----

    fn send(
        &mut self,
        client: &Client,
        peer: SocketAddr,
        length: usize,
        dont_fragment: bool,
    ) -> Forward {
        let Some(at) = self
            .of(&client.five_tuple)
            .filter(|at| !self.allocations[*at].tcp)
        else {
            return Forward::Discarded(Discard::NoAllocation);
        };
        let Some(relayed) = self.allocations[at].relayed(peer).copied() else {
            return Forward::Discarded(Discard::PeerFamily);
        };
        let Some((.., relayed_only)) = self.allocations[at].permission(peer.ip(), self.now) else {
            return Forward::Discarded(Discard::NoPermission);
        };
        self.arrive_if_arriving(at, &client.five_tuple);
        let address = if peer.is_ipv4() { 12 } else { 24 };
        let start = 20 + address + if dont_fragment { 4 } else { 0 } + 4;
        // RFC 8656 §13: datagrams that are translated from or to IPv6 are fragmented as need be.
        let five_tuple = client.five_tuple;
        let heeded =
            five_tuple.transport.is_stream() || (five_tuple.client.is_ipv4() && peer.is_ipv4());
        self.to_peer(
            relayed,
            peer,
            relayed_only,
            start,
            start + length,
            dont_fragment && heeded,
        )
    }

    fn channel_data(&mut self, client: &Client, number: u16, length: usize) -> Forward {
        match number >> 8 {
            0x40..=0x7f => {}
            // RFC 7983: a first octet of 20 to 63 is DTLS's.
            20..=63 => return Forward::Discarded(Discard::Dtls),
            _ => return Forward::Discarded(Discard::Malformed),
        }
        let Some(at) = self.of(&client.five_tuple) else {
            return Forward::Discarded(Discard::NoAllocation);
        };
        let allocation = &self.allocations[at];
        let Some(&(_, peer, _)) = allocation.channels.iter().find(|(n, ..)| *n == number) else {
            return Forward::Discarded(Discard::NoChannel);
        };
        if self.channel_ends(allocation, number).is_none() {
            return Forward::Discarded(Discard::NoPermission);
        }
        let relayed = *allocation
            .relayed(peer)
            .expect("channels go with their relayed");
        let (.., relayed_only) = allocation
            .permission(peer.ip(), self.now)
            .expect("or the channel had ended");
        self.arrive_if_arriving(at, &client.five_tuple);
        self.to_peer(relayed, peer, relayed_only, 4, 4 + length, false)
    }

    /// Returns true if an expired channel may be removed.
    fn is_cold(&self, client: &Client, number: u16) -> bool {
        let channels = self
            .of(&client.five_tuple)
            .map(|at| &self.allocations[at].channels);
        channels.is_some_and(|all| {
            all.iter()
                .any(|(n, _, ends)| *n == number && *ends + 300 * SECOND <= self.now)
        })
    }

    fn to_peer(
        &self,
        from: RelayedAddress,
        to: SocketAddr,
        relayed_only: bool,
        start: usize,
        end: usize,
        df: bool,
    ) -> Forward {
        let outside = |to| Forward::ToPeer {
            relayed: from.id,
            to,
            start,
            end,
            dont_fragment: df,
        };
        if !relayed_only && !self.is_own(to.ip()) {
            return outside(to);
        }
        match self.live(to, false) {
            Some(relayed) => self.to_client(relayed.id, from.external, start, end),
            None if relayed_only || Naive::is_listener(to) => {
                Forward::Discarded(Discard::PeerRefused)
            }
            None => outside(to),
        }
    }

    fn to_client(&self, at: RelayedId, peer: SocketAddr, start: usize, end: usize) -> Forward {
        let Some((index, relayed)) = self.of_half(at) else {
            return Forward::Discarded(Discard::NoRelayed);
        };
        let allocation = &self.allocations[index];
        if !self.admits(allocation, peer) || allocation.away {
            return Forward::Discarded(Discard::NoPermission);
        }
        // A channel belongs to the family of its peer, so a datagram of the other family finds
        // none.
        let bound = |bound: SocketAddr| bound == peer && bound.is_ipv4() == relayed.local.is_ipv4();
        let channel = allocation
            .channels
            .iter()
            .find(|(_, peer, ends)| bound(*peer) && self.now < *ends);
        let framing = channel.map_or(Framing::Data(peer), |(number, ..)| {
            Framing::Channel(*number)
        });
        Forward::ToClient {
            client: allocation.client,
            start,
            end,
            framing,
        }
    }

    fn admits(&self, allocation: &Allocation, peer: SocketAddr) -> bool {
        let permission = allocation.permission(peer.ip(), self.now);
        permission.is_some_and(|(.., relayed_only)| {
            !relayed_only || self.live(peer, allocation.tcp).is_some()
        })
    }

    fn peer_error(&self, socket: RelayedId, peer: SocketAddr, icmp: Icmp, seen: &Seen) -> Judged {
        let reported = if peer.is_ipv4() {
            [3, 11].contains(&icmp.kind)
        } else {
            (1..=3).contains(&icmp.kind)
        };
        let peer = self.known_as(peer);
        let at = self.of_half(socket).map(|(at, _)| &self.allocations[at]);
        let at =
            at.filter(|allocation| reported && !allocation.away && self.admits(allocation, peer));
        let to: Vec<_> = seen.sent.iter().map(|(to, _)| *to).collect();
        same!(
            to,
            at.map(|allocation| allocation.client)
                .into_iter()
                .collect::<Vec<_>>(),
            "the indication of an ICMP error"
        );
        if let Some((_, octets)) = seen.sent.first() {
            same!(
                Answer::read_indication(octets)?,
                (0x007, Some(peer)),
                "an ICMP error's peer"
            );
        }
        Ok(())
    }

    // ---- time ----

    fn pass(&mut self) {
        let now = self.now;
        let mut over: Vec<(u64, usize)> = Vec::new();
        for (at, allocation) in self.allocations.iter_mut().enumerate() {
            if allocation
                .relayed_addresses
                .iter()
                .all(|relayed| relayed.ends <= now)
            {
                over.push((allocation.serial, at));
                continue;
            }
            let gone: Vec<RelayedAddress> = allocation
                .relayed_addresses
                .iter()
                .filter(|relayed| relayed.ends <= now)
                .copied()
                .collect();
            gone.iter()
                .for_each(|relayed| allocation.lose(relayed.local.is_ipv4()));
            for (id, _, stage) in &allocation.connections {
                if matches!(stage, Stage::Pending(until) if *until <= now) {
                    self.hung_up.push(*id);
                }
            }
            allocation
                .connections
                .retain(|(_, _, stage)| !matches!(stage, Stage::Pending(until) if *until <= now));
        }
        for (serial, _) in over {
            self.end(serial, EndReason::Expired);
        }
    }

    fn end(&mut self, serial: u64, end: EndReason) {
        let at = self
            .allocations
            .iter()
            .position(|a| a.serial == serial)
            .expect("one that lives");
        let allocation = self.allocations.remove(at);
        self.reservations
            .retain(|(token, ..)| Some(*token) != allocation.token);
        self.hung_up
            .extend(allocation.connections.iter().map(|(id, ..)| *id));
        for (_, _, stage) in allocation.connections {
            if let (Stage::Connecting(transaction, user, client), false) =
                (stage, end == EndReason::Disconnected)
            {
                self.refused.push((transaction, user, client));
            }
        }
        self.ended.push(end);
    }

    // ---- moving ----

    fn arrive_if_arriving(&mut self, at: usize, five_tuple: &FiveTuple) {
        let allocation = &mut self.allocations[at];
        if allocation
            .arriving
            .is_some_and(|arriving| arriving.five_tuple == *five_tuple)
        {
            allocation.arrive();
        }
    }

    fn gone(&mut self, client: &Client) {
        let Some(at) = self.of(&client.five_tuple) else {
            return;
        };
        let allocation = &mut self.allocations[at];
        if allocation
            .arriving
            .is_some_and(|arriving| arriving.five_tuple == client.five_tuple)
        {
            allocation.arriving = None;
        } else if allocation.arriving.is_some() {
            allocation.arrive();
        } else if allocation.ticket.is_some() {
            allocation.away = true;
        } else {
            let serial = allocation.serial;
            self.end(serial, EndReason::Disconnected);
        }
    }

    // ---- requests ----

    fn request(&mut self, client: &Client, world: &World, seen: &Seen) -> Judged {
        let Some(sealed) = &seen.request else {
            return Ok(());
        };
        same!(
            seen.onward,
            Some(Forward::Answered),
            "a request is answered"
        );
        let verdict = self.verdict(client, sealed, seen)?;
        let spliced = matches!(&sealed.ask, Ask::ConnectionBind { .. })
            && matches!(&verdict, Verdict::Answered(a) if a.code.is_none());
        same!(seen.spliced.len(), usize::from(spliced), "splices");
        if !matches!(sealed.ask, Ask::Connect { .. }) {
            same!(seen.connects.len(), 0, "connects");
        }
        if !matches!(sealed.ask, Ask::Allocate { .. }) {
            same!(seen.binds.len(), 0, "binds");
        }
        let sent = self.after_refusals(world, seen)?;
        match verdict {
            Verdict::Answered(wanted) => {
                same!(sent.len(), 1, "answers");
                let got = Answer::read(&sent[0], *client, world, Some(sealed))?;
                self.compare_answer(got, wanted)
            }
            Verdict::Silent => {
                same!(sent.len(), 0, "answers");
                Ok(())
            }
        }
    }

    /// Compares, and records the ticket of the response.
    fn compare_answer(&mut self, got: Answer, wanted: Answer) -> Judged {
        if let (Some(learned), Some(serial)) = (&got.ticket, wanted.learns) {
            if self.tickets.iter().any(|(ticket, _)| ticket == learned) {
                return Err("a new ticket is one that was there before".into());
            }
            self.tickets.push((learned.clone(), serial));
            let allocation = self
                .allocations
                .iter_mut()
                .find(|a| a.serial == serial)
                .expect("it was just made");
            allocation.ticket = Some(learned.clone());
            same!(
                got,
                Answer {
                    ticket: Some(learned.clone()),
                    learns: None,
                    ..wanted
                },
                "answer"
            );
        } else {
            same!(got, wanted, "answer");
        }
        Ok(())
    }

    fn verdict(&mut self, client: &Client, sealed: &Sealed, seen: &Seen) -> Judged<Verdict> {
        let refused = |code: u16| Ok(Verdict::Answered(Answer::error(code)));
        if self.now / SECOND - sealed.nonce_of > 3600 {
            return refused(438);
        }
        let existing = self.of(&client.five_tuple);
        let outcome = match &sealed.ask {
            Ask::Allocate { .. } => return self.allocate(client, sealed, seen, existing),
            Ask::ConnectionBind { connection } => {
                self.connection_bind(client, *connection, sealed.user, existing)
            }
            Ask::Refresh {
                ticket: Some(ticket),
                lifetime,
                family,
            } => self.move_here(client, sealed, existing, ticket, *lifetime, *family),
            ask => match existing {
                None => Err(437),
                Some(at) if self.allocations[at].user != sealed.user => Err(441),
                Some(at) => match ask {
                    Ask::Refresh {
                        lifetime, family, ..
                    } => self.refresh(at, *lifetime, *family),
                    Ask::CreatePermission { peers } => self.create_permission(at, peers),
                    Ask::ChannelBind { number, peer } => self.channel_bind(at, *number, *peer),
                    Ask::Connect { peer } => return self.connect(at, *peer, sealed, client, seen),
                    _ => unreachable!("answered above"),
                },
            },
        };
        Ok(Verdict::Answered(outcome.unwrap_or_else(Answer::error)))
    }

    fn allocate(
        &mut self,
        client: &Client,
        sealed: &Sealed,
        seen: &Seen,
        existing: Option<usize>,
    ) -> Judged<Verdict> {
        let refused = |code: u16| Ok(Verdict::Answered(Answer::error(code)));
        if let Some(at) = existing {
            same!(seen.binds.len(), 0, "binds");
            let allocation = &self.allocations[at];
            let repeated =
                allocation.transaction == sealed.transaction && allocation.user == sealed.user;
            return if repeated {
                Ok(Verdict::Answered(self.success(at)))
            } else {
                refused(437)
            };
        }
        let Ask::Allocate {
            token,
            even,
            lifetime,
            mobile,
            ..
        } = &sealed.ask
        else {
            unreachable!()
        };
        let (tcp, families) =
            match self.wanted(&sealed.ask, client.five_tuple.transport.is_stream()) {
                Ok(wanted) => wanted,
                Err(code) => {
                    same!(seen.binds.len(), 0, "binds");
                    return refused(code);
                }
            };
        let mut code = self.quota(client, sealed.user).err();
        if *mobile && !self.setting.mobility {
            code = Some(405);
        }
        let reserved = token.map(|token| {
            self.reservations
                .iter()
                .find(|(t, _, until)| *t == token && self.now < *until)
        });
        let local = reserved.map(|reservation| reservation.map(|(_, local, _)| *local));
        if local == Some(None) {
            code = code.or(Some(508));
        }
        if let Some(code) = code {
            same!(seen.binds.len(), 0, "binds");
            return refused(code);
        }
        self.serial += 1;
        let mut made = Allocation {
            serial: self.serial,
            client: *client,
            arriving: None,
            away: false,
            user: sealed.user,
            transaction: sealed.transaction,
            tcp,
            relayed_addresses: Vec::new(),
            failed: None,
            token: None,
            permissions: Vec::new(),
            channels: Vec::new(),
            ticket: None,
            moved_by: None,
            connections: Vec::new(),
            address: client.five_tuple.client.ip(),
        };
        let ends = self.now + granted(*lifetime) * SECOND;
        let local = local.flatten();
        if local.is_some() {
            self.reservations.retain(|(t, ..)| Some(*t) != *token);
        }
        if !self.bind(&mut made, &families, *even, local, ends, &seen.binds)? {
            return refused(508);
        }
        if *even == Some(true) {
            let port = made.relayed_addresses[0].local;
            let Some(token) = Answer::token(seen) else {
                return Err("no token for the port reserved".into());
            };
            self.reservations.push((
                token,
                SocketAddr::new(port.ip(), port.port() + 1),
                self.now + 30 * SECOND,
            ));
            made.token = Some(token);
        }
        self.started += 1;
        let serial = made.serial;
        self.allocations.push(made);
        let mut answer = self.success(self.allocations.len() - 1);
        answer.learns = mobile.then_some(serial);
        Ok(Verdict::Answered(answer))
    }

    /// The protocol and families (4, 6) of an Allocate request, or its error (RFC 8656 §7.2).
    fn wanted(&self, ask: &Ask, stream: bool) -> Result<(bool, Vec<u8>), u16> {
        let Ask::Allocate {
            transport,
            family,
            additional,
            even,
            token,
            dont_fragment,
            ..
        } = ask
        else {
            unreachable!()
        };
        let tcp = match transport {
            None => return Err(400),
            Some(17) => false,
            Some(6) if !stream || *dont_fragment || even.is_some() || token.is_some() => {
                return Err(400);
            }
            Some(6) => true,
            Some(_) => return Err(442),
        };
        if token.is_some() && (even.is_some() || family.is_some() || additional.is_some()) {
            return Err(400);
        }
        if additional.is_some()
            && (family.is_some() || *even == Some(true) || *additional != Some(2))
        {
            return Err(400);
        }
        match (additional, family) {
            (Some(_), _) => Ok((tcp, vec![4, 6])),
            (None, None | Some(1)) => Ok((tcp, vec![4])),
            (None, Some(2)) if self.setting.v6 => Ok((tcp, vec![6])),
            _ => Err(440),
        }
    }

    fn quota(&self, client: &Client, user: usize) -> Result<(), u16> {
        let count = |which: &dyn Fn(&Allocation) -> bool| {
            self.allocations.iter().filter(|a| which(a)).count() as u32
        };
        if count(&|_| true) >= limits().allocations {
            return Err(508);
        }
        let address = client.five_tuple.client.ip();
        let full = count(&|a| a.user == user) >= limits().allocations_per_user
            || count(&|a| a.address == address) >= limits().allocations_per_address;
        if full { Err(486) } else { Ok(()) }
    }

    /// Follows the binds of an Allocate request; returns true if a socket was bound.
    fn bind(
        &mut self,
        made: &mut Allocation,
        families: &[u8],
        even: Option<bool>,
        reserved: Option<SocketAddr>,
        ends: u64,
        binds: &[Bind],
    ) -> Judged<bool> {
        let relays = self.setting.relays();
        let address = |family: u8| {
            relays
                .iter()
                .map(|relay| relay.local)
                .find(|ip| ip.is_ipv4() == (family == 4))
        };
        let mut claimed: Vec<SocketAddr> = Vec::new();
        // The binds to perform, with the address if it is already known.
        let mut expected: VecDeque<(IpAddr, Option<SocketAddr>)> = VecDeque::new();
        for &family in families {
            match (reserved, address(family)) {
                (Some(local), _) => expected.push_back((local.ip(), Some(local))),
                (None, None) => made.failed = Some((if family == 4 { 1 } else { 2 }, 440)),
                (None, Some(ip)) if self.is_any_left(ip, even, &[]) => {
                    expected.push_back((ip, None))
                }
                (None, Some(_)) => made.failed = Some((if family == 4 { 1 } else { 2 }, 508)),
            }
        }
        // The ports of the first binds are claimed together, before any is tried.
        let at_first = expected.len();
        let mut tries = 0;
        for (at, bind) in binds.iter().enumerate() {
            let Some((ip, known)) = expected.pop_front() else {
                return Err(format!("bind {at} is one too many"));
            };
            same!(bind.tcp, made.tcp, "what a bind is for");
            same!(bind.local.ip(), ip, "where bind {at} is");
            if at < at_first {
                match known {
                    Some(local) => same!(bind.local, local, "the reserved port"),
                    None if !self.suits(bind.local, even, &claimed) => {
                        return Err(format!("{} does not suit", bind.local));
                    }
                    None => {}
                }
                claim(&mut claimed, bind.local, even);
            }
            match bind.outcome {
                Ok(()) => made.relayed_addresses.push(RelayedAddress {
                    id: bind.id,
                    local: bind.local,
                    external: self.external(bind.local),
                    ends,
                }),
                Err(error) => {
                    tries += usize::from(error == BindError::InUse);
                    let again =
                        error == BindError::InUse && reserved.is_none() && tries < MOST_TRIES;
                    // The first port of the other family is already claimed, although its bind
                    // comes later.
                    let mut all = claimed.clone();
                    for other in binds.get(at + 1..at_first).unwrap_or_default() {
                        claim(&mut all, other.local, even);
                    }
                    if again && self.is_any_left(ip, even, &all) {
                        let later = binds[at + 1..].iter().find(|later| later.id == bind.id);
                        let Some(later) = later else {
                            return Err("another port is left and not tried".into());
                        };
                        if !self.suits(later.local, even, &all) {
                            return Err(format!("{} does not suit", later.local));
                        }
                        release(&mut claimed, bind.local, even);
                        claim(&mut claimed, later.local, even);
                        expected.push_back((ip, None));
                    } else {
                        release(&mut claimed, bind.local, even);
                        made.failed = Some((if ip.is_ipv4() { 1 } else { 2 }, 508));
                    }
                }
            }
        }
        same!(expected.len(), 0, "binds that are missing");
        made.relayed_addresses
            .sort_by_key(|relayed| !relayed.local.is_ipv4());
        Ok(!made.relayed_addresses.is_empty())
    }

    fn external(&self, local: SocketAddr) -> SocketAddr {
        let relay = self
            .setting
            .relays()
            .into_iter()
            .find(|relay| relay.local == local.ip())
            .expect("a relay address");
        SocketAddr::new(relay.external, local.port())
    }

    fn success(&self, at: usize) -> Answer {
        let allocation = &self.allocations[at];
        let ends = allocation
            .relayed_addresses
            .iter()
            .map(|relayed| relayed.ends)
            .min()
            .expect("a relayed");
        Answer {
            relayed: allocation
                .relayed_addresses
                .iter()
                .map(|relayed| relayed.external)
                .collect(),
            failed: allocation.failed,
            // Whole seconds, rounded up, but for less than a millisecond.
            lifetime: Some(((ends - self.now) / MILLISECOND).div_ceil(1000) as u32),
            token: allocation.token,
            ticket: allocation.ticket.clone(),
            mapped: Some(allocation.client.five_tuple.client),
            ..Answer::default()
        }
    }

    fn refresh(
        &mut self,
        at: usize,
        lifetime: Option<u32>,
        family: Option<u8>,
    ) -> Result<Answer, u16> {
        self.may_refresh(at, family)?;
        let allocation = &mut self.allocations[at];
        let applies = |relayed: &RelayedAddress| {
            family.is_none_or(|family| relayed.local.is_ipv4() == (family == 1))
        };
        if lifetime == Some(0) {
            if allocation.relayed_addresses.iter().all(applies) {
                let serial = allocation.serial;
                self.end(serial, EndReason::Deleted);
            } else {
                allocation.lose(family == Some(1));
            }
            return Ok(Answer {
                lifetime: Some(0),
                ..Answer::default()
            });
        }
        let seconds = granted(lifetime);
        for relayed in allocation
            .relayed_addresses
            .iter_mut()
            .filter(|relayed| applies(relayed))
        {
            relayed.ends = self.now + seconds * SECOND;
        }
        Ok(Answer {
            lifetime: Some(seconds as u32),
            ..Answer::default()
        })
    }

    fn may_refresh(&self, at: usize, family: Option<u8>) -> Result<(), u16> {
        let is_there = |family: u8| {
            (1..=2).contains(&family)
                && self.allocations[at]
                    .relayed_addresses
                    .iter()
                    .any(|h| h.local.is_ipv4() == (family == 1))
        };
        if family.is_none_or(is_there) {
            Ok(())
        } else {
            Err(443)
        }
    }

    /// RFC 8016 §3.2.2.
    fn move_here(
        &mut self,
        client: &Client,
        sealed: &Sealed,
        existing: Option<usize>,
        ticket: &[u8],
        lifetime: Option<u32>,
        family: Option<u8>,
    ) -> Result<Answer, u16> {
        if !self.setting.mobility {
            return Err(405);
        }
        let whose = self
            .tickets
            .iter()
            .find(|(known, _)| known == ticket)
            .map(|(_, serial)| *serial)
            .ok_or(400_u16)?;
        let at = self
            .allocations
            .iter()
            .position(|a| a.serial == whose)
            .ok_or(437_u16)?;
        let allocation = &self.allocations[at];
        let repeated = allocation.moved_by == Some(sealed.transaction) && existing == Some(at);
        let has_moved = allocation.client.five_tuple != client.five_tuple || allocation.away;
        if !repeated && (!has_moved || allocation.ticket.as_deref() != Some(ticket)) {
            return Err(400);
        }
        if allocation.tcp && !client.five_tuple.transport.is_stream() {
            return Err(400);
        }
        if allocation.user != sealed.user {
            return Err(441);
        }
        if existing.is_some_and(|other| other != at) {
            return Err(437);
        }
        // All or none.
        self.may_refresh(at, family)?;
        let allocation = &mut self.allocations[at];
        let serial = allocation.serial;
        if !repeated {
            allocation.moved_by = Some(sealed.transaction);
            allocation.arriving = Some(*client);
            if allocation.away || allocation.tcp {
                allocation.arrive();
            }
        }
        let mut answer = self.refresh(at, lifetime, family)?;
        if let Some(allocation) = self.allocations.iter().find(|a| a.serial == serial) {
            match repeated {
                true => answer.ticket = allocation.ticket.clone(),
                false => answer.learns = Some(serial),
            }
        }
        Ok(answer)
    }

    /// Whether a peer is permitted, and whether only because a live relayed address is there.
    fn reach(&self, peer: SocketAddr, tcp: bool) -> Result<bool, u16> {
        if Naive::is_listener(peer) {
            return Err(403);
        }
        match (self.permits(peer.ip()), self.live(peer, tcp)) {
            (true, _) => Ok(false),
            (false, Some(_)) => Ok(true),
            (false, None) => Err(403),
        }
    }

    fn create_permission(&mut self, at: usize, peers: &[SocketAddr]) -> Result<Answer, u16> {
        let mut wanted = Vec::new();
        for &peer in peers {
            self.allocations[at].relayed(peer).ok_or(443_u16)?;
            wanted.push((peer.ip(), self.reach(peer, self.allocations[at].tcp)?));
        }
        if wanted.is_empty() {
            return Err(400);
        }
        self.has_room(at, peers)?;
        for (address, relayed_only) in wanted {
            self.permit(at, address, relayed_only);
        }
        Ok(Answer::default())
    }

    fn has_room(&self, at: usize, peers: &[SocketAddr]) -> Result<(), u16> {
        let permissions = &self.allocations[at].permissions;
        let mut all: Vec<IpAddr> = permissions
            .iter()
            .filter(|(_, ends, _)| self.now < *ends)
            .map(|p| p.0)
            .collect();
        all.extend(peers.iter().map(|peer| peer.ip()));
        all.sort();
        all.dedup();
        if all.len() > limits().permissions {
            Err(508)
        } else {
            Ok(())
        }
    }

    fn permit(&mut self, at: usize, address: IpAddr, relayed_only: bool) {
        let permissions = &mut self.allocations[at].permissions;
        permissions.retain(|(other, ..)| *other != address);
        permissions.push((address, self.now + 300 * SECOND, relayed_only));
    }

    fn channel_bind(&mut self, at: usize, number: u16, peer: SocketAddr) -> Result<Answer, u16> {
        if !(0x4000..=0x4fff).contains(&number) {
            return Err(400);
        }
        let now = self.now;
        let allocation = &mut self.allocations[at];
        allocation
            .channels
            .retain(|(.., ends)| now < *ends + 300 * SECOND);
        let conflict = allocation
            .channels
            .iter()
            .any(|(n, p, _)| (*n == number) != (*p == peer));
        if allocation.tcp || conflict {
            return Err(400);
        }
        allocation.relayed(peer).ok_or(443_u16)?;
        let relayed_only = self.reach(peer, false)?;
        let channels = &mut self.allocations[at].channels;
        let known = channels.iter_mut().find(|(n, ..)| *n == number);
        if known.is_none() && channels.len() >= limits().channels {
            return Err(508);
        }
        self.has_room(at, &[peer])?;
        let channels = &mut self.allocations[at].channels;
        channels.retain(|(n, ..)| *n != number);
        channels.push((number, peer, now + 600 * SECOND));
        self.permit(at, peer.ip(), relayed_only);
        Ok(Answer::default())
    }

    // ---- TCP allocations ----

    fn connect(
        &mut self,
        at: usize,
        peer: SocketAddr,
        sealed: &Sealed,
        client: &Client,
        seen: &Seen,
    ) -> Judged<Verdict> {
        let allocation = &self.allocations[at];
        let known = allocation
            .connections
            .iter()
            .find(|(_, other, _)| *other == peer);
        let code = match known {
            _ if !allocation.tcp => Some(400),
            Some((_, _, Stage::Connecting(transaction, ..)))
                if *transaction == sealed.transaction =>
            {
                same!(seen.connects.len(), 0, "connects");
                return Ok(Verdict::Silent);
            }
            Some(_) => Some(446),
            None if allocation.relayed(peer).is_none() => Some(443),
            None if self.reach(peer, true).is_err() => Some(403),
            None if allocation.connections.len() >= limits().connections => Some(508),
            None => None,
        };
        if let Some(code) = code {
            same!(seen.connects.len(), 0, "connects");
            return Ok(Verdict::Answered(Answer::error(code)));
        }
        let wanted: Vec<_> = allocation
            .relayed(peer)
            .map(|relayed| (relayed.local, peer))
            .into_iter()
            .collect();
        let got: Vec<_> = seen
            .connects
            .iter()
            .map(|(_, local, peer)| (*local, *peer))
            .collect();
        same!(got, wanted, "connects");
        let stage = Stage::Connecting(sealed.transaction, sealed.user, *client);
        self.allocations[at]
            .connections
            .push((seen.connects[0].0, peer, stage));
        Ok(Verdict::Silent)
    }

    fn connected(
        &mut self,
        connection: ConnectionId,
        succeeded: bool,
        world: &World,
        seen: &Seen,
    ) -> Judged {
        let now = self.now;
        for allocation in &mut self.allocations {
            let Some(at) = allocation
                .connections
                .iter()
                .position(|(id, ..)| *id == connection)
            else {
                continue;
            };
            let Stage::Connecting(transaction, user, client) = allocation.connections[at].2 else {
                continue;
            };
            let mut wanted = Answer {
                connection: Some(connection.0),
                ..Answer::default()
            };
            if succeeded {
                allocation.connections[at].2 = Stage::Pending(now + 30 * SECOND);
            } else {
                allocation.connections.remove(at);
                wanted = Answer::error(447);
            }
            same!(seen.sent.len(), 1, "answers to a Connect");
            let answer = Answer::read(
                &seen.sent[0],
                client,
                world,
                Some(&connect_of(transaction, user)),
            )?;
            same!(answer, wanted, "answer to a Connect");
            return Ok(());
        }
        same!(seen.sent.len(), 0, "messages without a pending Connect");
        Ok(())
    }

    fn accepted(&mut self, socket: RelayedId, peer: SocketAddr, seen: &Seen) -> Judged {
        let peer = self.known_as(peer);
        let at = self.of_half(socket).map(|(at, _)| at).filter(|at| {
            let allocation = &self.allocations[*at];
            let room = allocation.connections.len() < limits().connections;
            room && !allocation.away && self.admits(allocation, peer)
        });
        same!(
            seen.accepted.is_some(),
            at.is_some(),
            "a peer's connection is kept"
        );
        same!(seen.sent.len(), usize::from(at.is_some()), "indications");
        if let (Some(at), Some(id)) = (at, seen.accepted) {
            same!(
                seen.sent[0].0,
                self.allocations[at].client,
                "the client that gets the indication"
            );
            same!(
                Answer::read_indication(&seen.sent[0].1)?,
                (0x00c, Some(peer)),
                "a connection's peer"
            );
            self.allocations[at].connections.push((
                id,
                peer,
                Stage::Pending(self.now + 30 * SECOND),
            ));
        }
        Ok(())
    }

    fn connection_bind(
        &mut self,
        client: &Client,
        connection: ConnectionId,
        user: usize,
        existing: Option<usize>,
    ) -> Result<Answer, u16> {
        if !client.five_tuple.transport.is_stream() || existing.is_some() {
            return Err(400);
        }
        let waiting = |stage: &Stage| matches!(stage, Stage::Pending(_));
        for allocation in &mut self.allocations {
            let mut all = allocation.connections.iter_mut();
            if let Some((.., stage)) =
                all.find(|(id, _, stage)| *id == connection && waiting(stage))
            {
                if allocation.user != user {
                    return Err(441);
                }
                *stage = Stage::Bound;
                return Ok(Answer::default());
            }
        }
        Err(400)
    }
}

impl Allocation {
    fn relayed(&self, peer: SocketAddr) -> Option<&RelayedAddress> {
        self.relayed_addresses
            .iter()
            .find(|relayed| relayed.local.is_ipv4() == peer.is_ipv4())
    }

    fn permission(&self, address: IpAddr, now: u64) -> Option<(IpAddr, u64, bool)> {
        self.permissions
            .iter()
            .find(|(permitted, ends, _)| *permitted == address && now < *ends)
            .copied()
    }

    /// Removes a relayed address with its permissions and channels.
    fn lose(&mut self, v4: bool) {
        self.relayed_addresses
            .retain(|relayed| relayed.local.is_ipv4() != v4);
        self.permissions
            .retain(|(address, ..)| address.is_ipv4() != v4);
        self.channels.retain(|(_, peer, _)| peer.is_ipv4() != v4);
    }

    fn arrive(&mut self) {
        if let Some(arriving) = self.arriving.take() {
            self.client = arriving;
            self.away = false;
        }
    }
}

/// The parts of a Connect request that its response depends on.
fn connect_of(transaction: [u8; 12], user: usize) -> Sealed {
    let peer = "0.0.0.0:0".parse().expect("an address");
    Sealed {
        octets: vec![],
        transaction,
        user,
        ask: Ask::Connect { peer },
        nonce_of: 0,
    }
}

/// The granted lifetime in seconds: from the default to the maximum.
fn granted(lifetime: Option<u32>) -> u64 {
    u64::from(lifetime.unwrap_or(600)).clamp(600, 3600)
}

fn claim(claimed: &mut Vec<SocketAddr>, local: SocketAddr, even: Option<bool>) {
    claimed.push(local);
    if even == Some(true) {
        claimed.push(SocketAddr::new(local.ip(), local.port() + 1));
    }
}

fn release(claimed: &mut Vec<SocketAddr>, local: SocketAddr, even: Option<bool>) {
    let above = local.port() + 1;
    claimed.retain(|other| {
        *other != local
            && !(even == Some(true) && other.port() == above && other.ip() == local.ip())
    });
}

/// The number of binds of an Allocate request that may fail because the port is in use.
const MOST_TRIES: usize = 32;
/// Nanoseconds.
const MILLISECOND: u64 = 1_000_000;
