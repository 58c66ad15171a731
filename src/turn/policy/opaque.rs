//! Preparation of names, realms and passwords, so that different encodings of the same text are
//! equal. RFC 8265 §4.2.

use precis_core::profile::Profile;
use precis_profiles::OpaqueString;
use std::borrow::Cow;

/// Prepares a name, realm or password by the profile OpaqueString, as RFC 8489 (§9.2.2, §14.3,
/// §14.4, §14.9) demands before it is sent or hashed: non-ASCII spaces become ASCII spaces, and
/// characters are composed (NFC). Returns `None` for text that the profile disallows: empty text,
/// control characters, unassigned code points.
pub fn opaque(text: &str) -> Option<Cow<'_, str>> {
    // Printable ASCII maps to itself, and most names and passwords have nothing else.
    if !text.is_empty() && text.bytes().all(|octet| (b' '..=b'~').contains(&octet)) {
        return Some(Cow::Borrowed(text));
    }
    OpaqueString::new().enforce(text).ok()
}

/// Like [`opaque`], but returns disallowed text unchanged.
pub fn prepared(text: &str) -> Cow<'_, str> {
    opaque(text).unwrap_or(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_are_prepared_as_shown() {
        // RFC 8265 §4.3, table 4: first the allowed examples, then the disallowed ones.
        for same in [
            "correct horse battery staple",
            "Correct Horse Battery Staple",
            "πßå",
            "Jack of ♦s",
        ] {
            assert_eq!(opaque(same).as_deref(), Some(same));
        }
        assert_eq!(opaque("foo\u{1680}bar").as_deref(), Some("foo bar"));
        for refused in ["", "my cat is a \tby", "\u{7f}", "a\0b", "\u{fffe}"] {
            assert_eq!(opaque(refused), None, "{refused:?}");
            assert_eq!(prepared(refused), refused);
        }
    }

    #[test]
    fn composed_and_decomposed_characters_are_equal() {
        assert_eq!(opaque("jose\u{301}").as_deref(), Some("jos\u{e9}"));
        assert_eq!(opaque("a\u{3000}b\u{a0}c").as_deref(), Some("a b c"));
        assert_eq!(
            opaque("Ａ ﬁ").as_deref(),
            Some("Ａ ﬁ"),
            "compatibility characters stay, unlike in SASLprep"
        );
    }

    #[test]
    fn the_shortcut_for_ascii_equals_the_profile() {
        for octet in 0..0x80_u8 {
            let text = format!("a{}b", char::from(octet));
            let long = OpaqueString::new().enforce(text.as_str()).ok();
            assert_eq!(opaque(&text), long, "{octet:#x}");
        }
    }
}
