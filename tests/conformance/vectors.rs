//! The test vectors of RFC 5769 and of RFC 8489 appendix B.1, for `src/wire` and for the codec of
//! these tests.

use crate::support::codec::{self, Incoming};
use hairpin::wire::integrity;
use hairpin::wire::integrity::{Key, Seal};
use hairpin::wire::registry::PasswordAlgorithm;
use hairpin::wire::{AttributeType, Class, Message, Method, attribute};
use std::net::SocketAddr;

/// RFC 5769 §2.1.
#[test]
fn the_sample_request_is_accepted() {
    let octets = hex(REQUEST);
    let message = Message::parse(&octets).unwrap();
    assert_eq!(
        (message.method(), message.class()),
        (Method::BINDING, Class::Request)
    );
    assert_eq!(
        message.text(AttributeType::SOFTWARE),
        Some("STUN test client")
    );
    assert_eq!(message.text(AttributeType::USERNAME), Some("evtj:h6vY"));
    sealed_with_sha1(&octets, SHORT_TERM);
}

/// RFC 5769 §2.2.
#[test]
fn the_sample_ipv4_response_is_accepted() {
    response(IPV4_RESPONSE, "192.0.2.1:32853");
}

/// RFC 5769 §2.3.
#[test]
fn the_sample_ipv6_response_is_accepted() {
    response(
        IPV6_RESPONSE,
        "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
    );
}

/// RFC 5769 §2.4: the long-term key of a name in Katakana.
#[test]
fn the_sample_request_with_long_term_credentials_is_accepted() {
    let octets = hex(LONG_TERM);
    let message = Message::parse(&octets).unwrap();
    assert_eq!(message.text(AttributeType::USERNAME), Some(NAME));
    assert_eq!(
        message.text(AttributeType::NONCE),
        Some("f//499k954d6OL34oL9FSTvy64sA")
    );
    let key = Key::long_term(PasswordAlgorithm::MD5, NAME, "example.org", "TheMatrIX").unwrap();
    assert!(integrity::verify(&message, Seal::Sha1, &key));
    let ours = codec::Credentials::legacy(NAME, "TheMatrIX", b"example.org", b"").key();
    assert_eq!(ours, key.as_octets());
    assert!(Incoming::parse(&octets).unwrap().verify_sha1(&ours));
}

/// RFC 8489 appendix B.1: USERHASH and MESSAGE-INTEGRITY-SHA256 under a SHA-256 key. The printed
/// length counts the header too (0x9c instead of 0x88), and so does the integrity; the test
/// corrects the length and computes the integrity again.
#[test]
fn the_sample_request_with_userhash_and_sha256_is_accepted() {
    let printed = hex(USERHASH_SHA256);
    assert!(Message::parse(&printed).is_err());
    let key = Key::long_term(PasswordAlgorithm::SHA256, NAME, "example.org", "TheMatrIX").unwrap();
    let (covered, sealed) = printed.split_at(printed.len() - 36);
    assert_eq!(codec::hmac_sha256(key.as_octets(), covered), sealed[4..]);
    let mut octets = covered.to_vec();
    codec::append_sha256(&mut octets, key.as_octets(), 32);
    let message = Message::parse(&octets).unwrap();
    assert!(integrity::verify(&message, Seal::Sha256, &key));
    let hash = integrity::userhash(NAME, "example.org");
    assert_eq!(message.attribute(AttributeType::USERHASH), Some(&hash[..]));
    assert_eq!(codec::userhash(NAME.as_bytes(), b"example.org"), hash);
}

/// By the parser, the integrity or the fingerprint.
#[test]
fn a_vector_with_one_changed_octet_is_refused() {
    let key = Key::from_octets(SHORT_TERM).unwrap();
    let octets = hex(REQUEST);
    for at in 0..octets.len() {
        let mut changed = octets.clone();
        changed[at] ^= 0x10;
        let accepted = Message::parse(&changed).is_ok_and(|m| {
            integrity::verify(&m, Seal::Sha1, &key)
                && m.has_fingerprint()
                && integrity::fingerprint_matches(&m)
        });
        assert!(!accepted, "octet {at}");
    }
}

fn response(vector: &str, mapped: &str) {
    let octets = hex(vector);
    let message = Message::parse(&octets).unwrap();
    assert_eq!(
        (message.method(), message.class()),
        (Method::BINDING, Class::Success)
    );
    assert_eq!(message.text(AttributeType::SOFTWARE), Some("test vector"));
    let expected: SocketAddr = mapped.parse().unwrap();
    let value = message
        .attribute(AttributeType::XOR_MAPPED_ADDRESS)
        .unwrap();
    assert_eq!(
        attribute::read_xor_address(value, &message.transaction()),
        Some(expected)
    );
    assert_eq!(
        Incoming::parse(&octets)
            .unwrap()
            .address(codec::XOR_MAPPED_ADDRESS),
        Some(expected)
    );
    sealed_with_sha1(&octets, SHORT_TERM);
}

fn sealed_with_sha1(octets: &[u8], password: &[u8]) {
    let message = Message::parse(octets).unwrap();
    let key = Key::from_octets(password).unwrap();
    assert_eq!(integrity::seal(&message), Some(Seal::Sha1));
    assert!(integrity::verify(&message, Seal::Sha1, &key));
    assert!(!integrity::verify(
        &message,
        Seal::Sha1,
        &Key::from_octets(b"another").unwrap()
    ));
    assert!(message.has_fingerprint() && integrity::fingerprint_matches(&message));
    let theirs = Incoming::parse(octets).unwrap();
    assert!(theirs.verify_sha1(password) && theirs.verify_fingerprint());
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

const SHORT_TERM: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";
const NAME: &str = "マトリックス";
const REQUEST: &str = "00010058 2112a442 b7e7a701bc34d686fa87dfae 80220010 5354554e207465737420636c69656e74 00240004 6e0001ff
    80290008 932ff9b151263b36 00060009 6576746a3a68367659202020 00080014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2 80280004 e57a3bcf";
const IPV4_RESPONSE: &str =
    "0101003c 2112a442 b7e7a701bc34d686fa87dfae 8022000b 7465737420766563746f7220 00200008 0001a147e112a643
    00080014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7 80280004 c07d4c96";
const IPV6_RESPONSE: &str = "01010048 2112a442 b7e7a701bc34d686fa87dfae 8022000b 7465737420766563746f7220 00200014
    0002a147 0113a9faa5d3f179bc25f4b5bed2b9d9 00080014 a382954e4be67bf11784c97c8292c275bfe3ed41 80280004 c8fb0b4c";
const LONG_TERM: &str = "00010060 2112a442 78ad3433c6ad72c029da412e 00060012 e3839ee38388e383aae38383e382afe382b90000
    0015001c 662f2f3439396b39353464364f4c33346f4c39465354767936347341 0014000b 6578616d706c652e6f726700
    00080014 f67024656dd64a3e02b8e0712e85c9a28ca89666";
const USERHASH_SHA256: &str = "0001009c 2112a442 78ad3433c6ad72c029da412e
    001e0020 4a3cf38fef6992bda952c6780417da0f2481941556 9e60b205c46e41407f1704
    00150029 6f62 4d61744a6f7332414141 43662f2f3439396b39353464364f4c33346f4c39465354767936347341000000
    0014000b 6578616d706c652e6f726700
    001c0020 e4686c8f0edeb59013e07090 010a93efccbccc544c0a45d9f830aa6d6f735a01";
