//! A lower bound for the cost of a packet: the least that a relay in user space does with the same
//! sockets. `turn::Server` answers requests, but ChannelData of a bound channel is forwarded by one
//! lookup in a small table, without permissions, expiry, counters or limits. This is the
//! cost of the kernel; everything beyond it is the cost of the server. `compare --floor` includes
//! the floor in the table.

use foldhash::HashMap;
use hairpin::net::{Batch, BufferRange, Buffers, SendScratch, Transmit, UdpOptions, UdpSocket};
use hairpin::turn::policy::realm::Realm;
use hairpin::turn::{
    Client, Effect, FiveTuple, Instant, Link, Policy, Ports, RelayAddress, RelayedId, Server,
    Setup, Shared, Transport,
};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// The argument that makes this executable this server.
pub const FLAG: &str = "--serve-floor";

/// Serves on a port of 127.0.0.1, with these relay addresses, until killed.
pub fn serve(port: u16, relays: &[IpAddr]) -> ExitCode {
    let mut floor = Floor::new(port, relays);
    let mut events = Events::with_capacity(1024);
    loop {
        floor.poll.poll(&mut events, None).expect("events");
        let mut waiting: Vec<usize> = events.iter().map(|event| event.token().0).collect();
        while !waiting.is_empty() {
            waiting.retain(|token| !floor.forward_batch(*token));
        }
    }
}

struct Floor {
    poll: Poll,
    server: Server,
    listener: UdpSocket,
    relays: Vec<Option<Relay>>,
    /// By client: the index of its relay, and the peer of its channel.
    channels: HashMap<SocketAddr, (usize, SocketAddr)>,
    /// By relayed address: the index of the relay.
    relayed: HashMap<SocketAddr, usize>,
    batch: Batch,
    messages: SendScratch,
    written: Vec<u8>,
    outgoing: Vec<(usize, Transmit)>,
}

struct Relay {
    socket: UdpSocket,
    client: SocketAddr,
    header: [u8; 2],
}

impl Floor {
    fn new(port: u16, relays: &[IpAddr]) -> Floor {
        let poll = Poll::new().expect("a poll");
        let here: IpAddr = Ipv4Addr::LOCALHOST.into();
        let options = UdpOptions {
            receive_buffer_size: Some(4 << 20),
            ..UdpOptions::default()
        };
        let listener = UdpSocket::bind(SocketAddr::new(here, port), &options).expect("the port");
        poll.registry()
            .register(
                &mut SourceFd(&listener.as_raw_fd()),
                Token(LISTENER),
                Interest::READABLE,
            )
            .expect("registered");
        let mut realm = Realm::new("bench");
        realm.credentials.add_user("bench", "user", "pass");
        realm.peers.allow = vec!["127.0.0.0/8".parse().expect("a network")];
        let relay_addresses = relays.iter().map(|relay| RelayAddress {
            local: *relay,
            external: *relay,
        });
        let mut policy = Policy::new(realm, relay_addresses.collect());
        policy.limits.allocations_per_user = u32::MAX;
        policy.limits.new_peers = 0;
        let setup = Setup {
            policy: Arc::new(policy),
            shared: Arc::new(Shared::new(
                Ports::new(relays.iter().copied(), 10_000..=32_000),
                [7; 32],
                0,
            )),
            shard: 0,
            seed: [9; 32],
            unix_at_epoch: Duration::from_secs(1_800_000_000),
        };
        Floor {
            poll,
            server: Server::new(setup),
            listener,
            relays: Vec::new(),
            channels: HashMap::default(),
            relayed: HashMap::default(),
            batch: Batch::new(64),
            messages: SendScratch::default(),
            written: Vec::new(),
            outgoing: Vec::new(),
        }
    }

    /// Receives one batch and forwards it; returns true if the socket is drained.
    fn forward_batch(&mut self, token: usize) -> bool {
        self.batch.clear();
        self.outgoing.clear();
        self.written.clear();
        if token == LISTENER {
            let drained = self
                .listener
                .receive(&mut self.batch)
                .expect("packets")
                .drained;
            self.forward_from_clients();
            self.send();
            return drained;
        }
        let Some(relay) = self.relays[token].as_mut() else {
            return true;
        };
        let drained = relay
            .socket
            .receive(&mut self.batch)
            .is_ok_and(|received| received.drained);
        for datagram in self.batch.datagrams() {
            let length = (datagram.length as u16).to_be_bytes();
            let at = self.written.len();
            self.written.extend_from_slice(&[
                relay.header[0],
                relay.header[1],
                length[0],
                length[1],
            ]);
            let payload = BufferRange::received(datagram.start, datagram.length);
            let outgoing = Transmit {
                header: BufferRange::written(at, 4),
                ..Transmit::new(relay.client, payload)
            };
            self.outgoing.push((LISTENER, outgoing));
        }
        self.send();
        drained
    }

