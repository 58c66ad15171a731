//! The TLS server: certificates and client authorities, replaceable while connections are open.
//!
//! Kernel TLS (`TCP_ULP`) is not used. It would save the copies that rustls makes, 7 to 13 % of the
//! time of a shard that relays bulk data; the cipher, 11 to 13 %, would cost the same. In return it
//! needs a kernel that has it (many lack it: `setsockopt` fails with ENOENT), the transfer of keys,
//! and a second way to read all records other than application data. No measurement showed it to be
//! faster.

use crate::net::tls::certificate::Certificate;
use crate::net::tls::error::TlsError;
use crate::net::tls::rewind::Rewind;
use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// A handshake in progress.
pub type TlsHandshake = tokio_rustls::Accept<Rewind<TcpStream>>;
/// An established connection.
pub type TlsStream = tokio_rustls::server::TlsStream<Rewind<TcpStream>>;

/// Certificates and configuration for new handshakes, shared by all shards. A replacement does not
/// affect handshakes and connections that have begun.
#[derive(Debug)]
pub struct TlsServer {
    options: TlsOptions,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    active: ArcSwap<CurrentConfig>,
    challenges: Arc<ArcSwap<AcmeChallenges>>,
    failures: AtomicU64,
}

/// The operator's decisions other than certificates.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Client certificates must have been issued by one of these authorities, directly or not. If
    /// empty, clients need no certificate.
    pub client_authorities: Vec<CertificateDer<'static>>,
    /// Clients may negotiate HTTP, which the web service answers on the same port.
    pub http: bool,
    /// Certificates are ordered by ACME, so validations (TLS-ALPN-01, RFC 8737) are answered.
    pub acme: bool,
}

/// The certificates that prove control over a name to an ACME server, by name (RFC 8737 §3).
type AcmeChallenges = HashMap<String, Arc<CertifiedKey>>;

#[derive(Debug)]
struct CurrentConfig {
    certificates: Vec<Arc<Certificate>>,
    config: Arc<ServerConfig>,
}

impl TlsServer {
    /// A server with these certificates, which may be none if ACME will provide some.
    ///
    /// # Errors
    /// If the client authorities cannot be used, or if the system provides no randomness.
    pub fn new(
        certificates: Vec<Arc<Certificate>>,
        options: TlsOptions,
    ) -> Result<TlsServer, TlsError> {
        let challenges = Arc::new(ArcSwap::default());
        let verifier = match options.client_authorities.as_slice() {
            [] => None,
            authorities => Some(client_verifier(authorities)?),
        };
        let config = config(&certificates, &options, verifier.as_ref(), &challenges)?;
        let active = ArcSwap::from_pointee(CurrentConfig {
            certificates,
            config,
        });
        Ok(TlsServer {
            options,
            verifier,
            active,
            challenges,
            failures: AtomicU64::new(0),
        })
    }

    /// Replaces the certificates for new handshakes. Connections stay open.
    ///
    /// # Errors
    /// As [`TlsServer::new`]. The old certificates stay in use then.
    pub fn replace(&self, certificates: Vec<Arc<Certificate>>) -> Result<(), TlsError> {
        let verifier = self.verifier.as_ref();
        let config = config(&certificates, &self.options, verifier, &self.challenges)?;
        self.active.store(Arc::new(CurrentConfig {
            certificates,
            config,
        }));
        Ok(())
    }

    /// The certificates in use.
    pub fn certificates(&self) -> Vec<Arc<Certificate>> {
        self.active.load().certificates.clone()
    }

    /// Counts a failure to replace the certificates.
    pub fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Number of failures to replace the certificates.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Begins a handshake.
    pub fn accept(&self, stream: Rewind<TcpStream>) -> TlsHandshake {
        TlsAcceptor::from(self.active.load().config.clone()).accept(stream)
    }

    /// The certificate for a DTLS client that asks for this server name: the first that matches the
    /// name, or else the first that DTLS supports.
    pub fn dtls_certificate(&self, name: Option<&str>) -> Option<dimpl::DtlsCertificate> {
        let active = self.active.load();
        let usable = || {
            let certificates = active.certificates.iter();
            certificates.filter(|certificate| certificate.dtls().is_some())
        };
        name.and_then(|name| usable().find(|certificate| certificate.matches_name(name)))
            .or_else(|| usable().next())
            .and_then(|certificate| certificate.dtls().cloned())
    }

