//! What was carried, counted.

/// What an allocation carried, in datagrams and in octets of their payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From the client to its peers.
    pub to_peers: Volume,
    /// From the peers to the client.
    pub to_client: Volume,
}

/// Datagrams and the octets in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// How many datagrams.
    pub packets: u64,
    /// How many octets of payload.
    pub octets: u64,
}

impl Volume {
    /// Counts one datagram.
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
