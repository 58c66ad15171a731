//! The relayed ports in use on each relay address, shared by all shards without a lock.
//!
//! There is one bit for each port and address. A port is claimed before its socket is bound and
//! released after the socket is closed, so two shards never try to bind the same port. A search
//! starts at a random port that the caller supplies, so that ports are unpredictable (RFC 8656
//! §7.2, RFC 6056).

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};

/// The relayed ports of every relay address.
#[derive(Debug)]
pub struct Ports {
    first: u16,
    count: u32,
    addresses: Vec<(IpAddr, Box<[AtomicU64]>)>,
}

impl Ports {
    /// The ports of `range` on each of these local addresses, all free.
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>, range: RangeInclusive<u16>) -> Ports {
        let count = u32::from(*range.end()).saturating_sub(u32::from(*range.start())) + 1;
        let words = (0..count.div_ceil(64)).map(|_| AtomicU64::new(0));
        let empty = || words.clone().collect();
        Ports {
            first: *range.start(),
            count,
            addresses: addresses
                .into_iter()
                .map(|address| (address, empty()))
                .collect(),
        }
    }

    /// Ports of one address, claimed or free.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Claims the first free port of `address` from a random one on.
    pub fn claim(&self, address: IpAddr, random: u32) -> Option<u16> {
        self.search(address, random, Ports::set)
    }

    /// Claims a free even port. RFC 8656 §7.2.
    pub fn claim_even(&self, address: IpAddr, random: u32) -> Option<u16> {
        self.search(address, random, |words, index| {
            self.is_even(index) && Ports::set(words, index)
        })
    }

    /// Claims a free even port and the free port above it. RFC 8656 §7.2.
    pub fn claim_even_and_next(&self, address: IpAddr, random: u32) -> Option<u16> {
        self.search(address, random, |words, index| {
            if !self.is_even(index) || index + 1 >= self.count || !Ports::set(words, index) {
                return false;
            }
            let next = Ports::set(words, index + 1);
            if !next {
                Ports::clear(words, index);
            }
            next
        })
    }

    /// Releases a port. A port outside the range is ignored.
    pub fn release(&self, address: SocketAddr) {
        let index = address.port().checked_sub(self.first).map(u32::from);
        if let (Some(index), Some(words)) = (
            index.filter(|index| *index < self.count),
            self.words(address.ip()),
        ) {
            Ports::clear(words, index);
        }
    }

    /// Claimed ports of all addresses. Reads every word.
    pub fn taken(&self) -> u64 {
        let words = self.addresses.iter().flat_map(|(_, words)| words.iter());
        words
            .map(|word| u64::from(word.load(Ordering::Relaxed).count_ones()))
            .sum()
    }

    fn search(
        &self,
        address: IpAddr,
        random: u32,
        mut claim: impl FnMut(&[AtomicU64], u32) -> bool,
    ) -> Option<u16> {
        let words = self.words(address)?;
        let start = random % self.count;
        let port = (0..self.count)
            .map(|step| (start + step) % self.count)
            .find(|index| claim(words, *index))?;
        u16::try_from(u32::from(self.first) + port).ok()
    }

    fn is_even(&self, index: u32) -> bool {
        (u32::from(self.first) + index).is_multiple_of(2)
    }

    fn words(&self, address: IpAddr) -> Option<&[AtomicU64]> {
        self.addresses
            .iter()
            .find(|(ip, _)| *ip == address)
            .map(|(_, words)| &**words)
    }

    fn set(words: &[AtomicU64], index: u32) -> bool {
        let bit = 1 << (index % 64);
        words.get((index / 64) as usize).is_some_and(|word| {
            word.load(Ordering::Relaxed) & bit == 0
                && word.fetch_or(bit, Ordering::AcqRel) & bit == 0
        })
    }

    fn clear(words: &[AtomicU64], index: u32) {
        if let Some(word) = words.get((index / 64) as usize) {
            word.fetch_and(!(1 << (index % 64)), Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn every_port_is_claimed_exactly_once() {
        let ports = Ports::new([ADDRESS], 50_000..=50_099);
        let claimed: HashSet<u16> = (0..100)
            .map(|n| ports.claim(ADDRESS, n * 7_919).unwrap())
            .collect();
        assert_eq!(claimed.len(), 100);
        assert!(claimed.iter().all(|port| (50_000..=50_099).contains(port)));
        assert_eq!(ports.claim(ADDRESS, 3), None);
        ports.release(SocketAddr::new(ADDRESS, 50_042));
        assert_eq!(ports.claim(ADDRESS, 9), Some(50_042));
    }

    #[test]
    fn an_even_port_is_claimed_with_the_next_port() {
        let ports = Ports::new([ADDRESS], 50_001..=50_008);
        let first = ports.claim_even_and_next(ADDRESS, 0).unwrap();
        assert_eq!(first, 50_002);
        assert_eq!(ports.claim_even(ADDRESS, 0), Some(50_004));
        assert_eq!(ports.claim_even_and_next(ADDRESS, 0), Some(50_006));
        assert_eq!(
            ports.claim_even_and_next(ADDRESS, 0),
            None,
            "50,009 is out of range"
        );
        assert_eq!(ports.claim_even(ADDRESS, 0), Some(50_008));
        assert_eq!(ports.taken(), 6);
    }

    #[test]
    fn an_unknown_address_has_no_ports() {
        let ports = Ports::new([ADDRESS], 1..=10);
        assert_eq!(ports.claim("10.0.0.1".parse().unwrap(), 0), None);
        ports.release("10.0.0.1:5".parse().unwrap());
    }
}