    /// Verifies client certificates; `None` if clients need none.
    pub(crate) fn client_verifier(&self) -> Option<Arc<dyn ClientCertVerifier>> {
        self.verifier.clone()
    }

    /// Sets the certificate that answers an ACME server's validation of `name`; `None` removes it.
    pub fn set_acme_challenge(&self, name: &str, certificate: Option<Arc<CertifiedKey>>) {
        let name = name.to_ascii_lowercase();
        self.challenges.rcu(|challenges| {
            let mut challenges = AcmeChallenges::clone(challenges);
            match &certificate {
                Some(certificate) => challenges.insert(name.clone(), certificate.clone()),
                None => challenges.remove(&name),
            };
            challenges
        });
    }
}

/// Parses a PEM file of client authorities.
///
/// # Errors
/// If the file is not PEM or holds no certificate.
pub fn parse_authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let authorities: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(TlsError::AuthorityPem)?;
    if authorities.is_empty() {
        return Err(TlsError::NoAuthority);
    }
    Ok(authorities)
}

/// Returns true if an ACME server opened the connection to validate a name. The connection must be
/// closed without further data (RFC 8737 §4).
pub fn is_acme_validation(connection: &TlsStream) -> bool {
    connection.get_ref().1.alpn_protocol() == Some(ALPN_ACME)
}

fn config(
    certificates: &[Arc<Certificate>],
    options: &TlsOptions,
    verifier: Option<&Arc<dyn ClientCertVerifier>>,
    challenges: &Arc<ArcSwap<AcmeChallenges>>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let crypto = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Config)?;
    let builder = match verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier.clone()),
    };
    let mut config = builder.with_cert_resolver(Arc::new(CertificateResolver {
        certificates: certificates.to_vec(),
        challenges: challenges.clone(),
    }));
    // RFC 7443 §3. rustls refuses a client that offers only other protocols (RFC 7301 §3.2), but
    // accepts a client that offers none, as most TURN clients do.
    config.alpn_protocols = vec![b"stun.turn".to_vec(), b"stun.nat-discovery".to_vec()];
    if options.http {
        config.alpn_protocols.push(b"http/1.1".to_vec());
    }
    if options.acme {
        config.alpn_protocols.push(ALPN_ACME.to_vec());
    }
    // Stateless resumption: the session ticket contains the session, so the server stores none, and
    // every shard can resume.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Config)?;
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

fn client_verifier(
    authorities: &[CertificateDer<'static>],
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let crypto = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots
            .add(authority.clone())
            .map_err(TlsError::InvalidAuthority)?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto)
        .build()
        .map_err(TlsError::Verifier)
}

/// Chooses the certificate of a handshake.
#[derive(Debug)]
struct CertificateResolver {
    certificates: Vec<Arc<Certificate>>,
    challenges: Arc<ArcSwap<AcmeChallenges>>,
}

impl ResolvesServerCert for CertificateResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_validation = hello
            .alpn()
            .is_some_and(|mut offered| offered.any(|protocol| protocol == ALPN_ACME));
        if is_validation {
            let name = hello.server_name()?.to_ascii_lowercase();
            return self.challenges.load().get(&name).cloned();
        }
        let schemes = hello.signature_schemes();
        let is_usable = |certificate: &&Arc<Certificate>| {
            let key = &certificate.certified_key().key;
            key.choose_scheme(schemes).is_some()
        };
        let matches_name = |certificate: &&Arc<Certificate>| {
            let name = hello.server_name();
            name.is_some_and(|name| certificate.matches_name(name))
        };
        let all = || self.certificates.iter();
        // A certificate for another name is better than none: a client that does not verify names
        // works, and any other reports which name is wrong. The same holds for a key that the
        // client does not support.
        all()
            .filter(is_usable)
            .find(matches_name)
            .or_else(|| all().find(is_usable))
            .or_else(|| all().next())
            .map(|certificate| certificate.certified_key().clone())
    }
}

/// Protocol name of TLS-ALPN-01.
const ALPN_ACME: &[u8] = b"acme-tls/1";
