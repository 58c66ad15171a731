//! Users that have allocations, with totals over their current allocations.

use crate::service::admin::commands::AdminCommand;
use crate::service::admin::commands::BlockedUser;
use crate::service::admin::error::{ApiError, ErrorBody, GuardedErrors};
use crate::service::admin::extract::{NoParameters, Parameters};
use crate::service::admin::state::AdminState;
use crate::turn::AllocationRecord;
use crate::turn::policy::credentials::account;
use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// A page of users, and all blocked users.
#[derive(Serialize, ToSchema)]
pub(super) struct UserPage {
    /// Users on all pages.
    total: usize,
    users: Vec<UserTotals>,
    blocked: Vec<BlockedUser>,
}

/// A user with totals over the current allocations.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct UserTotals {
    /// The user, without the expiry of a time-limited name.
    user: String,
    realm: String,
    allocations: usize,
    /// Payload from the clients to peers.
    to_peers_bytes: u64,
    /// Payload from peers to the clients.
    to_client_bytes: u64,
}

/// The number of ended allocations.
#[derive(Serialize, ToSchema)]
pub(super) struct ClosedAllocations {
    pub(super) closed: usize,
}

/// Query of `GET /users`.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct UserQuery {
    /// Maximum number of users to return; 1000 by default.
    #[param(nullable = false)]
    limit: Option<usize>,
    /// Number of users to skip.
    #[param(nullable = false)]
    offset: Option<usize>,
}

/// Users by relayed bytes, and blocked users
#[utoipa::path(
    get,
    path = "/users",
    operation_id = "users",
    params(UserQuery),
    responses(
        (status = 200, description = "a page of users", body = UserPage),
        (status = 503, description = "the server is shutting down", body = ErrorBody),
        GuardedErrors,
    )
)]
pub(super) async fn list(
    State(state): State<AdminState>,
    Parameters(query): Parameters<UserQuery>,
) -> Result<Json<UserPage>, ApiError> {
    let blocked = state.commands.execute(AdminCommand::ListBlocked).await?;
    let mut users: BTreeMap<(String, String), UserTotals> = BTreeMap::new();
    for record in state.relay.allocations().await {
        let (user, realm) = (account(&record.user).to_owned(), record.realm.to_string());
        let totals = users.entry((realm.clone(), user.clone())).or_default();
        (totals.user, totals.realm) = (user, realm);
        totals.allocations += 1;
        totals.to_peers_bytes += record.traffic.to_peers.octets;
        totals.to_client_bytes += record.traffic.to_client.octets;
    }
    let mut users: Vec<UserTotals> = users.into_values().collect();
    users.sort_by_key(|user| std::cmp::Reverse(user.to_peers_bytes + user.to_client_bytes));
    let total = users.len();
    let page = users
        .into_iter()
        .skip(query.offset.unwrap_or(0))
        .take(query.limit.unwrap_or(PAGE));
    Ok(Json(UserPage {
        total,
        users: page.collect(),
        blocked,
    }))
}

/// End all allocations of a user
#[utoipa::path(
    delete,
    path = "/users/{user}/allocations",
    operation_id = "closeUser",
    params(("user" = String, Path, description = "user name")),
    responses(
        (status = 200, description = "they have ended", body = ClosedAllocations),
        GuardedErrors,
    )
)]
pub(super) async fn close(
    State(state): State<AdminState>,
    Path(user): Path<String>,
    Parameters(NoParameters {}): Parameters<NoParameters>,
) -> Json<ClosedAllocations> {
    Json(ClosedAllocations {
        closed: close_allocations_of(&state, &user).await,
    })
}

/// Returns true if an allocation belongs to a user, given by the whole name or without the expiry
/// of a time-limited one.
pub(super) fn is_allocated_by(record: &AllocationRecord, user: &str) -> bool {
    *record.user == *user || account(&record.user) == user
}

/// Ends all allocations of a user and returns their number.
pub(super) async fn close_allocations_of(state: &AdminState, user: &str) -> usize {
    let mut closed = 0;
    for record in state.relay.allocations().await {
        if is_allocated_by(&record, user) {
            closed += usize::from(state.relay.close_allocation(record.id).await);
        }
    }
    closed
}

/// Users on a page unless the query has a limit.
const PAGE: usize = 1000;
