//! The state that all DTLS associations of a server share: certificates, cookie secret, timeouts.

use crate::net::dtls::association::{Association, CookieHmac};
use crate::net::dtls::cookie::{CookieCheck, CookieExchange, VerifiedHello, Version};
use crate::net::tls::server::TlsServer;
use dimpl::DtlsCertificate;
use dimpl::crypto::CryptoProvider;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A DTLS server without connections: it answers hellos, and creates an [`Association`] for each
/// client that proved its address. Shared by all shards.
pub struct DtlsServer {
    tls: Arc<TlsServer>,
    config: Arc<dimpl::Config>,
    cookies: CookieExchange,
    /// Used if none of the certificates of `tls` suits DTLS.
    self_signed: DtlsCertificate,
}

impl DtlsServer {
    /// A server with the certificates and client authorities of `tls`.
    ///
    /// # Errors
    /// If the system provides no randomness.
    pub fn new(tls: Arc<TlsServer>, handshake_timeout: Duration) -> io::Result<DtlsServer> {
        let crypto = CryptoProvider {
            hmac_provider: &CookieHmac,
            ..dimpl::crypto::aws_lc_rs::default_provider()
        };
        let config = dimpl::Config::builder()
            .with_crypto_provider(crypto)
            .require_client_certificate(tls.client_verifier().is_some())
            .handshake_timeout(handshake_timeout)
            .mtu(HANDSHAKE_MTU)
            .build()
            .map_err(io::Error::other)?;
        let self_signed =
            dimpl::certificate::generate_self_signed_certificate().map_err(io::Error::other)?;
        Ok(DtlsServer {
            tls,
            cookies: CookieExchange::new(&config)?,
            config: Arc::new(config),
            self_signed,
        })
    }

    /// Decides about a datagram from a client without association. `now` is any monotonic time.
    pub fn check_cookie<'a>(
        &self,
        datagram: &'a [u8],
        client: SocketAddr,
        server: SocketAddr,
        now: Duration,
    ) -> CookieCheck<'a> {
        self.cookies.check(datagram, client, server, now)
    }

    /// Creates the association of a client that proved its address. Then call [`Association::poll`]
    /// until it waits.
    ///
    /// # Errors
    /// If the handshake fails at once.
    pub fn accept(&self, hello: &VerifiedHello<'_>, now: Instant) -> io::Result<Association> {
        let certificate = self.tls.dtls_certificate(hello.server_name());
        let certificate = certificate.unwrap_or_else(|| self.self_signed.clone());
        let config = self.config.clone();
        let engine = match hello.version() {
            Version::Dtls12 => dimpl::Dtls::new_12(config, certificate, now),
            Version::Dtls13 => dimpl::Dtls::new_13(config, certificate, now),
        };
        Association::new(engine, self.tls.client_verifier(), hello, now)
    }
}

impl fmt::Debug for DtlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DtlsServer").finish_non_exhaustive()
    }
}

/// Octets of a handshake's datagrams: they fit the MTU of all common paths. The library does not
/// probe the path.
const HANDSHAKE_MTU: usize = 1_200;
