//! A `turn::Server` in virtual time with clients, for the benchmarks of the protocol. It has no
//! socket and no clock.

pub mod scenario;

use hairpin::turn::client_state;
use hairpin::turn::client_state::{Answer, Event, Login, Request};
use hairpin::turn::policy::realm::Realm;
use hairpin::turn::{
    Client, Effect, FiveTuple, Instant, Link, Policy, Ports, RelayAddress, RelayedId, Server,
    Setup, Shared, Transport,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// A server whose relay sockets are always bound.
pub struct World {
    pub server: Server,
    pub now: Instant,
    effects: Vec<Effect>,
    /// The socket of the latest allocation.
    bound: RelayedId,
    answer: Vec<u8>,
}

/// One client with an allocation.
pub struct Flow {
    pub at: Client,
    pub client: client_state::ClientState,
    pub relayed: SocketAddr,
    pub socket: RelayedId,
}

impl World {
    /// A server with relay addresses for this many allocations.
    pub fn new(allocations: usize) -> World {
        let mut realm = Realm::new("bench");
        realm.credentials.add_user("bench", "user", "pass");
        let addresses: Vec<IpAddr> = (0..=allocations / 50_000)
            .map(|at| Ipv4Addr::new(192, 0, 2, at as u8 + 1).into())
            .collect();
        let relays = addresses
            .iter()
            .map(|&ip| RelayAddress {
                local: ip,
                external: ip,
            })
            .collect();
        let shared = Shared::new(Ports::new(addresses, 1024..=65_535), [7; 32], 0);
        let mut policy = Policy::new(realm, relays);
        policy.limits.allocations_per_user = u32::MAX;
        policy.limits.new_peers = 0;
        let setup = Setup {
            policy: Arc::new(policy),
            shared: Arc::new(shared),
            shard: 0,
            seed: [9; 32],
            unix_at_epoch: Duration::from_secs(1_800_000_000),
        };
        World {
            server: Server::new(setup),
            now: Instant(1_000_000_000),
            effects: Vec::new(),
            bound: RelayedId(0),
            answer: Vec::new(),
        }
    }

    /// Performs effects until there are none; a socket is always bound.
    pub fn settle(&mut self) {
        self.server.take_effects(&mut self.effects);
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Send { message, .. } => {
                    self.answer.clear();
                    self.answer.extend_from_slice(self.server.message(&message));
                }
                Effect::Bind { relayed, .. } => {
                    self.bound = relayed;
                    self.server.bound(self.now, relayed, Ok(()));
                }
                _ => {}
            }
        }
        self.effects = effects;
        self.server.take_effects(&mut self.effects);
        if !self.effects.is_empty() {
            self.settle();
        }
    }

    /// Sends a request, again after a challenge; it must be granted.
    pub fn ask(
        &mut self,
        at: &Client,
        client: &mut client_state::ClientState,
        request: Request,
    ) -> Answer {
        let mut out = Vec::new();
        client.request(request, &mut out);
        loop {
            let _ = self
                .server
                .from_client(self.now, at, &std::mem::take(&mut out));
            self.settle();
            match client.receive(&self.answer, &mut out) {
                Event::Granted { answer, .. } => return answer,
                Event::Retried { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Allocates for client number `index`.
    pub fn allocate(&mut self, index: usize) -> Flow {
        let at = client_at(index);
        let mut client = user();
        let answer = self.ask(
            &at,
            &mut client,
            Request::Allocate {
                family: None,
                lifetime: Some(3600),
            },
        );
        let relayed = answer.relayed.expect("a relayed address");
        Flow {
            at,
            client,
            relayed,
            socket: self.bound,
        }
    }

    /// Binds channel `number` to a peer.
    pub fn bind(&mut self, flow: &mut Flow, number: u16, peer: SocketAddr) {
        self.ask(
            &flow.at,
            &mut flow.client,
            Request::ChannelBind { number, peer },
        );
    }
}

/// The five-tuple of client number `index`.
pub fn client_at(index: usize) -> Client {
    let [.., a, b, c] = ((index / 60_000) as u32).to_be_bytes();
    let client = SocketAddr::new(
        [198, a.wrapping_add(18), b, c].into(),
        1024 + (index % 60_000) as u16,
    );
    let server = SocketAddr::new([192, 0, 2, 1].into(), 3478);
    Client::new(
        FiveTuple {
            client,
            server,
            transport: Transport::Udp,
        },
        Link(0),
    )
}

/// A client with valid credentials.
pub fn user() -> client_state::ClientState {
    client_state::ClientState::new(
        Some(Login {
            username: "user".into(),
            password: "pass".into(),
        }),
        [3; 32],
    )
}

/// The address of peer number `index`.
pub fn peer(index: usize) -> SocketAddr {
    SocketAddr::new([8, 8, (index >> 8) as u8, index as u8].into(), 9000)
}
