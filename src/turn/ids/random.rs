//! Randomness as a value. Ports, tokens and connection numbers come from a seeded stream, so the
//! protocol is a function of its inputs and every test can be repeated.

use sha2::{Digest, Sha256};

/// A stream of random octets: SHA-256 in counter mode. Without the seed the stream cannot be
/// predicted.
#[derive(Clone)]
pub struct Random {
    seed: [u8; 32],
    counter: u64,
}

impl Random {
    /// The stream that follows from a seed.
    pub const fn new(seed: [u8; 32]) -> Random {
        Random { seed, counter: 0 }
    }

    /// The next `N` octets, at most 32.
    pub fn octets<const N: usize>(&mut self) -> [u8; N] {
        self.counter += 1;
        let block = Sha256::new()
            .chain_update(self.seed)
            .chain_update(self.counter.to_le_bytes())
            .finalize();
        block.first_chunk().copied().unwrap_or([0; N])
    }

    /// The next 32-bit number.
    pub fn number(&mut self) -> u32 {
        u32::from_le_bytes(self.octets())
    }
}

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random(…)")
    }
}
