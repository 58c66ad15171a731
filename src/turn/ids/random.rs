//! Randomness as a value: a stream of octets from a seed, unpredictable without it. Ports, tokens and tickets are drawn
//! from it, so that the whole protocol is a function of its inputs.

use sha2::{Digest, Sha256};

/// SHA-256 in counter mode.
#[derive(Clone)]
pub struct Random {
    seed: [u8; 32],
    counter: u64,
}

impl Random {
    /// The stream of a seed.
    pub const fn new(seed: [u8; 32]) -> Random {
        Random { seed, counter: 0 }
    }

    /// Up to 32 octets.
    pub fn octets<const N: usize>(&mut self) -> [u8; N] {
        self.counter += 1;
        let block = Sha256::new()
            .chain_update(self.seed)
            .chain_update(self.counter.to_le_bytes())
            .finalize();
        block.first_chunk().copied().unwrap_or([0; N])
    }

    /// A number.
    pub fn number(&mut self) -> u32 {
        u32::from_le_bytes(self.octets())
    }
}

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random(…)")
    }
}
