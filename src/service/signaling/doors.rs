//! How many connections there are, in all and of each address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::net::client_prefix::client_prefix;
use crate::service::signaling::bounds::Bounds;
use crate::service::signaling::refusal::Refusal;

/// Who has come in and not gone.
#[derive(Default)]
pub struct Doors(Mutex<Inside>);

#[derive(Default)]
struct Inside {
    all: usize,
    /// Keyed by what clients choose: std's hash is keyed at random. Read when one comes and when one goes.
    networks: HashMap<IpAddr, usize>,
}

/// One connection counted; it counts until this is dropped.
pub struct Ticket {
    doors: Arc<Doors>,
    network: Option<IpAddr>,
}

impl Doors {
    /// Counts one more connection, if there may be one more, in all and of `address`. Loopback has no bound of its own:
    /// reverse proxies come from there.
    pub fn enter(
        self: &Arc<Doors>,
        address: Option<IpAddr>,
        bounds: &Bounds,
    ) -> Result<Ticket, Refusal> {
        let network = address
            .filter(|address| !address.to_canonical().is_loopback())
            .map(client_prefix);
        let mut inside = self.inside();
        if inside.all >= bounds.connections {
            return Err(Refusal::TooManyPeers);
        }
        if let Some(network) = network {
            let of = inside.networks.get(&network).copied().unwrap_or(0);
            if bounds.address_connections != 0 && of >= bounds.address_connections {
                return Err(Refusal::Crowd);
            }
            inside.networks.insert(network, of + 1);
        }
        inside.all += 1;
        Ok(Ticket {
            doors: self.clone(),
            network,
        })
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.inside().all
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inside = self.doors.inside();
        inside.all = inside.all.saturating_sub(1);
        let Some(network) = self.network else { return };
        match inside.networks.get_mut(&network) {
            Some(of) if *of > 1 => *of -= 1,
            _ => drop(inside.networks.remove(&network)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_leaves_nothing_behind() {
        let doors = Arc::new(Doors::default());
        let bounds = Bounds {
            connections: 6,
            address_connections: 1,
            ..Bounds::default()
        };
        let come = |address: &str| doors.enter(address.parse().ok(), &bounds);
        assert!(
            ["::1", "::1", "::ffff:127.0.0.1"]
                .map(come)
                .iter()
                .all(Result::is_ok),
            "at home"
        );
        let mut inside = vec![come("192.0.2.1"), come("2001:db8::1")];
        for again in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::2"] {
            assert_eq!(come(again).err(), Some(Refusal::Crowd), "{again}");
        }
        inside.extend(["192.0.2.2", "2001:db8:0:1::1", "127.0.0.1", "127.0.0.1"].map(come));
        assert!(inside.iter().all(Result::is_ok));
        assert_eq!(come("127.0.0.1").err(), Some(Refusal::TooManyPeers));
        inside.clear();
        assert!(doors.inside().networks.is_empty());
        assert_eq!(doors.connections(), 0);
        let unbounded = Bounds {
            address_connections: 0,
            ..bounds.clone()
        };
        let many: Vec<_> = (0..6)
            .map(|_| doors.enter("192.0.2.1".parse().ok(), &unbounded))
            .collect();
        assert!(many.iter().all(Result::is_ok));
    }
}
