//! The services around the relay: web page, signaling, ICE servers, metrics, admin.
//!
//! Two people who have nothing but a browser can call each other through them:
//!
//! ```text
//!      browser A                     hairpin                        browser B
//!          | GET /                     |                                |
//!          |<------- the call page ----|---- the call page ------------>|
//!          | GET /signal?room=R        |        GET /signal?room=R      |
//!          |<- welcome (id, servers) --|-- welcome (id, servers) ------>|
//!          |-- offer, candidates ----->|-- with "from" ---------------->|
//!          |<==== media, through the relay where it must be ===========>|
//! ```
//!
//! Nothing here is on the packet path: the relay does not know that these services exist, and they only know its
//! addresses and the secret that its credentials are minted from. Whatever a client can make grow has a bound that
//! an operator sets ([`signaling::Bounds`]).

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
mod http_client;
pub mod ice_servers;
pub mod metrics;
mod page;
pub mod signaling;
pub mod usage;
pub mod web;
