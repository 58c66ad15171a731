//! How many handshakes are under way: each costs memory and work before anybody has shown who they are.

use crate::net::client_prefix::client_prefix;
use foldhash::quality::RandomState;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// Bounds of TLS and DTLS handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeLimits {
    /// One that has taken longer is given up.
    pub timeout: Duration,
    /// Octets that a client may send in one over TLS.
    pub max_octets: usize,
    /// Of one IPv4 address or IPv6 /64, at the same time, on one shard.
    pub max_per_address: usize,
    /// Of all together, at the same time, on one shard.
    pub max_handshakes: usize,
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        HandshakeLimits {
            timeout: Duration::from_secs(10),
            max_octets: 64 << 10,
            max_per_address: 128,
            max_handshakes: 4_096,
        }
    }
}

/// Those under way on a shard.
#[derive(Debug)]
pub(crate) struct HandshakeLimit {
    bounds: HandshakeLimits,
    all: usize,
    /// Key: an address that a client has, or a prefix that it chooses from: keyed hasher. Bounded by `bounds.max_handshakes`.
    of: HashMap<IpAddr, usize, RandomState>,
}

impl HandshakeLimit {
    /// None yet.
    pub(crate) fn new(bounds: HandshakeLimits) -> HandshakeLimit {
        HandshakeLimit {
            bounds,
            all: 0,
            of: HashMap::default(),
        }
    }

    /// The bounds.
    pub(crate) fn bounds(&self) -> &HandshakeLimits {
        &self.bounds
    }

    /// Counts one more, unless that is one too many.
    pub(crate) fn begin(&mut self, address: IpAddr) -> bool {
        if self.all >= self.bounds.max_handshakes {
            return false;
        }
        let of = self.of.entry(client_prefix(address)).or_default();
        if *of >= self.bounds.max_per_address {
            return false;
        }
        *of += 1;
        self.all += 1;
        true
    }

    /// One less, done or failed.
    pub(crate) fn end(&mut self, address: IpAddr) {
        let network = client_prefix(address);
        let Some(of) = self.of.get_mut(&network) else {
            return;
        };
        *of = of.saturating_sub(1);
        if *of == 0 {
            self.of.remove(&network);
        }
        self.all = self.all.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_share_and_leaves_nothing_behind() {
        let mut handshakes = HandshakeLimit::new(HandshakeLimits {
            max_per_address: 2,
            max_handshakes: 3,
            ..HandshakeLimits::default()
        });
        let [a, b, c] = ["192.0.2.1", "2001:db8::1", "192.0.2.2"].map(|ip| ip.parse().unwrap());
        assert!(handshakes.begin(a) && handshakes.begin(a) && !handshakes.begin(a));
        let neighbour = "2001:db8::ffff".parse().unwrap();
        assert!(handshakes.begin(b) && !handshakes.begin(c), "three in all");
        handshakes.end(neighbour);
        assert!(handshakes.begin(c));
        for address in [a, a, c, c] {
            handshakes.end(address);
        }
        assert!(handshakes.of.is_empty() && handshakes.all == 0);
    }
}
