//! Responses as tables.

use crate::relay::observe::escaped::Escaped;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{ContentArrangement, Table};
use serde_json::{Map, Value};

/// Renders a response: a list of objects with a row for each, any other object with a line for each
/// member.
pub fn render(response: &Value) -> String {
    let Value::Object(members) = response else {
        return render_value(response);
    };
    // A single allocation has an id; its permissions and channels stay members.
    let is_list = |value: &Value| {
        value.as_array().is_some_and(|list| {
            list.iter().all(Value::is_object) && (!list.is_empty() || members.contains_key("total"))
        })
    };
    let list = members
        .iter()
        .find(|(name, value)| *name != BLOCKED && value.is_array());
    let list = list.filter(|(_, value)| is_list(value) && !members.contains_key("id"));
    let Some(rows) = list.and_then(|(_, value)| value.as_array()) else {
        return render_members(members);
    };
    let total = members
        .get("total")
        .and_then(Value::as_u64)
        .unwrap_or(rows.len() as u64);
    let rows = render_rows(rows, total);
    match members.get(BLOCKED).and_then(Value::as_array) {
        Some(blocked) if !blocked.is_empty() => {
            format!(
                "{rows}\n\n{BLOCKED}:\n{}",
                render_rows(blocked, blocked.len() as u64)
            )
        }
        _ => rows,
    }
}

fn render_rows(rows: &[Value], total: u64) -> String {
    let Some(Value::Object(first)) = rows.first() else {
        return "none".into();
    };
    let mut columns: Vec<&String> = first.keys().collect();
    let rank = |name: &str| FIRST_COLUMNS.iter().position(|first| *first == name);
    columns.sort_by_key(|name| rank(name).unwrap_or(FIRST_COLUMNS.len()));
    let mut table = new_table();
    table.set_header(columns.iter().map(|name| name.replace('_', " ")));
    for row in rows {
        let cells = columns
            .iter()
            .map(|name| row.get(*name).map(render_value).unwrap_or_default());
        table.add_row(cells);
    }
    format!("{table}\n{} of {total}", rows.len())
}

fn render_members(members: &Map<String, Value>) -> String {
    let mut table = new_table();
    for (name, value) in members {
        table.add_row([name.replace('_', " "), render_value(value)]);
    }
    table.to_string()
}

fn new_table() -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table
}

fn render_value(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        // Clients choose user names.
        Value::String(text) => Escaped(text).to_string(),
        Value::Array(list) => list.iter().map(render_value).collect::<Vec<_>>().join(", "),
        Value::Object(members) => {
            let nonzero = members
                .iter()
                .filter(|(_, value)| value.as_f64() != Some(0.0));
            let texts = nonzero.map(|(name, value)| format!("{name} {}", render_value(value)));
            texts.collect::<Vec<_>>().join(", ")
        }
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => format!("{float:.1}"),
            _ => number.to_string(),
        },
        Value::Bool(flag) => flag.to_string(),
    }
}

/// The list that is rendered below the list of users.
const BLOCKED: &str = "blocked";
/// Columns that come first, in this order.
const FIRST_COLUMNS: &[&str] = &[
    "key",
    "id",
    "user",
    "realm",
    "transport",
    "client",
    "server",
    "relayed",
    "seconds",
    "allocations",
    "values",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_list_becomes_rows_and_an_object_lines() {
        let rendered =
            render(&json!({ "total": 7, "users": [{ "user": "ann", "to_peers_bytes": 5 }] }));
        assert!(
            rendered.contains("to peers bytes")
                && rendered.contains("ann")
                && rendered.ends_with("1 of 7"),
            "{rendered}"
        );
        let rendered = render(&json!({ "draining": true, "seconds": 1.25 }));
        assert!(
            rendered.contains("seconds") && rendered.contains("1.2"),
            "{rendered}"
        );
        let rendered = render(&json!({ "total": 1, "users": [{ "user": "\u{1b}[2Jann" }] }));
        assert!(
            rendered.contains("\\u{1b}[2Jann") && !rendered.contains('\u{1b}'),
            "{rendered}"
        );
        assert_eq!(render(&json!({ "total": 0, "users": [] })), "none");
        let rendered = render(&json!({ "changed": [], "warnings": ["weak"] }));
        assert!(
            rendered.contains("changed") && rendered.contains("weak"),
            "{rendered}"
        );
    }

    #[test]
    fn blocked_users_are_shown_below_the_users() {
        assert_eq!(
            render(&json!({ "total": 0, "users": [], "blocked": [] })),
            "none"
        );
        let rendered = render(
            &json!({ "total": 0, "users": [], "blocked": [{ "user": "ann", "seconds_left": 5 }] }),
        );
        assert!(
            rendered.starts_with("none\n\nblocked:\n") && rendered.contains("seconds left"),
            "{rendered}"
        );
    }
}
