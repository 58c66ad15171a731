//! What the operators' listener offers, for machines: an OpenAPI document.

use crate::service::admin::schemas::schemas;
use axum::Json;
use serde_json::{Map, Value, json};

/// `GET /openapi.json`.
pub(super) async fn document() -> Json<Value> {
    Json(describe())
}

/// What a request may say beside its path: the names in its query, and whether a body comes with it. `None` for what is not
/// offered.
pub(super) fn understood(
    method: &str,
    path: &str,
) -> Option<(impl Iterator<Item = &'static str>, bool)> {
    let operation = OPERATIONS
        .iter()
        .find(|known| known.path == path && known.method.eq_ignore_ascii_case(method))?;
    Some((
        operation.query.iter().map(|(name, ..)| *name),
        operation.has_body(),
    ))
}

fn describe() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        let methods = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Some(methods) = methods.as_object_mut() {
            methods.insert(operation.method.into(), operation.describe());
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Hairpin's operators' listener", "version": env!("CARGO_PKG_VERSION") },
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas(),
        },
    })
}

/// One thing that can be asked.
struct Operation {
    method: &'static str,
    path: &'static str,
    /// A name for generated clients.
    id: &'static str,
    summary: &'static str,
    query: &'static [Parameter],
    /// Statuses beside 200, and what each means.
    refusals: &'static [(&'static str, &'static str)],
    answer: Answer,
}

