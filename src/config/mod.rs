//! The configuration: from what the operator wrote to the settings of the server.
//!
//! ```text
//!   schema default ◄── file ◄── environment ◄── flags     each source hides the sources to its left
//!         │              └─────────┬────────────┘
//!         │                      Layer                    text, and where it was written
//!         │                        │  Resolver            parses one typed key at a time, collects errors
//!         └────────────► resolve ◄─┴── HostInfo           addresses of this host
//!                           │
//!                        Settings                         the relay's Plan, web, admin, usage, TLS, logs
//! ```
//!
//! * [`schema`]: every key, once: name, parser, default, explanation. [`value`]: the parsers.
//! * [`layer`]: the text of all sources. [`file`]: TOML. `resolver`: typed access.
//! * [`resolve`]: the meaning of all keys together. [`render`]: the schema as a commented file.
//! * [`coturn`]: conversion of another server's file. [`public_ip`]: discovery of addresses behind
//!   1:1 NAT.
//!
//! A problem is a [`Diagnostic`], which names the file with line and column, the flag, or the
//! environment variable.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod coturn;
mod error;
pub mod file;
mod host_info;
pub mod layer;
pub mod public_ip;
pub mod render;
pub mod resolve;
mod resolver;
pub mod schema;
pub mod value;

pub use crate::config::error::{Diagnostic, Error, Source};
pub use crate::config::host_info::HostInfo;
pub use crate::config::layer::{Layer, RawValue};
pub use crate::config::resolve::{CredentialSource, LogSettings, Settings, WebListener, resolve};
