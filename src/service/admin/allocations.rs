//! Current allocations: list, show, close.

use crate::service::admin::error::{ApiError, ErrorBody, GuardedErrors};
use crate::service::admin::extract::{NoParameters, Parameters};
use crate::service::admin::openapi;
use crate::service::admin::state::AdminState;
use crate::service::admin::users::{ClosedAllocations, is_allocated_by};
use crate::turn::AllocationDetail;
use crate::turn::AllocationRecord;
use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// A page of allocations.
#[derive(Serialize, ToSchema)]
pub(super) struct AllocationPage {
    /// Matching allocations on all pages.
    total: usize,
    /// Matching allocations before this page.
    offset: usize,
    allocations: Vec<Allocation>,
}

/// An allocation.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Allocation {
    /// Identifies the allocation, also in the log and in usage records.
    id: String,
    user: String,
    realm: String,
    /// Transport address of the client.
    client: String,
    /// Transport address of the server that the client uses.
    server: String,
    #[schema(schema_with = openapi::transport)]
    transport: &'static str,
    /// Relayed transport addresses.
    relayed: Vec<String>,
    /// Time since the start.
    seconds: f64,
    /// Payload from the client to peers.
    to_peers_bytes: u64,
    to_peers_packets: u64,
    /// Payload from peers to the client.
    to_client_bytes: u64,
    to_client_packets: u64,
}

/// An allocation with its permissions, its channels and its current throughput.
#[derive(Serialize, ToSchema)]
pub(super) struct DetailedAllocation {
    #[serde(flatten)]
    allocation: Allocation,
    /// Seconds until the allocation expires unless it is refreshed.
    seconds_left: u64,
    to_peers_bytes_per_second: f64,
    to_client_bytes_per_second: f64,
    permissions: Vec<Permission>,
    channels: Vec<Channel>,
}

/// A permission.
#[derive(Serialize, ToSchema)]
struct Permission {
    /// IP address of the peer.
    #[schema(value_type = String)]
    peer: IpAddr,
    seconds_left: u64,
}

/// A channel.
#[derive(Serialize, ToSchema)]
struct Channel {
    /// Channel number, such as `0x4000`.
    number: String,
    /// Transport address of the peer.
    peer: String,
    /// 0 for a channel that expired and may not be bound to another peer yet.
    seconds_left: u64,
}

/// Query of `GET /allocations`.
#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct AllocationQuery {
    /// Only allocations of this user.
    #[param(nullable = false)]
    user: Option<String>,
    /// Only allocations of this realm.
    #[param(nullable = false)]
    realm: Option<String>,
    /// Only allocations of clients at this IP address.
    #[param(value_type = Option<String>, nullable = false)]
    client: Option<IpAddr>,
    /// Only allocations over udp, tcp, tls or dtls.
    #[param(nullable = false)]
    transport: Option<String>,
    /// Maximum number of allocations to return; 100 by default, 10,000 at most.
    #[param(nullable = false)]
    limit: Option<usize>,
    /// Number of allocations to skip.
    #[param(nullable = false)]
    offset: Option<usize>,
}

/// Current allocations, the oldest first
#[utoipa::path(
    get,
    path = "/allocations",
    operation_id = "list",
    params(AllocationQuery),
    responses((status = 200, description = "a page of allocations", body = AllocationPage), GuardedErrors)
)]
pub(super) async fn list(
    State(state): State<AdminState>,
    Parameters(query): Parameters<AllocationQuery>,
) -> Json<AllocationPage> {
    let mut records = state.relay.allocations().await;
    records.retain(|record| query.matches(record));
    records.sort_by_key(|record| (record.started, record.id));
    let offset = query.offset.unwrap_or(0);
    let limit = query.limit.unwrap_or(PAGE).min(LARGEST_PAGE);
    let page = records.iter().skip(offset).take(limit);
    Json(AllocationPage {
        total: records.len(),
        offset,
        allocations: page.map(Allocation::from).collect(),
    })
}

