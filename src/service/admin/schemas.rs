//! What answers look like, as JSON Schema: the schemas of the OpenAPI document.

use crate::turn::{Discard, EndReason, Transport};
use serde_json::{Map, Value, json};

/// All of them, by name.
pub(super) fn schemas() -> Value {
    json!({
        "Allocations": object(&[("total", integer()), ("offset", integer()), ("allocations", list(of("Allocation")))]),
        "Allocation": allocation(&[]),
        "AllocationDetail": allocation(&[
            ("seconds_left", integer()),
            ("to_peers_bytes_per_second", number()),
            ("to_client_bytes_per_second", number()),
            ("permissions", list(object(&[("peer", string()), ("seconds_left", integer())]))),
            ("channels", list(object(&[("number", string()), ("peer", string()), ("seconds_left", integer())]))),
        ]),
        "Closed": object(&[("closed", integer())]),
        "Users": object(&[
            ("total", integer()),
            ("users", list(object(&[
                ("user", string()),
                ("realm", string()),
                ("allocations", integer()),
                ("to_peers_bytes", integer()),
                ("to_client_bytes", integer()),
            ]))),
            ("blocked", list(object(&[("user", string()), ("seconds_left", integer())]))),
        ]),
        "Blocked": object(&[("blocked", string()), ("until", integer()), ("closed", integer())]),
        "Unblocked": object(&[("unblocked", string())]),
        "Plan": object(&[("keys", list(object(&[
            ("key", string()),
            ("values", list(string())),
            ("origins", list(string())),
            ("default", string()),
        ])))]),
        "Status": status(),
        "Reasons": object(&Discard::ALL.iter().map(|discard| (discard.name(), string())).collect::<Vec<_>>()),
        "LogLevel": object(&[("filter", string())]),
        "Draining": object(&[("draining", boolean()), ("allocations", integer()), ("seconds", number())]),
        "Reloaded": reloaded(),
        "OpenApi": { "type": "object" },
    })
}

fn allocation(more: &[(&str, Value)]) -> Value {
    let mut members = vec![
        ("id", string()),
        ("user", string()),
        ("realm", string()),
        ("client", string()),
        ("server", string()),
        ("transport", one_of(Transport::ALL.map(Transport::name))),
        ("relayed", list(string())),
        ("seconds", number()),
        ("to_peers_bytes", integer()),
        ("to_peers_packets", integer()),
        ("to_client_bytes", integer()),
        ("to_client_packets", integer()),
    ];
    members.extend_from_slice(more);
    object(&members)
}

fn status() -> Value {
    let numbers = |names: &[&str]| {
        object(
            &names
                .iter()
                .map(|name| (*name, integer()))
                .collect::<Vec<_>>(),
        )
    };
    let by_transport = || numbers(&Transport::ALL.map(Transport::name));
    object(&[
        ("version", string()),
        ("uptime_seconds", number()),
        ("draining", boolean()),
        ("ports", integer()),
        ("ports_taken", integer()),
        ("allocations", by_transport()),
        ("started", integer()),
        ("ended", numbers(&EndReason::ALL.map(EndReason::name))),
        ("to_peers_bytes", by_transport()),
        ("to_clients_bytes", by_transport()),
        (
            "discards",
            numbers(
                &Discard::ALL
                    .iter()
                    .map(|discard| discard.name())
                    .collect::<Vec<_>>(),
            ),
        ),
        ("shards_busy_seconds", list(number())),
        (
            "certificates",
            json!({ "type": "object", "additionalProperties": integer() }),
        ),
        ("certificate_failures", integer()),
    ])
}

fn reloaded() -> Value {
    let mut reloaded = object(&[
        ("changed", list(string())),
        ("restart", list(string())),
        ("warnings", list(string())),
    ]);
    let listeners = object(&[("added", list(string())), ("removed", list(string()))]);
    if let Some(members) = reloaded
        .pointer_mut("/properties")
        .and_then(Value::as_object_mut)
    {
        members.insert("listeners".into(), listeners);
    }
    reloaded
}

/// An object that has all of these members.
fn object(members: &[(&str, Value)]) -> Value {
    let properties: Map<String, Value> = members
        .iter()
        .map(|(name, schema)| ((*name).to_owned(), schema.clone()))
        .collect();
    let required: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

fn list(of: Value) -> Value {
    json!({ "type": "array", "items": of })
}

fn of(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn one_of<const N: usize>(texts: [&str; N]) -> Value {
    json!({ "type": "string", "enum": texts.to_vec() })
}

fn string() -> Value {
    json!({ "type": "string" })
}

fn integer() -> Value {
    json!({ "type": "integer" })
}

fn number() -> Value {
    json!({ "type": "number" })
}

fn boolean() -> Value {
    json!({ "type": "boolean" })
}
