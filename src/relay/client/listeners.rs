//! The listeners of all shards: bound once for each, added and taken away while the relay runs.
//!
//! One that is taken away takes no new clients. Its TCP half closes at once, since connections live without it. Its UDP
//! sockets stay until the last allocation that came by them has ended: a client is answered from where it wrote to or not
//! at all.

use crate::net;
use crate::net::{UdpSocket, tcp};
use crate::relay::plan::{Listener, Plan};
use crate::relay::shard::mailbox::Letter;
use std::io;
use std::net::{SocketAddr, TcpListener};

/// One listener's sockets of one shard.
pub(crate) type Pair = (Option<UdpSocket>, Option<TcpListener>);

/// Where a relay listens.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// By number, which is the same on all shards and never used again.
    entries: Vec<Entry>,
    /// The numbers of those that take clients, in the order of the plan.
    open: Vec<u32>,
    options: net::UdpOptions,
    shards: usize,
}

#[derive(Debug)]
struct Entry {
    planned: Listener,
    bound: SocketAddr,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// It was taken away, and clients that it has keep it.
    Leaving,
    Closed,
}

/// What became of the listeners when others were wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerChanges {
    /// Where clients are taken that were not before.
    pub added: Vec<SocketAddr>,
    /// Where they are not taken any more.
    pub removed: Vec<SocketAddr>,
}

impl Listeners {
    /// Binds those of a plan; the sockets come shard by shard, in the order of the listeners' numbers.
    ///
    /// # Errors
    /// When one cannot be bound: the error names its address.
    pub(crate) fn bind(plan: &Plan, shards: usize) -> io::Result<(Listeners, Vec<Vec<Pair>>)> {
        let options = plan.listener_options(true);
        let mut listeners = Listeners {
            entries: Vec::new(),
            open: Vec::new(),
            options,
            shards,
        };
        let mut sockets: Vec<Vec<Pair>> = Vec::new();
        sockets.resize_with(shards, Vec::new);
        for planned in &plan.listeners {
            let (bound, all) = listeners.bind_listener(planned, !plan.takes_over)?;
            listeners.enter(*planned, bound);
            for (of_shard, pair) in sockets.iter_mut().zip(all) {
                of_shard.push(pair);
            }
        }
        Ok((listeners, sockets))
    }

    /// Where clients are taken, in the order of the plan.
    pub(crate) fn open(&self) -> Vec<SocketAddr> {
        self.open
            .iter()
            .filter_map(|number| self.entry(*number))
            .map(|entry| entry.bound)
            .collect()
    }

    /// Everywhere that has a socket yet.
    pub(crate) fn bound(&self) -> Vec<SocketAddr> {
        self.entries
            .iter()
            .filter(|entry| entry.state != State::Closed)
            .map(|entry| entry.bound)
            .collect()
    }

    /// How their UDP sockets are made.
    pub(crate) fn options(&self) -> net::UdpOptions {
        self.options
    }

    /// The numbers of those that were taken away and may still have clients.
    pub(crate) fn leaving(&self) -> Vec<u32> {
        self.numbered()
            .filter(|(_, entry)| entry.state == State::Leaving)
            .map(|(number, _)| number)
            .collect()
    }

    /// Has the shards listen where it is wanted and nowhere else: what became of it, and a letter or more for each shard,
    /// each in a list of its own.
    ///
    /// # Errors
    /// When one cannot be bound: the error names its address, and nothing has changed.
    pub(crate) fn change(
        &mut self,
        wanted: &[Listener],
    ) -> io::Result<(ListenerChanges, Vec<Vec<Letter>>)> {
        let mut wants: Vec<Want> = Vec::new();
        for planned in wanted {
            let taken = |number: u32| wants.iter().any(|(known, ..)| *known == Some(number));
            let like = |state| {
                let found = self
                    .numbered()
                    .filter(|(_, entry)| entry.planned == *planned && entry.state == state);
                found
                    .map(|(number, _)| number)
                    .find(|number| !taken(*number))
            };
            let (open, leaving) = (like(State::Open), like(State::Leaving));
            let known = open.or(leaving);
            let bound = match (open, leaving.and_then(|number| self.entry(number))) {
                (Some(_), _) => None,
                (None, Some(entry)) => {
                    let udpless = Listener {
                        address: entry.bound,
                        udp: false,
                        ..*planned
                    };
                    Some((entry.bound, self.bind_listener(&udpless, false)?.1))
                }
                (None, None) => Some(self.bind_listener(planned, !self.shares(planned.address))?),
            };
            wants.push((known, *planned, bound));
        }
        Ok(self.commit(wants))
    }

