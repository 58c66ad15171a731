//! What the loader sends, so that whoever receives it can tell everything about it: which run, stream and position it
//! belongs to, when it left, and whether it is what was sent, to the last octet.

use crate::bench::histogram::Histogram;

/// One payload's place in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Which run of this process; what a past one left in the network is not counted.
    pub run: u32,
    /// Which stream of the run.
    pub stream: u32,
    /// Position in the stream, from 0.
    pub sequence: u64,
    /// When it was sent, nanoseconds since the process's epoch.
    pub sent: u64,
}

/// Writes the stamp at the start of a payload whose rest [`fill`] wrote.
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

/// Fills a payload with the pattern number `variant`; the stamp goes on top of its start.
pub fn fill(payload: &mut [u8], variant: u32) {
    let Some((head, body)) = payload.split_first_chunk_mut::<HEADER>() else {
        return;
    };
    head[24..28].copy_from_slice(&variant.to_be_bytes());
    body.copy_from_slice(&pattern(variant)[..body.len()]);
}

/// Reads a payload back; `None` when it is not, octet for octet, what was sent.
pub fn read(payload: &[u8]) -> Option<Stamp> {
    let (head, body) = payload.split_first_chunk::<HEADER>()?;
    let number =
        |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if number(SUM) != crc32fast::hash(&head[..SUM])
        || *body != pattern(number(24))[..body.len().min(LONGEST)]
    {
        return None;
    }
    let long = |at: usize| u64::from(number(at)) << 32 | u64::from(number(at + 4));
    Some(Stamp {
        run: number(0),
        stream: number(4),
        sequence: long(8),
        sent: long(16),
    })
}

/// What became of one stream: everything that a number on each packet can tell.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The next position to send.
    pub next: u64,
    /// One more than the greatest position received.
    expected: u64,
    /// Which of the last positions were received.
    seen: [u64; WINDOW / 64],
}

/// How one received packet stands to those before it. RFC 4737 §3: reordered is what comes after a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Later than all before.
    InOrder,
    /// Earlier than one that is here already.
    Reordered,
    /// Here already.
    Duplicate,
}

impl Stream {
    /// A stream of which nothing was sent.
    pub fn new() -> Stream {
        Stream {
            next: 0,
            expected: 0,
            seen: [0; WINDOW / 64],
        }
    }

    /// Notes the arrival of a position.
    pub fn arrive(&mut self, sequence: u64) -> Arrival {
        if sequence >= self.expected {
            for passed in self.expected..sequence.min(self.expected + WINDOW as u64) {
                self.mark(passed, false);
            }
            self.mark(sequence, true);
            self.expected = sequence + 1;
            return Arrival::InOrder;
        }
        // Older than the window: it cannot be told from a duplicate, and counts as late.
        if self.expected - sequence > WINDOW as u64 || !self.is_marked(sequence) {
            self.mark(sequence, true);
            return Arrival::Reordered;
        }
        Arrival::Duplicate
    }

    fn mark(&mut self, sequence: u64, seen: bool) {
        let (word, bit) = place(sequence);
        self.seen[word] = self.seen[word] & !bit | if seen { bit } else { 0 };
    }

    fn is_marked(&self, sequence: u64) -> bool {
        let (word, bit) = place(sequence);
        self.seen[word] & bit != 0
    }
}

impl Default for Stream {
    fn default() -> Self {
        Stream::new()
    }
}

/// What one thread counted in one run.
#[derive(Clone, Default)]
pub struct Counters {
    /// How long packets were sent.
    pub nanoseconds: u64,
    /// Packets given to the kernel.
    pub sent: u64,
    /// Packets that came, each once.
    pub received: u64,
    /// Octets of payload that came.
    pub octets: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets that are not what was sent.
    pub corrupted: u64,
    /// Packets that were due but not sent: the loader, or its own kernel, was too slow.
    pub unsent: u64,
    /// From sending to receiving.
    pub latency: Histogram,
    /// The same by slices of time.
    pub slices: Vec<Slice>,
}

/// What one thread counted in one slice of a run's time.
#[derive(Clone, Default)]
pub struct Slice {
    /// Packets sent.
    pub sent: u64,
    /// Packets received.
    pub received: u64,
    /// From sending to receiving.
    pub latency: Histogram,
}

impl Counters {
    /// Adds what another thread counted.
    pub fn merge(&mut self, other: &Counters) {
        self.nanoseconds = self.nanoseconds.max(other.nanoseconds);
        self.sent += other.sent;
        self.received += other.received;
        self.octets += other.octets;
        self.reordered += other.reordered;
        self.duplicates += other.duplicates;
        self.corrupted += other.corrupted;
        self.unsent += other.unsent;
        self.latency.merge(&other.latency);
        self.slices
            .resize(self.slices.len().max(other.slices.len()), Slice::default());
        for (mine, theirs) in self.slices.iter_mut().zip(&other.slices) {
            mine.sent += theirs.sent;
            mine.received += theirs.received;
            mine.latency.merge(&theirs.latency);
        }
    }

    /// Packets that did not come.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }

    /// Packets that did not come, of those sent; 0 to 1.
    pub fn loss(&self) -> f64 {
        self.lost() as f64 / self.sent.max(1) as f64
    }
}

fn place(sequence: u64) -> (usize, u64) {
    let at = sequence as usize % WINDOW;
    (at / 64, 1 << (at % 64))
}

/// Pattern octets number `variant`: noise, so that a shift, a swap or a fragment of another packet shows.
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

/// Octets of stamp in front of the pattern: the shortest payload.
pub const HEADER: usize = 32;
/// The longest payload that a relay can carry.
pub const LONGEST: usize = 65_507;
/// Where the stamp's checksum stands.
const SUM: usize = 28;
/// Patterns that differ.
const VARIANTS: u32 = 256;
/// Octets by which one pattern lies behind the one before.
const SHIFT: usize = 67;
/// Positions that a stream remembers.
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
    fn every_changed_octet_shows() {
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
    fn the_shortest_and_the_longest_are_read() {
        for size in [HEADER, LONGEST] {
            let (octets, written) = payload(size);
            assert_eq!(read(&octets), Some(written));
        }
    }

    #[test]
    fn order_gaps_and_repetition_are_told_apart() {
        let mut stream = Stream::new();
        let arrivals: Vec<_> = [0, 1, 4, 2, 2, 4, 3, 5]
            .into_iter()
            .map(|n| stream.arrive(n))
            .collect();
        use Arrival::*;
        assert_eq!(
            arrivals,
            [
                InOrder, InOrder, InOrder, Reordered, Duplicate, Duplicate, Reordered, InOrder
            ]
        );
        assert_eq!(stream.arrive(100_000), InOrder);
        assert_eq!(stream.arrive(99_999), Reordered);
        assert_eq!(stream.arrive(99_999), Duplicate);
        assert_eq!(stream.arrive(5), Reordered, "too old to be known");
    }
}
