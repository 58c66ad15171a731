//! Whether two requests come from the same user: what one user made, no other may use. RFC 8656 §5, RFC 6062 §5.4.

use crate::turn::ids::time::Instant;
use crate::wire::integrity::Key;
use std::sync::Arc;

/// Who made an allocation or a data connection: nobody else may use it (441).
#[derive(Clone, Debug)]
pub struct Owner {
    /// The name.
    pub name: Arc<str>,
    /// The realm's name.
    pub realm: Arc<str>,
    /// The key that sealed the request.
    pub key: Key,
    /// Until when a third party authorized it; nothing that it grants lasts longer.
    pub authorized_until: Instant,
}

impl Owner {
    /// Who that is to whoever wants what is theirs.
    pub fn identity(&self) -> Identity<'_> {
        Identity {
            name: &self.name,
            realm: &self.realm,
            by_token: self.authorized_until != Instant::NEVER,
        }
    }
}

/// A user, as far as others tell him apart.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The name.
    pub name: &'a str,
    /// The realm in which the name counts.
    pub realm: &'a str,
    /// A third party's token stood for the name. RFC 7635.
    pub by_token: bool,
}

impl Identity<'_> {
    /// Whether this is the same user. A token's name is that of the key that it was sealed with, which rotates under those
    /// who show a new token (RFC 7635 §9).
    pub fn is(&self, other: &Identity<'_>) -> bool {
        self.realm == other.realm && (self.name == other.name || (self.by_token && other.by_token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_name_in_a_realm_or_who_has_a_token_of_it() {
        let alice = Identity {
            name: "alice",
            realm: "here",
            by_token: false,
        };
        let [old, new] = ["old", "new"].map(|name| Identity {
            name,
            realm: "here",
            by_token: true,
        });
        for (one, other, same) in [
            (alice, alice, true),
            (
                alice,
                Identity {
                    name: "bob",
                    ..alice
                },
                false,
            ),
            (
                alice,
                Identity {
                    realm: "there",
                    ..alice
                },
                false,
            ),
            (old, new, true),
            (
                old,
                Identity {
                    realm: "there",
                    ..new
                },
                false,
            ),
            (alice, old, false),
            (
                alice,
                Identity {
                    name: "alice",
                    ..old
                },
                true,
            ),
        ] {
            assert_eq!(
                (one.is(&other), other.is(&one)),
                (same, same),
                "{one:?} and {other:?}"
            );
        }
    }
}
