//! Third-party authorization: self-contained access tokens, which an authorization server encrypts
//! with a key that it shares with this server. RFC 7635 §6.2, §7.

use crate::wire::integrity::Key;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes128Gcm, Aes256Gcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::time::Duration;
use zeroize::Zeroizing;

/// The keys of a realm's access tokens. Several are valid at once, so that they can be rotated.
#[derive(Clone, Debug, Default)]
pub struct TokenKeys {
    /// The server's name in THIRD-PARTY-AUTHORIZATION. Every token is bound to it.
    pub server_name: String,
    /// The keys; USERNAME names one by its `kid`.
    pub keys: Vec<TokenKey>,
}

/// A key that is shared with an authorization server.
#[derive(Clone)]
pub struct TokenKey {
    kid: String,
    octets: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenKey({})", self.kid)
    }
}

impl TokenKey {
    /// A key for AES-128-GCM (16 octets) or AES-256-GCM (32 octets). Returns `None` for another
    /// length.
    pub fn new(kid: &str, octets: Vec<u8>) -> Option<TokenKey> {
        let octets = Zeroizing::new(octets);
        matches!(octets.len(), 16 | 32).then(|| TokenKey {
            kid: kid.to_owned(),
            octets,
        })
    }

    fn open(
        &self,
        nonce: &[u8; 12],
        sealed: &[u8],
        server_name: &str,
    ) -> Option<Zeroizing<Vec<u8>>> {
        let nonce = Nonce::from(*nonce);
        let payload = Payload {
            msg: sealed,
            aad: server_name.as_bytes(),
        };
        let opened = match self.octets.len() {
            16 => Aes128Gcm::new_from_slice(&self.octets)
                .ok()?
                .decrypt(&nonce, payload),
            _ => Aes256Gcm::new_from_slice(&self.octets)
                .ok()?
                .decrypt(&nonce, payload),
        };
        opened.ok().map(Zeroizing::new)
    }
}

/// The content of a valid token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// `mac_key`, the key of the request's integrity attribute.
    pub key: Key,
    /// The time to the token's expiry plus the tolerated clock difference, at most the token's
    /// lifetime (RFC 7635 §7: the granted lifetime "MUST be less than or equal to the lifetime of
    /// the token").
    pub remaining: Duration,
}

impl TokenKeys {
    /// Returns true if no tokens are accepted.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Decrypts a token with the key `kid`. Returns `None` if the token is forged, malformed, for
    /// another server, expired or not valid yet. Authorization servers hand tokens out in Base64
    /// (RFC 7635 §6.2), and the RFC does not say whether clients decode them, so both forms are
    /// accepted.
    pub fn open(&self, kid: &str, token: &[u8], unix_time: Duration) -> Option<AccessToken> {
        // A token in Base64 is not valid undecoded: its first two characters would give a nonce
        // length of thousands.
        let decoded = STANDARD.decode(token).ok();
        let token = decoded.as_deref().unwrap_or(token);
        let (&length, rest) = token.split_first_chunk()?;
        let nonce = rest.get(..usize::from(u16::from_be_bytes(length)))?;
        let sealed = rest.get(nonce.len()..)?;
        let nonce = <&[u8; 12]>::try_from(nonce).ok()?;
        let keys = self.keys.iter().filter(|key| key.kid == kid);
        let block = keys
            .filter_map(|key| key.open(nonce, sealed, &self.server_name))
            .next()?;
        let (&length, rest) = block.split_first_chunk()?;
        let mac_key = rest.get(..usize::from(u16::from_be_bytes(length)))?;
        let (&timestamp, rest) = rest.get(mac_key.len()..)?.split_first_chunk()?;
        let lifetime = u32::from_be_bytes(*rest.first_chunk()?);
        let issued = Duration::from_secs(u64::from_be_bytes(timestamp) >> 16);
        let lifetime = Duration::from_secs(u64::from(lifetime));
        let remaining = (lifetime + MAX_CLOCK_DIFFERENCE)
            .saturating_sub(unix_time.abs_diff(issued))
            .min(lifetime);
        if remaining.is_zero() {
            return None;
        }
        Some(AccessToken {
            key: Key::from_octets(mac_key)?,
            remaining,
        })
    }
}

/// RFC 7635 §7: "The RECOMMENDED value for the allowed Delta is 5 seconds."
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(key: &[u8; 32], server: &str, made: u64, lifetime: u32) -> Vec<u8> {
        let mut block = vec![0, 20];
        block.extend([7; 20]);
        block.extend((made << 16).to_be_bytes());
        block.extend(lifetime.to_be_bytes());
        let nonce = [9; 12];
        let payload = Payload {
            msg: &block,
            aad: server.as_bytes(),
        };
        let sealed = Aes256Gcm::new_from_slice(key)
            .unwrap()
            .encrypt(&Nonce::from(nonce), payload)
            .unwrap();
        [&[0, 12][..], &nonce, &sealed].concat()
    }

    fn keys() -> TokenKeys {
        let key = |kid, octet| TokenKey::new(kid, vec![octet; 32]).unwrap();
        TokenKeys {
            server_name: "turn.example".into(),
            keys: vec![key("old", 1), key("new", 2)],
        }
    }

    #[test]
    fn a_token_is_valid_for_its_server_key_and_lifetime() {
        let at = Duration::from_secs;
        let token = sealed(&[2; 32], "turn.example", 1000, 60);
        let opened = keys().open("new", &token, at(1010)).unwrap();
        assert_eq!(
            (opened.key.as_octets(), opened.remaining),
            (&[7; 20][..], at(55))
        );
        let young = keys().open("new", &token, at(1001)).unwrap();
        assert_eq!(young.remaining, at(60), "no longer than its lifetime");
        assert!(keys().open("new", &token, at(1064)).is_some());
        assert!(keys().open("new", &token, at(1065)).is_none(), "too old");
        assert!(
            keys().open("new", &token, at(900)).is_none(),
            "from the future"
        );
        assert!(
            keys().open("old", &token, at(1010)).is_none(),
            "another key"
        );
        assert!(keys().open("none", &token, at(1010)).is_none());
        let foreign = sealed(&[2; 32], "other.example", 1000, 60);
        assert!(keys().open("new", &foreign, at(1010)).is_none());
    }

    #[test]
    fn a_token_is_accepted_in_base64() {
        let token = STANDARD.encode(sealed(&[2; 32], "turn.example", 1000, 60));
        let at = Duration::from_secs(1010);
        assert!(keys().open("new", token.as_bytes(), at).is_some());
        assert!(keys().open("new", &token.as_bytes()[1..], at).is_none());
    }

    #[test]
    fn a_truncated_or_changed_token_is_refused() {
        let token = sealed(&[2; 32], "turn.example", 1000, 60);
        for end in 0..token.len() {
            assert!(
                keys()
                    .open("new", &token[..end], Duration::from_secs(1010))
                    .is_none()
            );
        }
        for at in 0..token.len() {
            let mut flipped = token.clone();
            flipped[at] ^= 1;
            assert!(
                keys()
                    .open("new", &flipped, Duration::from_secs(1010))
                    .is_none(),
                "at {at}"
            );
        }
    }
}
