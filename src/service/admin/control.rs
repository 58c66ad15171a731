//! Operations that change the server or describe its configuration. Each sends a command to the
//! main loop.

use crate::service::admin::commands::AdminCommand;
use crate::service::admin::commands::{DrainReport, LogLevel, PlanReport, ReloadReport, Unblocked};
use crate::service::admin::error::{ApiError, ErrorBody, GuardedErrors};
use crate::service::admin::extract::{NoParameters, Parameters, TextBody, duration};
use crate::service::admin::state::AdminState;
use crate::service::admin::users;
use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// The outcome of blocking a user.
#[derive(Serialize, ToSchema)]
pub(super) struct BlockReport {
    /// The user, without the expiry of a time-limited name.
    blocked: String,
    /// End of the block, as Unix time in seconds.
    until: u64,
    /// Allocations that were ended.
    closed: usize,
}

/// Query of `POST /drain`.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct DrainParameters {
    /// Time until allocations are ended, such as `90s`, `10m` or `1h`; the default is the server's
    /// drain_timeout.
    #[serde(default, deserialize_with = "duration")]
    #[param(value_type = Option<String>, nullable = false)]
    deadline: Option<Duration>,
}

/// Query of `PUT /users/{user}/block`.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct BlockParameters {
    /// Duration of the block, such as `90s`, `10m` or `1h`; the default is an hour.
    #[serde(rename = "for", default, deserialize_with = "duration")]
    #[param(value_type = Option<String>, nullable = false)]
    time: Option<Duration>,
}

/// Reload the configuration; all of it is applied or nothing
#[utoipa::path(
    post,
    path = "/reload",
    operation_id = "reload",
    responses(
        (status = 200, description = "the changes", body = ReloadReport),
        (status = 503, description = "the server is shutting down", body = ErrorBody),
        GuardedErrors,
    )
)]
pub(super) async fn reload(
    State(state): State<AdminState>,
    Parameters(NoParameters {}): Parameters<NoParameters>,
) -> Result<Json<ReloadReport>, ApiError> {
    state.commands.execute(AdminCommand::Reload).await.map(Json)
}

/// Drain: reject new allocations, exit after the last one ended or at the deadline
#[utoipa::path(
    post,
    path = "/drain",
    operation_id = "drain",
    params(DrainParameters),
    responses(
        (status = 200, description = "the drain has started", body = DrainReport),
        (status = 503, description = "the server is shutting down", body = ErrorBody),
        GuardedErrors,
    )
)]
pub(super) async fn drain(
    State(state): State<AdminState>,
    Parameters(DrainParameters { deadline }): Parameters<DrainParameters>,
) -> Result<Json<DrainReport>, ApiError> {
    let command = |reply| AdminCommand::Drain { deadline, reply };
    state.commands.execute(command).await.map(Json)
}

/// Reject new allocations of a user for a time and end the current ones
#[utoipa::path(
    put,
    path = "/users/{user}/block",
    operation_id = "block",
    params(("user" = String, Path, description = "user name"), BlockParameters),
    responses(
        (status = 200, description = "the user is blocked", body = BlockReport),
        (status = 503, description = "the server is shutting down", body = ErrorBody),
        GuardedErrors,
    )
)]
pub(super) async fn block(
    State(state): State<AdminState>,
    Path(user): Path<String>,
    Parameters(BlockParameters { time }): Parameters<BlockParameters>,
) -> Result<Json<BlockReport>, ApiError> {
    let time = time.unwrap_or(DEFAULT_BLOCK);
    let name = user.clone();
    let command = |reply| AdminCommand::Block {
        user: name,
        time,
        reply,
    };
    let blocked = state.commands.execute(command).await?;
    // The block is in force, so no allocation can start between the listing and the last close.
    let closed = users::close_allocations_of(&state, &user).await;
    Ok(Json(BlockReport {
        blocked: blocked.user,
        until: blocked.until.as_secs(),
        closed,
    }))
}

/// End the block of a user
#[utoipa::path(
    delete,
    path = "/users/{user}/block",
    operation_id = "unblock",
    params(("user" = String, Path, description = "user name")),
    responses(
        (status = 200, description = "the user may allocate again", body = Unblocked),
        (status = 404, description = "the user is not blocked", body = ErrorBody),
        (status = 503, description = "the server is shutting down", body = ErrorBody),
        GuardedErrors,
    )
)]
pub(super) async fn unblock(
    State(state): State<AdminState>,
    Path(user): Path<String>,
    Parameters(NoParameters {}): Parameters<NoParameters>,
) -> Result<Json<Unblocked>, ApiError> {
    state
        .commands
        .execute(|reply| AdminCommand::Unblock { user, reply })
        .await
        .map(Json)
}

/// The configuration: every key with its values, their origins and the default
#[utoipa::path(
    get,
    path = "/plan",
    operation_id = "plan",
    responses(
        (status = 200, description = "every key", body = PlanReport),
        (status = 503, description = "the server is shutting down", body = ErrorBody),
        GuardedErrors,
    )
)]
pub(super) async fn plan(
    State(state): State<AdminState>,
    Parameters(NoParameters {}): Parameters<NoParameters>,
) -> Result<Json<PlanReport>, ApiError> {
    state
        .commands
        .execute(AdminCommand::DescribePlan)
        .await
        .map(Json)
}

/// The log filter
#[utoipa::path(
    get,
    path = "/log-level",
    operation_id = "logLevel",
    responses(
        (status = 200, description = "the filter", body = LogLevel),
        (status = 503, description = "the server is shutting down", body = ErrorBody),
        GuardedErrors,
    )
)]
pub(super) async fn log_level(
    State(state): State<AdminState>,
    Parameters(NoParameters {}): Parameters<NoParameters>,
) -> Result<Json<LogLevel>, ApiError> {
    state
        .commands
        .execute(AdminCommand::GetLogLevel)
        .await
        .map(Json)
}

/// Replace the log filter, for example by `info` or `info,hairpin::relay=debug`
#[utoipa::path(
    put,
    path = "/log-level",
    operation_id = "setLogLevel",
    request_body(content = String, content_type = "text/plain"),
    responses(
        (status = 200, description = "the new filter", body = LogLevel),
        (status = 503, description = "the server is shutting down", body = ErrorBody),
        GuardedErrors,
    )
)]
pub(super) async fn set_log_level(
    State(state): State<AdminState>,
    TextBody(filter): TextBody,
) -> Result<Json<LogLevel>, ApiError> {
    let filter = filter.trim().to_owned();
    state
        .commands
        .execute(|reply| AdminCommand::SetLogLevel { filter, reply })
        .await
        .map(Json)
}

const DEFAULT_BLOCK: Duration = Duration::from_secs(3_600);
