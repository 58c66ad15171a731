//! The built binary, from outside: what it shows, and a relay through it.

use crate::support::line::{Caller, Line, connect, secured, trusting};
use crate::support::operating::Directory;
use crate::support::process::Setup;
use crate::support::relay::certificate;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::sync::Arc;

/// A server that shows a certificate for `name`, from `chain.pem` and `key.pem` in the directory.
pub fn certified(directory: &Directory, name: &str) -> Setup {
    let (_, chain, key) = certificate(name);
    let setup = Setup::new()
        .flag("--web", "off")
        .flag("--certificate", &directory.write("chain.pem", &chain));
    setup.flag("--private-key", &directory.write("key.pem", &key))
}

/// The serial that a new TLS connection is shown; `None` when there is no agreement.
pub fn shown(address: SocketAddr, name: &str) -> Option<String> {
    let stream = secured(trusting(), connect(address), name).ok()?;
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

/// Connects as a client that trusts nobody but `root`.
pub fn verified_by(root: &str, address: SocketAddr, name: &str) {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap())
        .unwrap();
    let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    secured(config, connect(address), name).unwrap();
}

/// A TURN client over TLS.
pub fn relaying(address: SocketAddr, name: &str) -> Caller {
    Caller::new(Line::Tls(Box::new(
        secured(trusting(), connect(address), name).unwrap(),
    )))
}
