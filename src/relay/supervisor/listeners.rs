//! The listeners of all shards: bound once for each shard, added and retired while the relay runs.
//!
//! A retired listener accepts no new clients. Its TCP sockets are closed at once, because
//! connections outlive their listener. Its UDP sockets stay until the last allocation of a client
//! that uses them has ended: a NAT lets a response through only if it comes from the address and
//! port that the client wrote to.

use crate::net::{UdpOptions, UdpSocket, tcp};
use crate::relay::client::listeners::ListenerSockets;
use crate::relay::plan::{Listener, Plan};
use crate::relay::shard::command::Command;
use std::io;
use std::net::SocketAddr;

/// The listeners of a relay.
#[derive(Debug)]
pub(crate) struct ListenerSet {
    /// By number. Numbers are the same on all shards and never reused.
    entries: Vec<ListenerEntry>,
    /// The numbers of the open listeners, in the order of the plan.
    open: Vec<u32>,
    options: UdpOptions,
    shards: usize,
}

#[derive(Debug)]
struct ListenerEntry {
    planned: Listener,
    bound: SocketAddr,
    state: ListenerState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListenerState {
    Open,
    /// Accepts no new clients.
    Retired,
    Closed,
}

/// How a reload changed the listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerChanges {
    /// Addresses that accept clients now and did not before.
    pub added: Vec<SocketAddr>,
    /// Addresses that accept no clients any more.
    pub removed: Vec<SocketAddr>,
}

/// A listener that is wanted.
struct DesiredListener {
    planned: Listener,
    /// Its number, if it is open or retired.
    number: Option<u32>,
    /// The sockets that it lacks.
    new: Option<BoundListener>,
}

/// Sockets of a listener, one pair for each shard.
struct BoundListener {
    address: SocketAddr,
    sockets: Vec<ListenerSockets>,
}

impl ListenerSet {
    /// Binds the listeners of a plan. Returns the sockets by shard, in the order of the numbers of
    /// their listeners.
    ///
    /// # Errors
    /// A listener cannot be bound; the error names its address.
    pub(crate) fn bind(
        plan: &Plan,
        shards: usize,
    ) -> io::Result<(ListenerSet, Vec<Vec<ListenerSockets>>)> {
        let mut set = ListenerSet {
            entries: Vec::new(),
            open: Vec::new(),
            options: plan.listener_options(true),
            shards,
        };
        let mut by_shard: Vec<Vec<ListenerSockets>> = Vec::new();
        by_shard.resize_with(shards, Vec::new);
        for planned in &plan.listeners {
            let bound = set.bind_listener(planned, !plan.takes_over)?;
            set.insert(*planned, bound.address);
            for (of_shard, sockets) in by_shard.iter_mut().zip(bound.sockets) {
                of_shard.push(sockets);
            }
        }
        Ok((set, by_shard))
    }

    /// The addresses that accept clients, in the order of the plan.
    pub(crate) fn open_addresses(&self) -> Vec<SocketAddr> {
        self.open
            .iter()
            .filter_map(|number| self.entry(*number))
            .map(|entry| entry.bound)
            .collect()
    }

    /// The addresses of open and retired listeners.
    pub(crate) fn bound_addresses(&self) -> Vec<SocketAddr> {
        self.entries
            .iter()
            .filter(|entry| entry.state != ListenerState::Closed)
            .map(|entry| entry.bound)
            .collect()
    }

    /// The options of UDP sockets.
    pub(crate) fn options(&self) -> UdpOptions {
        self.options
    }

    /// The numbers of the retired listeners.
    pub(crate) fn retired(&self) -> Vec<u32> {
        self.numbered()
            .filter(|(_, entry)| entry.state == ListenerState::Retired)
            .map(|(number, _)| number)
            .collect()
    }

