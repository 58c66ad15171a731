//! TLS toward servers, and what their certificates say.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// A configuration that trusts the public authorities and those in the PEM file `ca`.
///
/// # Errors
/// The file cannot be read, or holds no certificate.
pub fn verifying(ca: Option<&Path>) -> io::Result<Arc<ClientConfig>> {
    let config =
        ClientConfig::builder_with_provider(cryptography()).with_safe_default_protocol_versions();
    let config = config
        .map_err(io::Error::other)?
        .with_root_certificates(roots(ca)?)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The same, but a certificate that does not verify is written down in [`Findings`] and the handshake goes on: a doctor looks at what is wrong.
/// Only for clients that send no secret; TURN's passwords never travel.
///
/// # Errors
/// As [`verifying`].
pub fn recording(ca: Option<&Path>) -> io::Result<(Arc<ClientConfig>, Arc<Findings>)> {
    let inner =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots(ca)?), cryptography()).build();
    let findings = Arc::new(Findings {
        inner: inner.map_err(io::Error::other)?,
        certificate: Mutex::new(None),
    });
    let config =
        ClientConfig::builder_with_provider(cryptography()).with_safe_default_protocol_versions();
    let config = config
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(findings.clone());
    Ok((Arc::new(config.with_no_client_auth()), findings))
}

/// What a server's certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// From when it is valid, where that could be read.
    pub from: Option<SystemTime>,
    /// Until when it is valid, where that could be read.
    pub until: Option<SystemTime>,
    /// Why it does not verify, in words.
    pub problem: Option<String>,
}

/// What the last handshake met.
#[derive(Debug)]
pub struct Findings {
    inner: Arc<WebPkiServerVerifier>,
    certificate: Mutex<Option<Certificate>>,
}

impl Findings {
    /// Looks at a certificate that came by DTLS, where those that stand behind it do not: that it comes from an authority
    /// that is not known says nothing then.
    pub fn look_alone(&self, certificate: Vec<u8>, host: &str) {
        let certificate = CertificateDer::from(certificate);
        let Ok(name) = ServerName::try_from(host.to_owned()) else {
            return;
        };
        let outcome = self
            .inner
            .verify_server_cert(&certificate, &[], &name, &[], UnixTime::now());
        let outcome = match outcome {
            Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
                ParsedCertificate::try_from(&certificate)
                    .and_then(|parsed| verify_server_name(&parsed, &name))
            }
            other => other.map(drop),
        };
        self.write_down(&certificate, outcome);
    }

    fn write_down(&self, certificate: &CertificateDer<'_>, outcome: Result<(), rustls::Error>) {
        let (from, until) = validity(certificate).unzip();
        let problem = outcome.err().map(|error| error.to_string());
        if let Ok(mut known) = self.certificate.lock() {
            *known = Some(Certificate {
                from,
                until,
                problem,
            });
        }
    }

    /// Takes the certificate that the last handshake met.
    pub fn take(&self) -> Option<Certificate> {
        self.certificate.lock().ok()?.take()
    }
}

impl ServerCertVerifier for Findings {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let outcome = self
            .inner
            .verify_server_cert(end_entity, intermediates, name, ocsp, now);
        self.write_down(end_entity, outcome.map(drop));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
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
    let mut found = 0;
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| in_file(&error))? {
        roots
            .add(certificate.map_err(|error| in_file(&error))?)
            .map_err(|error| in_file(&error))?;
        found += 1;
    }
    if found == 0 {
        Err(in_file(&"holds no certificate"))
    } else {
        Ok(roots)
    }
}

/// The validity of an X.509 certificate. RFC 5280 §4.1: Certificate { TBSCertificate { [0] version, serialNumber, signature, issuer, validity …
fn validity(certificate: &[u8]) -> Option<(SystemTime, SystemTime)> {
    let (0x30, certificate, _) = der(certificate)? else {
        return None;
    };
    let (0x30, mut rest, _) = der(certificate)? else {
        return None;
    };
    if let (0xa0, _, after) = der(rest)? {
        rest = after;
    }
    for _serial_signature_issuer in 0..3 {
        (_, _, rest) = der(rest)?;
    }
    let (0x30, dates, _) = der(rest)? else {
        return None;
    };
    let (kind, from, rest) = der(dates)?;
    let from = date(kind, from)?;
    let (kind, until, _) = der(rest)?;
    Some((from, date(kind, until)?))
}

/// The first DER value of `octets`: its tag, its content, and what follows it.
fn der(octets: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = octets.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => rest
            .split_first()
            .map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => rest
            .split_first_chunk()
            .map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?,
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// UTCTime `YYMMDDHHMMSSZ` (before 2050) or GeneralizedTime `YYYYMMDDHHMMSSZ`. RFC 5280 §4.1.2.5.
fn date(kind: u8, text: &[u8]) -> Option<SystemTime> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match kind {
        0x17 => text
            .split_at_checked(2)
            .map(|(year, rest)| (year.parse::<u64>().ok(), rest))?,
        0x18 => text
            .split_at_checked(4)
            .map(|(year, rest)| (year.parse::<u64>().ok(), rest))?,
        _ => return None,
    };
    let year = match (kind, year?) {
        (0x17, year @ 50..) => 1900 + year,
        (0x17, year) => 2000 + year,
        (_, year) => year,
    };
    let pair = |at: usize| rest.get(at..at + 2)?.parse::<u64>().ok();
    let (month, day, hour, minute, second) = (pair(0)?, pair(2)?, pair(4)?, pair(6)?, pair(8)?);
    // Days since 1970 of a date in the Gregorian calendar, counted from March so that the leap day comes last.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year.checked_sub(1)?, month + 9)
    };
    let days =
        (y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day).checked_sub(1 + 719_468)?;
    UNIX_EPOCH.checked_add(Duration::from_secs(
        ((days * 24 + hour) * 60 + minute) * 60 + second,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_both_forms() {
        for (kind, text, seconds) in [
            (0x17, "700101000000Z", 0),
            (0x17, "261122083000Z", 1_795_336_200),
            (0x18, "20240229235959Z", 1_709_251_199),
            (0x18, "20500101000000Z", 2_524_608_000),
        ] {
            assert_eq!(
                date(kind, text.as_bytes()),
                Some(UNIX_EPOCH + Duration::from_secs(seconds)),
                "{text}"
            );
        }
        assert_eq!(date(0x18, b"2024"), None);
    }

    #[test]
    fn a_certificate_says_how_long_it_is_valid() {
        let mut parameters = rcgen::CertificateParams::new(vec!["turn.test".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2026, 1, 2);
        parameters.not_after = rcgen::date_time_ymd(2055, 3, 4);
        let certificate = parameters
            .self_signed(&rcgen::KeyPair::generate().unwrap())
            .unwrap();
        let (from, until) = validity(certificate.der()).unwrap();
        assert_eq!(from, UNIX_EPOCH + Duration::from_secs(1_767_312_000));
        assert_eq!(until, UNIX_EPOCH + Duration::from_secs(2_687_731_200));
        for end in 0..certificate.der().len() {
            let _no_panic = validity(&certificate.der()[..end]);
        }
    }
}
