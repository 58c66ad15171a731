//! TLS configurations for clients.
//!
//! - [`verifying`]: the usual one, for connections that carry secrets.
//! - [`recording`]: accepts every certificate and records why it does not verify. `hairpin check`
//!   continues past a bad certificate to find what else is wrong.
//! - [`unverified`]: accepts every certificate. For load generators and tests.
//!
//! [`recording`] and [`unverified`] are only for clients that send no secret. TURN clients never
//! send the password.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use crate::client::transport::certificate::validity;

/// A configuration that trusts the public authorities and those in the PEM file `ca`.
///
/// # Errors
/// The file cannot be read, or holds no certificate.
pub fn verifying(ca: Option<&Path>) -> io::Result<Arc<ClientConfig>> {
    let config = ClientConfig::builder_with_provider(cryptography())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots(ca)?)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// A configuration that accepts every certificate, and the recorder of the last one.
///
/// # Errors
/// As [`verifying`].
pub fn recording(ca: Option<&Path>) -> io::Result<(Arc<ClientConfig>, Arc<CertificateRecorder>)> {
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots(ca)?), cryptography())
            .build()
            .map_err(io::Error::other)?;
    let recorder = Arc::new(CertificateRecorder {
        verifier,
        last: Mutex::new(None),
    });
    Ok((Arc::new(with_verifier(recorder.clone())?), recorder))
}

/// A configuration that accepts every certificate.
///
/// # Errors
/// The cryptography library offers no safe protocol version.
pub fn unverified() -> io::Result<ClientConfig> {
    let schemes = cryptography()
        .signature_verification_algorithms
        .supported_schemes();
    with_verifier(Arc::new(AcceptAnyCertificate(schemes)))
}

/// What a server's certificate states, and why it does not verify.
#[derive(Clone, Debug, PartialEq)]
pub struct CertificateStatus {
    /// The start of its validity, if that could be parsed.
    pub not_before: Option<SystemTime>,
    /// The end of its validity, if that could be parsed.
    pub not_after: Option<SystemTime>,
    /// Why it does not verify.
    pub problem: Option<rustls::Error>,
}

/// A verifier that accepts every certificate and records what the usual verifier says about it.
#[derive(Debug)]
pub struct CertificateRecorder {
    verifier: Arc<WebPkiServerVerifier>,
    last: Mutex<Option<CertificateStatus>>,
}

impl CertificateRecorder {
    /// Records a certificate from a DTLS handshake. The intermediate certificates are unknown then,
    /// so an unknown issuer is no problem: only the name and the dates are verified.
    pub fn record_without_chain(&self, certificate: Vec<u8>, host: &str) {
        let certificate = CertificateDer::from(certificate);
        let Ok(name) = ServerName::try_from(host.to_owned()) else {
            return;
        };
        let outcome =
            self.verifier
                .verify_server_cert(&certificate, &[], &name, &[], UnixTime::now());
        let outcome = match outcome {
            Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
                ParsedCertificate::try_from(&certificate)
                    .and_then(|parsed| verify_server_name(&parsed, &name))
            }
            other => other.map(drop),
        };
        self.record(&certificate, outcome);
    }

    /// Takes the status of the certificate recorded last.
    pub fn take(&self) -> Option<CertificateStatus> {
        self.last.lock().ok()?.take()
    }

    fn record(&self, certificate: &CertificateDer<'_>, outcome: Result<(), rustls::Error>) {
        let (not_before, not_after) = validity(certificate).unzip();
        if let Ok(mut last) = self.last.lock() {
            *last = Some(CertificateStatus {
                not_before,
                not_after,
                problem: outcome.err(),
            });
        }
    }
}

impl ServerCertVerifier for CertificateRecorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let outcome = self
            .verifier
            .verify_server_cert(end_entity, intermediates, name, ocsp, now);
        self.record(end_entity, outcome.map(drop));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Accepts every certificate, even one that rustls cannot parse (the challenge certificate of ACME
/// has an unknown critical extension), which is why signatures are not verified either.
#[derive(Debug)]
struct AcceptAnyCertificate(Vec<SignatureScheme>);

impl ServerCertVerifier for AcceptAnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

fn with_verifier(verifier: Arc<dyn ServerCertVerifier>) -> io::Result<ClientConfig> {
    let config = ClientConfig::builder_with_provider(cryptography())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(config)
}

fn cryptography() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn roots(ca: Option<&Path>) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let Some(path) = ca else { return Ok(roots) };
    let in_file = |error: &dyn std::fmt::Display| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{}: {error}", path.display()),
        )
    };
    let mut count = 0;
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| in_file(&error))? {
        roots
            .add(certificate.map_err(|error| in_file(&error))?)
            .map_err(|error| in_file(&error))?;
        count += 1;
    }
    match count {
        0 => Err(in_file(&"holds no certificate")),
        _ => Ok(roots),
    }
}
