//! TLS, DTLS, and balancers in front: certificates, who must show one, whose word about a client counts.

use crate::config::layers::Resolver;
use crate::config::schema;
use crate::config::schema::Key;
use crate::config::value;
use crate::net::tls::server::{TlsOptions, parse_authorities};
use crate::net::{Certificate, TlsServer};
use crate::relay;
use crate::service::acme::Acme;
use crate::service::certificates::Pair;
use crate::turn::policy::acl::Cidr;
use std::sync::Arc;
use std::time::Duration;

/// What is to be spoken beside plain STUN and TURN.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// As the relay needs it.
    pub plan: relay::SecureTransports,
    /// The files of the certificates.
    pub pairs: Vec<Pair>,
    /// What is ordered by ACME.
    pub acme: Option<Acme>,
}

/// Understands the keys; with `http`, the web service is reached by TLS too.
pub(crate) fn settings(reader: &mut Resolver, http: bool) -> TlsSettings {
    let chains = reader.contents(&schema::CERTIFICATE);
    let keys = reader.contents(&schema::PRIVATE_KEY);
    let client_authorities = authorities_of(reader, &schema::CLIENT_AUTHORITY);
    let acme = acme(reader);
    let plan = relay::SecureTransports {
        load_balancers: reader.many(&schema::BALANCER, str::parse::<Cidr>),
        ..relay::SecureTransports::default()
    };
    if chains.len() != keys.len() {
        let counts = format!(
            "{} certificates and {} private keys",
            chains.len(),
            keys.len()
        );
        let key = if chains.len() > keys.len() {
            &schema::CERTIFICATE
        } else {
            &schema::PRIVATE_KEY
        };
        reader.wrong(
            key,
            &format!("{counts} do not make pairs; write both for each, in the same order"),
        );
        return TlsSettings {
            plan,
            pairs: Vec::new(),
            acme,
        };
    }
    let (mut pairs, mut certificates) = (Vec::new(), Vec::new());
    for ((origin, chain_path, chain), (_, key_path, key)) in chains.into_iter().zip(keys) {
        match Certificate::from_pem(chain.as_bytes(), key.as_bytes()) {
            Ok(certificate) => certificates.push(Arc::new(certificate)),
            Err(error) => {
                reader.wrong_at(
                    &origin,
                    &schema::CERTIFICATE,
                    &format!("{chain_path} with {key_path}: {error}"),
                );
            }
        }
        pairs.push(Pair {
            certificate: chain_path.into(),
            private_key: key_path.into(),
        });
    }
    let faultless = certificates.len() == pairs.len();
    if (pairs.is_empty() && acme.is_none()) || !faultless {
        return TlsSettings { plan, pairs, acme };
    }
    if acme.is_some() && !client_authorities.is_empty() {
        let why = "an authority that validates a name shows no client certificate; leave out acme_domain or this";
        reader.wrong(&schema::CLIENT_AUTHORITY, why);
    }
    let terms = TlsOptions {
        client_authorities,
        http,
        acme: acme.is_some(),
    };
    match TlsServer::new(certificates, terms) {
        Ok(tls) => TlsSettings {
            plan: relay::SecureTransports {
                tls: Some(Arc::new(tls)),
                ..plan
            },
            pairs,
            acme,
        },
        Err(error) => {
            reader.wrong(&schema::CLIENT_AUTHORITY, &error.to_string());
            TlsSettings { plan, pairs, acme }
        }
    }
}

/// Understands the bounds of handshakes.
pub(crate) fn handshakes(reader: &mut Resolver) -> relay::HandshakeLimits {
    let default = relay::HandshakeLimits::default();
    relay::HandshakeLimits {
        timeout: reader
            .one(&schema::HANDSHAKE_TIME, time)
            .unwrap_or(default.timeout),
        max_per_address: reader
            .one(&schema::ADDRESS_HANDSHAKES, at_least_one)
            .unwrap_or(default.max_per_address),
        max_handshakes: reader
            .one(&schema::HANDSHAKES, at_least_one)
            .unwrap_or(default.max_handshakes),
        ..default
    }
}

fn acme(reader: &mut Resolver) -> Option<Acme> {
    let names = reader.many(&schema::ACME_DOMAIN, domain);
    let directory = reader
        .one(&schema::ACME_DIRECTORY, https)
        .unwrap_or_else(|| DIRECTORY.into());
    let contact = reader
        .one(&schema::ACME_CONTACT, value::text)
        .map(|address| format!("mailto:{address}"));
    let authorities = authorities_of(reader, &schema::ACME_AUTHORITY);
    let state = reader
        .one(&schema::STATE_DIRECTORY, value::text)
        .unwrap_or_else(|| STATE.into())
        .into();
    (!names.is_empty()).then_some(Acme {
        names,
        directory,
        contact,
        authorities,
        state,
    })
}

fn domain(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    match text.split('.').all(label) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(format!(
            "`{text}` is no name that TLS-ALPN-01 can prove; write relay.example.net"
        )),
    }
}

fn https(text: &str) -> Result<String, String> {
    match text.starts_with("https://") {
        true => Ok(text.into()),
        false => Err(format!("`{text}` is no https URL; ACME knows no other")),
    }
}

fn authorities_of(
    reader: &mut Resolver,
    key: &Key,
) -> Vec<rustls::pki_types::CertificateDer<'static>> {
    let mut all = Vec::new();
    for (origin, path, pem) in reader.contents(key) {
        match parse_authorities(pem.as_bytes()) {
            Ok(found) => all.extend(found),
            Err(error) => reader.wrong_at(&origin, key, &format!("{path}: {error}")),
        }
    }
    all
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match value::number(text)? {
        0 => Err("write 1 or more".into()),
        number => Ok(number),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let time = value::duration(text)?;
    if time.is_zero() {
        Err("a handshake takes time; write 10s".into())
    } else {
        Ok(time)
    }
}

/// Let's Encrypt.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Where servers keep things.
const STATE: &str = "/var/lib/hairpin";
