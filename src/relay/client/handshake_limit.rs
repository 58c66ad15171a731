//! How many handshakes are under way: each costs memory and work before anybody has shown who they are.

use crate::net::client_prefix::client_prefix;
use foldhash::quality::RandomState;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// Bounds of TLS and DTLS handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshakes {
    /// One that has taken longer is given up.
    pub patience: Duration,
    /// Octets that a client may send in one over TLS.
    pub octets: usize,
    /// Of one IPv4 address or IPv6 /64, at the same time, on one shard.
    pub per_address: usize,
    /// Of all together, at the same time, on one shard.
    pub maximum: usize,
}

impl Default for Handshakes {
    fn default() -> Self {
        Handshakes {
            patience: Duration::from_secs(10),
            octets: 64 << 10,
            per_address: 128,
            maximum: 4_096,
        }
    }
}

/// Those under way on a shard.
#[derive(Debug)]
pub(crate) struct UnderWay {
    bounds: Handshakes,
    all: usize,
    /// Key: an address that a client has, or a prefix that it chooses from: keyed hasher. Bounded by `bounds.maximum`.
    of: HashMap<IpAddr, usize, RandomState>,
}

impl UnderWay {
    /// None yet.
    pub(crate) fn new(bounds: Handshakes) -> UnderWay {
        UnderWay {
            bounds,
            all: 0,
            of: HashMap::default(),
        }
    }

    /// The bounds.
    pub(crate) fn bounds(&self) -> &Handshakes {
        &self.bounds
    }

    /// Counts one more, unless that is one too many.
    pub(crate) fn begin(&mut self, address: IpAddr) -> bool {
        if self.all >= self.bounds.maximum {
            return false;
        }
        let of = self.of.entry(client_prefix(address)).or_default();
        if *of >= self.bounds.per_address {
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
        let mut under_way = UnderWay::new(Handshakes {
            per_address: 2,
            maximum: 3,
            ..Handshakes::default()
        });
        let [a, b, c] = ["192.0.2.1", "2001:db8::1", "192.0.2.2"].map(|ip| ip.parse().unwrap());
        assert!(under_way.begin(a) && under_way.begin(a) && !under_way.begin(a));
        let neighbour = "2001:db8::ffff".parse().unwrap();
        assert!(under_way.begin(b) && !under_way.begin(c), "three in all");
        under_way.end(neighbour);
        assert!(under_way.begin(c));
        for address in [a, a, c, c] {
            under_way.end(address);
        }
        assert!(under_way.of.is_empty() && under_way.all == 0);
    }
}
