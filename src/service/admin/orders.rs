//! Requests that change something: each becomes an order to the server's loop.

use crate::service::admin::desk::Admin;
use crate::service::admin::order::{Order, Refused};
use crate::service::admin::users;
use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// A span of time in a query: `?deadline=30s`, `?for=1h`.
#[derive(Deserialize)]
pub(super) struct Span {
    deadline: Option<String>,
    #[serde(rename = "for")]
    time: Option<String>,
}

/// `POST /reload`.
pub(super) async fn reload(State(admin): State<Admin>) -> Result<Json<Value>, Refused> {
    admin.orders.give(Order::Reload).await.map(Json)
}

/// `POST /drain?deadline=10m`.
pub(super) async fn drain(
    State(admin): State<Admin>,
    Query(span): Query<Span>,
) -> Result<Json<Value>, Refused> {
    let deadline = span.deadline.as_deref().map(duration).transpose()?;
    admin.orders.give(Order::Drain(deadline)).await.map(Json)
}

/// `PUT /users/{user}/block?for=1h`.
pub(super) async fn block(
    State(admin): State<Admin>,
    Path(user): Path<String>,
    Query(span): Query<Span>,
) -> Result<Json<Value>, Refused> {
    let time = span.time.as_deref().map_or(Ok(HOUR), duration)?;
    let mut answer = admin
        .orders
        .give(Order::Block {
            user: user.clone(),
            time,
        })
        .await?;
    // Whoever comes from here on is refused, so none is missed.
    let closed = users::close_all(&admin, &user).await;
    if let Some(members) = answer.as_object_mut() {
        members.insert("closed".into(), closed.into());
    }
    Ok(Json(answer))
}

/// `DELETE /users/{user}/block`.
pub(super) async fn unblock(
    State(admin): State<Admin>,
    Path(user): Path<String>,
) -> Result<Json<Value>, Refused> {
    admin.orders.give(Order::Unblock { user }).await.map(Json)
}

/// `GET /plan`.
pub(super) async fn plan(State(admin): State<Admin>) -> Result<Json<Value>, Refused> {
    admin.orders.give(Order::TellPlan).await.map(Json)
}

/// `GET /log-level`.
pub(super) async fn log_level(State(admin): State<Admin>) -> Result<Json<Value>, Refused> {
    admin.orders.give(Order::TellLogLevel).await.map(Json)
}

/// `PUT /log-level` with the filter as text.
pub(super) async fn set_log_level(
    State(admin): State<Admin>,
    filter: String,
) -> Result<Json<Value>, Refused> {
    admin
        .orders
        .give(Order::LogLevel(filter.trim().to_owned()))
        .await
        .map(Json)
}

/// A number with a unit: `500ms`, `90s`, `10m`, `1h`, `7d`; a bare number is in seconds.
fn duration(text: &str) -> Result<Duration, Refused> {
    let wrong = || Refused::wrong(format!("`{text}` is not a duration; write 90s, 10m or 1h"));
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    let count: u64 = count.parse().map_err(|_| wrong())?;
    count
        .checked_mul(factor)
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}

const HOUR: Duration = Duration::from_secs(3600);
