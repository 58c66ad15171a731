//! Responses: their content, and sending them back along the request's return path, sealed like the
//! request.

use crate::turn::allocation::reservation::ReservationToken;
use crate::turn::auth::authenticate;
use crate::turn::auth::authenticate::PASSWORD_ALGORITHMS;
use crate::turn::ids::connection_id::ConnectionId;
use crate::turn::ids::five_tuple::Transport;
use crate::turn::ids::return_path::ReturnPath;
use crate::turn::ids::time::Instant;
use crate::turn::policy::Policy;
use crate::turn::policy::realm::Realm;
use crate::turn::policy::reject::{Discard, Reject};
use crate::turn::shared::Shared;
use crate::turn::state::State;
use crate::wire::attribute::Family;
use crate::wire::integrity::Seal;
use crate::wire::{AttributeType, Class, ErrorCode, Writer};
use std::net::SocketAddr;

/// The outcome of a request that is not rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The response can be sent.
    Success(Success),
    /// The response is sent when a socket is bound or a peer is connected, or was sent already.
    Pending,
    /// The request must be forwarded to this shard.
    OtherShard(u16),
}

impl From<Success> for Outcome {
    fn from(success: Success) -> Outcome {
        Outcome::Success(success)
    }
}

/// The content of a success response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Success {
    /// No attributes: CreatePermission, ChannelBind, ConnectionBind.
    Empty,
    /// The client's address: Binding.
    Mapped(SocketAddr),
    /// The client's address and NAT behavior discovery: Binding. RFC 5780 §6.1.
    Discovered(Discovered),
    /// The new allocation: Allocate.
    Allocated(Box<Allocated>),
    /// The allocation's lifetime in seconds: Refresh.
    Refreshed(u32),
    /// The allocation's lifetime in seconds and the next ticket: Refresh with a ticket. RFC 8016
    /// §3.2.2.
    Moved(u32, Vec<u8>),
    /// The new data connection: Connect. RFC 6062 §5.2.
    Connected(ConnectionId),
}

/// The content of an Allocate success response. RFC 8656 §7.2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocated {
    /// The relayed transport addresses: one, or IPv4 and IPv6.
    pub relayed: Vec<SocketAddr>,
    /// The requested family that has no relayed address, and why.
    pub failed_family: Option<(Family, ErrorCode)>,
    /// Time to expiry in seconds.
    pub lifetime: u32,
    /// The token of the reserved port.
    pub reservation: Option<ReservationToken>,
    /// The mobility ticket. RFC 8016 §3.1.2.
    pub ticket: Option<Vec<u8>>,
    /// The client's address.
    pub mapped: SocketAddr,
}

/// The content of a Binding success response with NAT behavior discovery. RFC 5780 §6.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// The client's address.
    pub mapped: SocketAddr,
    /// The source of the response.
    pub origin: SocketAddr,
    /// The server's other address and other port.
    pub other: Option<SocketAddr>,
    /// Octets of PADDING in the response.
    pub padding: Option<usize>,
}

/// Sends the response of a request and counts it. A request that deserves no response is counted as
/// a discard.
pub fn send(state: &mut State, now: Instant, path: &ReturnPath, result: &Result<Success, Reject>) {
    if let Err(Reject::Silence(discard)) = result {
        return state.counters.count_discard(*discard);
    }
    let five_tuple = &path.client.five_tuple;
    // The source of an unauthenticated datagram may be forged, so that the response would hit a
    // third party.
    let forgeable = path.sealed.is_none() && five_tuple.transport == Transport::Udp;
    if forgeable && !state.shared.answer_rate.allows(now, five_tuple.client.ip()) {
        return state.counters.count_discard(Discard::AnswerRate);
    }
    let class = match result {
        Ok(_) => Class::Success,
        Err(_) => Class::Error,
    };
    let mut writer = state
        .output
        .message_writer(class, path.method, &path.transaction);
    match result {
        Ok(success) => write_success(&mut writer, success),
        Err(reject) => {
            let realm = match &path.proven_realm {
                Some(name) => Some(state.policy.realm_named(name)),
                None => {
                    let realm_ids = &state.shared.realm_ids;
                    let selected = path.client.realm.and_then(|id| realm_ids.name(id));
                    let origin = path.origin.as_deref();
                    state
                        .policy
                        .realm_for(five_tuple.server, selected.as_deref(), origin)
                        .cloned()
                }
            };
            let error = ErrorResponse {
                policy: &state.policy,
                shared: &state.shared,
                now,
                client: five_tuple.client,
                realm: realm.as_deref(),
                forgeable,
            };
            error.write(&mut writer, reject);
        }
    }
    if let Some(software) = &state.policy.software {
        writer.attribute(AttributeType::SOFTWARE, software.as_bytes());
    }
    match &path.sealed {
        Some((key, Seal::Sha1)) => writer.integrity(key),
        Some((key, Seal::Sha256)) => writer.integrity_sha256(key),
        None => &mut writer,
    };
    if path.fingerprint {
        writer.fingerprint();
    }
    let message = writer.finish();
    let error = result.as_ref().err().and_then(Reject::code);
    state.counters.count_response(path.method, error);
    state.output.send(path.client, path.from, message);
}

