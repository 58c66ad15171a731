//! A certificate with its private key, in the forms that TLS and DTLS use.

use crate::net::tls::error::TlsError;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// A certificate chain, its private key, and facts about the server's own certificate.
pub struct Certificate {
    certified_key: Arc<CertifiedKey>,
    dtls: Option<dimpl::DtlsCertificate>,
    names: Vec<String>,
    serial: String,
    not_before: Duration,
    not_after: Duration,
}

impl Certificate {
    /// Parses a chain, the server's own certificate first, and its private key, both in PEM.
    ///
    /// # Errors
    /// `chain` holds no certificate, `key` holds no private key, or the key belongs to another
    /// certificate.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Certificate, TlsError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(TlsError::CertificatePem)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(TlsError::PrivateKeyPem)?;
        Certificate::new(chain, key)
    }

    /// As [`Certificate::from_pem`], but from DER.
    ///
    /// # Errors
    /// As [`Certificate::from_pem`].
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Certificate, TlsError> {
        let leaf = chain.first().ok_or(TlsError::NoCertificate)?;
        let (_, parsed) =
            X509Certificate::from_der(leaf.as_ref()).map_err(TlsError::InvalidCertificate)?;
        let names = names(&parsed);
        let serial = parsed.raw_serial().iter();
        let serial = serial.map(|octet| format!("{octet:02x}")).collect();
        let since_epoch = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let not_before = since_epoch(parsed.validity().not_before.timestamp());
        let not_after = since_epoch(parsed.validity().not_after.timestamp());
        let dtls = dtls_certificate(leaf, &key);
        let certified_key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
            .map_err(TlsError::PrivateKey)?;
        Ok(Certificate {
            certified_key: Arc::new(certified_key),
            dtls,
            names,
            serial,
            not_before,
            not_after,
        })
    }

    /// The server names of the certificate in lower case. A name may begin with `*.`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The serial number in hexadecimal.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Start of the validity, since the Unix epoch.
    pub fn not_before(&self) -> Duration {
        self.not_before
    }

    /// End of the validity, since the Unix epoch.
    pub fn not_after(&self) -> Duration {
        self.not_after
    }

    /// Returns true if the certificate is valid for this server name. A wildcard stands for exactly
    /// one label (RFC 6125 §6.4.3).
    pub fn matches_name(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|own| match own.strip_prefix("*.") {
            Some(domain) => parent == Some(domain),
            None => *own == name,
        })
    }

    /// The form that TLS uses.
    pub fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.certified_key
    }

    /// The form that DTLS uses; `None` unless the key is ECDSA over P-256 or P-384, which are all
    /// that the DTLS library supports. The library sends the server's own certificate without the
    /// chain.
    pub fn dtls(&self) -> Option<&dimpl::DtlsCertificate> {
        self.dtls.as_ref()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("names", &self.names)
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

fn dtls_certificate(
    leaf: &CertificateDer<'_>,
    key: &PrivateKeyDer<'_>,
) -> Option<dimpl::DtlsCertificate> {
    let keys = dimpl::crypto::aws_lc_rs::default_provider().key_provider;
    // Only to find out whether the library can use the key: it loads the key again for each
    // association.
    keys.load_private_key(key.secret_der()).ok()?;
    Some(dimpl::DtlsCertificate {
        certificate: leaf.to_vec(),
        private_key: key.secret_der().to_vec(),
    })
}

/// The names of a certificate. The common name counts only without subject alternative names (RFC
/// 6125 §6.4.4).
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let names: Vec<&str> = match &alternative {
        Some(extension) => extension
            .value
            .general_names
            .iter()
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(*name),
                _ => None,
            })
            .collect(),
        None => certificate
            .subject()
            .iter_common_name()
            .filter_map(|name| name.as_str().ok())
            .collect(),
    };
    names.into_iter().map(str::to_ascii_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};

    #[test]
    fn names_match_exactly_or_by_a_wildcard_for_one_label() {
        let names = ["Turn.Example.org", "*.example.net"];
        let (chain, key) = self_signed(&names, &KeyPair::generate().unwrap());
        let certificate = Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(certificate.names(), ["turn.example.org", "*.example.net"]);
        for (name, expected) in [
            ("turn.example.org", true),
            ("TURN.example.org", true),
            ("a.example.net", true),
            ("a.b.example.net", false),
            ("example.net", false),
            ("example.org", false),
        ] {
            assert_eq!(certificate.matches_name(name), expected, "{name}");
        }
        assert!(certificate.dtls().is_some());
        assert!(certificate.not_after() > Duration::from_secs(1_700_000_000));
    }

    #[test]
    fn missing_or_mismatched_files_are_errors_that_say_so() {
        let (chain, key) = self_signed(&["a.example"], &KeyPair::generate().unwrap());
        let other_key = KeyPair::generate().unwrap().serialize_pem();
        for (chain, key, expected) in [
            (
                chain.as_str(),
                other_key.as_str(),
                "cannot be used with this key",
            ),
            ("", key.as_str(), "no certificate"),
            (chain.as_str(), "", "no private key"),
        ] {
            let error = Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn a_key_that_dtls_does_not_support_is_for_tls_only() {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let (chain, key) = self_signed(&["a.example"], &key);
        let certificate = Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        assert!(certificate.dtls().is_none());
    }

    fn self_signed(names: &[&str], key: &KeyPair) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().self_signed(key);
        (certificate.unwrap().pem(), key.serialize_pem())
    }
}
