//! Who relays right now.

use crate::service::admin::desk::Admin;
use crate::service::admin::order::Refused;
use crate::service::admin::users::belongs;
use crate::turn::AllocationRecord;
use axum::Json;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::net::IpAddr;

/// Which allocations, and which page of them.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    user: Option<String>,
    realm: Option<String>,
    client: Option<IpAddr>,
    transport: Option<String>,
    limit: Option<usize>,
    offset: Option<usize>,
}

/// A page of allocations.
#[derive(Serialize)]
pub(super) struct Listed {
    /// How many match in all.
    total: usize,
    /// Where this page starts.
    offset: usize,
    /// The page.
    allocations: Vec<Described>,
}

/// One allocation, for operators.
#[derive(Clone, Debug, Serialize)]
pub struct Described {
    /// [`AllocationRecord::id`], as the log says it.
    pub id: String,
    /// Who.
    pub user: String,
    /// In which realm.
    pub realm: String,
    /// From where.
    pub client: String,
    /// To which address of this server.
    pub server: String,
    /// Over what.
    pub transport: &'static str,
    /// The relayed transport addresses.
    pub relayed: Vec<String>,
    /// Its age.
    pub seconds: f64,
    /// Payload from the client to peers.
    pub to_peers_bytes: u64,
    /// The same in packets.
    pub to_peers_packets: u64,
    /// Payload from peers to the client.
    pub to_client_bytes: u64,
    /// The same in packets.
    pub to_client_packets: u64,
    /// Why it ended; absent while it lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

impl Described {
    /// A record in plain words.
    pub fn new(record: &AllocationRecord) -> Described {
        let traffic = &record.traffic;
        Described {
            id: record.id.to_string(),
            user: record.user.to_string(),
            realm: record.realm.to_string(),
            client: record.client.client.to_string(),
            server: record.client.server.to_string(),
            transport: record.client.transport.name(),
            relayed: record.relayed.iter().map(ToString::to_string).collect(),
            seconds: record.elapsed.as_secs_f64(),
            to_peers_bytes: traffic.to_peers.octets,
            to_peers_packets: traffic.to_peers.packets,
            to_client_bytes: traffic.to_client.octets,
            to_client_packets: traffic.to_client.packets,
            reason: record.end_reason.map(crate::turn::EndReason::name),
        }
    }
}

impl Wanted {
    fn matches(&self, record: &AllocationRecord) -> bool {
        self.user
            .as_deref()
            .is_none_or(|user| belongs(record, user))
            && self
                .realm
                .as_deref()
                .is_none_or(|realm| *record.realm == *realm)
            && self
                .client
                .is_none_or(|client| record.client.client.ip() == client)
            && self
                .transport
                .as_deref()
                .is_none_or(|transport| record.client.transport.name() == transport)
    }
}

/// `GET /allocations?user=…&realm=…&client=IP&transport=…&limit=…&offset=…`, the oldest first.
pub(super) async fn list(State(admin): State<Admin>, Query(wanted): Query<Wanted>) -> Json<Listed> {
    let mut records = admin.relay.allocations().await;
    records.retain(|record| wanted.matches(record));
    records.sort_by_key(|record| (record.started, record.id));
    let offset = wanted.offset.unwrap_or(0);
    let page = records
        .iter()
        .skip(offset)
        .take(wanted.limit.unwrap_or(PAGE).min(LARGEST_PAGE));
    Json(Listed {
        total: records.len(),
        offset,
        allocations: page.map(Described::new).collect(),
    })
}

/// `GET /allocations/{id}`: its permissions and channels too, and what it carries a second, measured for a moment.
pub(super) async fn one(
    State(admin): State<Admin>,
    Path(id): Path<u64>,
) -> Result<Json<Value>, Refused> {
    let before = admin
        .relay
        .allocation(id)
        .await
        .ok_or_else(|| missing(id))?;
    tokio::time::sleep(MOMENT).await;
    let detail = admin
        .relay
        .allocation(id)
        .await
        .ok_or_else(|| missing(id))?;
    let seconds = (detail.record.elapsed.saturating_sub(before.record.elapsed))
        .as_secs_f64()
        .max(0.001);
    let (was, is) = (&before.record.traffic, &detail.record.traffic);
    let rate = |was: u64, is: u64| (is.saturating_sub(was) as f64 / seconds).round();
    let permissions = detail
        .permissions
        .iter()
        .map(|(peer, left)| json!({ "peer": peer, "seconds_left": left.as_secs() }));
    let channels = detail.channels.iter().map(|(number, peer, left)| {
        json!({ "number": format!("0x{number:04x}"), "peer": peer, "seconds_left": left.as_secs() })
    });
    let mut described = serde_json::to_value(Described::new(&detail.record)).unwrap_or_default();
    if let Value::Object(members) = &mut described {
        members.insert("seconds_left".into(), json!(detail.remaining.as_secs()));
        members.insert(
            "to_peers_bytes_per_second".into(),
            json!(rate(was.to_peers.octets, is.to_peers.octets)),
        );
        members.insert(
            "to_client_bytes_per_second".into(),
            json!(rate(was.to_client.octets, is.to_client.octets)),
        );
        members.insert("permissions".into(), permissions.collect());
        members.insert("channels".into(), channels.collect());
    }
    Ok(Json(described))
}

/// `DELETE /allocations/{id}`.
pub(super) async fn close(
    State(admin): State<Admin>,
    Path(id): Path<u64>,
) -> Result<Json<Value>, Refused> {
    match admin.relay.close_allocation(id).await {
        true => Ok(Json(json!({ "closed": 1 }))),
        false => Err(missing(id)),
    }
}

fn missing(id: u64) -> Refused {
    Refused::missing(format!("there is no allocation {id}, or no longer"))
}

/// Allocations of a page unless the request says otherwise.
const PAGE: usize = 100;
/// The most that it may say.
const LARGEST_PAGE: usize = 10_000;
/// How long rates are measured.
const MOMENT: std::time::Duration = std::time::Duration::from_millis(250);
