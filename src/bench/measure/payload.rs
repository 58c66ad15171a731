//! Payloads that prove their own delivery: each carries its run, stream, sequence number and time
//! of sending, and a pattern that shows every changed octet.

/// What the header of a payload states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The run of this process. Packets that an earlier run left in the network are not counted.
    pub run: u32,
    /// The stream of the run.
    pub stream: u32,
    /// The number of the packet in its stream, from 0.
    pub sequence: u64,
    /// The time of sending, nanoseconds since the epoch of the process.
    pub sent: u64,
}

/// Writes the stamp into a payload that [`fill`] wrote.
pub fn stamp(payload: &mut [u8], stamp: &Stamp) {
    let Some((head, _)) = payload.split_first_chunk_mut::<HEADER>() else {
        return;
    };
    head[0..4].copy_from_slice(&stamp.run.to_be_bytes());
    head[4..8].copy_from_slice(&stamp.stream.to_be_bytes());
    head[8..16].copy_from_slice(&stamp.sequence.to_be_bytes());
    head[16..24].copy_from_slice(&stamp.sent.to_be_bytes());
    let sum = crc32fast::hash(&head[..SUM]);
    head[SUM..].copy_from_slice(&sum.to_be_bytes());
}

/// Fills a payload with pattern `variant`; [`stamp`] overwrites its start.
pub fn fill(payload: &mut [u8], variant: u32) {
    let Some((head, body)) = payload.split_first_chunk_mut::<HEADER>() else {
        return;
    };
    head[24..28].copy_from_slice(&variant.to_be_bytes());
    body.copy_from_slice(&pattern(variant)[..body.len()]);
}

/// Reads a payload back; `None` unless every octet is as it was sent.
pub fn read(payload: &[u8]) -> Option<Stamp> {
    let (head, body) = payload.split_first_chunk::<HEADER>()?;
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if word(SUM) != crc32fast::hash(&head[..SUM])
        || *body != pattern(word(24))[..body.len().min(LONGEST)]
    {
        return None;
    }
    let long = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
    Some(Stamp {
        run: word(0),
        stream: word(4),
        sequence: long(8),
        sent: long(16),
    })
}

/// The sequence numbers of one stream: the next to send, and those received lately.
#[derive(Clone, Debug)]
pub struct PacketStream {
    next: u64,
    /// One more than the greatest number received.
    expected: u64,
    /// One bit for each of the last [`WINDOW`] numbers: received or not.
    seen: [u64; WINDOW / 64],
}

/// The order of a received packet among those before it. RFC 4737 §3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A greater number than all before.
    InOrder,
    /// A smaller number than one received before.
    Reordered,
    /// Received before.
    Duplicate,
}

impl PacketStream {
    /// Takes the next number to send.
    pub fn take_sequence(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Records that the packet with this number was received.
    pub fn record_arrival(&mut self, sequence: u64) -> Arrival {
        if sequence >= self.expected {
            for skipped in self.expected..sequence.min(self.expected + WINDOW as u64) {
                self.mark(skipped, false);
            }
            self.mark(sequence, true);
            self.expected = sequence + 1;
            return Arrival::InOrder;
        }
        // A number older than the window may be a duplicate; it counts as reordered.
        if self.expected - sequence > WINDOW as u64 || !self.is_marked(sequence) {
            self.mark(sequence, true);
            return Arrival::Reordered;
        }
        Arrival::Duplicate
    }

    fn mark(&mut self, sequence: u64, seen: bool) {
        let (word, bit) = seen_bit(sequence);
        self.seen[word] = self.seen[word] & !bit | if seen { bit } else { 0 };
    }

    fn is_marked(&self, sequence: u64) -> bool {
        let (word, bit) = seen_bit(sequence);
        self.seen[word] & bit != 0
    }
}

impl Default for PacketStream {
    fn default() -> PacketStream {
        PacketStream {
            next: 0,
            expected: 0,
            seen: [0; WINDOW / 64],
        }
    }
}

/// The word and the bit of `seen` that stand for a number.
fn seen_bit(sequence: u64) -> (usize, u64) {
    let index = sequence as usize % WINDOW;
    (index / 64, 1 << (index % 64))
}

/// The octets of pattern `variant`: noise, so that a shift, a swap or a fragment of another packet
/// shows.
fn pattern(variant: u32) -> &'static [u8] {
    static NOISE: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        (0..LONGEST + VARIANTS as usize * SHIFT)
            .map(|_| next())
            .collect()
    });
    &NOISE[(variant % VARIANTS) as usize * SHIFT..][..LONGEST]
}

/// Octets of the stamp in front of the pattern: the shortest payload.
pub const HEADER: usize = 32;
/// The longest payload that a relay can carry.
pub const LONGEST: usize = 65_507;
/// Offset of the stamp's checksum.
const SUM: usize = 28;
/// The number of patterns.
const VARIANTS: u32 = 256;
/// Octets between the starts of two patterns in the noise.
const SHIFT: usize = 67;
/// Numbers below the greatest one received in which a duplicate is recognized.
const WINDOW: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(size: usize) -> (Vec<u8>, Stamp) {
        let mut octets = vec![0; size];
        let written = Stamp {
            run: 1,
            stream: 2,
            sequence: 3 << 33,
            sent: 4 << 34,
        };
        fill(&mut octets, 300);
        stamp(&mut octets, &written);
        (octets, written)
    }

    #[test]
    fn a_payload_with_any_changed_octet_is_rejected() {
        let (octets, written) = payload(200);
        assert_eq!(read(&octets), Some(written));
        for at in 0..octets.len() {
            let mut changed = octets.clone();
            changed[at] ^= 1;
            assert_eq!(read(&changed), None, "octet {at}");
        }
        assert_eq!(read(&octets[..31]), None);
    }

    #[test]
    fn the_shortest_and_the_longest_payload_are_read_back() {
        for size in [HEADER, LONGEST] {
            let (octets, written) = payload(size);
            assert_eq!(read(&octets), Some(written));
        }
    }

    #[test]
    fn reordering_gaps_and_duplicates_are_distinguished() {
        let mut stream = PacketStream::default();
        let arrivals: Vec<_> = [0, 1, 4, 2, 2, 4, 3, 5]
            .into_iter()
            .map(|sequence| stream.record_arrival(sequence))
            .collect();
        use Arrival::*;
        assert_eq!(
            arrivals,
            [
                InOrder, InOrder, InOrder, Reordered, Duplicate, Duplicate, Reordered, InOrder
            ]
        );
        assert_eq!(stream.record_arrival(100_000), InOrder);
        assert_eq!(stream.record_arrival(99_999), Reordered);
        assert_eq!(stream.record_arrival(99_999), Duplicate);
        assert_eq!(stream.record_arrival(5), Reordered, "older than the window");
    }
}
