//! DTLS for clients on UDP: a door that remembers nobody, and behind it one association for each who came back.
//!
//! ```text
//!   ClientHello ──▶ Dtls::meet ──▶ Answer: a cookie, smaller than the question; nothing is kept
//!   ClientHello with that cookie ──▶ Dtls::meet ──▶ Proven ──▶ Association ◀──▶ records
//! ```
//!
//! The library below (`dimpl`) makes and checks cookies too, but only inside an association that exists already. So the
//! exchange is done here, without one; and when a client has come back, a new association is shown the same exchange
//! again: the hello as it was before the cookie (what DTLS calls its first, put together from the second), then the
//! second. The library's own answer to the first, which must be octet for octet what was sent, is thrown away. RFC 6347
//! §4.2.1, RFC 9147 §5.1.

use crate::net::dtls::client_hello::{ClientHello, fatal_alert, first_record};
use crate::net::tls::server::TlsServer;
use dimpl::crypto::{CryptoProvider, HmacProvider};
use dimpl::{CryptoError, DtlsCertificate, HashAlgorithm, Output};
use hmac::{Hmac, KeyInit, Mac};
use rustls::server::danger::ClientCertVerifier;
use sha2::Sha256;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What all DTLS associations of a server share.
pub struct DtlsServer {
    tls: Arc<TlsServer>,
    config: Arc<dimpl::Config>,
    secret: [u8; 32],
    own: DtlsCertificate,
}

/// What becomes of a ClientHello.
pub enum CookieCheck<'a> {
    /// Send this back; it is no longer than what came.
    Reply(Vec<u8>),
    /// The client is where it says it is.
    Verified(VerifiedHello<'a>),
    /// Nothing can be said to it.
    Discard,
}

/// A ClientHello whose sender showed that it receives what is sent to it.
pub struct VerifiedHello<'a> {
    hello: ClientHello<'a>,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Dtls12,
    Dtls13,
}

