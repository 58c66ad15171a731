//! Channel bindings. RFC 8656 §12.

use crate::turn::ids::time::Instant;
use crate::turn::policy::{CHANNEL_COOLDOWN, CHANNEL_LIFETIME};
use std::net::SocketAddr;

/// A channel number and the peer that it is bound to. The channel is bound until `expires`, and
/// reserved for five more minutes: number and peer can then only be bound to each other, so that
/// packets in flight do not reach a wrong peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The channel number: 0x4000 to 0x4FFF.
    pub number: u16,
    /// The peer's transport address.
    pub peer: SocketAddr,
    /// When the binding expires unless refreshed.
    pub expires: Instant,
}

/// The channels of one allocation, including expired ones that are still reserved.
#[derive(Debug, Default)]
pub struct Channels(Vec<Channel>);

impl Channels {
    /// Returns true if neither number nor peer belongs to another channel.
    pub fn can_bind(&self, number: u16, peer: SocketAddr) -> bool {
        self.0
            .iter()
            .all(|channel| (channel.number == number) == (channel.peer == peer))
    }

    /// Returns true if there is a channel with this number, bound or reserved.
    pub fn contains(&self, number: u16) -> bool {
        self.0.iter().any(|channel| channel.number == number)
    }

    /// Binds a channel for ten minutes, or refreshes it.
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

    /// Removes and returns the channels whose reservation is over.
    pub fn remove_expired(&mut self, now: Instant) -> Vec<Channel> {
        self.remove_if(|channel| channel.expires + CHANNEL_COOLDOWN <= now)
    }

    /// Removes and returns the channels for which `remove` returns true.
    pub fn remove_if(&mut self, mut remove: impl FnMut(&Channel) -> bool) -> Vec<Channel> {
        let (removed, kept) = self.0.drain(..).partition(|channel| remove(channel));
        self.0 = kept;
        removed
    }

    /// All channels.
    pub fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.0.iter()
    }

    /// The number of channels, bound or reserved.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}
