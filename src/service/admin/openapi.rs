//! What the operators' listener offers, for machines: an OpenAPI document.

use axum::Json;
use serde_json::{Map, Value, json};

/// `GET /openapi.json`.
pub(super) async fn document() -> Json<Value> {
    Json(describe())
}

fn describe() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        let of_path = operation.path.split(['{', '}']).skip(1).step_by(2);
        let in_path =
            of_path.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
        let in_query = operation.query.iter().map(|(name, about)| {
            json!({ "name": name, "in": "query", "description": about, "schema": { "type": "string" } })
        });
        let described = json!({
            "summary": operation.summary,
            "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
            "responses": {
                "200": { "description": operation.answer },
                "default": { "description": "what is wrong, as {\"error\": …} or as text" },
            },
        });
        let methods = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Some(methods) = methods.as_object_mut() {
            methods.insert(operation.method.into(), described);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Hairpin's operators' listener", "version": env!("CARGO_PKG_VERSION") },
        "components": { "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } } },
        "security": [{}, { "token": [] }],
        "paths": paths,
    })
}

/// One thing that can be asked.
struct Operation {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    query: &'static [(&'static str, &'static str)],
    answer: &'static str,
}

const fn operation(method: &'static str, path: &'static str, summary: &'static str, answer: &'static str) -> Operation {
    Operation { method, path, summary, query: &[], answer }
}

impl Operation {
    const fn query(self, query: &'static [(&'static str, &'static str)]) -> Operation {
        Operation { query, ..self }
    }
}

const PAGE: &[(&str, &str)] = &[("limit", "how many at most"), ("offset", "how many to pass over")];
const OPERATIONS: &[Operation] = &[
    operation("get", "/metrics", "Everything that is counted", "Prometheus' text format"),
    operation("get", "/healthz", "Whether the process serves requests", "ok"),
    operation("get", "/readyz", "Whether new allocations are taken; 503 once the server leaves", "ready"),
    operation("get", "/allocations", "Who relays, the oldest first", "total, offset, allocations").query(&[
        ("user", "only this user's"),
        ("realm", "only this realm's"),
        ("client", "only from this IP address"),
        ("transport", "only over udp, tcp, tls or dtls"),
        ("limit", "how many at most"),
        ("offset", "how many to pass over"),
    ]),
    operation("get", "/allocations/{id}", "One allocation", "the allocation"),
    operation("delete", "/allocations/{id}", "Ends an allocation", "closed"),
    operation("get", "/users", "Who relays, by bytes", "total, users").query(PAGE),
    operation("delete", "/users/{user}/allocations", "Ends all allocations of a user", "closed"),
    operation("put", "/users/{user}/block", "Refuses new allocations to a user for a time", "blocked, until")
        .query(&[("for", "how long: 90s, 10m, 1h; an hour without it")]),
    operation("delete", "/users/{user}/block", "Lets a user in again", "unblocked"),
    operation("get", "/plan", "What was written and where", "keys"),
    operation("get", "/status", "The numbers that the status page draws", "totals since the start"),
    operation("get", "/reasons", "What each reason of a discard means", "a sentence for each"),
    operation("get", "/log-level", "What is logged", "filter"),
    operation("put", "/log-level", "Logs as the body says: info, or info,hairpin::relay=debug", "filter"),
    operation("post", "/drain", "Leaves: takes no new allocations, ends with the last or at the deadline", "draining")
        .query(&[("deadline", "how long: 90s, 10m, 1h; the configured time without it")]),
    operation("post", "/reload", "Reads the configuration again; all or nothing", "changed, restart, warnings"),
    operation("get", "/openapi.json", "This document", "OpenAPI 3.1"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_carry_their_parameters() {
        let document = describe();
        let operation = &document["paths"]["/users/{user}/block"]["put"];
        assert_eq!(operation["parameters"][0]["name"], "user");
        assert_eq!(operation["parameters"][1]["name"], "for");
        assert!(document["paths"]["/allocations/{id}"]["delete"].is_object());
    }
}
