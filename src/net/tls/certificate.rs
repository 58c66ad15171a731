//! A certificate with its key, as operators have it: PEM in, everything that TLS, DTLS and a person want to know out.

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// A chain, its private key, and what the first certificate says.
pub struct Certificate {
    certified: Arc<CertifiedKey>,
    dtls: Option<dimpl::DtlsCertificate>,
    names: Vec<String>,
    serial: String,
    begins: Duration,
    expires: Duration,
}

impl Certificate {
    /// Reads a chain (the server's own certificate first) and its key, both PEM.
    ///
    /// # Errors
    /// A sentence about what is wrong: no certificate, no key, or a key that belongs to another certificate.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> io::Result<Certificate> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| invalid(format!("the certificate file is not PEM: {error}")))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
            invalid(format!(
                "the private key file holds no private key in PEM: {error}"
            ))
        })?;
        Certificate::new(chain, key)
    }

    /// The same from DER.
    ///
    /// # Errors
    /// As [`Certificate::from_pem`].
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> io::Result<Certificate> {
        let leaf = chain
            .first()
            .ok_or_else(|| invalid("the certificate file holds no certificate".into()))?;
        let (_, parsed) = X509Certificate::from_der(leaf.as_ref())
            .map_err(|error| invalid(format!("the certificate cannot be read: {error}")))?;
        let names = names(&parsed);
        let serial = parsed
            .raw_serial()
            .iter()
            .map(|octet| format!("{octet:02x}"))
            .collect();
        let since = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let begins = since(parsed.validity().not_before.timestamp());
        let expires = since(parsed.validity().not_after.timestamp());
        let dtls = for_dtls(leaf, &key);
        let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
            .map_err(|error| {
                invalid(format!(
                    "the certificate cannot be used with this key: {error}"
                ))
            })?;
        Ok(Certificate {
            certified: Arc::new(certified),
            dtls,
            names,
            serial,
            begins,
            expires,
        })
    }

    /// The server names it is for, in lower case; one may begin with `*.`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Its serial number, in hexadecimal.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// From when on it is good, since the Unix epoch.
    pub fn not_before(&self) -> Duration {
        self.begins
    }

    /// When it expires, since the Unix epoch.
    pub fn not_after(&self) -> Duration {
        self.expires
    }

    /// Whether it is for this server name. RFC 6125 §6.4.3: a wildcard stands for one whole label.
    pub fn matches_name(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|own| match own.strip_prefix("*.") {
            Some(domain) => parent == Some(domain),
            None => *own == name,
        })
    }

    /// As TLS uses it.
    pub fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// As DTLS uses it, where it can: its implementation knows ECDSA over P-256 and P-384, and sends no chain.
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

fn for_dtls(leaf: &CertificateDer<'_>, key: &PrivateKeyDer<'_>) -> Option<dimpl::DtlsCertificate> {
    let keys = dimpl::crypto::aws_lc_rs::default_provider().key_provider;
    keys.load_private_key(key.secret_der()).ok()?;
    Some(dimpl::DtlsCertificate {
        certificate: leaf.to_vec(),
        private_key: key.secret_der().to_vec(),
    })
}

/// RFC 6125 §6.4.4: the common name counts only where there is no subject alternative name.
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

fn invalid(sentence: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};

    #[test]
    fn names_and_keys_are_read_and_a_foreign_key_is_refused() {
        let key = KeyPair::generate().unwrap();
        let params =
            CertificateParams::new(["Turn.Example.org".into(), "*.example.net".into()]).unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let certificate =
            Certificate::from_pem(pem.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        assert_eq!(certificate.names(), ["turn.example.org", "*.example.net"]);
        for (name, fits) in [
            ("turn.example.org", true),
            ("TURN.example.org", true),
            ("a.example.net", true),
            ("a.b.example.net", false),
            ("example.net", false),
            ("example.org", false),
        ] {
            assert_eq!(certificate.matches_name(name), fits, "{name}");
        }
        assert!(
            certificate.dtls().is_some()
                && certificate.not_after() > Duration::from_secs(1_700_000_000)
        );
        let other = KeyPair::generate().unwrap().serialize_pem();
        let refused = Certificate::from_pem(pem.as_bytes(), other.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("cannot be used with this key"),
            "{refused}"
        );
        assert!(
            Certificate::from_pem(b"", other.as_bytes())
                .unwrap_err()
                .to_string()
                .contains("no certificate")
        );
        assert!(
            Certificate::from_pem(pem.as_bytes(), b"")
                .unwrap_err()
                .to_string()
                .contains("no private key")
        );
    }

    #[test]
    fn a_key_that_dtls_does_not_know_serves_tls_alone() {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let certificate = CertificateParams::new(["a.example".into()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let key = key.serialize_pem();
        assert!(
            Certificate::from_pem(certificate.pem().as_bytes(), key.as_bytes())
                .unwrap()
                .dtls()
                .is_none()
        );
    }
}
