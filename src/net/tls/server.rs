//! TLS for clients: what a handshake needs, replaceable while connections live.
//!
//! The kernel's own TLS (`TCP_ULP`) is not used. It would save what rustls copies, 7 to 13 % of a shard that relays in bulk; the
//! cipher, 11 to 13 %, would run all the same. It wants a kernel that has it (many do not: then `setsockopt` says ENOENT), keys
//! to be handed over, and another way of reading for everything that is no data, and it could not be measured to be faster.

use crate::net::tls::certificate::Certificate;
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
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// A handshake under way.
pub type TlsHandshake = tokio_rustls::Accept<Rewind<TcpStream>>;
/// An established connection.
pub type TlsStream = tokio_rustls::server::TlsStream<Rewind<TcpStream>>;

/// What new handshakes go by. Shared by all shards; what is replaced concerns only handshakes that begin later.
#[derive(Debug)]
pub struct TlsServer {
    terms: TlsOptions,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    current: ArcSwap<Current>,
    challenges: Arc<ArcSwap<Challenges>>,
    failures: AtomicU64,
}

/// What an operator decided beside certificates.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Clients must show a certificate that one of these signed, directly or not; empty: they need none.
    pub client_authorities: Vec<CertificateDer<'static>>,
    /// HTTP is spoken behind the same port.
    pub http: bool,
    /// Certificates are ordered by ACME: validation (TLS-ALPN-01, RFC 8737) is answered.
    pub acme: bool,
}

/// Certificates that prove to an ACME server that a name is ours, by name. RFC 8737 §3.
type Challenges = HashMap<String, Arc<CertifiedKey>>;

#[derive(Debug)]
struct Current {
    certificates: Vec<Arc<Certificate>>,
    config: Arc<ServerConfig>,
}

impl TlsServer {
    /// Serves these certificates. None may be there yet where ACME will bring some.
    ///
    /// # Errors
    /// When the client authorities are unusable, or there is no randomness.
    pub fn new(certificates: Vec<Arc<Certificate>>, terms: TlsOptions) -> io::Result<TlsServer> {
        let challenges = Arc::new(ArcSwap::default());
        let verifier = match terms.client_authorities.as_slice() {
            [] => None,
            authorities => Some(client_verifier(authorities)?),
        };
        let config = config(&certificates, &terms, verifier.as_ref(), &challenges)?;
        let current = ArcSwap::from_pointee(Current {
            certificates,
            config,
        });
        Ok(TlsServer {
            terms,
            verifier,
            current,
            challenges,
            failures: AtomicU64::new(0),
        })
    }

    /// Handshakes from here on show these certificates; established connections stay.
    ///
    /// # Errors
    /// As [`TlsServer::new`]; then nothing has changed.
    pub fn replace(&self, certificates: Vec<Arc<Certificate>>) -> io::Result<()> {
        let config = config(
            &certificates,
            &self.terms,
            self.verifier.as_ref(),
            &self.challenges,
        )?;
        self.current.store(Arc::new(Current {
            certificates,
            config,
        }));
        Ok(())
    }

    /// The certificates that are shown now.
    pub fn certificates(&self) -> Vec<Arc<Certificate>> {
        self.current.load().certificates.clone()
    }

    /// Counts that new certificates could not be used.
    pub fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that has been.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Begins a handshake.
    pub fn accept(&self, stream: Rewind<TcpStream>) -> TlsHandshake {
        TlsAcceptor::from(self.current.load().config.clone()).accept(stream)
    }

    /// The certificate for a DTLS client that asks for this server name: one for the name, else the first that DTLS can
    /// use at all.
    pub fn dtls_certificate(&self, name: Option<&str>) -> Option<dimpl::DtlsCertificate> {
        let current = self.current.load();
        let usable = || {
            current
                .certificates
                .iter()
                .filter(|certificate| certificate.dtls().is_some())
        };
        let named =
            name.and_then(|name| usable().find(|certificate| certificate.matches_name(name)));
        named
            .or_else(|| usable().next())
            .and_then(|certificate| certificate.dtls().cloned())
    }

