//! One language: names and comments use the field's words.

use crate::sources::{Sources, all_rust_files, assert_none, sound, sound_with};
use crate::syntax::{tokens, without_comments, words};
use std::collections::BTreeMap;

#[test]
fn names_have_no_empty_words() {
    let mut files = all_rust_files();
    // A session key is a term of RFC 7635, which its tests name.
    files.retain(|file, _| !file.starts_with("tests/"));
    assert_none(empty_name_faults(&files));
}

#[test]
fn no_stubs_and_no_notes_for_later() {
    assert_none(leftover_faults(&all_rust_files()));
}

#[test]
fn no_text_refers_to_an_issue() {
    assert_none(issue_faults(&without_lists(all_rust_files())));
}

#[test]
fn comments_messages_and_names_have_no_private_language() {
    assert_none(phrase_faults(&without_lists(all_rust_files())));
}

#[test]
fn names_have_no_private_metaphors() {
    assert_none(metaphor_faults(&without_lists(all_rust_files())));
}

/// Without this file, which lists the words.
fn without_lists(mut files: Sources) -> Sources {
    files.remove("tests/architecture/language.rs");
    files
}

/// No file name and no declaration has a word that says nothing.
fn empty_name_faults(sources: &Sources) -> Vec<String> {
    let mut faults = vec![];
    for (file, text) in sources {
        let tokens = tokens(&without_comments(text));
        let declared = tokens
            .windows(2)
            .filter(|pair| DECLARING.contains(&pair[0].as_str()))
            .map(|pair| pair[1].as_str());
        let stems = file.trim_end_matches(".rs").split('/');
        for name in declared.chain(stems).filter(|name| !TERMS.contains(name)) {
            if words(name)
                .iter()
                .any(|w| EMPTY_WORDS.contains(&w.trim_end_matches('s')))
            {
                faults.push(format!("{file}: {name}"));
            }
        }
    }
    faults
}

fn leftover_faults(sources: &Sources) -> Vec<String> {
    let mut faults = vec![];
    for (file, text) in sources {
        if file == "tests/architecture/language.rs" {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            faults.extend(
                LEFTOVERS
                    .iter()
                    .filter(|l| line.contains(**l))
                    .map(|l| format!("{file}:{}: {l}", number + 1)),
            );
        }
    }
    faults
}

/// A reader of the tree cannot open the issues that it was built from.
fn issue_faults(sources: &Sources) -> Vec<String> {
    let mut faults = vec![];
    for (file, text) in sources {
        let words = plain_words(text);
        for pair in words.windows(2) {
            let [(first, line), (second, _)] = pair else {
                continue;
            };
            if first == "issue" && second.starts_with(|c: char| c.is_ascii_digit()) {
                faults.push(format!("{file}:{line}: issue {second}"));
            }
        }
    }
    faults
}

/// A word or phrase of [`PHRASES`] in a comment, a literal or a name; phrases also across line
/// breaks and in names (`is_told`).
fn phrase_faults(sources: &Sources) -> Vec<String> {
    let mut by_first_word: BTreeMap<&str, Vec<Vec<&str>>> = BTreeMap::new();
    for phrase in PHRASES {
        let words: Vec<&str> = phrase.split(' ').collect();
        by_first_word.entry(words[0]).or_default().push(words);
    }
    let mut faults = vec![];
    for (file, text) in sources {
        let found = plain_words(text);
        for (index, (word, line)) in found.iter().enumerate() {
            for phrase in by_first_word.get(word.as_str()).into_iter().flatten() {
                let here = found[index..].iter().map(|(word, _)| word);
                let value = VALUES.contains(&word.as_str()) && !is_comment(text, *line);
                if here.take(phrase.len()).eq(phrase.iter()) && !value {
                    faults.push(format!("{file}:{line}: {}", phrase.join(" ")));
                }
            }
        }
    }
    faults
}

fn is_comment(text: &str, line: usize) -> bool {
    text.lines()
        .nth(line - 1)
        .is_some_and(|text| text.trim_start().starts_with("//"))
}

/// A word of [`METAPHORS`] in a name of the code.
fn metaphor_faults(sources: &Sources) -> Vec<String> {
    let mut faults = vec![];
    for (file, text) in sources {
        for (number, line) in without_comments(text).lines().enumerate() {
            for token in tokens(line) {
                if words(&token)
                    .iter()
                    .any(|w| METAPHORS.contains(&w.as_str()))
                {
                    faults.push(format!("{file}:{}: {token}", number + 1));
                }
            }
        }
    }
    faults
}

