//! Files that hold secrets: one secret, or pairs with one on each line.

use crate::config::resolver::Resolver;
use crate::config::schema::AnyKey;
use crate::config::value;

/// The secrets in the files of a key, one per file.
pub(super) fn secrets(resolver: &mut Resolver, key: &dyn AnyKey) -> Vec<String> {
    let mut secrets = Vec::new();
    for file in resolver.files(key) {
        match without_line_break(&file.content) {
            "" => resolver.error_at(&file.source, key, format!("{} is empty", file.path)),
            secret => secrets.push(secret.to_owned()),
        }
    }
    secrets
}

/// The pairs in the file of a key, one per line and separated by a colon.
pub(super) fn pairs(resolver: &mut Resolver, key: &dyn AnyKey) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for file in resolver.files(key) {
        for (number, line) in (1..).zip(file.content.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            match value::user(line) {
                Ok(pair) => pairs.push(pair),
                Err(error) => {
                    let message = format!("{}:{number}: {error}", file.path);
                    resolver.error_at(&file.source, key, message);
                }
            }
        }
    }
    pairs
}

pub(super) fn without_line_break(text: &str) -> &str {
    text.trim_end_matches(['\r', '\n'])
}
