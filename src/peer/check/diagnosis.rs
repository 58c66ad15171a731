//! From observations to findings: what is wrong, and what to do about it.

use std::net::{IpAddr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::client::transport::ConnectError;
use crate::client::uri::ResolveError;
use crate::peer::check::exchange::RequestError;
use crate::peer::check::report::{Finding, ServerReport, Severity, Step};
use crate::turn::client_state::{Login, Refusal};
use crate::turn::policy::credentials;
use crate::wire::ErrorCode;

/// What was observed at a server.
#[derive(Debug)]
pub enum Observation<'a> {
    /// The host name has no address.
    Unresolved(&'a ResolveError),
    /// This machine has no route to the address.
    NoRoute,
    /// Connecting failed.
    ConnectFailed(&'a ConnectError),
    /// Connecting was not answered.
    ConnectTimedOut,
    /// Binding was not granted.
    BindingFailed(&'a RequestError),
    /// A second connection could not be opened beside the first.
    SecondConnectionFailed,
    /// Allocate succeeded without XOR-RELAYED-ADDRESS.
    NoRelayedAddress,
    /// Allocate was not granted.
    AllocateFailed {
        /// The error.
        error: &'a RequestError,
        /// The credentials shown.
        login: Option<&'a Login>,
        /// Credentials that expire in ten years were granted.
        is_far_expiry_granted: bool,
    },
    /// Packets sent to the relayed address from outside do not arrive.
    RelayPortClosed(SocketAddr),
    /// The relay sends from another address than the relayed one.
    OtherSourceAddress {
        /// The relayed address.
        relayed: SocketAddr,
        /// The source address of its packets.
        source: SocketAddr,
    },
    /// Permissions for private addresses were granted.
    PrivatePeersPermitted {
        /// The addresses, comma separated.
        peers: &'a str,
        /// The server's own address.
        server: SocketAddr,
    },
}

/// The finding of an observation.
pub fn diagnose(server: &ServerReport, observation: Observation) -> Finding {
    let finding = match observation {
        Observation::Unresolved(error) => Finding::problem(
            "unresolved",
            format!("the host name has no address: {error}"),
            "check the spelling and the DNS records",
        ),
        Observation::NoRoute => Finding {
            advice: None,
            ..Finding::problem(
                "no-route",
                "this machine has no route to that address; it was skipped",
                "",
            )
            .with_severity(Severity::Note)
        },
        Observation::ConnectFailed(error) => connect_failed(error),
        Observation::ConnectTimedOut if server.transport == "dtls" => Finding::problem(
            "dtls",
            "no answer to a DTLS handshake: UDP is blocked on the path, or nothing there speaks DTLS",
            DTLS_ADVICE,
        ),
        Observation::ConnectTimedOut => Finding::problem(
            "closed",
            "connecting timed out: a firewall drops it, or the address is wrong",
            "open the TCP port in every firewall on the path, and check the address of the host name",
        ),
        Observation::BindingFailed(error) => binding_failed(error, server),
        Observation::SecondConnectionFailed => Finding::problem(
            "connections",
            "only one connection at a time is accepted",
            "raise the limit of connections per client",
        ),
        Observation::NoRelayedAddress => Finding::problem(
            "protocol",
            "Allocate succeeds without a relayed address",
            "this is no TURN server by RFC 8656",
        ),
        Observation::AllocateFailed {
            error,
            login,
            is_far_expiry_granted,
        } => allocate_failed(error, login, is_far_expiry_granted),
        Observation::RelayPortClosed(relayed) => Finding::problem(
            "range-closed",
            format!("packets from outside to the relayed address {relayed} do not arrive"),
            "open the relay's whole port range for UDP in the server's firewall or security group; behind 1:1 NAT also check the external address",
        ),
        Observation::OtherSourceAddress { relayed, source } => Finding::problem(
            "external-address",
            format!("the relayed address is {relayed}, but its packets come from {source}"),
            "set the external address to the source address of the server's packets",
        ),
        Observation::PrivatePeersPermitted { peers, server } => Finding::problem(
            "private-peers",
            format!(
                "every user may relay to {peers}: internal networks and cloud metadata are reachable through this server"
            ),
            match is_private(server.ip()) {
                true => {
                    "on a public server deny these ranges; this server is in a private network itself"
                }
                false => {
                    "deny private, loopback, link-local and multicast peers (hairpin: the default; coturn: denied-peer-ip)"
                }
            },
        )
        .with_severity(Severity::Warning),
    };
    finding.about(server)
}

/// The finding of a permission for this machine that was refused; `None` if the peer is the
/// server's host or has an address that a relay should refuse.
pub fn refused_peer(server: &ServerReport, peer: IpAddr, error: &RequestError) -> Option<Finding> {
    let RequestError::Refused(Refusal {
        code: ErrorCode::FORBIDDEN,
        ..
    }) = error
    else {
        return None;
    };
    let is_server = server.address.is_some_and(|address| address.ip() == peer);
    (!is_server && !is_private(peer)).then(|| {
        Finding::problem(
            "public-peers",
            format!("the server refuses the public peer {peer}: relayed calls to such peers fail"),
            "permit public peers unless only certain peers are intended (hairpin: deny_peer; coturn: denied-peer-ip)",
        )
        .with_severity(Severity::Warning)
        .about(server)
    })
}

/// The finding of the server's certificate.
pub fn certificate(server: &ServerReport) -> Option<Finding> {
    let tls = server.tls.as_ref()?;
    let days = tls.expires_in_days.unwrap_or(i64::MAX);
    let finding = match &tls.problem {
        Some(_) if days < 0 => Finding::problem(
            "certificate-expired",
            // Days are rounded down: of a certificate that expired this morning -1 are left.
            format!("the certificate expired {} days ago", -days - 1),
            "renew it; until then clients refuse the connection",
        ),
        Some(problem) => Finding::problem(
            "certificate",
            format!("the certificate does not verify: {problem}"),
            "serve the whole chain, for the name in the URL, from an authority that clients trust (--ca adds one here)",
        ),
        None if days < EXPIRES_SOON => Finding::problem(
            "certificate-expires",
            format!("the certificate expires in {days} days"),
            "renew it",
        )
        .with_severity(Severity::Warning),
        None => return None,
    };
    Some(finding.about(server))
}

/// The findings of an allocation that was tested.
pub fn allocation(server: &ServerReport) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (Some(address), Some(relayed)) = (server.address, server.relayed) else {
        return findings;
    };
    let is_other_address = address.ip() != relayed.ip() && address.is_ipv4() == relayed.is_ipv4();
    if is_private(relayed.ip()) && !is_private(address.ip()) {
        findings.push(Finding::problem(
            "external-address",
            format!(
                "the relayed address {} is private, but the server's is public: peers cannot reach it",
                relayed.ip()
            ),
            "behind 1:1 NAT set the external address (hairpin: --external-address; coturn: external-ip)",
        ));
    } else if !server.works && is_other_address {
        findings.push(Finding::problem(
            "external-address",
            format!(
                "the relay forwards nothing, and its address {} is not the server's",
                relayed.ip()
            ),
            RELAY_ADVICE,
        ));
    } else if !server.works {
        findings.push(Finding::problem(
            "no-data",
            "Allocate succeeds, but the relay forwards nothing",
            RELAY_ADVICE,
        ));
    }
    for step in [Step::Channel, Step::Refresh, Step::Release] {
        if server.works && !server.passed(step) {
            findings.push(Finding::problem(
                "step",
                format!("the step {} fails", step.name()),
                "browsers need it; check the server's log",
            ));
        }
    }
    findings
        .into_iter()
        .map(|finding| finding.about(server))
        .collect()
}

/// The finding of a network that blocks UDP, which only the comparison of servers shows.
pub fn blocked_udp(servers: &[ServerReport]) -> Option<Finding> {
    let is_udp = |server: &&ServerReport| ["udp", "dtls"].contains(&server.transport);
    let mut over_udp = servers.iter().filter(is_udp).peekable();
    let works = servers
        .iter()
        .find(|server| !is_udp(server) && server.works)?;
    over_udp.peek()?;
    over_udp
        .all(|server| !server.passed(Step::Binding))
        .then(|| {
            Finding::problem(
                "udp-blocked",
                format!(
                    "UDP is blocked between this machine and every server, but {} over {} works",
                    works.url, works.transport
                ),
                "calls from this network need that URL: keep it in iceServers",
            )
            .with_severity(Severity::Warning)
        })
}

fn connect_failed(error: &ConnectError) -> Finding {
    match error {
        ConnectError::Socket(error) => Finding::problem(
            "refused",
            format!("cannot connect to the port: {error}"),
            "start the server, let it listen on this address and port, and open both in the firewall",
        ),
        ConnectError::Tls(error) => Finding::problem(
            "tls",
            format!("TCP connects, the TLS handshake fails: {error}"),
            "check that this port speaks TLS, and the server's certificate and key",
        ),
        ConnectError::Dtls(error) => Finding::problem(
            "dtls",
            format!("the DTLS handshake fails: {error}"),
            DTLS_ADVICE,
        ),
    }
}

fn binding_failed(error: &RequestError, server: &ServerReport) -> Finding {
    match error {
        RequestError::NoAnswer if server.transport == "udp" => Finding::problem(
            "udp-silent",
            "no answer over UDP: it is blocked on the path, or nothing listens there",
            "open the UDP port in the server's firewall; if this network blocks UDP, offer turns: on port 443",
        ),
        RequestError::NoAnswer => Finding::problem(
            "silent",
            "the connection is open, but STUN gets no answer",
            "check whether another service uses this port",
        ),
        RequestError::Connection(error) if server.transport == "udp" => Finding::problem(
            "udp-refused",
            format!(
                "UDP is refused, by a firewall on the path or because nothing listens there: {error}"
            ),
            "open the UDP port and start the server; if this network blocks UDP, offer turns: on port 443",
        ),
        RequestError::Connection(error) => Finding::problem(
            "not-stun",
            format!("no STUN server answers here: {error}"),
            "check the address, the port, and whether the server runs",
        ),
        RequestError::Refused(refusal) => Finding::problem(
            "binding-refused",
            format!("Binding is refused: {refusal}"),
            "clients get no server-reflexive address here",
        )
        .with_severity(Severity::Note),
    }
}

fn allocate_failed(
    error: &RequestError,
    login: Option<&Login>,
    is_far_expiry_granted: bool,
) -> Finding {
    let refusal = match error {
        RequestError::Refused(refusal) => refusal,
        RequestError::NoAnswer => {
            return Finding::problem(
                "allocate-silent",
                "Binding is answered, Allocate is not",
                "check that TURN is enabled, and the rate limits",
            );
        }
        RequestError::Connection(error) => {
            return Finding::problem(
                "allocate-broken",
                format!("the connection breaks at Allocate: {error}"),
                "check the server's log",
            );
        }
    };
    match refusal.code {
        ErrorCode::UNAUTHENTICATED | ErrorCode::WRONG_CREDENTIALS => {
            unauthenticated(login, is_far_expiry_granted)
        }
        ErrorCode::ALLOCATION_QUOTA_REACHED => Finding::problem(
            "quota",
            "the user's quota of allocations is used up",
            "wait until old ones expire, or raise the quota per user",
        ),
        ErrorCode::INSUFFICIENT_CAPACITY => Finding::problem(
            "capacity",
            "the server accepts no more allocations: it has no free relay port, or it is draining",
            "widen the port range or add a server; if this one is being replaced, check its successor",
        ),
        ErrorCode::FORBIDDEN => Finding::problem(
            "forbidden",
            "the server does not relay for this user or address",
            "check its policy",
        ),
        ErrorCode::TRY_ALTERNATE => {
            let alternate = match refusal.alternate {
                Some(address) => address.to_string(),
                None => "another server".to_owned(),
            };
            Finding::problem(
                "redirect",
                format!("the server sends its clients to {alternate}"),
                "check that server",
            )
        }
        ErrorCode::STALE_NONCE => Finding::problem(
            "nonce",
            "the server rejects every nonce as stale",
            "check its clock, and whether several servers share one address",
        ),
        ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED => Finding::problem(
            "family",
            "the server has no relay address of this family",
            "add one, or remove the URL",
        ),
        ErrorCode::UNSUPPORTED_TRANSPORT
        | ErrorCode::UNKNOWN_ATTRIBUTE
        | ErrorCode::BAD_REQUEST => Finding::problem(
            "not-turn",
            format!("the server does not relay UDP by RFC 8656: {refusal}"),
            "check whether this is a STUN server without TURN",
        ),
        _ => Finding::problem(
            "allocate",
            format!("Allocate is refused: {refusal}"),
            "check the server's log",
        ),
    }
}

fn unauthenticated(login: Option<&Login>, is_far_expiry_granted: bool) -> Finding {
    let Some(login) = login else {
        return Finding::problem(
            "credentials-needed",
            "the server requires credentials",
            "give --user and --password, or --shared-secret",
        );
    };
    if is_far_expiry_granted {
        return Finding::problem(
            "clock-skew",
            "credentials that expire in a day are refused, those that expire in ten years are not: the clocks differ",
            "synchronize the clocks of the server and of the service that makes credentials by NTP",
        );
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    match credentials::expiry(&login.username).filter(|expiry| *expiry < now) {
        Some(expiry) => Finding::problem(
            "expired",
            format!("the time-limited username expired {} s ago", now - expiry),
            "create a new one; if it is new, the clock of the service that made it is wrong",
        ),
        None => Finding::problem(
            "wrong-credentials",
            "the server rejects these credentials",
            "compare username, password and realm; with a shared secret compare the secret on both sides",
        ),
    }
}

/// Returns true for an address that only its own network can reach.
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

/// Days left from which on the expiry of a certificate is a warning.
const EXPIRES_SOON: i64 = 14;
const DTLS_ADVICE: &str = "check that this port speaks DTLS with an ECDSA key (this check supports no other), and is open for UDP";
const RELAY_ADVICE: &str =
    "open the relay's port range for UDP, and check the relay and external addresses";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::Transport;

    fn server(address: &str, relayed: &str) -> ServerReport {
        let mut server = ServerReport::new("turn:h".into(), Transport::Udp);
        server.address = address.parse().ok();
        server.relayed = relayed.parse().ok();
        server
    }

    fn refused(code: ErrorCode) -> RequestError {
        RequestError::Refused(Refusal {
            code,
            reason: String::new(),
            alternate: None,
            sealed: true,
        })
    }

    #[test]
    fn clocks_differ_if_only_a_far_expiry_is_granted() {
        let login = Login {
            username: "9999999999:me".into(),
            password: "p".into(),
        };
        let error = refused(ErrorCode::UNAUTHENTICATED);
        for (is_far_expiry_granted, code) in [(true, "clock-skew"), (false, "wrong-credentials")] {
            let observation = Observation::AllocateFailed {
                error: &error,
                login: Some(&login),
                is_far_expiry_granted,
            };
            assert_eq!(
                diagnose(&server("192.0.2.1:3478", ""), observation).code,
                code
            );
        }
    }

    #[test]
    fn each_error_code_of_allocate_has_its_own_finding() {
        for (code, finding) in [
            (ErrorCode::ALLOCATION_QUOTA_REACHED, "quota"),
            (ErrorCode::INSUFFICIENT_CAPACITY, "capacity"),
            (ErrorCode::TRY_ALTERNATE, "redirect"),
            (ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED, "family"),
            (ErrorCode::BAD_REQUEST, "not-turn"),
            (ErrorCode::SERVER_ERROR, "allocate"),
        ] {
            let error = refused(code);
            let observation = Observation::AllocateFailed {
                error: &error,
                login: None,
                is_far_expiry_granted: false,
            };
            let server = server("192.0.2.1:3478", "");
            assert_eq!(diagnose(&server, observation).code, finding);
        }
    }

    #[test]
    fn only_a_refused_public_peer_is_a_warning() {
        let find = |peer: &str, code| {
            let server = server("192.0.2.1:3478", "192.0.2.1:50000");
            refused_peer(&server, peer.parse().unwrap(), &refused(code))
        };
        let finding = find("198.51.100.7", ErrorCode::FORBIDDEN).unwrap();
        assert_eq!(finding.severity, Severity::Warning);
        assert_eq!(finding.code, "public-peers");
        assert!(finding.message.contains("198.51.100.7"), "{finding}");
        for (peer, code) in [
            ("10.0.0.7", ErrorCode::FORBIDDEN),
            ("127.0.0.1", ErrorCode::FORBIDDEN),
            ("192.0.2.1", ErrorCode::FORBIDDEN),
            ("198.51.100.7", ErrorCode::INSUFFICIENT_CAPACITY),
        ] {
            assert_eq!(find(peer, code), None, "{peer}");
        }
    }

    #[test]
    fn a_private_relayed_address_of_a_public_server_is_a_missing_external_address() {
        for (relayed, code) in [
            ("10.0.0.7:50000", "external-address"),
            ("192.0.2.99:50000", "external-address"),
            ("192.0.2.1:50000", "no-data"),
        ] {
            let findings = allocation(&server("192.0.2.1:3478", relayed));
            let codes: Vec<_> = findings.iter().map(|finding| finding.code).collect();
            assert_eq!(codes, [code], "{relayed}");
        }
    }
}