/// An allocation with permissions, channels and throughput, which is measured for 250 ms
#[utoipa::path(
    get,
    path = "/allocations/{id}",
    operation_id = "show",
    params(("id" = String, Path, description = "id of the allocation")),
    responses(
        (status = 200, description = "the allocation", body = DetailedAllocation),
        (status = 404, description = "the allocation does not exist", body = ErrorBody),
        GuardedErrors,
    )
)]
pub(super) async fn show(
    State(state): State<AdminState>,
    Path(id): Path<u64>,
    Parameters(NoParameters {}): Parameters<NoParameters>,
) -> Result<Json<DetailedAllocation>, ApiError> {
    let before = state
        .relay
        .allocation(id)
        .await
        .ok_or_else(|| not_found(id))?;
    tokio::time::sleep(MEASUREMENT).await;
    let after = state
        .relay
        .allocation(id)
        .await
        .ok_or_else(|| not_found(id))?;
    Ok(Json(DetailedAllocation::new(&before.record, &after)))
}

/// End an allocation
#[utoipa::path(
    delete,
    path = "/allocations/{id}",
    operation_id = "close",
    params(("id" = String, Path, description = "id of the allocation")),
    responses(
        (status = 200, description = "the allocation has ended", body = ClosedAllocations),
        (status = 404, description = "the allocation does not exist", body = ErrorBody),
        GuardedErrors,
    )
)]
pub(super) async fn close(
    State(state): State<AdminState>,
    Path(id): Path<u64>,
    Parameters(NoParameters {}): Parameters<NoParameters>,
) -> Result<Json<ClosedAllocations>, ApiError> {
    match state.relay.close_allocation(id).await {
        true => Ok(Json(ClosedAllocations { closed: 1 })),
        false => Err(not_found(id)),
    }
}

impl AllocationQuery {
    fn matches(&self, record: &AllocationRecord) -> bool {
        let user = self.user.as_deref();
        let realm = self.realm.as_deref();
        let transport = self.transport.as_deref();
        user.is_none_or(|user| is_allocated_by(record, user))
            && realm.is_none_or(|realm| *record.realm == *realm)
            && self
                .client
                .is_none_or(|client| record.client.client.ip() == client)
            && transport.is_none_or(|transport| record.client.transport.name() == transport)
    }
}

impl From<&AllocationRecord> for Allocation {
    fn from(record: &AllocationRecord) -> Allocation {
        Allocation {
            id: record.id.to_string(),
            user: record.user.to_string(),
            realm: record.realm.to_string(),
            client: record.client.client.to_string(),
            server: record.client.server.to_string(),
            transport: record.client.transport.name(),
            relayed: record.relayed.iter().map(ToString::to_string).collect(),
            seconds: record.elapsed.as_secs_f64(),
            to_peers_bytes: record.traffic.to_peers.octets,
            to_peers_packets: record.traffic.to_peers.packets,
            to_client_bytes: record.traffic.to_client.octets,
            to_client_packets: record.traffic.to_client.packets,
        }
    }
}

impl DetailedAllocation {
    /// Describes an allocation; the throughput is that since `before`.
    fn new(before: &AllocationRecord, detail: &AllocationDetail) -> DetailedAllocation {
        let record = &detail.record;
        let elapsed = record
            .elapsed
            .saturating_sub(before.elapsed)
            .as_secs_f64()
            .max(0.001);
        let rate =
            |before: u64, after: u64| (after.saturating_sub(before) as f64 / elapsed).round();
        let permissions = detail.permissions.iter().map(|(peer, left)| Permission {
            peer: *peer,
            seconds_left: left.as_secs(),
        });
        let channels = detail.channels.iter().map(|(number, peer, left)| Channel {
            number: format!("0x{number:04x}"),
            peer: peer.to_string(),
            seconds_left: left.as_secs(),
        });
        let (old, new) = (&before.traffic, &record.traffic);
        DetailedAllocation {
            allocation: record.into(),
            seconds_left: detail.remaining.as_secs(),
            to_peers_bytes_per_second: rate(old.to_peers.octets, new.to_peers.octets),
            to_client_bytes_per_second: rate(old.to_client.octets, new.to_client.octets),
            permissions: permissions.collect(),
            channels: channels.collect(),
        }
    }
}

fn not_found(id: u64) -> ApiError {
    ApiError::NotFound(format!("allocation {id} does not exist or has ended"))
}

/// Allocations on a page unless the query has a limit.
const PAGE: usize = 100;
const LARGEST_PAGE: usize = 10_000;
/// How long the throughput of an allocation is measured.
const MEASUREMENT: Duration = Duration::from_millis(250);
