//! Tokens: the one that opens a room, and the one that gives a peer its id back.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::service::signaling::refusal::Refusal;

/// Makes and checks room access tokens: `EXPIRY.MAC`, EXPIRY in seconds since 1970, MAC the base64url (no padding) of
/// HMAC-SHA256 over `EXPIRY:ROOM`, keyed by a secret that the operator's back end shares.
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

/// Gives out and checks the tokens by which a peer that reconnects gets its id back. They are good for as long as
/// this process runs.
pub struct ResumeTokens {
    key: [u8; 32],
}

impl std::fmt::Debug for RoomTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RoomTokens(…)")
    }
}

impl RoomTokens {
    /// Tokens made with this secret.
    pub fn new(secret: &[u8]) -> RoomTokens {
        RoomTokens {
            secret: secret.to_vec(),
        }
    }

    /// A token for `room` until `expiry`, in seconds since 1970.
    pub fn mint(&self, room: &str, expiry: u64) -> String {
        format!(
            "{expiry}.{}",
            mac(&self.secret, &format!("{expiry}:{room}")).unwrap_or_default()
        )
    }

    /// Whether `token` opens `room` at `now`.
    pub fn check(&self, room: &str, token: Option<&str>, now: u64) -> Result<(), Refusal> {
        let token = token
            .filter(|token| !token.is_empty())
            .ok_or(Refusal::TokenRequired)?;
        let (expiry, _) = token.split_once('.').ok_or(Refusal::TokenInvalid)?;
        let expiry: u64 = expiry.parse().map_err(|_| Refusal::TokenInvalid)?;
        if !matches(
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
    /// Tokens of a new random key.
    pub fn random() -> std::io::Result<ResumeTokens> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(ResumeTokens { key })
    }

    /// The token that gives `id` back in `room`.
    pub fn mint(&self, room: &str, id: &str) -> String {
        format!(
            "{id}.{}",
            mac(&self.key, &format!("{id}:{room}")).unwrap_or_default()
        )
    }

    /// The id that `token` stands for in `room`, if it is one of ours.
    pub fn id<'a>(&self, room: &str, token: &'a str) -> Option<&'a str> {
        let (id, _) = token.split_once('.')?;
        matches(token, id, &self.key, &format!("{id}:{room}")).then_some(id)
    }
}

/// The MAC in base64url; none is never seen, since HMAC takes keys of every length, and matches nothing.
fn mac(key: &[u8], text: &str) -> Option<String> {
    let mac = Hmac::<Sha256>::new_from_slice(key)
        .ok()?
        .chain_update(text.as_bytes());
    Some(URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// Whether `token` is `prefix.MAC` with the MAC over `text`, in a time that does not tell how far it matches.
fn matches(token: &str, prefix: &str, key: &[u8], text: &str) -> bool {
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
        let token = tokens.mint("blue", 100);
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
    fn a_room_token_is_what_openssl_says() {
        assert_eq!(
            RoomTokens::new(b"secret").mint("blue", 1_700_000_000),
            "1700000000.CZE9QvHiLTkZS8sWI0b61hPyOy4YZ0XoSeK9b9mKkvA"
        );
    }

    #[test]
    fn a_resume_token_is_for_one_id_in_one_room() {
        let tokens = ResumeTokens::random().unwrap();
        let token = tokens.mint("blue", "ann");
        assert_eq!(tokens.id("blue", &token), Some("ann"));
        assert_eq!(tokens.id("green", &token), None);
        assert_eq!(tokens.id("blue", &token.replacen("ann", "bob", 1)), None);
        assert_eq!(ResumeTokens::random().unwrap().id("blue", &token), None);
    }
}
