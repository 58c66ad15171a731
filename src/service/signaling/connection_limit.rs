//! The limit on WebSocket connections, in total and for each address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::service::signaling::limits::Limits;
use crate::service::signaling::refusal::Refusal;
use crate::wire::client_prefix::client_prefix;

/// The open connections.
#[derive(Default)]
pub struct ConnectionLimit(Mutex<OpenConnections>);

#[derive(Default)]
struct OpenConnections {
    total: usize,
    /// Key: an IPv4 address or IPv6 /64, which clients choose: std's hasher has a random key.
    /// Accessed once when a connection opens and once when it closes.
    by_network: HashMap<IpAddr, usize>,
}

/// Permission for one connection, returned on drop.
pub struct ConnectionPermit {
    limit: Arc<ConnectionLimit>,
    network: Option<IpAddr>,
}

impl ConnectionLimit {
    /// Admits a connection from `address` if neither limit is reached. Loopback has no limit of its
    /// own because reverse proxies connect from there.
    pub fn admit(
        self: &Arc<ConnectionLimit>,
        address: Option<IpAddr>,
        limits: &Limits,
    ) -> Result<ConnectionPermit, Refusal> {
        let network = address
            .filter(|address| !address.to_canonical().is_loopback())
            .map(client_prefix);
        let mut open = self.lock();
        if open.total >= limits.connections {
            return Err(Refusal::TooManyConnections);
        }
        if let Some(network) = network {
            let count = open.by_network.get(&network).copied().unwrap_or(0);
            if limits.connections_per_address != 0 && count >= limits.connections_per_address {
                return Err(Refusal::TooManyFromAddress);
            }
            open.by_network.insert(network, count + 1);
        }
        open.total += 1;
        Ok(ConnectionPermit {
            limit: self.clone(),
            network,
        })
    }

    /// Number of open connections.
    pub fn connections(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, OpenConnections> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.limit.lock();
        open.total = open.total.saturating_sub(1);
        let Some(network) = self.network else { return };
        match open.by_network.get_mut(&network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.by_network.remove(&network)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_limited_in_total_and_by_address_and_leave_no_entry_behind() {
        let limit = Arc::new(ConnectionLimit::default());
        let limits = Limits {
            connections: 6,
            connections_per_address: 1,
            ..Limits::default()
        };
        let admit = |address: &str| limit.admit(address.parse().ok(), &limits);
        assert!(
            ["::1", "::1", "::ffff:127.0.0.1"]
                .map(admit)
                .iter()
                .all(Result::is_ok),
            "loopback is exempt"
        );
        let mut permits = vec![admit("192.0.2.1"), admit("2001:db8::1")];
        for second in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::2"] {
            assert_eq!(
                admit(second).err(),
                Some(Refusal::TooManyFromAddress),
                "{second}"
            );
        }
        permits.extend(["192.0.2.2", "2001:db8:0:1::1", "127.0.0.1", "127.0.0.1"].map(admit));
        assert!(permits.iter().all(Result::is_ok));
        assert_eq!(admit("127.0.0.1").err(), Some(Refusal::TooManyConnections));
        permits.clear();
        assert!(limit.lock().by_network.is_empty());
        assert_eq!(limit.connections(), 0);
        let unlimited = Limits {
            connections_per_address: 0,
            ..limits.clone()
        };
        let permits: Vec<_> = (0..6)
            .map(|_| limit.admit("192.0.2.1".parse().ok(), &unlimited))
            .collect();
        assert!(permits.iter().all(Result::is_ok));
    }
}
