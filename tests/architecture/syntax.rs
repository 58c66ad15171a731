//! A reader of Rust that is good enough for the rules: tokens, paths, functions, and text without
//! comments or tests.

/// Every path `a::b::c` in the tokens; a group of a `use` gives one path for each of its names.
pub fn plain_paths(tokens: &[String]) -> Vec<Vec<String>> {
    let mut found = vec![];
    let mut at = 0;
    while at < tokens.len() {
        match is_name(&tokens[at]) && (at == 0 || tokens[at - 1] != "::") {
            true => at = path_at(tokens, at, &[], &mut found),
            false => at += 1,
        }
    }
    found
}

/// Reads the path at index `at`, which may end in a group; returns the index behind it. `prefix` is
/// the path in front of the group that `at` is in.
fn path_at(
    tokens: &[String],
    mut at: usize,
    prefix: &[String],
    found: &mut Vec<Vec<String>>,
) -> usize {
    let mut path = prefix.to_vec();
    loop {
        path.push(tokens[at].clone());
        at += 1;
        if tokens.get(at).is_none_or(|t| t != "::") {
            break;
        }
        match tokens.get(at + 1).map(String::as_str) {
            Some("{") => {
                at += 2;
                while tokens.get(at).is_some_and(|t| t != "}") {
                    at = if is_name(&tokens[at]) {
                        path_at(tokens, at, &path, found)
                    } else {
                        at + 1
                    };
                }
                return at + 1;
            }
            Some(next) if is_name(next) => at += 1,
            _ => break,
        }
    }
    if path.last().is_some_and(|l| l == "self") && path.len() > 1 {
        path.pop();
    }
    found.push(path);
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::`, and every other character that is not white space; without comments and literals.
pub fn tokens(code: &str) -> Vec<String> {
    let code = without_comments(code);
    let mut found = vec![];
    let mut rest = code.as_str();
    while let Some(first) = rest.chars().next() {
        let word = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let size = if word > 0 {
            word
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        if !first.is_whitespace() {
            found.push(rest[..size].to_owned());
        }
        rest = &rest[size..];
    }
    found
}

/// The text without comments and literals; line breaks stay, so that line numbers do.
pub fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let size = blank_at(rest);
        match size {
            0 => out.push(first),
            _ => out.extend(rest[..size].chars().filter(|c| *c == '\n')),
        }
        rest = &rest[size.max(first.len_utf8())..];
    }
    out
}

/// The length of the comment or literal at the start of `rest`, or 0.
fn blank_at(rest: &str) -> usize {
    let until = |end: &str, from: usize| {
        rest[from..]
            .find(end)
            .map_or(rest.len(), |n| from + n + end.len())
    };
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return until("*/", 2);
    }
    if rest.starts_with("r#\"") {
        return until("\"#", 3);
    }
    if let Some(inside) = rest.strip_prefix('"') {
        let mut escaped = false;
        let end = inside.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        return end.map_or(rest.len(), |n| n + 2);
    }
    let mut characters = rest.chars();
    match (characters.next(), characters.next(), characters.next()) {
        (Some('\''), Some('\\'), Some(c)) => until("'", 2 + c.len_utf8()),
        (Some('\''), Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => 0,
    }
}

/// The code without comments, literals, and items under `#[cfg(test)]`.
pub fn without_tests(text: &str) -> String {
    let mut code = without_comments(text);
    while let Some(start) = code.find("#[cfg(test)]") {
        code.replace_range(start..=end_of_item(&code, start), "");
    }
    code
}

/// The inline modules and other items under `#[cfg(test)]`, without comments and literals.
pub fn test_modules(text: &str) -> String {
    let mut code = without_comments(text);
    let mut found = String::new();
    while let Some(start) = code.find("#[cfg(test)]") {
        let end = end_of_item(&code, start);
        found += &code[start..=end];
        found += "\n";
        code.replace_range(start..=end, "");
    }
    found
}

/// The index of the last octet of the item that starts at `start`.
fn end_of_item(code: &str, start: usize) -> usize {
    match code[start..].find(['{', ';']) {
        Some(n) if code[start + n..].starts_with('{') => closing(code, start + n),
        Some(n) => start + n,
        None => code.len() - 1,
    }
}

/// The index of the brace that closes the one at `open`.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, octet) in code.bytes().enumerate().skip(open) {
        depth += i32::from(octet == b'{') - i32::from(octet == b'}');
        if depth == 0 {
            return at;
        }
    }
    code.len() - 1
}

/// Name and text of every function with a body.
pub fn functions(code: &str) -> Vec<(&str, &str)> {
    let mut found = vec![];
    for (start, _) in code.match_indices("fn ") {
        let name = code[start + 3..]
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
            .unwrap_or_default();
        let Some(open) = code[start..].find(['{', ';']).map(|n| start + n) else {
            continue;
        };
        if !name.is_empty() && code[open..].starts_with('{') {
            found.push((name, &code[start..=closing(code, open)]));
        }
    }
    found
}

/// `RelayedId` and `relayed_id` as words in lower case.
pub fn words(name: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for c in name.chars() {
        if c == '_' || c.is_uppercase() {
            all.push(String::new());
        }
        all.last_mut()
            .unwrap()
            .extend(c.to_lowercase().filter(|c| *c != '_'));
    }
    all
}