fn write_success(writer: &mut Writer, success: &Success) {
    match success {
        Success::Empty => {}
        Success::Mapped(address) => {
            writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, *address);
        }
        Success::Discovered(discovered) => write_discovered(writer, discovered),
        Success::Connected(connection) => {
            writer.number(AttributeType::CONNECTION_ID, connection.0);
        }
        Success::Refreshed(lifetime) => {
            writer.number(AttributeType::LIFETIME, *lifetime);
        }
        Success::Moved(lifetime, ticket) => {
            writer
                .number(AttributeType::LIFETIME, *lifetime)
                .attribute(AttributeType::MOBILITY_TICKET, ticket);
        }
        Success::Allocated(allocated) => {
            for relayed in &allocated.relayed {
                writer.xor_address(AttributeType::XOR_RELAYED_ADDRESS, *relayed);
            }
            if let Some((family, code)) = allocated.failed_family {
                writer.address_error_code(family, code);
            }
            writer.number(AttributeType::LIFETIME, allocated.lifetime);
            if let Some(token) = &allocated.reservation {
                writer.attribute(AttributeType::RESERVATION_TOKEN, token);
            }
            if let Some(ticket) = &allocated.ticket {
                writer.attribute(AttributeType::MOBILITY_TICKET, ticket);
            }
            writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, allocated.mapped);
        }
    }
}

fn write_discovered(writer: &mut Writer, discovered: &Discovered) {
    writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, discovered.mapped);
    writer.address(AttributeType::MAPPED_ADDRESS, discovered.mapped);
    writer.address(AttributeType::RESPONSE_ORIGIN, discovered.origin);
    if let Some(other) = discovered.other {
        writer.address(AttributeType::OTHER_ADDRESS, other);
    }
    if let Some(length) = discovered.padding {
        writer.attribute(AttributeType::PADDING, &vec![0; length]);
    }
}

/// What the attributes of an error response depend on.
struct ErrorResponse<'a> {
    policy: &'a Policy,
    shared: &'a Shared,
    now: Instant,
    client: SocketAddr,
    realm: Option<&'a Realm>,
    /// The source address may be forged: the response has no reason phrase, to amplify as little as
    /// possible.
    forgeable: bool,
}

impl ErrorResponse<'_> {
    fn write(&self, writer: &mut Writer, reject: &Reject) {
        let Some(code) = reject.code() else { return };
        let reason = match reject {
            Reject::Challenge(_) => "",
            _ if self.forgeable => "",
            _ => code.name().unwrap_or_default(),
        };
        writer.error_code(code, reason);
        match reject {
            Reject::UnknownAttributes(kinds) => {
                writer.types(AttributeType::UNKNOWN_ATTRIBUTES, kinds);
            }
            Reject::Alternate(alternate) => {
                let same_family = |server: &&SocketAddr| server.is_ipv4() == self.client.is_ipv4();
                let same = alternate.servers.iter().find(same_family);
                let other = alternate.servers.iter().find(|server| !same_family(server));
                for server in same.into_iter().chain(other) {
                    writer.address(AttributeType::ALTERNATE_SERVER, *server);
                }
                if let Some(domain) = &alternate.domain {
                    writer.attribute(AttributeType::ALTERNATE_DOMAIN, domain.as_bytes());
                }
            }
            Reject::Challenge(_) => self.write_challenge(writer),
            Reject::Code(_) | Reject::Silence(_) => {}
        }
    }

    fn write_challenge(&self, writer: &mut Writer) {
        let Some(realm) = self.realm else { return };
        let features = authenticate::features(self.policy, realm);
        writer.attribute(AttributeType::REALM, realm.name.as_bytes());
        writer.attribute(
            AttributeType::NONCE,
            &self.shared.nonce_key.issue(self.now, self.client, features),
        );
        if !realm.tokens.is_empty() {
            writer.attribute(
                AttributeType::THIRD_PARTY_AUTHORIZATION,
                realm.tokens.server_name.as_bytes(),
            );
        }
        if self.policy.password_algorithms {
            writer.attribute(AttributeType::PASSWORD_ALGORITHMS, PASSWORD_ALGORITHMS);
        }
    }
}