/// The words of a text in lower case, each with the number of its line. Names are split at
/// underscores and capitals.
fn plain_words(text: &str) -> Vec<(String, usize)> {
    let mut found = vec![];
    for (number, line) in text.lines().enumerate() {
        let mut word = String::new();
        let mut after_small = false;
        for c in line.chars().chain([' ']) {
            if !word.is_empty() && (!c.is_alphanumeric() || (c.is_uppercase() && after_small)) {
                found.push((std::mem::take(&mut word), number + 1));
            }
            if c.is_alphanumeric() {
                word.extend(c.to_lowercase());
            }
            after_small = c.is_lowercase();
        }
    }
    found
}

const DECLARING: &[&str] = &[
    "fn", "struct", "enum", "trait", "mod", "type", "const", "static", "union",
];
const EMPTY_WORDS: &[&str] = &[
    "handler", "manager", "provider", "context", "session", "util", "helper", "common",
];
/// Names that other libraries gave.
const TERMS: &[&str] = &["crypto_provider"];
const LEFTOVERS: &[&str] = &["TODO", "FIXME", "XXX", "todo!(", "unimplemented!("];

/// Personification and phrases whose subject or referent is missing.
const PHRASES: &[&str] = &[
    "whoever",
    "whomever",
    "whom",
    "nobody",
    "somebody",
    "anybody",
    "is told",
    "are told",
    "was told",
    "be told",
    "told apart",
    "of theirs",
    "what came of it",
    "what is said",
    "what was said",
    "looks after",
    "look after",
    "looked after",
    "take up",
    "takes up",
    "taken up",
    "takes leave",
    "farewell",
    "nobody's",
];

/// Values of configuration keys and codes of reports, which are a contract: `ice_open = nobody`.
const VALUES: &[&str] = &["nobody"];

/// House metaphors for things that have a common word.
const METAPHORS: &[&str] = &[
    "lay",
    "aside",
    "guest",
    "guests",
    "door",
    "doors",
    "doorkeeper",
    "letter",
    "letters",
    "desk",
    "halves",
    "wish",
    "allowance",
    "neighbours",
    "keeper",
    "crew",
    "knock",
    "enlist",
    "greet",
    "visitor",
    "visitors",
    "journal",
    "patience",
    "told",
    "heard",
];

#[test]
fn a_sound_crate_has_no_faults() {
    let sound = sound();
    assert_none(empty_name_faults(&sound));
    assert_none(leftover_faults(&sound));
    assert_none(issue_faults(&sound));
    assert_none(phrase_faults(&sound));
    assert_none(metaphor_faults(&sound));
}

#[test]
fn empty_words_are_found() {
    for text in [
        "struct ConnectionManager;",
        "mod helpers;",
        "fn session_of() {}",
        "trait Handler {}",
    ] {
        let faults = empty_name_faults(&sound_with("relay/mod.rs", text));
        assert_eq!(faults.len(), 1, "{text}");
    }
    assert_eq!(empty_name_faults(&sound_with("net/util.rs", "")).len(), 1);
    let used = sound_with("net/futile.rs", "fn f() { context(); }");
    assert_none(empty_name_faults(&used));
}

#[test]
fn leftovers_are_found() {
    for text in ["// TODO: later", "fn f() { todo!() }"] {
        assert_eq!(leftover_faults(&sound_with("cli/mod.rs", text)).len(), 1);
    }
}

#[test]
fn a_reference_to_an_issue_is_found() {
    for text in ["// Issue 3: it works.", "// as issue\n// #12 says"] {
        let faults = issue_faults(&sound_with("cli/mod.rs", text));
        assert_eq!(faults.len(), 1, "{text}");
    }
    assert_none(issue_faults(&sound_with(
        "cli/mod.rs",
        "// Issues a token.",
    )));
}

#[test]
fn private_language_is_found_in_comments_messages_and_names() {
    for text in [
        "// Nobody listens.",
        "// The client is\n// told.",
        "fn is_told() {}",
        "struct Somebody;",
        "const A: &str = \"whom it concerns\";",
        "enum A { IsTold }",
    ] {
        let faults = phrase_faults(&sound_with("cli/mod.rs", text));
        assert_eq!(faults.len(), 1, "{text}");
    }
    for text in ["// The body of a message.", "fn told_apartment() {}"] {
        assert_none(phrase_faults(&sound_with("cli/mod.rs", text)));
    }
}

#[test]
fn private_metaphors_are_found_in_names_only() {
    for text in ["fn lay_route() {}", "struct Doorkeeper;", "let told = 1;"] {
        let faults = metaphor_faults(&sound_with("cli/mod.rs", text));
        assert_eq!(faults.len(), 1, "{text}");
    }
    for text in ["// A letter of the alphabet.", "fn layout() {}"] {
        assert_none(metaphor_faults(&sound_with("cli/mod.rs", text)));
    }
}
