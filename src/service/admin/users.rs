//! What users have and did, over all their allocations that live.

use crate::service::admin::desk::Admin;
use crate::service::admin::order::{Order, Refused};
use crate::turn::AllocationRecord;
use crate::turn::policy::credentials::account;
use axum::Json;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One user's totals.
#[derive(Debug, Default, Serialize)]
pub(super) struct Totals {
    user: String,
    realm: String,
    allocations: usize,
    to_peers_bytes: u64,
    to_client_bytes: u64,
}

/// A page of users.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    limit: Option<usize>,
    offset: Option<usize>,
}

/// Whether an allocation is a user's, by the name that quotas count by or the whole name.
pub(super) fn belongs(record: &AllocationRecord, user: &str) -> bool {
    *record.user == *user || account(&record.user) == user
}

/// `GET /users`: who relays, by bytes, the greatest first; and who is kept out.
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, Refused> {
    let blocked = admin.orders.give(Order::TellBlocked).await?;
    let mut users: BTreeMap<(String, String), Totals> = BTreeMap::new();
    for record in admin.relay.allocations().await {
        let (user, realm) = (account(&record.user).to_owned(), record.realm.to_string());
        let totals = users.entry((realm.clone(), user.clone())).or_default();
        (totals.user, totals.realm) = (user, realm);
        totals.allocations += 1;
        totals.to_peers_bytes += record.traffic.to_peers.octets;
        totals.to_client_bytes += record.traffic.to_client.octets;
    }
    let mut users: Vec<Totals> = users.into_values().collect();
    users.sort_by_key(|user| std::cmp::Reverse(user.to_peers_bytes + user.to_client_bytes));
    let total = users.len();
    let page = users
        .into_iter()
        .skip(wanted.offset.unwrap_or(0))
        .take(wanted.limit.unwrap_or(PAGE));
    Ok(Json(
        json!({ "total": total, "users": page.collect::<Vec<_>>(), "blocked": blocked }),
    ))
}

/// `DELETE /users/{user}/allocations`.
pub(super) async fn close(State(admin): State<Admin>, Path(user): Path<String>) -> Json<Value> {
    Json(json!({ "closed": close_all(&admin, &user).await }))
}

/// Ends all allocations of a user; tells how many there were.
pub(super) async fn close_all(admin: &Admin, user: &str) -> usize {
    let mut closed = 0;
    for record in admin
        .relay
        .allocations()
        .await
        .iter()
        .filter(|record| belongs(record, user))
    {
        closed += usize::from(admin.relay.close_allocation(record.id).await);
    }
    closed
}

/// Users of a page unless the request says otherwise.
const PAGE: usize = 1000;
