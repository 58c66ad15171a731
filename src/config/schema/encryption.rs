//! TLS and DTLS: certificates, client certificates, handshakes, and load balancers in front of the
//! server.

use crate::config::schema::format::{Format, PATH, duration};
use crate::config::schema::key::section;
use crate::config::schema::{Key, KeyInfo, ListKey, OptionalKey};
use crate::config::value;
use crate::relay::HandshakeLimits;
use crate::turn::policy::acl::Cidr;
use std::path::PathBuf;
use std::time::Duration;

section! { ENCRYPTION = "Encryption";
    CERTIFICATE: ListKey<PathBuf> = ListKey::new(
        KeyInfo::new(
            "certificate",
            "FILE",
            "Certificate chain in PEM, the server's certificate first. With it every listener \
             speaks TLS and DTLS too. Of several, a client gets the one for the server name \
             that it asks for. The server reloads a file that changes.",
        )
        .example(r#"["/etc/hairpin/fullchain.pem"]"#)
        .file(),
        value::path,
    );
    PRIVATE_KEY: ListKey<PathBuf> = ListKey::new(
        KeyInfo::new(
            "private_key",
            "FILE",
            "Private key of the certificate in PEM. One for each certificate, in the same \
             order.",
        )
        .example(r#"["/etc/hairpin/privkey.pem"]"#)
        .file(),
        value::path,
    );
    ACME_DOMAIN: ListKey<String> = ListKey::new(
        KeyInfo::new(
            "acme_domain",
            "NAME",
            "Names to order a certificate for by ACME (RFC 8555), instead of certificate or \
             beside it. The names must lead to port 443 of this server, which proves itself \
             there (TLS-ALPN-01). Ordering accepts the authority's terms of service.",
        )
        .example(r#"["relay.example.net"]"#)
        .restart(),
        value::domain_name,
    );
    ACME_DIRECTORY: Key<String> = Key::new(
        KeyInfo::new(
            "acme_directory",
            "URL",
            "Directory of the ACME server.",
        )
        .restart(),
        Format::displayed(value::https_url),
        || "https://acme-v02.api.letsencrypt.org/directory".into(),
    );
    ACME_CONTACT: OptionalKey<String> = OptionalKey::new(
        KeyInfo::new(
            "acme_contact",
            "ADDRESS",
            "Mail address at which the authority may contact the operator.",
        )
        .example(r#""operator@example.net""#)
        .restart(),
        value::non_empty,
    );
    ACME_AUTHORITY: OptionalKey<PathBuf> = OptionalKey::new(
        KeyInfo::new(
            "acme_authority",
            "FILE",
            "Root certificates in PEM to trust for the ACME server, beside the well-known ones.",
        )
        .example(r#""/etc/hairpin/acme-root.pem""#)
        .file()
        .restart(),
        value::path,
    );
    STATE_DIRECTORY: Key<PathBuf> = Key::new(
        KeyInfo::new(
            "state_directory",
            "DIRECTORY",
            "Directory for the ACME account and its certificates.",
        )
        .restart(),
        PATH,
        || "/var/lib/hairpin".into(),
    );
    CLIENT_AUTHORITY: ListKey<PathBuf> = ListKey::new(
        KeyInfo::new(
            "client_authority",
            "FILE",
            "Authorities in PEM that sign client certificates. TLS and DTLS clients must \
             present a certificate of one of them, over DTLS without intermediate certificates.",
        )
        .example(r#"["/etc/hairpin/clients.pem"]"#)
        .file()
        .restart(),
        value::path,
    );
    BALANCER: ListKey<Cidr> = ListKey::new(
        KeyInfo::new(
            "balancer",
            "CIDR",
            "Load balancers that send a PROXY protocol header, version 1 or 2. Every TCP \
             connection from them must begin with one; it names the client's address. Headers \
             from other addresses are refused.",
        )
        .example(r#"["10.0.0.7"]"#)
        .restart(),
        value::cidr,
    );
    HANDSHAKE_TIME: Key<Duration> = Key::new(
        KeyInfo::new(
            "handshake_time",
            "DURATION",
            "Timeout of a TLS or DTLS handshake.",
        )
        .restart(),
        duration(value::positive_duration),
        || HandshakeLimits::default().timeout,
    );
    ADDRESS_HANDSHAKES: Key<usize> = Key::new(
        KeyInfo::new(
            "address_handshakes",
            "N",
            "Concurrent handshakes of one IPv4 address or IPv6 /64, on each core. More are \
             refused.",
        )
        .restart(),
        Format::number(value::positive_number),
        || HandshakeLimits::default().max_per_address,
    );
    HANDSHAKES: Key<usize> = Key::new(
        KeyInfo::new(
            "handshakes",
            "N",
            "Concurrent handshakes of all clients, on each core.",
        )
        .restart(),
        Format::number(value::positive_number),
        || HandshakeLimits::default().max_handshakes,
    );
}
