//! Counts of relayed payload.

/// The payload that an allocation relayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From the client to its peers.
    pub to_peers: Volume,
    /// From the peers to the client.
    pub to_client: Volume,
}

/// An amount of relayed payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Datagrams.
    pub packets: u64,
    /// Octets of payload.
    pub octets: u64,
}

impl Volume {
    /// Counts one datagram with `octets` of payload.
    pub fn add(&mut self, octets: usize) {
        self.packets += 1;
        self.octets += octets as u64;
    }
}

impl std::ops::AddAssign for Volume {
    fn add_assign(&mut self, more: Volume) {
        self.packets += more.packets;
        self.octets += more.octets;
    }
}
