//! From what was seen to what is wrong, in words, and what to do.

use std::net::{IpAddr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::client::transport::ConnectError;
use crate::peer::check::report::{Examined, Finding, Severity};
use crate::peer::check::talk::Trouble;
use crate::turn::client_state::{Login, Refusal};
use crate::turn::policy::credentials;
use crate::wire::ErrorCode;

/// One thing that was seen at a server.
#[derive(Debug)]
pub enum Clue<'a> {
    /// This machine has no route there.
    NoRoute,
    /// TCP or TLS failed.
    Closed(&'a ConnectError),
    /// TCP or TLS came to nothing in time.
    ConnectSilent,
    /// Binding was not answered as it should.
    Binding(&'a Trouble),
    /// The first connection opened, the second did not.
    SecondLine,
    /// A success without an address.
    NoRelayed,
    /// Allocate was not granted.
    Allocate {
        /// Why.
        trouble: &'a Trouble,
        /// What was shown.
        login: Option<&'a Login>,
        /// A name that is good for years was granted.
        skewed: bool,
    },
    /// What is sent to the relayed address from outside does not arrive.
    RangeClosed(SocketAddr),
    /// The relay sends from another address than it told.
    OtherSource {
        /// What it told.
        relayed: SocketAddr,
        /// What it sends from.
        source: SocketAddr,
    },
    /// Peers that no relay should reach are permitted.
    PrivatePeers {
        /// Which.
        list: &'a str,
        /// The server's own address.
        beside: SocketAddr,
    },
}

/// What a clue means.
pub fn finding(server: &Examined, clue: Clue) -> Finding {
    let (severity, code, message, advice) = match clue {
        Clue::NoRoute => note(
            "no-route",
            "this machine has no route to that address; it was passed over",
            "",
        ),
        Clue::Closed(closed) => not_opened(closed),
        Clue::ConnectSilent if server.transport == "dtls" => problem(
            "dtls",
            "no answer to a DTLS handshake: it is blocked on the way, or nothing there speaks DTLS",
            DTLS_ADVICE,
        ),
        Clue::ConnectSilent => problem(
            "closed",
            "no connection comes about: a firewall drops it, or the address is wrong",
            "open the TCP port in every firewall on the way, and look at the name's address",
        ),
        Clue::Binding(trouble) => binding(trouble, server),
        Clue::SecondLine => problem(
            "connections",
            "only one connection at a time is let in",
            "raise the limit of connections per client",
        ),
        Clue::NoRelayed => problem(
            "protocol",
            "Allocate is granted without a relayed address",
            "this is no TURN server as RFC 8656 has it",
        ),
        Clue::Allocate {
            trouble,
            login,
            skewed,
        } => allocate(trouble, login, skewed),
        Clue::RangeClosed(relayed) => problem(
            "range-closed",
            format!("packets from outside to the relayed address {relayed} do not arrive"),
            "open the relay's whole port range for UDP in the server's firewall or security group; behind 1:1 NAT look at the external address too",
        ),
        Clue::OtherSource { relayed, source } => problem(
            "external-address",
            format!("the relay tells peers {relayed} but sends from {source}"),
            "set the external address to the one that the server's packets leave with",
        ),
        Clue::PrivatePeers { list, beside } => (
            Severity::Warning,
            "private-peers",
            format!(
                "whoever has credentials may relay to {list}: internal networks and cloud metadata are open to them"
            ),
            if is_private(beside.ip()) {
                "on a public server deny these ranges; here the server itself is in one".into()
            } else {
                "deny private, loopback, link-local and multicast peers (hairpin does so by default; coturn: denied-peer-ip)".into()
            },
        ),
    };
    Finding {
        severity,
        code,
        place: Some(server.place()),
        message,
        advice: (!advice.is_empty()).then_some(advice),
    }
}

/// A name without an address.
pub fn unresolved(server: &Examined, why: &str) -> Finding {
    let (severity, code, message, advice) = problem(
        "unresolved",
        format!("the name has no address: {why}"),
        "look at the spelling and at the DNS records",
    );
    Finding {
        severity,
        code,
        place: Some(server.place()),
        message,
        advice: Some(advice),
    }
}

/// What it means that this machine may not be a peer: nothing where it is one that a relay had better not reach, or the relay's
/// own host.
pub fn refused_peer(server: &Examined, peer: IpAddr, trouble: &Trouble) -> Option<Finding> {
    let Trouble::Refused(Refusal {
        code: ErrorCode::FORBIDDEN,
        ..
    }) = trouble
    else {
        return None;
    };
    let own = server.address.is_some_and(|address| address.ip() == peer);
    (!own && !is_private(peer)).then(|| Finding {
        severity: Severity::Warning,
        code: "public-peers",
        place: Some(server.place()),
        message: format!("the server refuses a public peer, {peer}: relayed calls to such peers fail"),
        advice: Some(
            "unless only certain peers are meant, permit public ones (hairpin: deny_peer; coturn: denied-peer-ip)"
                .into(),
        ),
    })
}

/// What the certificate shows.
pub fn certificate(server: &Examined) -> Option<Finding> {
    let tls = server.tls.as_ref()?;
    let days = tls.expires_in_days.unwrap_or(i64::MAX);
    let (severity, code, message, advice) = match &tls.problem {
        Some(_) if days < 0 => problem(
            "certificate-expired",
            // Whole days: one that ended this morning has -1 left.
            format!("the certificate expired {} days ago", -days - 1),
            "renew it; clients refuse the connection until then",
        ),
        Some(why) => problem(
            "certificate",
            format!("the certificate does not verify: {why}"),
            "serve the whole chain, for the name in the URL, from an authority that clients trust (--ca trusts one more here)",
        ),
        None if days < SOON => {
            let message = format!("the certificate expires in {days} days");
            (
                Severity::Warning,
                "certificate-expires",
                message,
                "renew it".to_owned(),
            )
        }
        None => return None,
    };
    Some(Finding {
        severity,
        code,
        place: Some(server.place()),
        message,
        advice: Some(advice),
    })
}

/// What an allocation that could be used shows as a whole.
pub fn relay(server: &Examined) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |(severity, code, message, advice): Said| {
        findings.push(Finding {
            severity,
            code,
            place: Some(server.place()),
            message,
            advice: Some(advice),
        });
    };
    let (Some(address), Some(relayed)) = (server.address, server.relayed) else {
        return findings;
    };
    if is_private(relayed.ip()) && !is_private(address.ip()) {
        add(problem(
            "external-address",
            format!(
                "the relayed address {} is private, but the server's is public: peers cannot reach it",
                relayed.ip()
            ),
            "behind 1:1 NAT set the external address (hairpin: --external-address; coturn: external-ip)",
        ));
    } else if !server.works {
        let (code, message) =
            if address.ip() != relayed.ip() && address.is_ipv4() == relayed.is_ipv4() {
                (
                    "external-address",
                    format!(
                        "nothing passes the relay, and its address {} is not the server's",
                        relayed.ip()
                    ),
                )
            } else {
                (
                    "no-data",
                    "an allocation is granted, but nothing passes through it".to_owned(),
                )
            };
        add(problem(
            code,
            message,
            "open the relay's port range for UDP, and look at relay and external address",
        ));
    }
    for step in ["channel", "refresh", "release"] {
        if server.works && !server.did(step) {
            let advice = "browsers need it; look at the server's log".to_owned();
            add((
                Severity::Problem,
                "step",
                format!("the step {step} fails"),
                advice,
            ));
        }
    }
    findings
}

/// What only the comparison of servers shows.
pub fn compare(servers: &[Examined]) -> Option<Finding> {
    let over = |udp: bool| {
        servers
            .iter()
            .filter(move |server| ["udp", "dtls"].contains(&server.transport) == udp)
    };
    let udp_dead = over(true).count() > 0 && over(true).all(|server| !server.did("binding"));
    let works = over(false).find(|server| server.works)?;
    udp_dead.then(|| Finding {
        severity: Severity::Warning,
        code: "udp-blocked",
        place: None,
        message: format!(
            "UDP is blocked between here and every server, but {} over {} works",
            works.url, works.transport
        ),
        advice: Some("calls from this network need that URL in iceServers; keep it there".into()),
    })
}

type Said = (Severity, &'static str, String, String);

fn not_opened(closed: &ConnectError) -> Said {
    match closed {
        ConnectError::Socket(error) => problem(
            "refused",
            format!("the port cannot be connected to: {error}"),
            "start the server, let it listen on this address and port, and open both in the firewall",
        ),
        ConnectError::Tls(error) => problem(
            "tls",
            format!("TCP connects, TLS does not: {error}"),
            "look whether this port speaks TLS, and at the server's certificate and key",
        ),
        ConnectError::Dtls(error) => problem(
            "dtls",
            format!("no DTLS handshake comes about: {error}"),
            DTLS_ADVICE,
        ),
    }
}

fn binding(trouble: &Trouble, server: &Examined) -> Said {
    match trouble {
        Trouble::Silent if server.transport == "udp" => problem(
            "udp-silent",
            "no answer over UDP: it is blocked on the way, or nothing listens there",
            "open the UDP port in the server's firewall; where this network blocks UDP, offer turns: on port 443",
        ),
        Trouble::Silent => problem(
            "silent",
            "the connection stands, but STUN gets no answer",
            "look whether another service owns this port",
        ),
        Trouble::Broken(error) if server.transport == "udp" => problem(
            "udp-refused",
            format!(
                "UDP is refused, by a firewall on the way or because nothing listens there: {error}"
            ),
            "open the UDP port and start the server; where this network blocks UDP, offer turns: on port 443",
        ),
        Trouble::Broken(error) => problem(
            "not-stun",
            format!("no STUN server answers here: {error}"),
            "look at the address, the port, and whether the server runs",
        ),
        Trouble::Refused(refusal) => (
            Severity::Note,
            "binding-refused",
            format!("Binding is refused: {refusal}"),
            "clients get no server-reflexive address here".into(),
        ),
    }
}

fn allocate(trouble: &Trouble, login: Option<&Login>, skewed: bool) -> Said {
    let refusal = match trouble {
        Trouble::Refused(refusal) => refusal,
        Trouble::Silent => {
            return problem(
                "allocate-silent",
                "Binding is answered, Allocate is not",
                "look whether TURN is switched on, and at rate limits",
            );
        }
        Trouble::Broken(error) => {
            return problem(
                "allocate-broken",
                format!("the connection ends at Allocate: {error}"),
                "look at the server's log",
            );
        }
    };
    match refusal.code {
        ErrorCode::UNAUTHENTICATED | ErrorCode::WRONG_CREDENTIALS => unauthenticated(login, skewed),
        ErrorCode::ALLOCATION_QUOTA_REACHED => problem(
            "quota",
            "the user's quota of allocations is used up",
            "wait until old ones expire, or raise the quota per user",
        ),
        ErrorCode::INSUFFICIENT_CAPACITY => problem(
            "capacity",
            "the server takes no more allocations: no relayed port is left, or it is draining",
            "widen the port range or add a server; where this one is being replaced, check its sibling",
        ),
        ErrorCode::FORBIDDEN => problem(
            "forbidden",
            "the server refuses relaying to this user or address",
            "look at its policy",
        ),
        ErrorCode::TRY_ALTERNATE => alternate(refusal),
        ErrorCode::STALE_NONCE => problem(
            "nonce",
            "the server calls every nonce stale",
            "look at its clock, and whether several servers share one address",
        ),
        ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED => problem(
            "family",
            "the server has no relay address of this family",
            "give it one, or take the URL away",
        ),
        ErrorCode::UNSUPPORTED_TRANSPORT
        | ErrorCode::UNKNOWN_ATTRIBUTE
        | ErrorCode::BAD_REQUEST => problem(
            "not-turn",
            format!("the server does not relay UDP as RFC 8656 has it: {refusal}"),
            "look whether this is a STUN server without TURN",
        ),
        _ => problem(
            "allocate",
            format!("Allocate is refused: {refusal}"),
            "look at the server's log",
        ),
    }
}

fn unauthenticated(login: Option<&Login>, skewed: bool) -> Said {
    let Some(login) = login else {
        return problem(
            "credentials-needed",
            "the server asks for credentials",
            "give --user and --password, or --shared-secret",
        );
    };
    if skewed {
        return problem(
            "clock-skew",
            "a name that expires in a day is refused, one that expires in ten years is not: the clocks disagree",
            "set the clocks of the server and of whoever mints credentials by NTP",
        );
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    match credentials::expiry(&login.username).filter(|expiry| *expiry < now) {
        Some(expiry) => problem(
            "expired",
            format!("the time-limited name expired {} s ago", now - expiry),
            "mint a new one; if it is new, the clock that minted it is wrong",
        ),
        None => problem(
            "wrong-credentials",
            "the server does not take these credentials",
            "compare user name, password and realm; with a shared secret compare the secret on both sides, letter by letter",
        ),
    }
}

fn alternate(refusal: &Refusal) -> Said {
    let to = refusal
        .alternate
        .map_or("another server".to_owned(), |address| address.to_string());
    problem(
        "redirect",
        format!("the server sends its clients to {to}"),
        "check that one",
    )
}

fn problem(code: &'static str, message: impl Into<String>, advice: &str) -> Said {
    (Severity::Problem, code, message.into(), advice.into())
}

fn note(code: &'static str, message: &str, advice: &str) -> Said {
    (Severity::Note, code, message.into(), advice.into())
}

/// Whether an address is of no use outside a network.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.octets()[..2] == [100, 64]
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
        }
    }
}