impl DtlsServer {
    /// Shows the certificates of `tls` that it can; a handshake may take `handshake_timeout`.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn new(tls: Arc<TlsServer>, handshake_timeout: Duration) -> io::Result<DtlsServer> {
        let crypto = CryptoProvider {
            hmac_provider: &Echo,
            ..dimpl::crypto::aws_lc_rs::default_provider()
        };
        let config = dimpl::Config::builder()
            .with_crypto_provider(crypto)
            .require_client_certificate(tls.client_verifier().is_some())
            .handshake_timeout(handshake_timeout)
            .mtu(MTU)
            .build()
            .map_err(io::Error::other)?;
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(io::Error::other)?;
        let own =
            dimpl::certificate::generate_self_signed_certificate().map_err(io::Error::other)?;
        Ok(DtlsServer {
            tls,
            config: Arc::new(config),
            secret,
            own,
        })
    }

    /// Reads a datagram that may be a ClientHello of a client nothing is known about. `now` is any time that only grows.
    pub fn check_cookie<'a>(
        &self,
        datagram: &'a [u8],
        ends: (SocketAddr, SocketAddr),
        now: Duration,
    ) -> CookieCheck<'a> {
        let Some(hello) = ClientHello::parse(datagram) else {
            return CookieCheck::Discard;
        };
        let version = self.version(&hello);
        if let Some(why) = objection(&hello, version) {
            return CookieCheck::Reply(fatal_alert(why));
        }
        let cookie = match version {
            Version::Dtls12 => hello.cookie_12(),
            Version::Dtls13 => hello.cookie_13(),
        };
        let minute = now.as_secs() / COOKIE_SECONDS;
        let expected = |first: &Hint, minute| self.cookie(&hello, version, first, ends, minute);
        if hello.message_sequence == 1
            && let Some(first) = Hint::of_cookie(cookie)
        {
            let is = |minute| expected(&first, minute).is_some_and(|own| is_equal(&own, cookie));
            if is(minute) || minute.checked_sub(1).is_some_and(is) {
                return CookieCheck::Verified(VerifiedHello { hello, version });
            }
        }
        match expected(&Hint::of(&hello), minute)
            .and_then(|cookie| answer(&hello, version, &cookie))
        {
            Some(answer) if answer.len() <= datagram.len() => CookieCheck::Reply(answer),
            _ => CookieCheck::Discard,
        }
    }

    /// An association with who came back.
    ///
    /// # Errors
    /// When the handshake fails at once.
    pub fn accept(&self, proven: &VerifiedHello<'_>, now: Instant) -> io::Result<Association> {
        let named = self.tls.dtls_certificate(proven.hello.server_name);
        let certificate = named.unwrap_or_else(|| self.own.clone());
        let engine = match proven.version {
            Version::Dtls12 => dimpl::Dtls::new_12(self.config.clone(), certificate, now),
            Version::Dtls13 => dimpl::Dtls::new_13(self.config.clone(), certificate, now),
        };
        let verifier = self.tls.client_verifier();
        let mut association = Association {
            engine,
            verifier,
            connected: false,
            random: proven.hello.random,
        };
        association.begin(proven, now).map_err(io::Error::other)?;
        Ok(association)
    }

    /// DTLS 1.3 where the client speaks it and sent a key share that can be used as it is: what it says the second time is
    /// then the first with a cookie. Others are met with DTLS 1.2.
    fn version(&self, hello: &ClientHello<'_>) -> Version {
        let share = self
            .config
            .kx_groups()
            .any(|group| hello.key_shares.contains(&group.name().as_u16()));
        match hello.speaks_13 && share && suite_13(hello).is_some() {
            true => Version::Dtls13,
            false => Version::Dtls12,
        }
    }

    fn cookie(
        &self,
        hello: &ClientHello<'_>,
        version: Version,
        first: &Hint,
        (client, server): (SocketAddr, SocketAddr),
        minute: u64,
    ) -> Option<[u8; 32]> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).ok()?;
        mac.update(&minute.to_be_bytes());
        for end in [client, server] {
            let ip = match end.ip() {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            mac.update(&ip.octets());
            mac.update(&end.port().to_be_bytes());
        }
        match version {
            Version::Dtls12 => mac.update(&hello.random),
            // All of the first hello goes into the keys of DTLS 1.3, so it must be the same one.
            Version::Dtls13 => mac.update(hello.first_13(first.padding()).get(HEADERS..)?),
        }
        let mac: [u8; 32] = mac.finalize().into_bytes().into();
        let mut cookie = [0; 32];
        for (place, octet) in cookie.iter_mut().zip(first.0.iter().chain(&mac)) {
            *place = *octet;
        }
        Some(cookie)
    }
}

impl fmt::Debug for DtlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DtlsServer").finish_non_exhaustive()
    }
}

impl VerifiedHello<'_> {
    /// The server name that the client asks for.
    pub fn server_name(&self) -> Option<&str> {
        self.hello.server_name
    }

    /// The client's random: the same in every copy of this hello.
    pub fn client_random(&self) -> &[u8; 32] {
        &self.hello.random
    }
}

/// One client's DTLS, by itself: records in, records out.
pub struct Association {
    engine: dimpl::Dtls,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    connected: bool,
    random: [u8; 32],
}

