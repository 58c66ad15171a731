//! Errors of certificates and TLS configurations.

use rustls::pki_types::pem;
use rustls::server::VerifierBuilderError;
use std::fmt;
use std::io;
use x509_parser::error::X509Error;
use x509_parser::nom;

/// A certificate, private key, or client authority that cannot be used.
#[derive(Debug)]
pub enum TlsError {
    /// The certificate file is not PEM.
    CertificatePem(pem::Error),
    /// The certificate file holds no certificate.
    NoCertificate,
    /// The certificate is not X.509.
    InvalidCertificate(nom::Err<X509Error>),
    /// The private key file is not PEM, or holds no private key.
    PrivateKeyPem(pem::Error),
    /// The private key is of an unsupported kind, or does not belong to the certificate.
    PrivateKey(rustls::Error),
    /// The file of client authorities is not PEM.
    AuthorityPem(pem::Error),
    /// The file of client authorities holds no certificate.
    NoAuthority,
    /// A client authority is not a certificate that can be trusted.
    InvalidAuthority(rustls::Error),
    /// The client authorities cannot verify clients.
    Verifier(VerifierBuilderError),
    /// The TLS library refuses the configuration, or the system provides no randomness.
    Config(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::CertificatePem(error) => {
                write!(f, "the certificate file is not PEM: {error}")
            }
            TlsError::NoCertificate => f.write_str("the certificate file holds no certificate"),
            TlsError::InvalidCertificate(error) => {
                write!(f, "the certificate cannot be parsed: {error}")
            }
            TlsError::PrivateKeyPem(error) => {
                write!(
                    f,
                    "the private key file holds no private key in PEM: {error}"
                )
            }
            TlsError::PrivateKey(error) => {
                write!(f, "the certificate cannot be used with this key: {error}")
            }
            TlsError::AuthorityPem(error) => {
                write!(f, "the file of client authorities is not PEM: {error}")
            }
            TlsError::NoAuthority => {
                f.write_str("the file of client authorities holds no certificate")
            }
            TlsError::InvalidAuthority(error) => {
                write!(f, "a client authority cannot be used: {error}")
            }
            TlsError::Verifier(error) => {
                write!(f, "the client authorities cannot be used: {error}")
            }
            TlsError::Config(error) => write!(f, "TLS cannot be configured: {error}"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TlsError::CertificatePem(error)
            | TlsError::PrivateKeyPem(error)
            | TlsError::AuthorityPem(error) => Some(error),
            TlsError::InvalidCertificate(error) => Some(error),
            TlsError::PrivateKey(error)
            | TlsError::InvalidAuthority(error)
            | TlsError::Config(error) => Some(error),
            TlsError::Verifier(error) => Some(error),
            TlsError::NoCertificate | TlsError::NoAuthority => None,
        }
    }
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}