    /// Opens the listeners that are wanted and retires all others. Returns the commands for each
    /// shard.
    ///
    /// # Errors
    /// A listener cannot be bound; the error names its address, and nothing has changed.
    pub(crate) fn change(
        &mut self,
        planned: &[Listener],
    ) -> io::Result<(ListenerChanges, Vec<Vec<Command>>)> {
        let mut all: Vec<DesiredListener> = Vec::new();
        for planned in planned {
            let is_taken = |number: u32| all.iter().any(|wanted| wanted.number == Some(number));
            let find = |state| {
                self.numbered()
                    .filter(|(_, entry)| entry.planned == *planned && entry.state == state)
                    .map(|(number, _)| number)
                    .find(|number| !is_taken(*number))
            };
            let (open, retired) = (find(ListenerState::Open), find(ListenerState::Retired));
            let new = match (open, retired.and_then(|number| self.entry(number))) {
                (Some(_), _) => None,
                // Its UDP sockets are still open.
                (None, Some(entry)) => {
                    let tcp_only = Listener {
                        address: entry.bound,
                        udp: false,
                        ..*planned
                    };
                    Some(self.bind_listener(&tcp_only, false)?)
                }
                (None, None) => {
                    let exclusive = !self.has_port(planned.address);
                    Some(self.bind_listener(planned, exclusive)?)
                }
            };
            all.push(DesiredListener {
                planned: *planned,
                number: open.or(retired),
                new,
            });
        }
        Ok(self.apply(all))
    }

    /// Closes a retired listener; returns its address.
    pub(crate) fn close(&mut self, number: u32) -> Option<SocketAddr> {
        let entry = self
            .entries
            .get_mut(number as usize)
            .filter(|entry| entry.state == ListenerState::Retired)?;
        entry.state = ListenerState::Closed;
        Some(entry.bound)
    }

    fn apply(&mut self, all: Vec<DesiredListener>) -> (ListenerChanges, Vec<Vec<Command>>) {
        let open_before = std::mem::take(&mut self.open);
        let mut changes = ListenerChanges::default();
        let mut commands: Vec<Vec<Command>> = Vec::new();
        commands.resize_with(self.shards, Vec::new);
        for wanted in all {
            let Some(bound) = wanted.new else {
                self.open.extend(wanted.number);
                continue;
            };
            let number = match wanted.number {
                Some(number) => {
                    self.open.push(number);
                    number
                }
                None => self.insert(wanted.planned, bound.address),
            };
            if let Some(entry) = self.entries.get_mut(number as usize) {
                entry.state = ListenerState::Open;
            }
            changes.added.push(bound.address);
            for (of_shard, sockets) in commands.iter_mut().zip(bound.sockets) {
                of_shard.push(Command::OpenListener { number, sockets });
            }
        }
        for number in open_before {
            if !self.open.contains(&number)
                && let Some(entry) = self.entries.get_mut(number as usize)
            {
                entry.state = ListenerState::Retired;
                changes.removed.push(entry.bound);
            }
        }
        // Listeners that were retired before get the command again: the change may have opened or
        // retired their successor.
        for number in self.retired() {
            let successor = self.successor(number);
            for of_shard in &mut commands {
                of_shard.push(Command::RetireListener { number, successor });
            }
        }
        (changes, commands)
    }

    /// The open wildcard listener that would receive the datagrams of a retired listener if that
    /// were closed.
    fn successor(&self, number: u32) -> Option<u32> {
        let retired = self.entry(number)?.bound;
        let succeeds = |number: &u32| {
            self.entry(*number).is_some_and(|entry| {
                entry.planned.udp
                    && entry.bound.ip().is_unspecified()
                    && entry.bound.is_ipv4() == retired.is_ipv4()
                    && entry.bound.port() == retired.port()
            })
        };
        self.open.iter().copied().find(succeeds)
    }

    /// Returns true if a listener of this relay has the port, so that no other process can have it.
    fn has_port(&self, address: SocketAddr) -> bool {
        let mut bound = self.bound_addresses().into_iter();
        address.port() != 0 && bound.any(|bound| bound.port() == address.port())
    }

    fn insert(&mut self, planned: Listener, bound: SocketAddr) -> u32 {
        let number = self.entries.len() as u32;
        self.entries.push(ListenerEntry {
            planned,
            bound,
            state: ListenerState::Open,
        });
        self.open.push(number);
        number
    }

    fn entry(&self, number: u32) -> Option<&ListenerEntry> {
        self.entries.get(number as usize)
    }

    fn numbered(&self) -> impl Iterator<Item = (u32, &ListenerEntry)> {
        (0..).zip(&self.entries)
    }

