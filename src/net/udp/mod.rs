//! UDP sockets that receive and send in batches.
//!
//! The kernel's cost per system call and per trip through the network stack dominates the cost of
//! relaying a packet, so both directions carry as many datagrams per call as the kernel allows:
//!
//! ```text
//!            one recvmmsg                                one sendmmsg
//!   ┌────────────────────────────┐            ┌─────────────────────────────────┐
//!   │ slot 0: datagram           │            │ message 0: one datagram         │
//!   │ slot 1: 40 datagrams (GRO) │  ──────▶   │ message 1: 40 datagrams (GSO)   │
//!   │ slot 2: datagram           │   decide   │ message 2: one datagram         │
//!   └────────────────────────────┘            └─────────────────────────────────┘
//!        Batch, Datagram                            Transmit, SendCounts
//! ```
//!
//! * `recvmmsg` fills one slot of a [`Batch`] per message. With GRO (`UDP_GRO`) a message holds
//!   several datagrams of one flow: equal in size except the last, which may be shorter. The kernel
//!   passes the size in a control message, and the batch cuts the slot into [`Datagram`]s. Only the
//!   first of them has headroom in front of its payload, because the others follow each other
//!   without a gap.
//! * `sendmmsg` sends one message per run of consecutive [`Transmit`]s that agree in destination,
//!   source, and IP fields. With GSO (`UDP_SEGMENT`) the kernel, or the network card, cuts the
//!   message into datagrams of one size; only the last may be shorter, therefore a shorter datagram
//!   closes its message. A message is limited to 64 datagrams, which every kernel with GSO accepts,
//!   and to 65,507 octets, the largest UDP payload over IPv4.
//! * GSO fails for a segment larger than the path MTU (`EINVAL`, `EMSGSIZE`) and for an interface
//!   that cannot compute the checksum (`EIO`). The socket then sends the message again datagram by
//!   datagram, and stops using GSO for segments of that size, or for all. A failed offload loses no
//!   datagram.
//!
//! The gain grows with the length of the runs. A sender with many destinations gets it only if
//! datagrams to one destination are neighbors, which is the task of the caller's send queue. What
//! GRO costs: a socket with many interleaved flows pays for looking for neighbors that it does not
//! find; `benches/datapath` measures both cases.
//!
//! [`IoMode::Portable`] does the same with one datagram per call, without GRO, GSO, packet info, IP
//! fields, and ICMP errors. It is the only mode on other systems than Linux, and exists on Linux to
//! be tested and compared.
//!
//! | file | content |
//! |---|---|
//! | [`socket`], [`options`] | the socket, and how it is set up |
//! | [`buffer`], `receive` | the storage of a batch, and `recvmmsg` into it |
//! | [`transmit`], `send_batch` | datagrams to send, and `sendmmsg` of them |
//! | `portable` | both directions with one datagram per call |
//! | [`icmp`] | ICMP errors, and the socket's error queue |
//! | [`polled_socket`], [`poller`] | readiness of one socket, and of many, in a tokio runtime |
//! | `sys` | structures and memory that are shared with the kernel |
//!
//! [`Batch`]: buffer::Batch
//! [`Datagram`]: buffer::Datagram
//! [`Transmit`]: transmit::Transmit
//! [`IoMode::Portable`]: options::IoMode::Portable

pub mod buffer;
pub mod icmp;
pub mod options;
pub mod polled_socket;
pub mod poller;
pub(crate) mod portable;
#[cfg(target_os = "linux")]
pub(crate) mod receive;
#[cfg(target_os = "linux")]
pub(crate) mod send_batch;
pub mod socket;
pub(crate) mod sys;
#[cfg(test)]
mod tests;
pub mod transmit;
