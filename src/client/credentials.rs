//! Credentials that a tool shows to a TURN server.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::turn::client_state::Login;
use crate::turn::policy::credentials;

/// Credentials as the command line gives them.
#[derive(Clone)]
pub enum Credentials {
    /// No credentials.
    None,
    /// A username and its password.
    Login(Login),
    /// A secret shared with the server, from which time-limited credentials are made.
    SharedSecret {
        /// The secret.
        secret: String,
        /// The user that the time-limited username names after its expiry.
        user: Option<String>,
    },
}

/// Why `--user`, `--password` and `--shared-secret` cannot be used together as given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialsError {
    /// A password and a shared secret.
    PasswordAndSecret,
    /// A username without a password, or the reverse.
    Incomplete,
}

impl Credentials {
    /// Combines the three command line options.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn from_options(
        user: Option<String>,
        password: Option<String>,
        shared_secret: Option<String>,
    ) -> Result<Credentials, CredentialsError> {
        match (user, password, shared_secret) {
            (_, Some(_), Some(_)) => Err(CredentialsError::PasswordAndSecret),
            (user, None, Some(secret)) => Ok(Credentials::SharedSecret { secret, user }),
            (Some(username), Some(password), None) => {
                Ok(Credentials::Login(Login { username, password }))
            }
            (None, None, None) => Ok(Credentials::None),
            (Some(_), None, None) | (None, Some(_), None) => Err(CredentialsError::Incomplete),
        }
    }

    /// The username and password to show; a shared secret yields a pair that expires after
    /// `lifetime`.
    pub fn login(&self, lifetime: Duration) -> Option<Login> {
        match self {
            Credentials::None => None,
            Credentials::Login(login) => Some(login.clone()),
            Credentials::SharedSecret { secret, user } => {
                Some(time_limited_login(secret, user.as_deref(), lifetime))
            }
        }
    }
}

/// Makes a username that expires after `lifetime`, and its password, from a secret shared with the
/// server (draft-uberti-behave-turn-rest).
pub fn time_limited_login(secret: &str, user: Option<&str>, lifetime: Duration) -> Login {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let username = credentials::time_limited_name(now.saturating_add(lifetime).as_secs(), user);
    let password = credentials::password(secret, &username).to_string();
    Login { username, password }
}

// The secret must not reach a log.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::None => f.write_str("None"),
            Credentials::Login(login) => login.fmt(f),
            Credentials::SharedSecret { user, .. } => write!(f, "SharedSecret(…, {user:?})"),
        }
    }
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CredentialsError::PasswordAndSecret => "give --password or --shared-secret, not both",
            CredentialsError::Incomplete => {
                "--user and --password belong together; --shared-secret replaces the password"
            }
        })
    }
}

impl std::error::Error for CredentialsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_secret_yields_a_username_that_begins_with_its_expiry() {
        let login = time_limited_login("secret", Some("me"), Duration::from_secs(60));
        let (expiry, user) = login.username.split_once(':').unwrap();
        assert!(expiry.parse::<u64>().is_ok() && user == "me");
        assert_eq!(login.password.len(), 28, "Base64 of a SHA-1");
    }

    #[test]
    fn a_username_needs_a_password_or_a_secret() {
        let of = |user: Option<&str>, password: Option<&str>, secret: Option<&str>| {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            Credentials::from_options(owned(user), owned(password), owned(secret)).err()
        };
        assert_eq!(of(None, None, None), None);
        assert_eq!(of(Some("u"), Some("p"), None), None);
        assert_eq!(of(Some("u"), None, Some("s")), None);
        assert_eq!(of(None, None, Some("s")), None);
        let incomplete = Some(CredentialsError::Incomplete);
        assert_eq!(of(Some("u"), None, None), incomplete);
        assert_eq!(of(None, Some("p"), None), incomplete);
        let both = Some(CredentialsError::PasswordAndSecret);
        assert_eq!(of(Some("u"), Some("p"), Some("s")), both);
    }
}