/// A part of a query: its name, its type, what it is.
type Parameter = (&'static str, &'static str, &'static str);

/// What 200 comes with.
#[derive(Clone, Copy)]
enum Answer {
    /// JSON as the schema of this name describes it.
    Json(&'static str),
    /// Text of this type.
    Text(&'static str),
}

const fn operation(
    (method, path): (&'static str, &'static str),
    id: &'static str,
    summary: &'static str,
    answer: Answer,
) -> Operation {
    Operation {
        method,
        path,
        id,
        summary,
        query: &[],
        refusals: &[],
        answer,
    }
}

impl Operation {
    const fn query(self, query: &'static [Parameter]) -> Operation {
        Operation { query, ..self }
    }

    const fn refusals(self, refusals: &'static [(&'static str, &'static str)]) -> Operation {
        Operation { refusals, ..self }
    }

    fn has_body(&self) -> bool {
        (self.method, self.path) == ("put", "/log-level")
    }

    fn describe(&self) -> Value {
        let of_path = self.path.split(['{', '}']).skip(1).step_by(2);
        let in_path =
            of_path.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
        let in_query = self.query.iter().map(|(name, kind, about)| {
            json!({ "name": name, "in": "query", "description": about, "schema": { "type": kind } })
        });
        let (kind, schema) = match self.answer {
            Answer::Json(name) => (
                "application/json",
                json!({ "$ref": format!("#/components/schemas/{name}") }),
            ),
            Answer::Text(kind) => (kind, json!({ "type": "string" })),
        };
        let answered = json!({ "description": "done", "content": { kind: { "schema": schema } } });
        let mut responses = Map::from_iter([("200".to_owned(), answered)]);
        let open = OPEN.contains(&self.path);
        let guarded = if open { &[][..] } else { GUARDED };
        for (status, meaning) in guarded.iter().chain(self.refusals) {
            responses.insert((*status).into(), json!({ "description": meaning }));
        }
        let mut described = json!({
            "operationId": self.id,
            "summary": self.summary,
            "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
            "responses": responses,
        });
        if let Some(members) = described.as_object_mut() {
            if open {
                members.insert("security".into(), json!([{}]));
            }
            if self.has_body() {
                let content = json!({ "text/plain": { "schema": { "type": "string" } } });
                members.insert(
                    "requestBody".into(),
                    json!({ "required": true, "content": content }),
                );
            }
        }
        described
    }
}

/// What everybody may ask.
const OPEN: &[&str] = &["/", "/metrics", "/healthz", "/readyz", "/openapi.json"];
/// What may come of everything else.
const GUARDED: &[(&str, &str)] = &[
    (
        "400",
        "what is asked has a part that is not understood: {\"error\": …}",
    ),
    ("401", "the admin_token is wanted"),
    (
        "403",
        "another site's page asks, or a stranger where there is no token",
    ),
];
const WRONG: (&str, &str) = ("400", "what is wrong, as {\"error\": …} or as text");
const MISSING: (&str, &str) = (
    "404",
    "there is no such thing, or no longer: {\"error\": …}",
);
const ENDING: (&str, &str) = ("503", "the server is ending: {\"error\": …}");
const PAGE: [Parameter; 2] = [
    ("limit", "integer", "how many at most"),
    ("offset", "integer", "how many to pass over"),
];
const OPERATIONS: &[Operation] = &[
    operation(
        ("get", "/"),
        "page",
        "The status page",
        Answer::Text("text/html"),
    ),
    operation(
        ("get", "/metrics"),
        "metrics",
        "Everything that is counted",
        Answer::Text("text/plain"),
    ),
    operation(
        ("get", "/healthz"),
        "health",
        "Whether the process serves requests",
        Answer::Text("text/plain"),
    ),
    operation(
        ("get", "/readyz"),
        "readiness",
        "Whether new allocations are taken",
        Answer::Text("text/plain"),
    )
    .refusals(&[("503", "the server leaves")]),
    operation(
        ("get", "/allocations"),
        "list",
        "Who relays, the oldest first",
        Answer::Json("Allocations"),
    )
    .query(&[
        ("user", "string", "only this user's"),
        ("realm", "string", "only this realm's"),
        ("client", "string", "only from this IP address"),
        ("transport", "string", "only over udp, tcp, tls or dtls"),
        PAGE[0],
        PAGE[1],
    ])
    .refusals(&[WRONG]),
    operation(
        ("get", "/allocations/{id}"),
        "show",
        "One allocation",
        Answer::Json("AllocationDetail"),
    )
    .refusals(&[WRONG, MISSING]),
    operation(
        ("delete", "/allocations/{id}"),
        "close",
        "Ends an allocation",
        Answer::Json("Closed"),
    )
    .refusals(&[WRONG, MISSING]),
    operation(
        ("get", "/users"),
        "users",
        "Who relays, by bytes, and who is kept out",
        Answer::Json("Users"),
    )
    .query(&PAGE)
    .refusals(&[WRONG, ENDING]),
    operation(
        ("delete", "/users/{user}/allocations"),
        "closeUser",
        "Ends all allocations of a user",
        Answer::Json("Closed"),
    ),
    operation(
        ("put", "/users/{user}/block"),
        "block",
        "Ends all allocations of a user, and refuses new ones for a time",
        Answer::Json("Blocked"),
    )
    .query(&[(
        "for",
        "string",
        "how long: 90s, 10m, 1h; an hour without it",
    )])
    .refusals(&[WRONG, ENDING]),
    operation(
        ("delete", "/users/{user}/block"),
        "unblock",
        "Lets a user in again",
        Answer::Json("Unblocked"),
    )
    .refusals(&[MISSING, ENDING]),
    operation(
        ("get", "/plan"),
        "plan",
        "What was written and where",
        Answer::Json("Plan"),
    )
    .refusals(&[ENDING]),
    operation(
        ("get", "/status"),
        "status",
        "The numbers that the status page draws",
        Answer::Json("Status"),
    ),
    operation(
        ("get", "/reasons"),
        "reasons",
        "What the reasons of discards mean",
        Answer::Json("Reasons"),
    ),
    operation(
        ("get", "/log-level"),
        "logLevel",
        "What is logged",
        Answer::Json("LogLevel"),
    )
    .refusals(&[ENDING]),
    operation(
        ("put", "/log-level"),
        "setLogLevel",
        "Logs as the body says: info, or info,hairpin::relay=debug",
        Answer::Json("LogLevel"),
    )
    .refusals(&[WRONG, ENDING]),
    operation(
        ("post", "/drain"),
        "drain",
        "Leaves: takes no new allocations, ends with the last or at the deadline",
        Answer::Json("Draining"),
    )
    .query(&[(
        "deadline",
        "string",
        "how long: 90s, 10m, 1h; the configured time without it",
    )])
    .refusals(&[WRONG, ENDING]),
    operation(
        ("post", "/reload"),
        "reload",
        "Reads the configuration again; all or nothing",
        Answer::Json("Reloaded"),
    )
    .refusals(&[
        (
            "400",
            "what is wrong with the configuration, where; nothing has changed: {\"error\": …}",
        ),
        ENDING,
    ]),
    operation(
        ("get", "/openapi.json"),
        "openapi",
        "This document",
        Answer::Json("OpenApi"),
    ),
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

    #[test]
    fn every_schema_that_is_referred_to_is_there() {
        let known = schemas();
        for operation in OPERATIONS {
            if let Answer::Json(name) = operation.answer {
                assert!(known[name].is_object(), "{name}");
            }
        }
    }
}