    /// Notes that the last client of a listener that was taken away is gone; tells where it was.
    pub(crate) fn close(&mut self, number: u32) -> Option<SocketAddr> {
        let entry = self
            .entries
            .get_mut(number as usize)
            .filter(|entry| entry.state == State::Leaving)?;
        entry.state = State::Closed;
        Some(entry.bound)
    }

    fn commit(&mut self, wants: Vec<Want>) -> (ListenerChanges, Vec<Vec<Letter>>) {
        let before = std::mem::take(&mut self.open);
        let mut relistened = ListenerChanges::default();
        let mut letters: Vec<Vec<Letter>> = Vec::new();
        letters.resize_with(self.shards, Vec::new);
        for (known, planned, new) in wants {
            let Some((bound, sockets)) = new else {
                self.open.extend(known);
                continue;
            };
            let number = known.unwrap_or_else(|| self.enter(planned, bound));
            if let Some(entry) = self.entries.get_mut(number as usize) {
                entry.state = State::Open;
            }
            if known.is_some() {
                self.open.push(number);
            }
            relistened.added.push(bound);
            for (to_shard, (udp, tcp)) in letters.iter_mut().zip(sockets) {
                to_shard.push(Letter::Listen { number, udp, tcp });
            }
        }
        for number in before {
            if !self.open.contains(&number)
                && let Some(entry) = self.entries.get_mut(number as usize)
            {
                entry.state = State::Leaving;
                relistened.removed.push(entry.bound);
            }
        }
        for number in self.leaving() {
            let heir = self.heir(number);
            letters
                .iter_mut()
                .for_each(|to_shard| to_shard.push(Letter::Retire { number, heir }));
        }
        (relistened, letters)
    }

    /// The open wildcard listener that would get a leaving one's clients if that were closed already.
    fn heir(&self, number: u32) -> Option<u32> {
        let leaving = self.entry(number)?.bound;
        let inherits = |number: &u32| {
            self.entry(*number).is_some_and(|entry| {
                let (heir, udp) = (entry.bound, entry.planned.udp);
                udp && heir.ip().is_unspecified()
                    && heir.is_ipv4() == leaving.is_ipv4()
                    && heir.port() == leaving.port()
            })
        };
        self.open.iter().copied().find(inherits)
    }

    /// Whether sockets of ours have that port already, so that nobody else can have it.
    fn shares(&self, address: SocketAddr) -> bool {
        address.port() != 0
            && self
                .bound()
                .iter()
                .any(|bound| bound.port() == address.port())
    }

    fn enter(&mut self, planned: Listener, bound: SocketAddr) -> u32 {
        let number = self.entries.len() as u32;
        self.entries.push(Entry {
            planned,
            bound,
            state: State::Open,
        });
        self.open.push(number);
        number
    }

    fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.get(number as usize)
    }

    fn numbered(&self) -> impl Iterator<Item = (u32, &Entry)> {
        (0..).zip(&self.entries)
    }

    /// Binds a listener once for each shard; `alone`, when nobody else has the port. Where the system chooses the port, UDP
    /// and TCP get the same one.
    fn bind_listener(
        &self,
        listener: &Listener,
        alone: bool,
    ) -> io::Result<(SocketAddr, Vec<Pair>)> {
        let tries = if listener.address.port() == 0 {
            TRIES
        } else {
            1
        };
        let mut failure = io::Error::from(io::ErrorKind::InvalidInput);
        for _ in 0..tries {
            match self.bind_once(listener, alone) {
                Ok(bound) => return Ok(bound),
                Err(error) => failure = error,
            }
        }
        Err(io::Error::new(
            failure.kind(),
            format!("{}: {failure}", listener.address),
        ))
    }

    fn bind_once(&self, listener: &Listener, alone: bool) -> io::Result<(SocketAddr, Vec<Pair>)> {
        let mut address = listener.address;
        // SocketOptions that share a port would be bound beside those of another server without an error: ask first.
        if listener.udp && alone {
            let options = net::UdpOptions {
                reuse_port: false,
                ..self.options
            };
            address = UdpSocket::bind(address, &options)?.local_address();
        }
        if listener.tcp && alone {
            address = tcp::listen(address, tcp::PortSharing::Exclusive)?.local_addr()?;
        }
        let mut all = Vec::new();
        for _ in 0..self.shards {
            let udp = listener
                .udp
                .then(|| UdpSocket::bind(address, &self.options))
                .transpose()?;
            let tcp = listener
                .tcp
                .then(|| tcp::listen(address, tcp::PortSharing::Shared))
                .transpose()?;
            all.push((udp, tcp));
        }
        Ok((address, all))
    }
}

/// A listener that is wanted: its number where it has one, and what was bound for it where something was missing.
type Want = (Option<u32>, Listener, Option<(SocketAddr, Vec<Pair>)>);

/// Ports that the system chose for UDP and that may be taken for TCP.
const TRIES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::policy::Policy;
    use crate::turn::policy::realm::Realm;

    fn listeners(addresses: &[&str]) -> Listeners {
        let addresses = addresses.iter().map(|address| address.parse().unwrap());
        let plan = Plan::new(addresses, Policy::new(Realm::new("r"), Vec::new()));
        Listeners::bind(&plan, 2).unwrap().0
    }

    fn change(listeners: &mut Listeners, wanted: &[SocketAddr]) -> io::Result<ListenerChanges> {
        let wanted: Vec<Listener> = wanted.iter().copied().map(Listener::new).collect();
        listeners.change(&wanted).map(|(relistened, _)| relistened)
    }

    #[test]
    fn what_is_wanted_is_bound_and_the_rest_leaves() {
        let mut listeners = listeners(&["127.0.0.1:0"]);
        let first = listeners.open()[0];
        let anywhere: SocketAddr = "127.0.0.1:0".parse().unwrap();
        assert_eq!(
            change(&mut listeners, &[anywhere]).unwrap(),
            ListenerChanges::default()
        );
        let second = UdpSocket::bind(anywhere, &net::UdpOptions::default())
            .unwrap()
            .local_address();
        assert_eq!(
            change(&mut listeners, &[second]).unwrap(),
            ListenerChanges {
                added: vec![second],
                removed: vec![first]
            }
        );
        assert_eq!(
            (listeners.open(), listeners.leaving()),
            (vec![second], vec![0])
        );
        let back = change(&mut listeners, &[second, anywhere]).unwrap();
        assert_eq!(
            back,
            ListenerChanges {
                added: vec![first],
                removed: vec![]
            },
            "it comes back where it was"
        );
        assert_eq!(listeners.open(), [second, first]);
        change(&mut listeners, &[second]).unwrap();
        assert_eq!(listeners.close(0), Some(first));
        assert_eq!(
            (listeners.bound(), listeners.close(0)),
            (vec![second], None)
        );
    }

    #[test]
    fn a_port_that_somebody_else_has_changes_nothing() {
        let mut listeners = listeners(&["127.0.0.1:0"]);
        let (first, foreign) = (
            listeners.open(),
            UdpSocket::bind("127.0.0.1:0".parse().unwrap(), &net::UdpOptions::default()),
        );
        let foreign = foreign.unwrap();
        let error = change(&mut listeners, &[foreign.local_address()]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&foreign.local_address().to_string()),
            "{error}"
        );
        assert_eq!((listeners.open(), listeners.leaving()), (first, vec![]));
    }

    #[test]
    fn a_wildcard_inherits_what_its_own_port_is_taken_from() {
        let mut listeners = listeners(&["127.0.0.1:0"]);
        let wildcard = SocketAddr::from(([0, 0, 0, 0], listeners.open()[0].port()));
        change(&mut listeners, &[wildcard]).unwrap();
        assert_eq!((listeners.leaving(), listeners.heir(0)), (vec![0], Some(1)));
    }
}
