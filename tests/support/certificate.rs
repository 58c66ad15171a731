//! Self-signed certificates, and the certificate that a TLS server presents.

use super::transport::{accept_any_certificate, connect, tls_handshake};
use hairpin::net::Certificate;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::Arc;

pub struct SelfSigned {
    pub certificate: Arc<Certificate>,
    /// The chain in PEM.
    pub chain: String,
    /// The private key in PEM.
    pub key: String,
}

pub fn self_signed(name: &str) -> SelfSigned {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    let chain = params.self_signed(&key).unwrap().pem();
    let key = key.serialize_pem();
    let certificate = Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
    SelfSigned {
        certificate: Arc::new(certificate),
        chain,
        key,
    }
}

/// The serial of the certificate that a new TLS connection is shown; `None` if the handshake fails.
pub fn shown_serial(server: SocketAddr, name: &str) -> Option<String> {
    let stream = tls_handshake(accept_any_certificate(), connect(server), name).ok()?;
    Some(serial_of(stream.conn.peer_certificates()?.first()?))
}

/// A certificate's serial, in hexadecimal.
pub fn serial_of(certificate: &CertificateDer<'_>) -> String {
    let (_, leaf) = x509_parser::parse_x509_certificate(certificate).unwrap();
    leaf.raw_serial()
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect()
}
