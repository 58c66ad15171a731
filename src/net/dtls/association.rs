//! One client's DTLS association, without socket and clock: datagrams in, events out.

use crate::net::dtls::cookie::VerifiedHello;
use dimpl::crypto::HmacProvider;
use dimpl::{CryptoError, HashAlgorithm, Output};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// A DTLS association with one client.
///
/// After each call that may fail, and after [`Association::close`], call [`Association::poll`]
/// until it returns [`Event::WaitUntil`] or [`Event::Closed`].
pub struct Association {
    engine: dimpl::Dtls,
    /// Verifies the client's certificate; `None` if no certificate is required, or if it has been
    /// verified.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    connected: bool,
    client_random: [u8; 32],
}

/// What the caller of [`Association::poll`] has to do.
#[derive(Debug)]
pub enum Event<'a> {
    /// Send this datagram to the client.
    Send(&'a [u8]),
    /// Process these octets, which the client sent.
    Data(&'a [u8]),
    /// Nothing: the handshake is complete.
    Connected,
    /// Delete the association.
    Closed,
    /// Call [`Association::handle_timeout`] at this time. There are no more events until then.
    WaitUntil(Instant),
}

impl Association {
    /// Begins the handshake by replaying the cookie exchange to `engine`.
    pub(crate) fn new(
        engine: dimpl::Dtls,
        verifier: Option<Arc<dyn ClientCertVerifier>>,
        hello: &VerifiedHello<'_>,
        now: Instant,
    ) -> io::Result<Association> {
        let mut association = Association {
            engine,
            verifier,
            connected: false,
            client_random: *hello.random(),
        };
        association
            .replay_cookie_exchange(hello, now)
            .map_err(io::Error::other)?;
        Ok(association)
    }

    fn replay_cookie_exchange(
        &mut self,
        hello: &VerifiedHello<'_>,
        now: Instant,
    ) -> Result<(), dimpl::Error> {
        self.engine.handle_timeout(now)?;
        let _verified = VerifiedCookie::set(hello.cookie());
        self.engine.handle_packet(&hello.first_hello())?;
        // The client has the answer to its first hello already.
        let mut scratch = Vec::new();
        while let Event::Send(_) = self.poll(&mut scratch) {}
        self.engine.handle_packet(&hello.second_hello())
    }

    /// Returns true if the association began with this hello or a copy of it.
    pub fn began_with_hello(&self, hello: &VerifiedHello<'_>) -> bool {
        self.client_random == *hello.random()
    }

    /// Returns true if the handshake is complete.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Processes a datagram from the client.
    ///
    /// # Errors
    /// If the association has ended.
    pub fn receive(&mut self, datagram: &[u8], now: Instant) -> io::Result<()> {
        // The library stores messages of a handshake that arrive out of order, and limits their
        // number but not their size.
        if !self.connected && datagram.len() > MAX_HANDSHAKE_DATAGRAM {
            return Ok(());
        }
        self.engine.handle_timeout(now).map_err(io::Error::other)?;
        self.engine
            .handle_packet(datagram)
            .map_err(io::Error::other)
    }

    /// Retransmits and expires what is due at `now`.
    ///
    /// # Errors
    /// If the association has ended.
    pub fn handle_timeout(&mut self, now: Instant) -> io::Result<()> {
        self.engine.handle_timeout(now).map_err(io::Error::other)
    }

    /// Sends octets to the client.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotConnected`] during the handshake; another error if the association has
    /// ended.
    pub fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        if !self.connected {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.engine
            .send_application_data(octets)
            .map(drop)
            .map_err(io::Error::other)
    }

    /// Sends a close_notify alert.
    pub fn close(&mut self) {
        // The alert is a courtesy. The association ends without it too.
        let _ = self.engine.close();
    }

    /// Returns the next event, which may borrow from `scratch`.
    pub fn poll<'a>(&mut self, scratch: &'a mut Vec<u8>) -> Event<'a> {
        // An event that borrows from `scratch` cannot leave a loop that borrows `scratch` again, so
        // its length does.
        enum Borrowed {
            Send(usize),
            Data(usize),
        }
        let borrowed = loop {
            match self.engine.poll_output(scratch) {
                Output::BufferTooSmall { needed } => scratch.resize(needed.max(RECORD_SIZE), 0),
                Output::Packet(packet) => break Borrowed::Send(packet.len()),
                Output::ApplicationData(data) => break Borrowed::Data(data.len()),
                Output::PeerCert(leaf) => {
                    if !is_trusted(self.verifier.as_deref(), leaf) {
                        return Event::Closed;
                    }
                    self.verifier = None;
                }
                // The client completed the handshake without the certificate that is required.
                Output::Connected if self.verifier.is_some() => return Event::Closed,
                Output::Connected => {
                    self.connected = true;
                    return Event::Connected;
                }
                Output::CloseNotify => return Event::Closed,
                Output::Timeout(at) => return Event::WaitUntil(at),
                // Keying material for SRTP, which a relay does not need.
                _ => {}
            }
        };
        match borrowed {
            Borrowed::Send(length) => Event::Send(scratch.get(..length).unwrap_or_default()),
            Borrowed::Data(length) => Event::Data(scratch.get(..length).unwrap_or_default()),
        }
    }
}

impl fmt::Debug for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Association")
            .field("connected", &self.connected)
            .finish_non_exhaustive()
    }
}

fn is_trusted(verifier: Option<&dyn ClientCertVerifier>, leaf: &[u8]) -> bool {
    let Some(verifier) = verifier else {
        return true;
    };
    let leaf = CertificateDer::from(leaf);
    verifier
        .verify_client_cert(&leaf, &[], UnixTime::now())
        .is_ok()
}

thread_local! {
    static VERIFIED_COOKIE: Cell<Option<[u8; 32]>> = const { Cell::new(None) };
}

/// While this guard exists, [`CookieHmac`] returns the verified cookie of the replayed hello.
/// A thread-local, because a crypto provider is `'static` and has no other way to learn which
/// association calls it.
struct VerifiedCookie;

impl VerifiedCookie {
    fn set(cookie: &[u8]) -> VerifiedCookie {
        VERIFIED_COOKIE.set(cookie.first_chunk().copied());
        VerifiedCookie
    }
}

impl Drop for VerifiedCookie {
    fn drop(&mut self) {
        VERIFIED_COOKIE.set(None);
    }
}

/// The library's HMAC, except for cookies, the only thing that it computes with `hmac_sha256`.
#[derive(Debug)]
pub(crate) struct CookieHmac;

impl HmacProvider for CookieHmac {
    fn hmac_sha256(&self, key: &[u8], data: &[u8]) -> Result<[u8; 32], CryptoError> {
        match VERIFIED_COOKIE.get() {
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

/// Octets of the longest datagram that is accepted during a handshake. A client's longest message,
/// its certificate, comes in fragments of about the path MTU.
const MAX_HANDSHAKE_DATAGRAM: usize = 4_096;
/// Initial size of the caller's scratch memory: enough for one record.
const RECORD_SIZE: usize = 17_000;