/// Days before its expiry from which on a certificate is warned of.
const SOON: i64 = 14;
const DTLS_ADVICE: &str = "look whether this port speaks DTLS, with an ECDSA key (this check knows no other), and is open for UDP";

#[cfg(test)]
mod tests {
    use super::*;

    fn server(address: &str, relayed: &str) -> Examined {
        let mut server = Examined::new("turn:h".into(), "udp");
        server.address = address.parse().ok();
        server.relayed = relayed.parse().ok();
        server
    }

    fn refused(code: ErrorCode) -> Trouble {
        Trouble::Refused(Refusal {
            code,
            reason: String::new(),
            alternate: None,
            sealed: true,
        })
    }

    #[test]
    fn a_name_that_only_years_help_means_that_clocks_disagree() {
        let login = Login {
            username: "9999999999:me".into(),
            password: "p".into(),
        };
        let trouble = refused(ErrorCode::UNAUTHENTICATED);
        let told = |skewed| {
            finding(
                &server("192.0.2.1:3478", ""),
                Clue::Allocate {
                    trouble: &trouble,
                    login: Some(&login),
                    skewed,
                },
            )
            .code
        };
        assert_eq!(
            (told(true), told(false)),
            ("clock-skew", "wrong-credentials")
        );
    }

    #[test]
    fn every_refusal_has_words_of_its_own() {
        for (code, word) in [
            (ErrorCode::ALLOCATION_QUOTA_REACHED, "quota"),
            (ErrorCode::INSUFFICIENT_CAPACITY, "capacity"),
            (ErrorCode::TRY_ALTERNATE, "redirect"),
            (ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED, "family"),
            (ErrorCode::BAD_REQUEST, "not-turn"),
            (ErrorCode::SERVER_ERROR, "allocate"),
        ] {
            let trouble = refused(code);
            let clue = Clue::Allocate {
                trouble: &trouble,
                login: None,
                skewed: false,
            };
            assert_eq!(finding(&server("192.0.2.1:3478", ""), clue).code, word);
        }
    }

