//! Structures and memory that are shared with the kernel.

#[cfg(target_os = "linux")]
pub(crate) mod cmsg;
#[cfg(target_os = "linux")]
pub(crate) mod mmsghdr;
#[cfg(target_os = "linux")]
pub(crate) mod sockaddr;
#[cfg(target_os = "linux")]
pub(crate) mod sockopt;
pub(crate) mod stable_array;
