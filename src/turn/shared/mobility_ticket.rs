//! Mobility tickets: which allocation a client may take along to another five-tuple. RFC 8016 §3.1.2.
//!
//! A ticket is sealed (AES-256-GCM), so that it says nothing to whoever holds it and nobody else can make one. Its nonce
//! follows from what it says: the same ticket is always written the same, so a repeated answer is the same answer.

use crate::turn::allocation::AllocationId;
use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use sha2::{Digest, Sha256};

/// What tickets are sealed with. The same on all shards, new at every start.
#[derive(Clone)]
pub struct TicketKey([u8; 32]);

impl std::fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketKey(…)")
    }
}

/// What a ticket says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The shard that the allocation lives on.
    pub shard: u16,
    /// Where in its table.
    pub allocation: AllocationId,
    /// The allocation's serial number: the place may be another's by now.
    pub serial: u64,
    /// How many tickets the allocation had before this one.
    pub generation: u32,
}

impl TicketKey {
    /// Derives the key from the server's seed.
    pub fn new(seed: [u8; 32]) -> TicketKey {
        TicketKey(
            Sha256::new()
                .chain_update(b"ticket")
                .chain_update(seed)
                .finalize()
                .into(),
        )
    }

    /// Writes a ticket: 46 octets.
    pub fn seal(&self, ticket: Ticket) -> Vec<u8> {
        let mut plain = Vec::with_capacity(PLAIN);
        plain.extend_from_slice(&ticket.shard.to_be_bytes());
        plain.extend_from_slice(&ticket.allocation.0.to_be_bytes());
        plain.extend_from_slice(&ticket.serial.to_be_bytes());
        plain.extend_from_slice(&ticket.generation.to_be_bytes());
        let digest = Sha256::new()
            .chain_update(self.0)
            .chain_update(&plain)
            .finalize();
        let nonce: [u8; 12] = digest.first_chunk().copied().unwrap_or_default();
        let cipher = Aes256Gcm::new_from_slice(&self.0).ok();
        let sealed = cipher
            .and_then(|cipher| cipher.encrypt(&Nonce::from(nonce), &*plain).ok())
            .unwrap_or_default();
        [&nonce[..], &sealed].concat()
    }

    /// Reads a ticket of ours; `None` for anything else.
    pub fn open(&self, octets: &[u8]) -> Option<Ticket> {
        let (&nonce, sealed) = octets.split_first_chunk::<12>()?;
        let plain = Aes256Gcm::new_from_slice(&self.0)
            .ok()?
            .decrypt(&Nonce::from(nonce), sealed)
            .ok()?;
        let (&shard, rest) = plain.split_first_chunk()?;
        let (&allocation, rest) = rest.split_first_chunk()?;
        let (&serial, rest) = rest.split_first_chunk()?;
        Some(Ticket {
            shard: u16::from_be_bytes(shard),
            allocation: AllocationId(u32::from_be_bytes(allocation)),
            serial: u64::from_be_bytes(serial),
            generation: u32::from_be_bytes(rest.try_into().ok()?),
        })
    }
}

/// Octets of what a ticket says.
const PLAIN: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_read_as_it_was_written_and_by_nobody_else() {
        let ticket = Ticket {
            shard: 3,
            allocation: AllocationId(7),
            serial: 1 << 50,
            generation: 2,
        };
        let key = TicketKey::new([1; 32]);
        let sealed = key.seal(ticket);
        assert_eq!((sealed.len(), key.open(&sealed)), (46, Some(ticket)));
        assert_eq!(
            sealed,
            key.seal(ticket),
            "the same ticket is written the same"
        );
        assert_eq!(TicketKey::new([2; 32]).open(&sealed), None);
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert_eq!(key.open(&flipped), None, "at {at}");
            assert_eq!(key.open(&sealed[..at]), None, "up to {at}");
        }
    }
}
