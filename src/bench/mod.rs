//! A load generator for STUN and TURN servers, and its report.
//!
//! ```text
//!   plan ──► pool ──► worker (a thread: sockets of clients and peers)
//!             │         ├─ exchange   a round of requests: Allocate, ChannelBind, Refresh
//!             │         ├─ load       packets out, as pacer says, and packets in
//!             │         ├─ link/      one client's UDP socket, TCP or TLS connection, or DTLS association
//!             │         └─ measure/   numbered payloads, counters, histograms, CPU time of processes
//!             ▼
//!           search (--rate max) ──► results/   JSON, text, HTML page
//! ```
//!
//! A run measures the server and not the generator: a packet that the generator could not send in
//! time is counted as unsent and not as lost, latency is measured from the time of sending, and
//! every payload is numbered and carries a checksum, so that loss, reordering, duplication and
//! corruption are distinguished.

pub mod error;
pub mod exchange;
pub mod link;
pub mod load;
pub mod measure;
pub mod pacer;
pub mod plan;
pub mod pool;
pub mod rate;
pub mod results;
pub mod search;
pub mod stop;
pub mod worker;
