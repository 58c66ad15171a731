//! The operators' listener.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | the status page |
//! | `GET /metrics` | everything that is counted, for Prometheus |
//! | `GET /healthz` | 200 while the process serves requests |
//! | `GET /readyz` | 200 while new allocations are taken, 503 once the server leaves |
//! | `GET /allocations`, `GET`, `DELETE /allocations/{id}` | who relays, a page at a time; one of them; its end |
//! | `GET /users`, `DELETE /users/{user}/allocations`, `PUT`, `DELETE /users/{user}/block` | totals, and who is kept out; close; keep out for a time |
//! | `GET /plan`, `/status`, `/reasons` | what was written and where; the numbers that the status page draws; what their names mean |
//! | `GET`, `PUT /log-level`, `POST /drain`, `POST /reload` | what an operator may change while it runs |
//! | `GET /openapi.json` | all of this for machines |
//!
//! ```text
//!   request ──► guard: host, origin, token ──► strict ──► read: Supervisor             (metrics, allocations, status)
//!                                                     └─► order ──► the server's loop  (reload, drain, block, log level)
//! ```
//!
//! It listens on loopback or a UNIX socket; anywhere else it wants a bearer token for all but metrics and health.

mod allocations;
mod desk;
mod guard;
mod metrics_page;
mod openapi;
mod order;
mod orders;
mod routes;
mod schemas;
mod status;
mod strict;
mod users;

pub use crate::service::admin::allocations::Described;
pub use crate::service::admin::desk::{Admin, Condition};
pub use crate::service::admin::guard::{Guard, Reached};
pub use crate::service::admin::order::{Answer, Order, Orders, Refused};
pub use crate::service::admin::routes::{Listener, serve};
