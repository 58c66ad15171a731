//! Channel bindings: a number and a peer that stand for each other. RFC 8656 §12.

use crate::turn::ids::time::Instant;
use crate::turn::policy::{CHANNEL_COOLING, CHANNEL_LIFETIME};
use std::net::SocketAddr;

/// One binding: bound until `expires`, then cooling off for five minutes, in which number and peer may be bound to each
/// other again but to nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// 0x4000 to 0x4FFF.
    pub number: u16,
    /// The peer's transport address.
    pub peer: SocketAddr,
    /// When it ends unless refreshed.
    pub expires: Instant,
}

/// The channels of one allocation, bound or cooling off.
#[derive(Debug, Default)]
pub struct Channels(Vec<Channel>);

impl Channels {
    /// Whether the number and the peer may be bound to each other: neither may be taken by, or cooling off from, another.
    pub fn may_bind(&self, number: u16, peer: SocketAddr) -> bool {
        self.0
            .iter()
            .all(|channel| (channel.number == number) == (channel.peer == peer))
    }

    /// Whether the number is here, bound or cooling off.
    pub fn has(&self, number: u16) -> bool {
        self.0.iter().any(|channel| channel.number == number)
    }

    /// Binds, or refreshes, for ten minutes.
    pub fn bind(&mut self, now: Instant, number: u16, peer: SocketAddr) {
        let expires = now + CHANNEL_LIFETIME;
        match self.0.iter_mut().find(|channel| channel.number == number) {
            Some(channel) => channel.expires = expires,
            None => self.0.push(Channel {
                number,
                peer,
                expires,
            }),
        }
    }

    /// Forgets what has cooled off, and returns it.
    pub fn purge(&mut self, now: Instant) -> Vec<Channel> {
        self.extract(|channel| channel.expires + CHANNEL_COOLING <= now)
    }

    /// Removes the channels that `remove` names, and returns them.
    pub fn extract(&mut self, mut remove: impl FnMut(&Channel) -> bool) -> Vec<Channel> {
        let (out, kept) = self.0.drain(..).partition(|channel| remove(channel));
        self.0 = kept;
        out
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.0.iter()
    }

    /// How many there are, bound or cooling off.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}