/// What an association wants.
#[derive(Debug)]
pub enum Event<'a> {
    /// This datagram sent.
    Send(&'a [u8]),
    /// Attention for what the client said.
    Data(&'a [u8]),
    /// To tell that the handshake is done.
    Connected,
    /// To end.
    Closed,
    /// Nothing more, until this time: then [`Association::timeout`].
    Wait(Instant),
}

impl Association {
    fn begin(&mut self, proven: &VerifiedHello<'_>, now: Instant) -> Result<(), dimpl::Error> {
        self.engine.handle_timeout(now)?;
        let cookie = match proven.version {
            Version::Dtls12 => proven.hello.cookie_12(),
            Version::Dtls13 => proven.hello.cookie_13(),
        };
        let _expected = Expected::set(cookie);
        let first = match proven.version {
            Version::Dtls12 => proven.hello.first_12(),
            Version::Dtls13 => proven
                .hello
                .first_13(Hint::of_cookie(cookie).and_then(|hint| hint.padding())),
        };
        self.engine.handle_packet(&first)?;
        let mut scratch = Vec::new();
        while let Event::Send(_) = self.poll(&mut scratch) {}
        self.engine.handle_packet(&proven.hello.after_record_0())
    }

    /// Whether a proven hello is a copy of the one that this association began with.
    pub fn began_with_hello(&self, proven: &VerifiedHello<'_>) -> bool {
        self.random == proven.hello.random
    }

    /// Whether its handshake is done.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Takes a datagram. Then [`Association::poll`] until it waits.
    ///
    /// # Errors
    /// When the association is over.
    pub fn receive(&mut self, datagram: &[u8], now: Instant) -> io::Result<()> {
        if !self.connected && datagram.len() > LONGEST_IN_HANDSHAKE {
            return Ok(());
        }
        self.engine.handle_timeout(now).map_err(io::Error::other)?;
        self.engine
            .handle_packet(datagram)
            .map_err(io::Error::other)
    }

    /// Does what is due. Then [`Association::poll`] until it waits.
    ///
    /// # Errors
    /// When the association is over.
    pub fn handle_timeout(&mut self, now: Instant) -> io::Result<()> {
        self.engine.handle_timeout(now).map_err(io::Error::other)
    }

    /// Sends octets to the client. Then [`Association::poll`] until it waits.
    ///
    /// # Errors
    /// When the association is over, or not yet there.
    pub fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        if !self.connected {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.engine
            .send_application_data(octets)
            .map(drop)
            .map_err(io::Error::other)
    }

    /// Says goodbye. Then [`Association::poll`] until it waits.
    pub fn close(&mut self) {
        // One that cannot say it is over all the same.
        let _ = self.engine.close();
    }

    /// What it wants next; `scratch` holds what the answer borrows.
    pub fn poll<'a>(&mut self, scratch: &'a mut Vec<u8>) -> Event<'a> {
        loop {
            let wanted = match self.engine.poll_output(scratch) {
                Output::BufferTooSmall { needed } => Next::Room(needed),
                Output::Packet(packet) => Next::Send(packet.len()),
                Output::ApplicationData(data) => Next::Data(data.len()),
                Output::PeerCert(leaf) => match trusted(self.verifier.as_deref(), leaf) {
                    true => {
                        self.verifier = None;
                        Next::Nothing
                    }
                    false => return Event::Closed,
                },
                Output::Connected if self.verifier.is_some() => return Event::Closed,
                Output::Connected => {
                    self.connected = true;
                    return Event::Connected;
                }
                Output::CloseNotify => return Event::Closed,
                Output::Timeout(at) => return Event::Wait(at),
                _ => Next::Nothing,
            };
            match wanted {
                Next::Room(needed) => scratch.resize(needed.max(ROOM), 0),
                Next::Send(length) => {
                    return Event::Send(scratch.get(..length).unwrap_or_default());
                }
                Next::Data(length) => {
                    return Event::Data(scratch.get(..length).unwrap_or_default());
                }
                Next::Nothing => {}
            }
        }
    }
}

/// How a cookie begins: with what the first hello had that the second does not show, its padding.
struct Hint([u8; 2]);

impl Hint {
    fn of(hello: &ClientHello<'_>) -> Hint {
        let padding = hello
            .padding()
            .and_then(|padding| u16::try_from(padding).ok());
        Hint(
            padding
                .filter(|padding| *padding <= LONGEST_PADDING)
                .unwrap_or(NO_PADDING)
                .to_be_bytes(),
        )
    }

    fn of_cookie(cookie: &[u8]) -> Option<Hint> {
        cookie.first_chunk().map(|first| Hint(*first))
    }

    /// Nothing good comes of a cookie that promises more than the longest.
    fn padding(&self) -> Option<usize> {
        let padding = u16::from_be_bytes(self.0);
        (padding <= LONGEST_PADDING).then_some(usize::from(padding))
    }
}

enum Next {
    Room(usize),
    Send(usize),
    Data(usize),
    Nothing,
}

impl fmt::Debug for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Association")
            .field("connected", &self.connected)
            .finish_non_exhaustive()
    }
}

/// Whether the client may come in; without a verifier anybody may.
fn trusted(verifier: Option<&dyn ClientCertVerifier>, leaf: &[u8]) -> bool {
    let Some(verifier) = verifier else {
        return true;
    };
    let leaf = rustls::pki_types::CertificateDer::from(leaf);
    verifier
        .verify_client_cert(&leaf, &[], rustls::pki_types::UnixTime::now())
        .is_ok()
}

