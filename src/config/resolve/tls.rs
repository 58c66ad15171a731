//! TLS, DTLS, ACME, and the load balancers in front.

use crate::config::resolver::Resolver;
use crate::config::schema;
use crate::config::schema::AnyKey;
use crate::net::tls::server::{TlsOptions, parse_authorities};
use crate::net::{Certificate, TlsServer};
use crate::relay::{HandshakeLimits, SecureTransports};
use crate::service::acme::Acme;
use crate::service::certificates::CertificateFiles;
use rustls::pki_types::CertificateDer;
use std::sync::Arc;

/// The secure transports.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// The part that the relay needs.
    pub plan: SecureTransports,
    /// The files of the certificates.
    pub files: Vec<CertificateFiles>,
    /// The certificates that are ordered by ACME.
    pub acme: Option<Acme>,
}

/// Reads the keys. With `http` the relay's TLS listeners offer HTTP too.
pub(super) fn settings(resolver: &mut Resolver, http: bool) -> TlsSettings {
    let mut settings = TlsSettings {
        plan: SecureTransports {
            load_balancers: resolver.get_list(&schema::BALANCER),
            ..SecureTransports::default()
        },
        files: Vec::new(),
        acme: acme(resolver),
    };
    let client_authorities = authority_certificates(resolver, &schema::CLIENT_AUTHORITY);
    let Some(certificates) = certificates(resolver, &mut settings.files) else {
        return settings;
    };
    if certificates.is_empty() && settings.acme.is_none() {
        return settings;
    }
    if settings.acme.is_some() && !client_authorities.is_empty() {
        resolver.error(
            &schema::CLIENT_AUTHORITY,
            "an ACME authority validates names without a client certificate; remove acme_domain or client_authority",
        );
    }
    let options = TlsOptions {
        client_authorities,
        http,
        acme: settings.acme.is_some(),
    };
    match TlsServer::new(certificates, options) {
        Ok(tls) => settings.plan.tls = Some(Arc::new(tls)),
        Err(error) => resolver.error(&schema::CLIENT_AUTHORITY, error),
    }
    settings
}

/// The certificates and the paths of their files; `None` if one of them is unusable.
fn certificates(
    resolver: &mut Resolver,
    files: &mut Vec<CertificateFiles>,
) -> Option<Vec<Arc<Certificate>>> {
    let chains = resolver.files(&schema::CERTIFICATE);
    let keys = resolver.files(&schema::PRIVATE_KEY);
    if chains.len() != keys.len() {
        let key: &dyn AnyKey = match chains.len() > keys.len() {
            true => &schema::CERTIFICATE,
            false => &schema::PRIVATE_KEY,
        };
        let message = format!(
            "{} certificates and {} private keys do not make pairs; write both for each, in the same order",
            chains.len(),
            keys.len()
        );
        resolver.error(key, message);
        return None;
    }
    let mut certificates = Vec::new();
    for (chain, key) in chains.into_iter().zip(keys) {
        match Certificate::from_pem(chain.content.as_bytes(), key.content.as_bytes()) {
            Ok(certificate) => certificates.push(Arc::new(certificate)),
            Err(error) => {
                let message = format!("{} with {}: {error}", chain.path, key.path);
                resolver.error_at(&chain.source, &schema::CERTIFICATE, message);
            }
        }
        files.push(CertificateFiles {
            chain: chain.path.into(),
            private_key: key.path.into(),
        });
    }
    (certificates.len() == files.len()).then_some(certificates)
}

pub(super) fn handshake_limits(resolver: &mut Resolver) -> HandshakeLimits {
    HandshakeLimits {
        timeout: resolver.get(&schema::HANDSHAKE_TIME),
        max_per_address: resolver.get(&schema::ADDRESS_HANDSHAKES),
        max_handshakes: resolver.get(&schema::HANDSHAKES),
        ..HandshakeLimits::default()
    }
}

fn acme(resolver: &mut Resolver) -> Option<Acme> {
    let acme = Acme {
        names: resolver.get_list(&schema::ACME_DOMAIN),
        directory: resolver.get(&schema::ACME_DIRECTORY),
        contact: resolver
            .get_optional(&schema::ACME_CONTACT)
            .map(|address| format!("mailto:{address}")),
        authorities: authority_certificates(resolver, &schema::ACME_AUTHORITY),
        state_directory: resolver.get(&schema::STATE_DIRECTORY),
    };
    (!acme.names.is_empty()).then_some(acme)
}

fn authority_certificates(
    resolver: &mut Resolver,
    key: &dyn AnyKey,
) -> Vec<CertificateDer<'static>> {
    let mut certificates = Vec::new();
    for file in resolver.files(key) {
        match parse_authorities(file.content.as_bytes()) {
            Ok(found) => certificates.extend(found),
            Err(error) => resolver.error_at(&file.source, key, format!("{}: {error}", file.path)),
        }
    }
    certificates
}