    /// Judges the certificates that clients must show; `None` when they need none.
    pub(crate) fn client_verifier(&self) -> Option<Arc<dyn ClientCertVerifier>> {
        self.verifier.clone()
    }

    /// Shows `certificate` to an ACME server that validates `name`; `None` ends that.
    pub fn set_acme_challenge(&self, name: &str, certificate: Option<Arc<CertifiedKey>>) {
        let name = name.to_ascii_lowercase();
        self.challenges.rcu(|challenges| {
            let mut challenges = Challenges::clone(challenges);
            match &certificate {
                Some(certificate) => challenges.insert(name.clone(), certificate.clone()),
                None => challenges.remove(&name),
            };
            challenges
        });
    }
}

/// The certificates of a PEM file of authorities.
///
/// # Errors
/// When it is not PEM or holds none.
pub fn parse_authorities(pem: &[u8]) -> io::Result<Vec<CertificateDer<'static>>> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| {
            invalid(format!(
                "the file of client authorities is not PEM: {error}"
            ))
        })?;
    match all.is_empty() {
        true => Err(invalid(
            "the file of client authorities holds no certificate".into(),
        )),
        false => Ok(all),
    }
}

/// Whether a connection was made only to validate a name. RFC 8737 §4: nothing more is said on it.
pub fn is_acme_validation(connection: &TlsStream) -> bool {
    connection.get_ref().1.alpn_protocol() == Some(ACME)
}

fn config(
    certificates: &[Arc<Certificate>],
    terms: &TlsOptions,
    verifier: Option<&Arc<dyn ClientCertVerifier>>,
    challenges: &Arc<ArcSwap<Challenges>>,
) -> io::Result<Arc<ServerConfig>> {
    let crypto = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let builder = match verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier.clone()),
    };
    let choice = Choice {
        certificates: certificates.to_vec(),
        challenges: challenges.clone(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(choice));
    // RFC 7443 §3 names the first two. Who offers none of ours but others is refused (RFC 7301 §3.2), who offers none is not.
    config.alpn_protocols = vec![b"stun.turn".to_vec(), b"stun.nat-discovery".to_vec()];
    if terms.http {
        config.alpn_protocols.push(b"http/1.1".to_vec());
    }
    if terms.acme {
        config.alpn_protocols.push(ACME.to_vec());
    }
    // Resumption without memory: the ticket holds it all, and every shard can read it.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(io::Error::other)?;
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

fn client_verifier(
    authorities: &[CertificateDer<'static>],
) -> io::Result<Arc<dyn ClientCertVerifier>> {
    let crypto = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots
            .add(authority.clone())
            .map_err(|error| invalid(format!("a client authority is unusable: {error}")))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto)
        .build()
        .map_err(io::Error::other)
}

/// Chooses the certificate of a handshake.
#[derive(Debug)]
struct Choice {
    certificates: Vec<Arc<Certificate>>,
    challenges: Arc<ArcSwap<Challenges>>,
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let validates = hello
            .alpn()
            .is_some_and(|mut offered| offered.any(|protocol| protocol == ACME));
        if validates {
            return self
                .challenges
                .load()
                .get(&hello.server_name()?.to_ascii_lowercase())
                .cloned();
        }
        let schemes = hello.signature_schemes();
        let usable = |certificate: &&Arc<Certificate>| {
            certificate
                .certified_key()
                .key
                .choose_scheme(schemes)
                .is_some()
        };
        let name = hello.server_name();
        let named = |certificate: &&Arc<Certificate>| {
            name.is_some_and(|name| certificate.matches_name(name))
        };
        // For its name with a signature it knows; else what it knows; else the first, so that the client says what is wrong.
        let all = || self.certificates.iter();
        let chosen = all()
            .filter(usable)
            .find(named)
            .or_else(|| all().find(usable))
            .or_else(|| all().next());
        chosen.map(|certificate| certificate.certified_key().clone())
    }
}

fn invalid(sentence: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, sentence)
}

/// The protocol name of TLS-ALPN-01.
const ACME: &[u8] = b"acme-tls/1";
