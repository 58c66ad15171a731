//! Names, realms and passwords as they count: two ways to type one thing are one thing. RFC 8265 §4.2.

use precis_core::profile::Profile;
use precis_profiles::OpaqueString;
use std::borrow::Cow;

/// A name, realm or password prepared by the profile OpaqueString, as RFC 8489 (§9.2.2, §14.3, §14.4, §14.9) wants it
/// before it is sent or hashed: spaces of other scripts become ASCII's, and characters are composed (NFC). `None` for
/// what the profile refuses: nothing at all, control characters, code points that are no characters.
pub fn opaque(text: &str) -> Option<Cow<'_, str>> {
    // Of these, which most names and passwords are made of, each maps to itself.
    if !text.is_empty() && text.bytes().all(|octet| (b' '..=b'~').contains(&octet)) {
        return Some(Cow::Borrowed(text));
    }
    OpaqueString::new().enforce(text).ok()
}

/// The same, or the text as it is where the profile refuses it.
pub fn prepared(text: &str) -> Cow<'_, str> {
    opaque(text).unwrap_or(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_rfc_shows_is_what_comes_out() {
        // RFC 8265 §4.3, the examples of table 4: what is allowed and what it becomes, then what is not.
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
    fn composed_and_decomposed_are_one() {
        assert_eq!(opaque("jose\u{301}").as_deref(), Some("jos\u{e9}"));
        assert_eq!(opaque("a\u{3000}b\u{a0}c").as_deref(), Some("a b c"));
        assert_eq!(
            opaque("Ａ ﬁ").as_deref(),
            Some("Ａ ﬁ"),
            "compatibility characters stay, unlike in SASLprep"
        );
    }

    #[test]
    fn the_short_way_is_the_long_way() {
        for octet in 0..0x80_u8 {
            let text = format!("a{}b", char::from(octet));
            let long = OpaqueString::new().enforce(text.as_str()).ok();
            assert_eq!(opaque(&text), long, "{octet:#x}");
        }
    }
}
