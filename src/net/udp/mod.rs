//! UDP in batches: `recvmmsg` with GRO, `sendmmsg` with GSO, and a portable path behind the same type.

pub mod buffer;
#[cfg(target_os = "linux")]
pub(crate) mod cmsg;
pub mod icmp;
#[cfg(target_os = "linux")]
pub(crate) mod linux;
pub mod options;
pub mod polled_socket;
pub mod poller;
pub(crate) mod portable;
#[cfg(target_os = "linux")]
pub(crate) mod send_batch;
#[cfg(target_os = "linux")]
pub(crate) mod sockaddr;
pub mod socket;
#[cfg(target_os = "linux")]
pub(crate) mod stable_array;
#[cfg(test)]
pub(crate) mod tests;
pub mod transmit;
