//! The server's half of the cookie exchange, which stores nothing. [`crate::net::dtls`] explains
//! it.

use crate::net::dtls::client_hello::{ClientHello, HEADERS_SIZE, fatal_alert, first_record};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use subtle::ConstantTimeEq;

/// What to do about a ClientHello.
pub enum CookieCheck<'a> {
    /// Send this datagram back: a request for a cookie, or an alert. It is not longer than the
    /// hello.
    Reply(Vec<u8>),
    /// The cookie is valid: the client receives datagrams at its address.
    Verified(VerifiedHello<'a>),
    /// Discard the datagram.
    Discard,
}

/// A ClientHello with a valid cookie.
pub struct VerifiedHello<'a> {
    hello: ClientHello<'a>,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Dtls12,
    Dtls13,
}

impl<'a> VerifiedHello<'a> {
    /// The server name that the client asks for.
    pub fn server_name(&self) -> Option<&str> {
        self.hello.server_name
    }

    /// The client's random, which all copies of this hello have in common.
    pub(crate) fn random(&self) -> &[u8; 32] {
        &self.hello.random
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    pub(crate) fn cookie(&self) -> &'a [u8] {
        self.version.cookie_of(&self.hello)
    }

    /// Rebuilds the datagram that the client sent before it had a cookie.
    pub(crate) fn first_hello(&self) -> Vec<u8> {
        match self.version {
            Version::Dtls12 => self.hello.first_hello_12(),
            Version::Dtls13 => {
                let padding = PaddingHint::of_cookie(self.cookie());
                let padding = padding.and_then(|padding| padding.length());
                self.hello.first_hello_13(padding)
            }
        }
    }

    /// The datagram with the cookie. Its record number is never 0, because two records of an epoch
    /// must not have the same number, and [`VerifiedHello::first_hello`] has 0.
    pub(crate) fn second_hello(&self) -> Vec<u8> {
        self.hello.with_record_number_above_0()
    }
}

/// Makes and checks cookies.
pub(crate) struct CookieExchange {
    secret: [u8; 32],
    key_share_groups: Vec<u16>,
    cipher_suites_12: Vec<u16>,
    cipher_suites_13: Vec<u16>,
}

impl CookieExchange {
    pub(crate) fn new(config: &dimpl::Config) -> io::Result<CookieExchange> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(io::Error::other)?;
        let provider = dimpl::crypto::aws_lc_rs::default_provider();
        let suites_12 = provider.cipher_suites.iter().map(|suite| suite.suite());
        let suites_13 = provider
            .dtls13_cipher_suites
            .iter()
            .map(|suite| suite.suite());
        Ok(CookieExchange {
            secret,
            key_share_groups: config.kx_groups().map(|g| g.name().as_u16()).collect(),
            // The server has certificates, but no pre-shared keys.
            cipher_suites_12: suites_12
                .filter(|suite| !suite.is_psk())
                .map(|suite| suite.as_u16())
                .collect(),
            cipher_suites_13: suites_13.map(|suite| suite.as_u16()).collect(),
        })
    }

    pub(crate) fn check<'a>(
        &self,
        datagram: &'a [u8],
        client: SocketAddr,
        server: SocketAddr,
        now: Duration,
    ) -> CookieCheck<'a> {
        let Some(hello) = ClientHello::parse(datagram) else {
            return CookieCheck::Discard;
        };
        let version = self.choose_version(&hello);
        if let Some(alert) = self.objection(&hello, version) {
            return CookieCheck::Reply(fatal_alert(alert));
        }
        let minute = now.as_secs() / COOKIE_PERIOD_SECONDS;
        let make_cookie = |padding: &PaddingHint, minute| {
            let mac = self.mac(&hello, version, padding, [client, server], minute)?;
            Some(padding.with_mac(&mac))
        };
        let cookie = version.cookie_of(&hello);
        if hello.message_sequence == 1
            && let Some(padding) = PaddingHint::of_cookie(cookie)
        {
            let is_of = |minute| {
                make_cookie(&padding, minute)
                    .is_some_and(|expected| bool::from(expected.ct_eq(cookie)))
            };
            // A cookie from the end of the last minute would otherwise be too old on its arrival.
            if is_of(minute) || minute.checked_sub(1).is_some_and(is_of) {
                return CookieCheck::Verified(VerifiedHello { hello, version });
            }
        }
        let reply = make_cookie(&PaddingHint::of_hello(&hello), minute)
            .and_then(|cookie| self.request_cookie(&hello, version, &cookie));
        match reply {
            // A longer reply would let an attacker amplify traffic toward a forged address.
            Some(reply) if reply.len() <= datagram.len() => CookieCheck::Reply(reply),
            _ => CookieCheck::Discard,
        }
    }

    /// DTLS 1.3 if the client supports it and sent a usable key share; otherwise DTLS 1.2. A client
    /// without such a share would have to send another one with its second hello, so the first
    /// could not be rebuilt from the second.
    fn choose_version(&self, hello: &ClientHello<'_>) -> Version {
        let mut shares = hello.key_shares.iter();
        let usable_share = shares.any(|group| self.key_share_groups.contains(group));
        match hello.supports_13 && usable_share && self.choose_suite_13(hello).is_some() {
            true => Version::Dtls13,
            false => Version::Dtls12,
        }
    }

    /// The first of the client's cipher suites that the server supports in DTLS 1.3.
    fn choose_suite_13(&self, hello: &ClientHello<'_>) -> Option<u16> {
        let mut suites = hello.cipher_suites.iter().copied();
        suites.find(|suite| self.cipher_suites_13.contains(suite))
    }

    /// The alert for a hello that no handshake can follow from: of a version before DTLS 1.2,
    /// without a common cipher suite, or without the extended master secret, on which the library
    /// insists.
    fn objection(&self, hello: &ClientHello<'_>, version: Version) -> Option<u8> {
        if hello.version != DTLS_12 {
            return Some(ALERT_PROTOCOL_VERSION);
        }
        let mut suites = hello.cipher_suites.iter();
        let served = version == Version::Dtls13
            || (hello.extended_master_secret
                && suites.any(|suite| self.cipher_suites_12.contains(suite)));
        (!served).then_some(ALERT_HANDSHAKE_FAILURE)
    }

    fn mac(
        &self,
        hello: &ClientHello<'_>,
        version: Version,
        padding: &PaddingHint,
        addresses: [SocketAddr; 2],
        minute: u64,
    ) -> Option<[u8; 32]> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).ok()?;
        mac.update(&minute.to_be_bytes());
        for address in addresses {
            // Addresses of one length, so that two inputs never have the same octets.
            let ip = match address.ip() {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            mac.update(&ip.octets());
            mac.update(&address.port().to_be_bytes());
        }
        match version {
            Version::Dtls12 => mac.update(&hello.random),
            // DTLS 1.3 mixes the whole first hello into its keys, so the rebuilt hello must
            // equal the hello that the client sent.
            Version::Dtls13 => {
                let first = hello.first_hello_13(padding.length());
                mac.update(first.get(HEADERS_SIZE..)?);
            }
        }
        Some(mac.finalize().into_bytes().into())
    }

    /// The message that asks the client to repeat its hello with a cookie.
    fn request_cookie(
        &self,
        hello: &ClientHello<'_>,
        version: Version,
        cookie: &[u8; 32],
    ) -> Option<Vec<u8>> {
        match version {
            Version::Dtls12 => {
                // RFC 6347 §4.2.1: the message names DTLS 1.0, whatever version follows.
                let head = &[0xfe, 0xff, 32][..];
                Some(first_record(HELLO_VERIFY_REQUEST, &[head, cookie].concat()))
            }
            // RFC 9147 §5.1, RFC 8446 §4.1.4: a ServerHello with a fixed random.
            Version::Dtls13 => {
                let suite = self.choose_suite_13(hello)?.to_be_bytes();
                let body = [
                    &DTLS_12.to_be_bytes()[..],
                    &HELLO_RETRY_RANDOM,
                    // No session id.
                    &[0],
                    &suite,
                    // No compression; 44 octets of extensions: supported_versions with DTLS 1.3,
                    // and the cookie.
                    &[0, 0, 44, 0, 43, 0, 2, 0xfe, 0xfc, 0, 44, 0, 34, 0, 32],
                    cookie,
                ];
                Some(first_record(SERVER_HELLO, &body.concat()))
            }
        }
    }
}

