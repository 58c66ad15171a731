//! The admin listener: status page, metrics, and an API to inspect and control the running server.
//!
//! | request | response |
//! |---|---|
//! | `GET /` | the status page |
//! | `GET /metrics` | all metrics, for Prometheus |
//! | `GET /healthz` | 200 while every shard responds, else 503 |
//! | `GET /readyz` | 200 while new allocations are accepted, 503 once the server drains or a shard does not respond |
//! | `GET /allocations`, `GET`, `DELETE /allocations/{id}` | a page of allocations; one with its permissions and channels; end it |
//! | `GET /users`, `DELETE /users/{user}/allocations` | totals by user, and blocked users; end all allocations of a user |
//! | `PUT`, `DELETE /users/{user}/block` | reject new allocations of a user for a time; end the block |
//! | `GET /plan`, `/status`, `/reasons` | the configuration; the numbers of the status page; what their names mean |
//! | `GET`, `PUT /log-level`, `POST /drain`, `POST /reload` | changes while the server runs |
//! | `GET /openapi.json` | this API as an OpenAPI document |
//!
//! ```text
//!   request ──► access: origin, token ──► handler ──┬─► reads: Supervisor                       (allocations, status)
//!                                                   └─► AdminCommand ──► main loop ──► reply    (reload, drain, block)
//! ```
//!
//! The main loop executes one command at a time and replies with a value of [`commands`]. The
//! OpenAPI document is built from the handlers and their types. Unknown query parameters and
//! unexpected bodies are errors ([`extract`]).
//!
//! Without a token only metrics and health are available to other hosts.

mod access;
mod allocations;
mod commands;
mod control;
mod error;
mod extract;
mod monitoring;
mod openapi;
mod server;
mod state;
mod status;
mod users;

pub use crate::service::admin::access::{AccessControl, Exposure};
pub use crate::service::admin::commands::{
    AdminCommand, BlockedUntil, BlockedUser, CommandSender, DrainReport, ListenerReport, LogLevel,
    PlanKey, PlanReport, ReloadReport, Reply, Unblocked,
};
pub use crate::service::admin::error::ApiError;
pub use crate::service::admin::server::{AdminListener, serve};
pub use crate::service::admin::state::{AdminState, DrainState};