    #[test]
    fn a_public_peer_that_is_refused_is_warned_of() {
        let told = |peer: &str, code| {
            refused_peer(
                &server("192.0.2.1:3478", "192.0.2.1:50000"),
                peer.parse().unwrap(),
                &refused(code),
            )
        };
        let warned = told("198.51.100.7", ErrorCode::FORBIDDEN).unwrap();
        assert_eq!(
            (warned.severity, warned.code),
            (Severity::Warning, "public-peers")
        );
        assert!(
            warned.message.contains("198.51.100.7"),
            "{}",
            warned.message
        );
        for (peer, code) in [
            ("10.0.0.7", ErrorCode::FORBIDDEN),
            ("127.0.0.1", ErrorCode::FORBIDDEN),
            ("192.0.2.1", ErrorCode::FORBIDDEN),
            ("198.51.100.7", ErrorCode::INSUFFICIENT_CAPACITY),
        ] {
            assert_eq!(told(peer, code), None, "{peer}");
        }
    }

    #[test]
    fn a_private_relayed_address_of_a_public_server_is_a_missing_external_address() {
        for (relayed, codes) in [
            ("10.0.0.7:50000", vec!["external-address"]),
            ("192.0.2.99:50000", vec!["external-address"]),
            ("192.0.2.1:50000", vec!["no-data"]),
        ] {
            let found: Vec<_> = relay(&server("192.0.2.1:3478", relayed))
                .iter()
                .map(|finding| finding.code)
                .collect();
            assert_eq!(found, codes, "{relayed}");
        }
    }
}