impl Version {
    fn cookie_of<'a>(self, hello: &ClientHello<'a>) -> &'a [u8] {
        match self {
            Version::Dtls12 => hello.cookie_12(),
            Version::Dtls13 => hello.cookie_13(),
        }
    }
}

/// The first two octets of a cookie: the length of the first hello's padding, which the second
/// hello may lack.
struct PaddingHint([u8; 2]);

impl PaddingHint {
    fn of_hello(hello: &ClientHello<'_>) -> PaddingHint {
        let padding = hello.padding().and_then(|length| length.try_into().ok());
        let padding = padding.filter(|length: &u16| *length <= MAX_PADDING);
        PaddingHint(padding.unwrap_or(NO_PADDING).to_be_bytes())
    }

    fn of_cookie(cookie: &[u8]) -> Option<PaddingHint> {
        cookie.first_chunk().map(|first| PaddingHint(*first))
    }

    /// `None` for a hello without padding. The cookie may be forged, and its MAC is computed over a
    /// hello with that much padding, so the length is limited.
    fn length(&self) -> Option<usize> {
        let padding = u16::from_be_bytes(self.0);
        (padding <= MAX_PADDING).then_some(usize::from(padding))
    }

    /// The cookie: the hint and the first 30 octets of the MAC.
    fn with_mac(&self, mac: &[u8; 32]) -> [u8; 32] {
        let mut cookie = [0; 32];
        for (to, from) in cookie.iter_mut().zip(self.0.iter().chain(mac)) {
            *to = *from;
        }
        cookie
    }
}

/// Octets of padding that a hint can express. With more, the handshake of DTLS 1.3 fails, because
/// the first hello is rebuilt without padding.
const MAX_PADDING: u16 = 4_096;
const NO_PADDING: u16 = u16::MAX;
/// A cookie is valid for this time at least, and for twice this time at most.
const COOKIE_PERIOD_SECONDS: u64 = 60;
pub(crate) const DTLS_12: u16 = 0xfefd;
/// Alert descriptions (RFC 8446 §6.2).
const ALERT_HANDSHAKE_FAILURE: u8 = 40;
const ALERT_PROTOCOL_VERSION: u8 = 70;
/// Handshake message types.
const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;
/// The random that makes a ServerHello a HelloRetryRequest: SHA-256 of "HelloRetryRequest" (RFC
/// 8446 §4.1.3).
const HELLO_RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];
