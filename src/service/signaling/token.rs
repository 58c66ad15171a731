//! Room access tokens, and the tokens with which a peer resumes its id.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::service::signaling::refusal::Refusal;

/// Creates and checks room access tokens: `EXPIRY.MAC`, EXPIRY in seconds since 1970, MAC the
/// base64url (no padding) of HMAC-SHA256 over `EXPIRY:ROOM`, with a key that the operator's back
/// end shares.
///
/// ```sh
/// E=$(($(date +%s) + 3600))
/// MAC=$(printf %s "$E:$ROOM" | openssl dgst -sha256 -hmac "$SECRET" -binary | basenc --base64url | tr -d =)
/// echo "http://localhost:8080/?room=$ROOM#token=$E.$MAC"
/// ```
#[derive(Clone)]
pub struct RoomTokens {
    secret: Vec<u8>,
}

/// Creates and checks the tokens with which a peer that reconnects resumes its id. They are valid
/// until the process ends.
pub struct ResumeTokens {
    key: [u8; 32],
}

impl std::fmt::Debug for RoomTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RoomTokens(…)")
    }
}

impl RoomTokens {
    /// Tokens with this key.
    pub fn new(secret: &[u8]) -> RoomTokens {
        RoomTokens {
            secret: secret.to_vec(),
        }
    }

    /// A token that opens `room` until `expiry`, in seconds since 1970.
    pub fn create(&self, room: &str, expiry: u64) -> String {
        format!(
            "{expiry}.{}",
            mac(&self.secret, &format!("{expiry}:{room}")).unwrap_or_default()
        )
    }

    /// Checks that `token` opens `room` at `now`, in seconds since 1970.
    pub fn check(&self, room: &str, token: Option<&str>, now: u64) -> Result<(), Refusal> {
        let token = token
            .filter(|token| !token.is_empty())
            .ok_or(Refusal::TokenRequired)?;
        let (expiry, _) = token.split_once('.').ok_or(Refusal::TokenInvalid)?;
        let expiry: u64 = expiry.parse().map_err(|_| Refusal::TokenInvalid)?;
        if !is_valid(
            token,
            &expiry.to_string(),
            &self.secret,
            &format!("{expiry}:{room}"),
        ) {
            return Err(Refusal::TokenInvalid);
        }
        if expiry <= now {
            Err(Refusal::TokenExpired)
        } else {
            Ok(())
        }
    }
}

impl ResumeTokens {
    /// Draws a key.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn random() -> std::io::Result<ResumeTokens> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(ResumeTokens { key })
    }

    /// The token that resumes `id` in `room`.
    pub fn create(&self, room: &str, id: &str) -> String {
        format!(
            "{id}.{}",
            mac(&self.key, &format!("{id}:{room}")).unwrap_or_default()
        )
    }

    /// The id that `token` resumes in `room`, if this process created the token.
    pub fn id<'a>(&self, room: &str, token: &'a str) -> Option<&'a str> {
        let (id, _) = token.split_once('.')?;
        is_valid(token, id, &self.key, &format!("{id}:{room}")).then_some(id)
    }
}

/// The MAC in base64url. HMAC accepts keys of every length, so none does not occur.
fn mac(key: &[u8], text: &str) -> Option<String> {
    let mac = Hmac::<Sha256>::new_from_slice(key)
        .ok()?
        .chain_update(text.as_bytes());
    Some(URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// Returns true if `token` is `prefix.MAC` with the MAC over `text`. Constant time: how long it
/// takes reveals nothing about the right MAC.
fn is_valid(token: &str, prefix: &str, key: &[u8], text: &str) -> bool {
    mac(key, text).is_some_and(|mac| {
        format!("{prefix}.{mac}")
            .as_bytes()
            .ct_eq(token.as_bytes())
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_token_opens_its_room_until_it_expires() {
        let tokens = RoomTokens::new(b"secret");
        let token = tokens.create("blue", 100);
        assert_eq!(tokens.check("blue", Some(&token), 99), Ok(()));
        assert_eq!(
            tokens.check("blue", Some(&token), 100),
            Err(Refusal::TokenExpired)
        );
        assert_eq!(
            tokens.check("green", Some(&token), 99),
            Err(Refusal::TokenInvalid)
        );
        assert_eq!(tokens.check("blue", None, 99), Err(Refusal::TokenRequired));
        assert_eq!(
            tokens.check("blue", Some("nonsense"), 99),
            Err(Refusal::TokenInvalid)
        );
        let later = token.replacen("100", "999", 1);
        assert_eq!(
            tokens.check("blue", Some(&later), 99),
            Err(Refusal::TokenInvalid)
        );
    }

    #[test]
    fn a_room_token_equals_that_of_openssl() {
        assert_eq!(
            RoomTokens::new(b"secret").create("blue", 1_700_000_000),
            "1700000000.CZE9QvHiLTkZS8sWI0b61hPyOy4YZ0XoSeK9b9mKkvA"
        );
    }

    #[test]
    fn a_resume_token_is_valid_for_one_id_in_one_room() {
        let tokens = ResumeTokens::random().unwrap();
        let token = tokens.create("blue", "ann");
        assert_eq!(tokens.id("blue", &token), Some("ann"));
        assert_eq!(tokens.id("green", &token), None);
        assert_eq!(tokens.id("blue", &token.replacen("ann", "bob", 1)), None);
        assert_eq!(ResumeTokens::random().unwrap().id("blue", &token), None);
    }
}
