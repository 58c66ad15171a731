//! Mobility tickets: with one a client moves its allocation to another five-tuple. RFC 8016 §3.1.2.
//!
//! A ticket is sealed with AES-256-GCM: its holder can neither read nor forge it. The nonce is
//! derived from the content, so the same ticket always has the same octets and a retransmitted
//! request gets the same response.

use crate::turn::allocation::AllocationId;
use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use sha2::{Digest, Sha256};

/// The key that seals tickets: the same on all shards, a new one at every start.
#[derive(Clone)]
pub struct TicketKey([u8; 32]);

impl std::fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketKey(…)")
    }
}

/// The content of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The shard that owns the allocation.
    pub shard: u16,
    /// The allocation's index in the shard's table.
    pub allocation: AllocationId,
    /// The allocation's serial number, because the index is reused.
    pub serial: u64,
    /// The number of tickets that the allocation had before this one.
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

    /// Seals a ticket. Returns 46 octets.
    pub fn seal(&self, ticket: Ticket) -> Vec<u8> {
        let mut plain = Vec::with_capacity(CONTENT_LENGTH);
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

    /// Opens a ticket. Returns `None` if it was not sealed with this key.
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

/// Octets of a ticket's content.
const CONTENT_LENGTH: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_opens_only_unchanged_and_with_its_key() {
        let ticket = Ticket {
            shard: 3,
            allocation: AllocationId(7),
            serial: 1 << 50,
            generation: 2,
        };
        let key = TicketKey::new([1; 32]);
        let sealed = key.seal(ticket);
        assert_eq!((sealed.len(), key.open(&sealed)), (46, Some(ticket)));
        assert_eq!(sealed, key.seal(ticket), "sealing is deterministic");
        assert_eq!(TicketKey::new([2; 32]).open(&sealed), None);
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert_eq!(key.open(&flipped), None, "at {at}");
            assert_eq!(key.open(&sealed[..at]), None, "up to {at}");
        }
    }
}
