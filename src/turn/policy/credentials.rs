//! The users of a realm: static ones, and time-limited names whose password is derived from a
//! shared secret (the TURN REST convention).

use crate::turn::policy::opaque::prepared;
use crate::wire::integrity::{Key, userhash};
use crate::wire::registry::PasswordAlgorithm;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// The users of one realm.
#[derive(Clone, Default)]
pub struct Credentials {
    users: HashMap<Arc<str>, Vec<Keys>>,
    /// Key: USERHASH. Reader: requests with USERHASH. Hasher: the standard library's, which is
    /// keyed.
    hashed: HashMap<[u8; 32], Arc<str>>,
    secrets: Vec<Zeroizing<String>>,
    internal_secret: Option<Zeroizing<String>>,
}

/// A static user's two keys.
#[derive(Clone)]
struct Keys {
    md5: Key,
    sha256: Key,
}

impl Credentials {
    /// No users.
    pub fn new() -> Credentials {
        Credentials::default()
    }

    /// Adds a static user of `realm`, or replaces the one of that name. If preparation (RFC 8489
    /// §9.2.2) changes name or password, the keys of the unprepared text are valid as well, because
    /// browsers hash what was typed.
    pub fn add_user(&mut self, realm: &str, name: &str, password: &str) {
        let (realm, ready) = (prepared(realm), (prepared(name), prepared(password)));
        self.users.remove(&*ready.0);
        self.users.remove(name);
        self.insert(&realm, &ready.0, &ready.1);
        if ready != (name.into(), password.into()) {
            self.insert(&realm, name, password);
        }
    }

    fn insert(&mut self, realm: &str, name: &str, password: &str) {
        let key = |algorithm| Key::long_term(algorithm, name, realm, password);
        let (Some(md5), Some(sha256)) =
            (key(PasswordAlgorithm::MD5), key(PasswordAlgorithm::SHA256))
        else {
            return;
        };
        let name: Arc<str> = name.into();
        self.hashed.insert(userhash(&name, realm), name.clone());
        self.users
            .entry(name)
            .or_default()
            .push(Keys { md5, sha256 });
    }

    /// Adds a secret for time-limited names. Several are valid at once, so that they can be
    /// rotated.
    pub fn add_secret(&mut self, secret: String) {
        self.secrets.push(Zeroizing::new(secret));
    }

    /// Sets the secret of time-limited names that only this server gives out, to browsers. Browsers
    /// send USERNAME, so these names need not be resolved from a USERHASH.
    pub fn set_internal_secret(&mut self, secret: String) {
        self.internal_secret = Some(Zeroizing::new(secret));
    }

    /// The static user with this USERHASH.
    pub fn by_hash(&self, hash: &[u8]) -> Option<&Arc<str>> {
        self.hashed.get(hash)
    }

    /// The stored name of a static user, so that all allocations of the user share one string.
    pub fn known(&self, name: &str) -> Option<&Arc<str>> {
        self.users.get_key_value(name).map(|(name, _)| name)
    }

    /// Returns true if all users that the operator configured are known in advance, so that the
    /// server can resolve their USERHASH.
    pub fn is_enumerable(&self) -> bool {
        self.secrets.is_empty() && !self.users.is_empty()
    }

    /// The valid keys of a user, the likeliest first: for a static user one, or two if preparation
    /// changed the password; for a time-limited name that has not expired one per secret; for an
    /// unknown user none.
    pub fn keys(
        &self,
        realm: &str,
        name: &str,
        algorithm: PasswordAlgorithm,
        unix_time: Duration,
    ) -> Vec<Key> {
        if let Some(all) = self.users.get(name) {
            let sha256 = algorithm == PasswordAlgorithm::SHA256;
            return all
                .iter()
                .map(|keys| {
                    if sha256 {
                        keys.sha256.clone()
                    } else {
                        keys.md5.clone()
                    }
                })
                .collect();
        }
        if expiry(name).is_none_or(|expiry| expiry < unix_time.as_secs()) {
            return Vec::new();
        }
        self.secrets
            .iter()
            .chain(&self.internal_secret)
            .filter_map(|s| Key::long_term(algorithm, name, realm, &password(s, name)))
            .collect()
    }

    /// Returns true if no user can be authenticated.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.secrets.is_empty()
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Credentials({} users, {} secrets)",
            self.users.len(),
            self.secrets.len() + usize::from(self.internal_secret.is_some())
        )
    }
}

/// A time-limited name that expires at `expiry`, in seconds of Unix time.
pub fn time_limited_name(expiry: u64, user: Option<&str>) -> String {
    match user {
        Some(user) => format!("{expiry}:{user}"),
        None => expiry.to_string(),
    }
}

