//! NAT behavior discovery: the listeners that a client compares. RFC 5780.

use std::net::SocketAddr;

/// The two addresses and two ports of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// The primary address and port.
    pub primary: SocketAddr,
    /// The alternate address and port, both different from the primary.
    pub alternate: SocketAddr,
}

/// CHANGE-REQUEST: in which parts the source of the response differs from the destination of the
/// request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The IP address changes.
    pub address: bool,
    /// The port changes.
    pub port: bool,
}

impl Change {
    /// Address and port change.
    pub const BOTH: Change = Change {
        address: true,
        port: true,
    };
}

impl Discovery {
    /// The four listeners: each address with each port.
    pub fn listeners(&self) -> [SocketAddr; 4] {
        let (a, b) = (self.primary, self.alternate);
        [
            a,
            SocketAddr::new(a.ip(), b.port()),
            SocketAddr::new(b.ip(), a.port()),
            b,
        ]
    }

    /// The source of the response to a request that was sent to the listener `to`. Returns `None`
    /// if `to` is none of the four. RFC 5780 §6.1, table 1.
    pub fn changed(&self, to: SocketAddr, change: Change) -> Option<SocketAddr> {
        let (a, b) = (self.primary, self.alternate);
        let other_ip = if to.ip() == a.ip() { b.ip() } else { a.ip() };
        let other_port = if to.port() == a.port() {
            b.port()
        } else {
            a.port()
        };
        let from = SocketAddr::new(
            if change.address { other_ip } else { to.ip() },
            if change.port { other_port } else { to.port() },
        );
        self.listeners().contains(&to).then_some(from)
    }
}
