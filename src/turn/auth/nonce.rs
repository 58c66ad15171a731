//! Stateless nonces. A nonce contains its time of issue and a MAC over the time and the client's
//! address and port, so the server stores nothing. RFC 8489 §9.2.4: the same nonce must not go to
//! two different source addresses and ports.
//!
//! A nonce is the cookie `obMatJos2` and the security features (13 characters, RFC 8489 §9.2), then
//! 12 octets in Base64: four of time and eight of MAC.

use crate::turn::ids::time::Instant;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use subtle::ConstantTimeEq;

/// The key of the MAC: the same on all shards, a new one at every start.
#[derive(Clone)]
pub struct NonceKey([u8; 32]);

impl std::fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NonceKey(…)")
    }
}

/// The security features that a nonce announces. RFC 8489 §18.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SecurityFeatures {
    /// Bit 0: PASSWORD-ALGORITHMS is offered.
    pub password_algorithms: bool,
    /// Bit 1: USERHASH is understood.
    pub username_anonymity: bool,
}

impl SecurityFeatures {
    fn octets(self) -> [u8; 3] {
        [
            u8::from(self.password_algorithms) << 7 | u8::from(self.username_anonymity) << 6,
            0,
            0,
        ]
    }

    /// The features of a nonce. Returns `None` if the nonce does not begin with a complete cookie.
    pub fn of(nonce: &[u8]) -> Option<SecurityFeatures> {
        let bits = nonce.strip_prefix(COOKIE)?.get(..4)?;
        let [first, ..] = *STANDARD.decode(bits).ok()?.first_chunk::<3>()?;
        Some(SecurityFeatures {
            password_algorithms: first & 0x80 != 0,
            username_anonymity: first & 0x40 != 0,
        })
    }
}

impl NonceKey {
    /// Derives the key from the server's seed.
    pub fn new(seed: [u8; 32]) -> NonceKey {
        NonceKey(
            Sha256::new()
                .chain_update(b"nonce")
                .chain_update(seed)
                .finalize()
                .into(),
        )
    }

    /// Makes a nonce for a client: 29 characters.
    pub fn issue(&self, now: Instant, client: SocketAddr, features: SecurityFeatures) -> Vec<u8> {
        let time = (now.seconds() as u32).to_be_bytes();
        let mut sealed = [0; 12];
        let (head, tail) = sealed.split_at_mut(4);
        head.copy_from_slice(&time);
        tail.copy_from_slice(&self.seal(time, client, features));
        let mut nonce = COOKIE.to_vec();
        nonce.extend_from_slice(STANDARD.encode(features.octets()).as_bytes());
        nonce.extend_from_slice(STANDARD.encode(sealed).as_bytes());
        nonce
    }

    /// Returns true if the server issued the nonce to this client, at most `lifetime` ago.
    pub fn is_valid(
        &self,
        now: Instant,
        client: SocketAddr,
        nonce: &[u8],
        lifetime: Duration,
    ) -> bool {
        let Some(features) = SecurityFeatures::of(nonce) else {
            return false;
        };
        if nonce.get(9..13) != Some(STANDARD.encode(features.octets()).as_bytes()) {
            return false;
        }
        let sealed = nonce.get(13..).and_then(|text| STANDARD.decode(text).ok());
        let Some(Ok([t0, t1, t2, t3, seal @ ..])) = sealed.map(<[u8; 12]>::try_from) else {
            return false;
        };
        let time = [t0, t1, t2, t3];
        let genuine: bool = self.seal(time, client, features).ct_eq(&seal).into();
        let age = (now.seconds() as u32).wrapping_sub(u32::from_be_bytes(time));
        genuine && u64::from(age) <= lifetime.as_secs()
    }

    fn seal(&self, time: [u8; 4], client: SocketAddr, features: SecurityFeatures) -> [u8; 8] {
        let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0) else {
            return [0; 8];
        };
        mac.update(&time);
        mac.update(&features.octets());
        match client.ip() {
            IpAddr::V4(ip) => mac.update(&ip.octets()),
            IpAddr::V6(ip) => mac.update(&ip.octets()),
        }
        mac.update(&client.port().to_be_bytes());
        mac.finalize()
            .into_bytes()
            .first_chunk()
            .copied()
            .unwrap_or_default()
    }
}

/// The beginning of the nonces of a server that supports RFC 8489. §9.2.
const COOKIE: &[u8] = b"obMatJos2";

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_nonce_is_valid_for_its_client_until_it_expires() {
        let key = NonceKey::new([1; 32]);
        let client = "192.0.2.1:5000".parse().unwrap();
        let now = Instant(5_000_000_000_000);
        let nonce = key.issue(now, client, SecurityFeatures::default());
        assert_eq!(nonce.len(), 29);
        assert!(key.is_valid(now, client, &nonce, HOUR));
        assert!(key.is_valid(now + HOUR, client, &nonce, HOUR));
        assert!(!key.is_valid(now + HOUR + Duration::from_secs(2), client, &nonce, HOUR));
        for other in ["192.0.2.1:5001", "192.0.2.2:5000", "[::1]:5000"] {
            assert!(!key.is_valid(now, other.parse().unwrap(), &nonce, HOUR));
        }
        assert!(!NonceKey::new([2; 32]).is_valid(now, client, &nonce, HOUR));
    }

    #[test]
    fn no_character_may_change() {
        let key = NonceKey::new([1; 32]);
        let client = "192.0.2.1:5000".parse().unwrap();
        let now = Instant(5_000_000_000_000);
        let features = SecurityFeatures {
            password_algorithms: true,
            username_anonymity: false,
        };
        let nonce = key.issue(now, client, features);
        assert_eq!(SecurityFeatures::of(&nonce), Some(features));
        for at in 0..nonce.len() {
            let mut changed = nonce.clone();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(!key.is_valid(now, client, &changed, HOUR), "at {at}");
        }
        assert!(!key.is_valid(now, client, &nonce[..28], HOUR));
    }

    #[test]
    fn features_are_the_first_bits() {
        let both = SecurityFeatures {
            password_algorithms: true,
            username_anonymity: true,
        };
        assert_eq!(STANDARD.encode(both.octets()), "wAAA");
        assert_eq!(SecurityFeatures::of(b"obMatJos2wAAA"), Some(both));
        assert_eq!(SecurityFeatures::of(b"obMatJos2wAA"), None);
        assert_eq!(SecurityFeatures::of(b"something else"), None);
    }
}