/// The password of a time-limited name: Base64 of HMAC-SHA1 of the name under the secret.
pub fn password(secret: &str, name: &str) -> Zeroizing<String> {
    let Ok(mut mac) = <Hmac<Sha1> as KeyInit>::new_from_slice(secret.as_bytes()) else {
        return Zeroizing::default();
    };
    mac.update(name.as_bytes());
    Zeroizing::new(STANDARD.encode(mac.finalize().into_bytes()))
}

/// The account that a name's quota counts for: the user in a time-limited name, so that a name with
/// a new expiry is not a new user.
pub fn account(name: &str) -> &str {
    match name.split_once(':') {
        Some((time, user)) if is_number(time) && !user.is_empty() => user,
        _ => name,
    }
}

/// The expiry of a time-limited name in seconds of Unix time; `None` for another name.
pub fn expiry(name: &str) -> Option<u64> {
    let time = name.split_once(':').map_or(name, |(time, _)| time);
    if is_number(time) {
        time.parse().ok()
    } else {
        None
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MD5: PasswordAlgorithm = PasswordAlgorithm::MD5;

    #[test]
    fn the_password_of_a_time_limited_name_follows_the_convention() {
        // Checked with: printf %s 1700000000:alice | openssl dgst -sha1 -hmac north -binary |
        // base64
        assert_eq!(
            &**password("north", "1700000000:alice"),
            "Cd/49soE35ICqcJF/bCTn8Z4OyE="
        );
    }

    #[test]
    fn an_internal_secret_leaves_the_configured_users_enumerable() {
        let mut credentials = Credentials::new();
        credentials.add_user("realm", "user", "password");
        credentials.set_internal_secret("drawn at start".into());
        assert!(credentials.is_enumerable());
        let name = time_limited_name(100, None);
        let keys = credentials.keys(
            "realm",
            &name,
            PasswordAlgorithm::MD5,
            Duration::from_secs(99),
        );
        assert_eq!(keys.len(), 1);
    }

    #[test]
    fn a_time_limited_name_has_a_key_per_secret_until_it_expires() {
        let mut credentials = Credentials::new();
        credentials.add_secret("old".into());
        credentials.add_secret("new".into());
        let at = Duration::from_secs(1_700_000_000);
        assert_eq!(credentials.keys("r", "1700000000:a", MD5, at).len(), 2);
        assert_eq!(credentials.keys("r", "1700000000", MD5, at).len(), 2);
        assert!(credentials.keys("r", "1699999999:a", MD5, at).is_empty());
        for stranger in ["alice", ":a", "", "17e8:a", "99999999999999999999999:a"] {
            assert!(
                credentials.keys("r", stranger, MD5, at).is_empty(),
                "{stranger}"
            );
        }
    }

    #[test]
    fn static_users_are_found_by_name_and_by_hash() {
        let mut credentials = Credentials::new();
        credentials.add_user("realm", "user", "pass");
        let key = credentials.keys("realm", "user", MD5, Duration::ZERO);
        assert_eq!(
            key[0].as_octets(),
            0x8493_fbc5_3ba5_82fb_4c04_4c45_6bdc_40eb_u128.to_be_bytes()
        );
        assert_eq!(
            credentials
                .by_hash(&userhash("user", "realm"))
                .map(|name| &**name),
            Some("user")
        );
        assert!(credentials.by_hash(&userhash("user", "other")).is_none());
        assert!(credentials.is_enumerable());
    }

    #[test]
    fn prepared_and_unprepared_credentials_are_valid() {
        let mut credentials = Credentials::new();
        credentials.add_user("re\u{301}alm", "jose\u{301}", "a\u{a0}b");
        let ready = Key::long_term(MD5, "jos\u{e9}", "r\u{e9}alm", "a b").unwrap();
        let typed = Key::long_term(MD5, "jose\u{301}", "r\u{e9}alm", "a\u{a0}b").unwrap();
        let keys = |name| credentials.keys("r\u{e9}alm", name, MD5, Duration::ZERO);
        assert_eq!(
            (keys("jos\u{e9}"), keys("jose\u{301}")),
            (vec![ready], vec![typed])
        );
        let hash = userhash("jos\u{e9}", "r\u{e9}alm");
        assert_eq!(
            credentials.by_hash(&hash).map(|name| &**name),
            Some("jos\u{e9}")
        );
    }

    #[test]
    fn a_user_that_is_added_again_has_only_the_last_password() {
        let mut credentials = Credentials::new();
        for password in ["one\u{a0}", "two\u{a0}", "three"] {
            credentials.add_user("realm", "user", password);
        }
        let key = Key::long_term(MD5, "user", "realm", "three").unwrap();
        assert_eq!(
            credentials.keys("realm", "user", MD5, Duration::ZERO),
            [key]
        );
    }

    #[test]
    fn an_account_is_the_user_of_a_time_limited_name() {
        assert_eq!(account("1700000000:alice"), "alice");
        assert_eq!(account("1700000000"), "1700000000");
        assert_eq!(account("alice:x"), "alice:x");
    }
}
