//! Texts from the network, made safe for a log and a terminal.

use std::fmt::{self, Display, Formatter, Write};

/// Displays a text with control characters and characters that change the writing direction as Rust
/// escapes (`\n`, `\u{1b}`). Otherwise a client could choose a user name that looks like another
/// line of the log.
pub struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0
            .chars()
            .try_for_each(|character| match is_unsafe(character) {
                true => write!(f, "{}", character.escape_default()),
                false => f.write_char(character),
            })
    }
}

/// Returns true for control characters, line and paragraph separators, and characters that embed or
/// override a direction.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_and_escape_sequences_are_escaped() {
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
