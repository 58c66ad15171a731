//! Answers as tables.

use crate::relay::observe::escaped::Escaped;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{ContentArrangement, Table};
use serde_json::{Map, Value};

/// Any answer as a table: a list of objects becomes a row each, an object a line for each of its members.
pub fn table(answer: &Value) -> String {
    let Value::Object(members) = answer else {
        return text(answer);
    };
    let mut lists = members
        .iter()
        .filter(|(name, _)| *name != BESIDE)
        .map(|(_, value)| value);
    let list = lists
        .find_map(Value::as_array)
        .filter(|list| list.iter().all(Value::is_object));
    let Some(list) = list.filter(|_| !members.contains_key("id")) else {
        return described(members);
    };
    let total = members
        .get("total")
        .and_then(Value::as_u64)
        .unwrap_or(list.len() as u64);
    match members
        .get(BESIDE)
        .and_then(Value::as_array)
        .filter(|beside| !beside.is_empty())
    {
        Some(beside) => format!(
            "{}\n\n{BESIDE}:\n{}",
            listed(list, total),
            listed(beside, beside.len() as u64)
        ),
        None => listed(list, total),
    }
}

fn listed(list: &[Value], total: u64) -> String {
    let Some(Value::Object(first)) = list.first() else {
        return "none".into();
    };
    let mut columns: Vec<&String> = first.keys().collect();
    columns.sort_by_key(|name| {
        FIRST
            .iter()
            .position(|first| first == name)
            .unwrap_or(FIRST.len())
    });
    let mut table = empty();
    table.set_header(columns.iter().map(|name| name.replace('_', " ")));
    for row in list {
        table.add_row(
            columns
                .iter()
                .map(|name| row.get(*name).map(text).unwrap_or_default()),
        );
    }
    format!("{table}\n{} of {total}", list.len())
}

fn described(members: &Map<String, Value>) -> String {
    let mut table = empty();
    for (name, value) in members {
        table.add_row([name.replace('_', " "), text(value)]);
    }
    table.to_string()
}

fn empty() -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => Escaped(text).to_string(),
        Value::Array(list) => list.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(members) => {
            let told = members
                .iter()
                .filter(|(_, value)| value.as_f64() != Some(0.0));
            told.map(|(name, value)| format!("{name} {}", text(value)))
                .collect::<Vec<_>>()
                .join(", ")
        }
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => format!("{float:.1}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// A list that is shown below another.
const BESIDE: &str = "blocked";
/// Columns that come first, in this order.
const FIRST: &[&str] = &[
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
    fn lists_become_rows_and_objects_lines() {
        let shown =
            table(&json!({ "total": 7, "users": [{ "user": "ann", "to_peers_bytes": 5 }] }));
        assert!(
            shown.contains("to peers bytes") && shown.contains("ann") && shown.ends_with("1 of 7"),
            "{shown}"
        );
        let shown = table(&json!({ "draining": true, "seconds": 1.25 }));
        assert!(
            shown.contains("seconds") && shown.contains("1.2"),
            "{shown}"
        );
        let shown = table(&json!({ "total": 1, "users": [{ "user": "\u{1b}[2Jann" }] }));
        assert!(
            shown.contains("\\u{1b}[2Jann") && !shown.contains('\u{1b}'),
            "{shown}"
        );
        assert_eq!(table(&json!({ "total": 0, "users": [] })), "none");
    }

    #[test]
    fn a_second_list_stands_below() {
        assert_eq!(
            table(&json!({ "total": 0, "users": [], "blocked": [] })),
            "none"
        );
        let shown = table(
            &json!({ "total": 0, "users": [], "blocked": [{ "user": "ann", "seconds_left": 5 }] }),
        );
        assert!(
            shown.starts_with("none\n\nblocked:\n") && shown.contains("seconds left"),
            "{shown}"
        );
    }
}
