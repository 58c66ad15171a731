//! What the host offers: cores, interface addresses, file descriptors; and what a process uses of it.

pub mod cpu;
pub mod fd_limit;
pub mod interfaces;
pub mod process;