    /// Binds a listener once for each shard. With `exclusive`, no other process may have the port.
    /// If the system chooses the port, UDP and TCP get the same one, which may take several
    /// attempts.
    fn bind_listener(&self, listener: &Listener, exclusive: bool) -> io::Result<BoundListener> {
        let attempts = if listener.address.port() == 0 {
            MAX_ATTEMPTS
        } else {
            1
        };
        let mut failure = io::Error::from(io::ErrorKind::InvalidInput);
        for _ in 0..attempts {
            match self.try_bind(listener, exclusive) {
                Ok(bound) => return Ok(bound),
                Err(error) => failure = error,
            }
        }
        let message = format!("{}: {failure}", listener.address);
        Err(io::Error::new(failure.kind(), message))
    }

    fn try_bind(&self, listener: &Listener, exclusive: bool) -> io::Result<BoundListener> {
        let mut address = listener.address;
        // A socket with SO_REUSEPORT can be bound beside sockets of another process of the same
        // user without an error, so check first that the port is free.
        if listener.udp && exclusive {
            let options = UdpOptions {
                reuse_port: false,
                ..self.options
            };
            address = UdpSocket::bind(address, &options)?.local_address();
        }
        if listener.tcp && exclusive {
            address = tcp::listen(address, tcp::PortSharing::Exclusive)?.local_addr()?;
        }
        let mut sockets = Vec::new();
        for _ in 0..self.shards {
            let udp = listener
                .udp
                .then(|| UdpSocket::bind(address, &self.options))
                .transpose()?;
            let tcp = listener
                .tcp
                .then(|| tcp::listen(address, tcp::PortSharing::Shared))
                .transpose()?;
            sockets.push((udp, tcp));
        }
        Ok(BoundListener { address, sockets })
    }
}

/// Ports that the system chose for UDP and that may be taken for TCP.
const MAX_ATTEMPTS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::policy::Policy;
    use crate::turn::policy::realm::Realm;

    fn listeners(addresses: &[&str]) -> ListenerSet {
        let addresses = addresses.iter().map(|address| address.parse().unwrap());
        let plan = Plan::new(addresses, Policy::new(Realm::new("r"), Vec::new()));
        ListenerSet::bind(&plan, 2).unwrap().0
    }

    fn change(listeners: &mut ListenerSet, wanted: &[SocketAddr]) -> io::Result<ListenerChanges> {
        let wanted: Vec<Listener> = wanted.iter().copied().map(Listener::new).collect();
        listeners.change(&wanted).map(|(changes, _)| changes)
    }

    #[test]
    fn wanted_listeners_are_bound_and_all_others_retired() {
        let mut listeners = listeners(&["127.0.0.1:0"]);
        let first = listeners.open_addresses()[0];
        let any_port: SocketAddr = "127.0.0.1:0".parse().unwrap();
        assert_eq!(
            change(&mut listeners, &[any_port]).unwrap(),
            ListenerChanges::default()
        );
        let second = UdpSocket::bind(any_port, &UdpOptions::default())
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
            (listeners.open_addresses(), listeners.retired()),
            (vec![second], vec![0])
        );
        let back = change(&mut listeners, &[second, any_port]).unwrap();
        assert_eq!(
            back,
            ListenerChanges {
                added: vec![first],
                removed: vec![]
            },
            "it is opened again at its address"
        );
        assert_eq!(listeners.open_addresses(), [second, first]);
        change(&mut listeners, &[second]).unwrap();
        assert_eq!(listeners.close(0), Some(first));
        assert_eq!(
            (listeners.bound_addresses(), listeners.close(0)),
            (vec![second], None)
        );
    }

    #[test]
    fn a_port_of_another_process_changes_nothing() {
        let mut listeners = listeners(&["127.0.0.1:0"]);
        let (first, foreign) = (
            listeners.open_addresses(),
            UdpSocket::bind("127.0.0.1:0".parse().unwrap(), &UdpOptions::default()),
        );
        let foreign = foreign.unwrap();
        let error = change(&mut listeners, &[foreign.local_address()]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&foreign.local_address().to_string()),
            "{error}"
        );
        assert_eq!(
            (listeners.open_addresses(), listeners.retired()),
            (first, vec![])
        );
    }

    #[test]
    fn a_wildcard_with_the_same_port_succeeds_a_retired_listener() {
        let mut listeners = listeners(&["127.0.0.1:0"]);
        let wildcard = SocketAddr::from(([0, 0, 0, 0], listeners.open_addresses()[0].port()));
        change(&mut listeners, &[wildcard]).unwrap();
        assert_eq!(
            (listeners.retired(), listeners.successor(0)),
            (vec![0], Some(1))
        );
    }
}
