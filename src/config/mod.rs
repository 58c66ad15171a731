//! From what an operator wrote to what the server does.
//!
//! ```text
//!   default ◄── file ◄── environment ◄── flags       each hides what lies under it
//!      └─────────┴── Written ──┴───────────┘         texts, and where each stands
//!                       │ resolve, with what the Host knows
//!                       ▼
//!                   Settings                         what is meant: a Plan, a Policy, addresses, logs
//! ```
//!
//! * [`schema`]: every key with its default and explanation, once. [`written`]: layers of texts. [`file`]: TOML.
//! * [`value`]: how texts are read. [`resolve`]: what they mean together. [`render`]: the schema as a complete file.
//! * [`coturn`]: what another server's file would be here.
//!
//! Errors name the file, the line and the column, or the flag, or the variable ([`Fault`]).
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
mod host;
mod key;
pub mod layers;
mod nearest;
pub mod public_ip;
pub mod render;
pub mod resolve;
pub mod schema;
pub mod value;

pub use crate::config::error::{Error, Fault, Origin};
pub use crate::config::host::Host;
pub use crate::config::layers::{Given, Written};
pub use crate::config::resolve::realms::Login;
pub use crate::config::resolve::web::Web;
pub use crate::config::resolve::{Logs, Settings};