    fn forward_from_clients(&mut self) {
        for at in 0..self.batch.datagrams().len() {
            let datagram = self.batch.datagrams()[at];
            let first = self.batch.octets()[datagram.start];
            if first < 0x40 {
                let request = self.batch.payload(&datagram).to_vec();
                self.request(datagram.source, &request);
                continue;
            }
            let Some((relay, peer)) = self.channels.get(&datagram.source).copied() else {
                continue;
            };
            let whole = BufferRange::received(datagram.start, datagram.length);
            match self
                .relayed
                .get(&peer)
                .and_then(|other| self.relays[*other].as_ref())
            {
                // Every client binds the same channel number, so the header stays as it is.
                Some(other) => self
                    .outgoing
                    .push((LISTENER, Transmit::new(other.client, whole))),
                None => {
                    let payload = BufferRange::received(datagram.start + 4, datagram.length - 4);
                    self.outgoing.push((relay, Transmit::new(peer, payload)));
                }
            }
        }
    }

    /// Hands a request to the protocol and performs its effects.
    fn request(&mut self, source: SocketAddr, octets: &[u8]) {
        let five_tuple = FiveTuple {
            client: source,
            server: self.listener.local_address(),
            transport: Transport::Udp,
        };
        let now = Instant(1_000_000_000);
        let _ = self
            .server
            .from_client(now, &Client::new(five_tuple, Link(0)), octets);
        let mut effects = Vec::new();
        self.server.take_effects(&mut effects);
        while !effects.is_empty() {
            for effect in std::mem::take(&mut effects) {
                self.perform(effect, source);
            }
            self.server.take_effects(&mut effects);
        }
    }

    fn perform(&mut self, effect: Effect, source: SocketAddr) {
        match effect {
            Effect::Send { to, message, .. } => {
                let at = self.written.len();
                self.written
                    .extend_from_slice(self.server.message(&message));
                let piece = BufferRange::written(at, self.written.len() - at);
                self.outgoing
                    .push((LISTENER, Transmit::new(to.five_tuple.client, piece)));
            }
            Effect::Bind {
                relayed: RelayedId(id),
                local,
                ..
            } => {
                let options = UdpOptions {
                    receive_buffer_size: Some(4 << 20),
                    ..UdpOptions::default()
                };
                let socket = UdpSocket::bind(local, &options).expect("a relay socket");
                let token = id as usize;
                self.poll
                    .registry()
                    .register(
                        &mut SourceFd(&socket.as_raw_fd()),
                        Token(token),
                        Interest::READABLE,
                    )
                    .expect("registered");
                self.relays
                    .resize_with(self.relays.len().max(token + 1), || None);
                self.relays[token] = Some(Relay {
                    socket,
                    client: source,
                    header: [0x40, 0],
                });
                self.relayed.insert(local, token);
                self.server
                    .bound(Instant(1_000_000_000), RelayedId(id), Ok(()));
            }
            Effect::Route { path, .. } => {
                let relay = self.relayed[&path.local];
                self.channels.insert(path.client.client, (relay, path.peer));
            }
            Effect::Unbind {
                relayed: RelayedId(id),
            } => {
                if let Some(relay) = self.relays[id as usize].take() {
                    self.relayed.remove(&relay.socket.local_address());
                    self.channels.remove(&relay.client);
                }
            }
            _ => {}
        }
    }

    /// Sends everything, in one call for each socket.
    fn send(&mut self) {
        self.outgoing
            .sort_by_key(|(socket, outgoing)| (*socket, outgoing.to.port()));
        let octets = Buffers {
            received: self.batch.octets(),
            written: &self.written,
        };
        for group in self.outgoing.chunk_by(|a, b| a.0 == b.0) {
            let socket = match group[0].0 {
                LISTENER => &mut self.listener,
                relay => match self.relays[relay].as_mut() {
                    Some(relay) => &mut relay.socket,
                    None => continue,
                },
            };
            socket.send(
                &mut self.messages,
                group.iter().map(|(_, outgoing)| outgoing),
                octets,
            );
        }
    }
}

const LISTENER: usize = usize::MAX;
