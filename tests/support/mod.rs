//! Code that the test targets share: clients, servers to test against, and drivers of processes,
//! browsers and namespaces.
//!
//! Each target includes this folder by `#[path = "../support/mod.rs"] mod support;`.

// A target uses only a part of it.
#![allow(dead_code)]

use std::time::Duration;

pub mod axe;
pub mod browser;
pub mod certificate;
pub mod client;
pub mod codec;
pub mod directory;
pub mod missing;
pub mod namespace;
pub mod operator;
pub mod process;
pub mod relay;
pub mod transport;

/// How long a test waits for something that must happen.
pub const TIMEOUT: Duration = Duration::from_secs(20);
