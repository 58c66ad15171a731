//! Texts that strangers chose, fit for a log and a terminal.

use std::fmt::{self, Display, Formatter, Write};

/// A text with what could begin a line, move a terminal's cursor or turn the order of letters around written as Rust
/// writes it (`\n`, `\u{1b}`): a user name must not look like a line of the log.
pub struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0
            .chars()
            .try_for_each(|character| match is_odd(character) {
                true => write!(f, "{}", character.escape_default()),
                false => f.write_char(character),
            })
    }
}

/// Control characters, separators of lines and paragraphs, and what embeds or overrides a direction.
fn is_odd(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_escape_sequences_become_text() {
        for (text, shown) in [
            ("1700000000:ann", "1700000000:ann"),
            ("Zoë \"the\" CORP\\ann", "Zoë \"the\" CORP\\ann"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            (
                "\u{1b}[31mred\u{9b}0m\u{0}",
                "\\u{1b}[31mred\\u{9b}0m\\u{0}",
            ),
            ("a\u{2028}b\u{202e}c", "a\\u{2028}b\\u{202e}c"),
        ] {
            assert_eq!(Escaped(text).to_string(), shown);
        }
    }
}
