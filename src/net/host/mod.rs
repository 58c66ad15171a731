//! Facts and limits of the host: CPU cores, interface addresses, file descriptors, and what a
//! process uses.

pub mod cpu;
pub mod fd_limit;
pub mod interfaces;
pub mod process;