/// What sends a client back for a cookie.
fn answer(hello: &ClientHello<'_>, version: Version, cookie: &[u8; 32]) -> Option<Vec<u8>> {
    match version {
        // RFC 6347 §4.2.1: HelloVerifyRequest says DTLS 1.0, whatever follows.
        Version::Dtls12 => Some(first_record(
            HELLO_VERIFY_REQUEST,
            &[&[0xfe, 0xff, 32][..], cookie].concat(),
        )),
        // RFC 9147 §5.1: HelloRetryRequest is a ServerHello with a random of its own. RFC 8446 §4.1.3.
        Version::Dtls13 => {
            let suite = suite_13(hello)?.to_be_bytes();
            let body = [
                &[0xfe, 0xfd][..],
                &RETRY,
                &[0],
                &suite,
                &[0, 0, 44, 0, 43, 0, 2, 0xfe, 0xfc, 0, 44, 0, 34, 0, 32],
                cookie,
            ];
            Some(first_record(SERVER_HELLO, &body.concat()))
        }
    }
}

/// The alert for a hello that can lead to nothing: of a version before DTLS 1.2, without a cipher suite that is known, or
/// without the extended master secret.
fn objection(hello: &ClientHello<'_>, version: Version) -> Option<u8> {
    if hello.version != DTLS_12 {
        return Some(PROTOCOL_VERSION);
    }
    let known = dimpl::crypto::aws_lc_rs::default_provider().cipher_suites;
    let is_known = |suite: &u16| {
        known
            .iter()
            .any(|known| !known.suite().is_psk() && known.suite().as_u16() == *suite)
    };
    let served = version == Version::Dtls13
        || (hello.extended_master_secret && hello.suites.iter().any(is_known));
    (!served).then_some(HANDSHAKE_FAILURE)
}

/// The first of the client's cipher suites that DTLS 1.3 can be spoken with.
fn suite_13(hello: &ClientHello<'_>) -> Option<u16> {
    let known = dimpl::crypto::aws_lc_rs::default_provider().dtls13_cipher_suites;
    hello
        .suites
        .iter()
        .copied()
        .find(|suite| known.iter().any(|known| known.suite().as_u16() == *suite))
}

fn is_equal(one: &[u8], other: &[u8]) -> bool {
    use subtle::ConstantTimeEq;
    one.ct_eq(other).into()
}

thread_local! {
    /// The cookie that the library is to take for its own.
    static EXPECTED: Cell<Option<[u8; 32]>> = const { Cell::new(None) };
}

/// For as long as it lives, the library's cookie is this one.
struct Expected;

impl Expected {
    fn set(cookie: &[u8]) -> Expected {
        EXPECTED.set(cookie.first_chunk().copied());
        Expected
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        EXPECTED.set(None);
    }
}

/// HMAC as the library has it, but for cookies, which are all that it makes with `hmac_sha256`.
#[derive(Debug)]
struct Echo;

impl HmacProvider for Echo {
    fn hmac_sha256(&self, key: &[u8], data: &[u8]) -> Result<[u8; 32], CryptoError> {
        match EXPECTED.get() {
            Some(cookie) => Ok(cookie),
            None => {
                let mut out = [0; 32];
                self.hmac(HashAlgorithm::SHA256, key, data, &mut out)?;
                Ok(out)
            }
        }
    }

    fn hmac(
        &self,
        hash: HashAlgorithm,
        key: &[u8],
        data: &[u8],
        out: &mut [u8],
    ) -> Result<usize, CryptoError> {
        dimpl::crypto::aws_lc_rs::default_provider()
            .hmac_provider
            .hmac(hash, key, data, out)
    }
}

