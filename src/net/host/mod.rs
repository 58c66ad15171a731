//! What the host offers: cores, interface addresses, file descriptors.

pub mod cpu;
pub mod fd_limit;
pub mod interfaces;
