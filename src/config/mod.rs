//! From what an operator wrote to what the server does.
//!
//! ```text
//!   default ◄── file ◄── environment ◄── flags       each hides what lies under it
//!      └─────────┴── Layer ──┴───────────┘         texts, and where each stands
//!                       │ resolve, with what the HostInfo knows
//!                       ▼
//!                   Settings                         what is meant: a Plan, a Policy, addresses, logs
//! ```
//!
//! * [`schema`]: every key with its default and explanation, once. [`written`]: layers of texts. [`file`]: TOML.
//! * [`value`]: how texts are read. [`resolve`]: what they mean together. [`render`]: the schema as a complete file.
//! * [`coturn`]: what another server's file would be here.
//!
//! Errors name the file, the line and the column, or the flag, or the variable ([`Diagnostic`]).
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
mod key;
pub mod layers;
mod nearest;
pub mod public_ip;
pub mod render;
pub mod resolve;
pub mod schema;
pub mod value;

pub use crate::config::error::{Diagnostic, Error, Source};
pub use crate::config::host_info::HostInfo;
pub use crate::config::layers::{Layer, RawValue};
pub use crate::config::resolve::realms::CredentialSource;
pub use crate::config::resolve::web::Web;
pub use crate::config::resolve::{LogSettings, Settings};
