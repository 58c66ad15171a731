//! The services around the relay: web page, signaling, ICE servers, metrics, admin.
//!
//! With them, two browsers can call each other:
//!
//! ```text
//!      browser A                     hairpin                        browser B
//!          | GET /                     |                                |
//!          |<------- the call page ----|---- the call page ------------>|
//!          | GET /signal?room=R        |        GET /signal?room=R      |
//!          |<- welcome (id, servers) --|-- welcome (id, servers) ------>|
//!          |-- offer, candidates ----->|-- with "from" ---------------->|
//!          |<==== media, through the relay if necessary ==============>|
//! ```
//!
//! Nothing here is on the packet path. The relay does not depend on these services; they know only
//! its addresses and the secret of its credentials. Everything that a client can make grow is
//! limited ([`signaling::Limits`], [`web::WebSettings`]); time limits of HTTP are in [`http`].

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod acme;
pub mod admin;
pub mod certificates;
mod exposition;
mod http;
pub(crate) mod http_client;
pub mod ice_servers;
pub mod metrics;
mod page;
pub mod signaling;
pub mod usage;
pub mod web;
