//! The owner of an allocation or a data connection. Only its owner may use it. RFC 8656 §5, RFC
//! 6062 §5.4.

use crate::turn::ids::time::Instant;
use crate::wire::integrity::Key;
use std::sync::Arc;

/// The user that made an allocation. Requests of other users get 441.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The user's name.
    pub name: Arc<str>,
    /// The name of the realm.
    pub realm: Arc<str>,
    /// The key that sealed the request.
    pub key: Key,
    /// The expiry of the access token, [`Instant::NEVER`] without one. The allocation lasts no
    /// longer.
    pub authorized_until: Instant,
}

impl Owner {
    /// What identifies the owner.
    pub fn identity(&self) -> Identity<'_> {
        Identity {
            name: &self.name,
            realm: &self.realm,
            by_token: self.authorized_until != Instant::NEVER,
        }
    }
}

/// What identifies a user.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The user's name.
    pub name: &'a str,
    /// The name of the realm.
    pub realm: &'a str,
    /// The user presented an access token. RFC 7635.
    pub by_token: bool,
}

impl Identity<'_> {
    /// Returns true if both are the same user. The name of a user with an access token is the id of
    /// the token's key, which changes when the authorization server rotates its keys (RFC 7635 §9),
    /// so it is not compared.
    pub fn is_same_user(&self, other: &Identity<'_>) -> bool {
        self.realm == other.realm && (self.name == other.name || (self.by_token && other.by_token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_the_same_by_name_and_realm_or_by_token_and_realm() {
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
                (one.is_same_user(&other), other.is_same_user(&one)),
                (same, same),
                "{one:?} and {other:?}"
            );
        }
    }
}