/// Octets of padding in a hello; with more, it has none.
const LONGEST_PADDING: u16 = 4_096;
const NO_PADDING: u16 = u16::MAX;
/// Octets before a hello: its record's header, which may differ from copy to copy, and its own.
const HEADERS: usize = 25;
/// What a handshake's datagrams are made for: they pass everywhere.
const MTU: usize = 1_200;
/// A handshake's datagrams are not longer; what it keeps of them until they can be put in order is bounded by that.
const LONGEST_IN_HANDSHAKE: usize = 4_096;
/// Room for one record.
const ROOM: usize = 17_000;
/// How long a cookie is good for, at least.
const COOKIE_SECONDS: u64 = 60;
const DTLS_12: u16 = 0xfefd;
/// Alerts. RFC 8446 §6.2.
const HANDSHAKE_FAILURE: u8 = 40;
const PROTOCOL_VERSION: u8 = 70;
const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;
/// The random that makes a ServerHello a HelloRetryRequest: SHA-256 of that word. RFC 8446 §4.1.3.
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Certificate;
    use crate::net::tls::server::TlsOptions;
    use rcgen::{CertificateParams, KeyPair};

    const ENDS: &str = "192.0.2.1:4000 192.0.2.2:3478 192.0.2.3:4000";

    fn ends() -> [SocketAddr; 3] {
        let mut ends = ENDS.split(' ').map(|end| end.parse().unwrap());
        std::array::from_fn(|_| ends.next().unwrap())
    }

    fn door() -> DtlsServer {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["relay.example".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let key = key.serialize_pem();
        let certificate =
            Certificate::from_pem(certificate.pem().as_bytes(), key.as_bytes()).unwrap();
        let tls = TlsServer::new(vec![Arc::new(certificate)], TlsOptions::default()).unwrap();
        DtlsServer::new(Arc::new(tls), Duration::from_secs(10)).unwrap()
    }

    fn client(version: Version, now: Instant) -> dimpl::Dtls {
        let own = dimpl::certificate::generate_self_signed_certificate().unwrap();
        let config = Arc::new(dimpl::Config::default());
        let mut client = match version {
            Version::Dtls12 => dimpl::Dtls::new_12(config, own, now),
            Version::Dtls13 => dimpl::Dtls::new_13(config, own, now),
        };
        client.set_active(true);
        client.handle_timeout(now).unwrap();
        client
    }

    /// What the client wants sent, and what it has been told.
    fn said(client: &mut dimpl::Dtls) -> (Vec<Vec<u8>>, Vec<Vec<u8>>, bool) {
        let (mut packets, mut told, mut connected) = (Vec::new(), Vec::new(), false);
        let mut scratch = vec![0; 20_000];
        loop {
            match client.poll_output(&mut scratch) {
                Output::Packet(packet) => packets.push(packet.to_vec()),
                Output::ApplicationData(data) => told.push(data.to_vec()),
                Output::Connected => connected = true,
                Output::Timeout(_) => return (packets, told, connected),
                _ => {}
            }
        }
    }

    fn wanted(association: &mut Association) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let (mut packets, mut told) = (Vec::new(), Vec::new());
        let mut scratch = Vec::new();
        loop {
            match association.poll(&mut scratch) {
                Event::Send(packet) => packets.push(packet.to_vec()),
                Event::Data(data) => told.push(data.to_vec()),
                Event::Connected => {}
                Event::Closed => panic!("closed"),
                Event::Wait(_) => return (packets, told),
            }
        }
    }

    fn shake(version: Version) -> (Association, dimpl::Dtls, Instant) {
        let (door, now) = (door(), Instant::now());
        let [from, to, _] = ends();
        let mut client = client(version, now);
        let mut association: Option<Association> = None;
        let (mut answered, mut client_connected) = (0, false);
        for _ in 0..20 {
            let (packets, _, connected) = said(&mut client);
            client_connected |= connected;
            if client_connected && association.as_ref().is_some_and(Association::is_connected) {
                assert_eq!(answered, 1, "one trip for the cookie");
                return (association.unwrap(), client, now);
            }
            for packet in packets {
                let answers = match &mut association {
                    Some(association) => {
                        association.receive(&packet, now).unwrap();
                        wanted(association).0
                    }
                    None => match door.check_cookie(&packet, (from, to), Duration::ZERO) {
                        CookieCheck::Reply(answer) => {
                            assert!(answer.len() <= packet.len());
                            answered += 1;
                            vec![answer]
                        }
                        CookieCheck::Verified(proven) => {
                            assert_eq!(proven.version, version);
                            let mut new = door.accept(&proven, now).unwrap();
                            assert!(new.began_with_hello(&proven));
                            let answers = wanted(&mut new).0;
                            association = Some(new);
                            answers
                        }
                        CookieCheck::Discard => panic!("refused"),
                    },
                };
                for answer in answers {
                    client.handle_packet(&answer).unwrap();
                }
            }
        }
        panic!("no handshake");
    }

    #[test]
    fn both_versions_agree_after_one_cookie_and_carry_data_both_ways() {
        for version in [Version::Dtls12, Version::Dtls13] {
            let (mut association, mut client, now) = shake(version);
            client.send_application_data(b"to the server").unwrap();
            for packet in said(&mut client).0 {
                association.receive(&packet, now).unwrap();
                // Replays are dropped.
                association.receive(&packet, now).unwrap();
                assert_eq!(
                    wanted(&mut association).1,
                    [b"to the server"],
                    "{version:?}"
                );
            }
            association.send(&[7; 1_400]).unwrap();
            for packet in wanted(&mut association).0 {
                client.handle_packet(&packet).unwrap();
            }
            assert_eq!(said(&mut client).1, [vec![7; 1_400]], "{version:?}");
        }
    }

    /// RFC 6347 §4.1.2.7: invalid records are discarded, or who can forge an address could end an association. (The library
    /// forgives another version in a record's header: then it is the forged copy that counts, and the genuine one is a replay.)
    #[test]
    fn forged_records_neither_end_an_association_nor_say_what_nobody_said() {
        for version in [Version::Dtls12, Version::Dtls13] {
            let (mut association, mut client, now) = shake(version);
            client.send_application_data(b"to the server").unwrap();
            let sealed = said(&mut client).0.remove(0);
            let mut told = Vec::new();
            for bit in 0..sealed.len() * 8 {
                let mut forged = sealed.clone();
                forged[bit / 8] ^= 1 << (bit % 8);
                for noise in [&forged[..], &forged[..bit / 8]] {
                    association.receive(noise, now).unwrap();
                    told.extend(wanted(&mut association).1);
                }
            }
            association.receive(&sealed, now).unwrap();
            told.extend(wanted(&mut association).1);
            assert_eq!(told, [b"to the server"], "{version:?}");
            client.send_application_data(b"and on").unwrap();
            association
                .receive(&said(&mut client).0.remove(0), now)
                .unwrap();
            assert_eq!(wanted(&mut association).1, [b"and on"], "{version:?}");
        }
    }

    #[test]
    fn a_cookie_is_good_for_one_client_and_a_minute_or_two() {
        for version in [Version::Dtls12, Version::Dtls13] {
            let (door, now) = (door(), Instant::now());
            let [from, to, elsewhere] = ends();
            let mut client = client(version, now);
            let first = said(&mut client).0.remove(0);
            let CookieCheck::Reply(answer) = door.check_cookie(&first, (from, to), Duration::ZERO)
            else {
                panic!("no answer")
            };
            client.handle_packet(&answer).unwrap();
            let second = said(&mut client).0.remove(0);
            let proven = |from, seconds| {
                matches!(
                    door.check_cookie(&second, (from, to), Duration::from_secs(seconds)),
                    CookieCheck::Verified(_)
                )
            };
            assert!(
                proven(from, 0) && proven(from, 119) && !proven(from, 121),
                "{version:?}"
            );
            assert!(!proven(elsewhere, 0), "{version:?}");
            let mut changed = second.clone();
            // The last octet of the client's random.
            changed[25 + 33] ^= 1;
            assert!(!matches!(
                door.check_cookie(&changed, (from, to), Duration::ZERO),
                CookieCheck::Verified(_)
            ));
        }
    }

    #[test]
    fn noise_and_fragments_are_refused_and_never_answered_with_more_than_came() {
        let (door, now) = (door(), Instant::now());
        let [from, to, _] = ends();
        let whole = said(&mut client(Version::Dtls12, now)).0.remove(0);
        for end in 0..whole.len() {
            assert!(
                matches!(
                    door.check_cookie(&whole[..end], (from, to), Duration::ZERO),
                    CookieCheck::Discard
                ),
                "{end}"
            );
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                if let CookieCheck::Reply(answer) =
                    door.check_cookie(&changed, (from, to), Duration::ZERO)
                {
                    assert!(answer.len() <= changed.len());
                }
            }
        }
    }
}
