//! The destination of a packet, which [`super::Server::from_client`] and
//! [`super::Server::from_peer`] return, and the header of a payload that is sent to a client.

use crate::turn::ids::five_tuple::Client;
use crate::turn::ids::relayed::RelayedId;
use crate::turn::policy::reject::Discard;
use crate::wire::{channel_data, data_indication, padded};
use std::net::SocketAddr;

/// Where one packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// The payload goes to a peer.
    ToPeer {
        /// The relayed transport address that it leaves from.
        relayed: RelayedId,
        /// The peer's transport address, or the bound address of another shard's relay socket.
        to: SocketAddr,
        /// Offset of the payload in the packet.
        start: usize,
        /// End of the payload in the packet.
        end: usize,
        /// The datagram must not be fragmented (DONT-FRAGMENT).
        dont_fragment: bool,
    },
    /// The payload goes to a client, also if client and peer are both allocations of this server
    /// (the hairpin).
    ToClient {
        /// The client.
        client: Client,
        /// Offset of the payload in the packet.
        start: usize,
        /// End of the payload in the packet.
        end: usize,
        /// The message that carries the payload; a [`Framer`] writes its header.
        framing: Framing,
    },
    /// The whole packet goes to another shard, which has the client's allocation.
    ToShard {
        /// The shard's number.
        shard: u16,
    },
    /// The packet was dropped and counted.
    Discarded(Discard),
    /// The packet was consumed; effects may hold a response.
    Answered,
}

/// The message that carries a payload to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// ChannelData with this channel number.
    Channel(u16),
    /// A Data indication from this peer.
    Data(SocketAddr),
}

/// Writes the headers of payloads on their way to clients.
///
/// A Data indication needs a transaction id. No client ever answers one, so the id must differ from
/// message to message but need not be secret: it comes from splitmix64, which costs a few
/// instructions.
#[derive(Debug)]
pub struct Framer {
    random: u64,
}

/// The octets in front of a payload, and the padding behind it.
#[derive(Clone, Copy, Debug)]
pub struct PayloadHeader {
    octets: [u8; data_indication::LONGEST_HEADER],
    length: usize,
    padding: u8,
}

impl Framer {
    /// A framer whose transaction ids follow from `seed`.
    pub const fn new(seed: u64) -> Framer {
        Framer { random: seed }
    }

    /// The header for `length` octets of payload. Returns `None` if no message can hold them.
    pub fn header(&mut self, framing: Framing, length: usize) -> Option<PayloadHeader> {
        match framing {
            Framing::Channel(number) => {
                let header = channel_data::header(number, u16::try_from(length).ok()?);
                let mut octets = [0; data_indication::LONGEST_HEADER];
                octets.first_chunk_mut().map(|first| *first = header)?;
                Some(PayloadHeader {
                    octets,
                    length: header.len(),
                    padding: 0,
                })
            }
            Framing::Data(peer) => {
                let transaction = self.transaction();
                let (octets, header) = data_indication::header(peer, length, &transaction)?;
                Some(PayloadHeader {
                    octets,
                    length: header,
                    padding: (padded(length) - length) as u8,
                })
            }
        }
    }

    fn transaction(&mut self) -> [u8; 12] {
        let mut id = [0; 12];
        for chunk in id.chunks_mut(8) {
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.random;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
            for (octet, random) in chunk.iter_mut().zip(mixed.to_be_bytes()) {
                *octet = random;
            }
        }
        id
    }
}

impl PayloadHeader {
    /// The octets in front of the payload.
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }

    /// Zero octets that follow the payload on a datagram transport. On a stream the sender pads
    /// every message to a multiple of four, ChannelData included (RFC 8656 §12.5).
    pub const fn padding(&self) -> u8 {
        self.padding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_indications_are_padded_and_have_distinct_transaction_ids() {
        let mut framer = Framer::new(1);
        let peer = "[2001:db8::1]:5".parse().unwrap();
        let one = framer.header(Framing::Data(peer), 5).unwrap();
        let two = framer.header(Framing::Data(peer), 8).unwrap();
        assert_eq!(
            (one.octets().len(), one.padding(), two.padding()),
            (48, 3, 0)
        );
        assert_ne!(one.octets()[8..20], two.octets()[8..20]);
    }

    #[test]
    fn a_payload_over_the_length_field_has_no_header() {
        let mut framer = Framer::new(1);
        let peer = "192.0.2.1:9".parse().unwrap();
        assert!(framer.header(Framing::Channel(0x4000), 65_536).is_none());
        assert!(framer.header(Framing::Data(peer), 65_535).is_none());
    }
}
