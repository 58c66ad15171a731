//! MESSAGE-INTEGRITY, MESSAGE-INTEGRITY-SHA256, FINGERPRINT, and long-term keys. RFC 8489 §9.2.2,
//! §14.5 to §14.7. RustCrypto's hashes use the processor's SHA instructions, which made them three
//! times as fast as the alternatives.

use crate::wire::message::{HEADER, Message};
use crate::wire::registry::PasswordAlgorithm;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// A long-term key: 16 octets from MD5, 32 from SHA-256 or an access token. Overwritten when
/// dropped.
#[derive(Clone)]
pub struct Key {
    octets: [u8; 32],
    length: u8,
}

impl Key {
    /// Derives the key of a user in a realm. RFC 8489 §9.2.2: the hash of `username ":" realm ":"
    /// password`.
    pub fn long_term(
        algorithm: PasswordAlgorithm,
        username: &str,
        realm: &str,
        password: &str,
    ) -> Option<Key> {
        let parts = [
            username.as_bytes(),
            b":",
            realm.as_bytes(),
            b":",
            password.as_bytes(),
        ];
        match algorithm {
            PasswordAlgorithm::MD5 => Key::from_octets(&digest::<Md5>(&parts)),
            PasswordAlgorithm::SHA256 => Key::from_octets(&digest::<Sha256>(&parts)),
            _ => None,
        }
    }

    /// A key of at most 32 octets: a short-term password, or the `mac_key` of an access token.
    pub fn from_octets(octets: &[u8]) -> Option<Key> {
        let mut key = Key {
            octets: [0; 32],
            length: u8::try_from(octets.len()).ok()?,
        };
        key.octets.get_mut(..octets.len())?.copy_from_slice(octets);
        Some(key)
    }

    /// The key's octets.
    pub fn as_octets(&self) -> &[u8] {
        self.octets
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.octets.zeroize();
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.as_octets().ct_eq(other.as_octets()).into()
    }
}

impl Eq for Key {}

/// The integrity attribute of a request, and so of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seal {
    /// MESSAGE-INTEGRITY: HMAC-SHA1.
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256, perhaps truncated.
    Sha256,
}

/// The integrity attribute of a message that counts: SHA-256 if it has both. RFC 8489 §9.2.4.
pub fn seal(message: &Message) -> Option<Seal> {
    match (message.integrity_sha256(), message.integrity()) {
        (Some(_), _) => Some(Seal::Sha256),
        (None, Some(_)) => Some(Seal::Sha1),
        (None, None) => None,
    }
}

/// Returns true if the integrity attribute `seal` of `message` was made with `key` and has a length
/// that RFC 8489 §14.5 and §14.6 allow. Compares in constant time.
pub fn verify(message: &Message, seal: Seal, key: &Key) -> bool {
    match seal {
        Seal::Sha1 => message.integrity().is_some_and(|(at, claimed)| {
            sealed(message, at, claimed.len(), |parts| hmac_sha1(key, parts))
                .ct_eq(claimed)
                .into()
        }),
        Seal::Sha256 => message.integrity_sha256().is_some_and(|(at, claimed)| {
            let whole = sealed(message, at, claimed.len(), |parts| hmac_sha256(key, parts));
            let truncated = matches!(claimed.len(), 16 | 20 | 24 | 28 | 32)
                .then(|| whole.get(..claimed.len()))
                .flatten();
            truncated.is_some_and(|truncated| truncated.ct_eq(claimed).into())
        }),
    }
}

/// Returns true if the message has a correct FINGERPRINT or none. RFC 8489 §14.7.
pub fn fingerprint_matches(message: &Message) -> bool {
    message.fingerprint().is_none_or(|(at, claimed)| {
        message
            .octets()
            .get(..at)
            .is_some_and(|covered| crc(covered).to_be_bytes() == claimed)
    })
}

/// HMAC-SHA1 over a message whose length field already includes the attribute.
pub(super) fn sha1(key: &Key, covered: &[u8]) -> [u8; 20] {
    hmac_sha1(key, &[covered])
}

/// HMAC-SHA256 likewise.
pub(super) fn sha256(key: &Key, covered: &[u8]) -> [u8; 32] {
    hmac_sha256(key, &[covered])
}

/// The CRC-32 that FINGERPRINT carries.
pub(super) fn crc(covered: &[u8]) -> u32 {
    crc32fast::hash(covered) ^ 0x5354_554e
}

/// USERHASH of a user in a realm: SHA-256 of `username ":" realm`. RFC 8489 §14.4.
pub fn userhash(username: &str, realm: &str) -> [u8; 32] {
    digest::<Sha256>(&[username.as_bytes(), b":", realm.as_bytes()]).into()
}

/// Hashes the octets in front of the integrity attribute at offset `at`, with the length field
/// that the message had when the attribute was computed: the length up to the end of the attribute.
fn sealed<T>(message: &Message, at: usize, length: usize, hash: impl FnOnce(&[&[u8]]) -> T) -> T {
    let octets = message.octets();
    // At most the length field of the message itself, so it fits.
    let field = (at + 4 + length - HEADER) as u16;
    hash(&[
        octets.get(..2).unwrap_or_default(),
        &field.to_be_bytes(),
        octets.get(4..at).unwrap_or_default(),
    ])
}

fn hmac_sha1(key: &Key, parts: &[&[u8]]) -> [u8; 20] {
    keyed::<Hmac<Sha1>>(key, parts).map_or([0; 20], Into::into)
}

fn hmac_sha256(key: &Key, parts: &[&[u8]]) -> [u8; 32] {
    keyed::<Hmac<Sha256>>(key, parts).map_or([0; 32], Into::into)
}

fn keyed<M: Mac + KeyInit>(key: &Key, parts: &[&[u8]]) -> Option<hmac::digest::Output<M>> {
    let mut mac = <M as KeyInit>::new_from_slice(key.as_octets()).ok()?;
    for part in parts {
        mac.update(part);
    }
    Some(mac.finalize().into_bytes())
}

fn digest<D: Digest>(parts: &[&[u8]]) -> hmac::digest::Output<D> {
    let mut digest = D::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{AttributeType, Class, Method, Writer, attribute};

    fn sealed_message(key: &Key) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, Class::Request, Method::ALLOCATE, &[1; 12]);
        writer.attribute(AttributeType::USERNAME, b"user");
        writer.integrity(key).integrity_sha256(key).fingerprint();
        writer.finish();
        out
    }

    #[test]
    fn integrity_verifies_only_with_its_key() {
        let key = Key::long_term(PasswordAlgorithm::MD5, "user", "realm", "pass").unwrap();
        let other = Key::long_term(PasswordAlgorithm::MD5, "user", "realm", "Pass").unwrap();
        let octets = sealed_message(&key);
        let message = Message::parse(&octets).unwrap();
        for seal in [Seal::Sha1, Seal::Sha256] {
            assert!(verify(&message, seal, &key));
            assert!(!verify(&message, seal, &other));
        }
        assert!(fingerprint_matches(&message));
    }

    /// FINGERPRINT begins at 65,540 in the longest message that the writer makes.
    #[test]
    fn a_fingerprint_beyond_65535_octets_verifies() {
        let key = Key::from_octets(b"secret").unwrap();
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, Class::Request, Method::ALLOCATE, &[1; 12]);
        writer.attribute(AttributeType::PADDING, &[0; 65_456]);
        writer.integrity(&key).integrity_sha256(&key).fingerprint();
        writer.finish();
        let message = Message::parse(&out).unwrap();
        assert_eq!(message.fingerprint().unwrap().0, 65_540);
        assert!(verify(&message, Seal::Sha1, &key) && verify(&message, Seal::Sha256, &key));
        assert!(fingerprint_matches(&message));
        out[100] ^= 1;
        assert!(!fingerprint_matches(&Message::parse(&out).unwrap()));
    }

    /// A seal that begins there is too short to be right, but it is a seal.
    #[test]
    fn a_seal_beyond_65535_octets_counts_and_is_wrong() {
        let key = Key::from_octets(b"secret").unwrap();
        for (kind, expected) in [
            (AttributeType::MESSAGE_INTEGRITY, Seal::Sha1),
            (AttributeType::MESSAGE_INTEGRITY_SHA256, Seal::Sha256),
        ] {
            for at in (65_500..=65_548_usize).step_by(4) {
                let length = HEADER + usize::from(u16::MAX) - 3 - at - 4;
                let mut out = Vec::new();
                let writer = Writer::new(&mut out, Class::Request, Method::ALLOCATE, &[1; 12]);
                writer.finish();
                let padding = at - HEADER - 4;
                out.extend(attribute::header(AttributeType::PADDING, padding as u16));
                out.resize(at, 0);
                out.extend(attribute::header(kind, length as u16));
                out.resize(at + 4 + length, 0);
                out[2..4].copy_from_slice(&(u16::MAX - 3).to_be_bytes());
                let message = Message::parse(&out).unwrap();
                assert_eq!(seal(&message), Some(expected), "at {at}");
                assert!(!verify(&message, expected, &key), "at {at}");
            }
        }
    }

    #[test]
    fn a_fingerprint_detects_every_flipped_bit() {
        let key = Key::from_octets(b"secret").unwrap();
        let octets = sealed_message(&key);
        for at in 0..octets.len() * 8 {
            let mut flipped = octets.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            if let Ok(message) = Message::parse(&flipped) {
                let whole = message.octets().len() == octets.len() && message.has_fingerprint();
                assert!(!(whole && fingerprint_matches(&message)), "bit {at}");
            }
        }
    }

    #[test]
    fn sha256_verifies_at_the_allowed_truncated_lengths_only() {
        let key = Key::from_octets(&[7; 32]).unwrap();
        for length in 0..=40 {
            let mut covered = Vec::new();
            let mut writer = Writer::new(&mut covered, Class::Request, Method::BINDING, &[1; 12]);
            writer.attribute(AttributeType::USERNAME, b"user");
            covered[3] += 4 + length as u8;
            let seal = [sha256(&key, &covered), [0; 32]].concat();
            let mut out = Vec::new();
            let mut writer = Writer::new(&mut out, Class::Request, Method::BINDING, &[1; 12]);
            writer.attribute(AttributeType::USERNAME, b"user");
            writer.attribute(AttributeType::MESSAGE_INTEGRITY_SHA256, &seal[..length]);
            writer.finish();
            let message = Message::parse(&out).unwrap();
            assert_eq!(
                verify(&message, Seal::Sha256, &key),
                [16, 20, 24, 28, 32].contains(&length),
                "{length}"
            );
        }
    }
}
