//! Answers: what a granted request is told, and how any answer finds its way back, sealed as the request was.

use crate::turn::allocation::reservation::ReservationToken;
use crate::turn::auth::authenticate;
use crate::turn::auth::authenticate::PASSWORD_ALGORITHMS;
use crate::turn::effect::Effect;
use crate::turn::ids::five_tuple::Transport;
use crate::turn::ids::time::Instant;
use crate::turn::policy::Policy;
use crate::turn::policy::realm::Realm;
use crate::turn::policy::reject::{Discard, Reject};
use crate::turn::return_path::ReturnPath;
use crate::turn::shared::connection_ids::ConnectionId;
use crate::turn::state::State;
use crate::wire::attribute::Family;
use crate::wire::integrity::Seal;
use crate::wire::{AttributeType, Class, ErrorCode, Writer};
use std::net::SocketAddr;

/// What becomes of a request that is not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is answered.
    Reply(Reply),
    /// It is answered once a socket is bound or a peer connected to, or was answered already.
    Later,
    /// Another shard answers it.
    Elsewhere(u16),
}

impl From<Reply> for Outcome {
    fn from(reply: Reply) -> Outcome {
        Outcome::Reply(reply)
    }
}

/// What a granted request is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// That it was granted, and nothing more: CreatePermission, ChannelBind.
    Done,
    /// Where the request came from: Binding.
    Mapped(SocketAddr),
    /// The same with what NAT behaviour discovery adds. RFC 5780 §6.1.
    Discovered(Discovered),
    /// What was allocated.
    Allocated(Box<Allocated>),
    /// How long the allocation lasts now, in seconds.
    Refreshed(u32),
    /// The same after it moved, and what it can be moved with next. RFC 8016 §3.2.2.
    Moved(u32, Vec<u8>),
    /// Which data connection there is now: Connect. RFC 6062 §5.2.
    Connected(ConnectionId),
}

/// An Allocate success response. RFC 8656 §7.2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocated {
    /// The relayed transport addresses: one, or IPv4 and IPv6.
    pub relayed: Vec<SocketAddr>,
    /// The half that could not be had, and why.
    pub failed: Option<(Family, ErrorCode)>,
    /// Time-to-expiry in seconds.
    pub lifetime: u32,
    /// What the reserved port can be redeemed with.
    pub reserved: Option<ReservationToken>,
    /// What the allocation can be moved with. RFC 8016 §3.1.2.
    pub ticket: Option<Vec<u8>>,
    /// Where the request came from.
    pub mapped: SocketAddr,
}

/// A Binding success response of a server that discovers NAT behaviour. RFC 5780 §6.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// Where the request came from.
    pub mapped: SocketAddr,
    /// Where the response comes from.
    pub origin: SocketAddr,
    /// Where it would come from with both address and port changed.
    pub other: Option<SocketAddr>,
    /// How many octets of PADDING it has.
    pub padding: Option<usize>,
}

impl State {
    /// Answers a request, and counts the answer; or keeps silent, and counts that.
    pub(super) fn respond(
        &mut self,
        now: Instant,
        path: &ReturnPath,
        outcome: &Result<Reply, Reject>,
    ) {
        if let Err(Reject::Silence(discard)) = outcome {
            return self.counters.count_discard(*discard);
        }
        let five_tuple = &path.client.five_tuple;
        let forgeable = path.sealed.is_none() && five_tuple.transport == Transport::Udp;
        if forgeable && !self.shared.answer_rate.allows(now, five_tuple.client.ip()) {
            return self.counters.count_discard(Discard::AnswerRate);
        }
        let class = if outcome.is_ok() {
            Class::Success
        } else {
            Class::Error
        };
        let mut writer = Writer::new(&mut self.messages, class, path.method, &path.transaction);
        match outcome {
            Ok(reply) => write_reply(&mut writer, reply),
            Err(reject) => {
                let realm = match &path.proven {
                    // The key that was shown is good: it is not to be derived anew.
                    Some(name) => Some(self.policy.realm_named(name)),
                    None => {
                        let named = path
                            .client
                            .realm
                            .and_then(|id| self.shared.realm_ids.name(id));
                        self.policy
                            .realm_for(five_tuple.server, named.as_deref(), path.origin.as_deref())
                            .cloned()
                    }
                };
                let (policy, shared, client) = (&self.policy, &self.shared, five_tuple.client);
                let challenge = ErrorResponse {
                    policy,
                    shared,
                    now,
                    client,
                    realm: realm.as_deref(),
                    forgeable,
                };
                challenge.write(&mut writer, reject);
            }
        }
        if let Some(software) = &self.policy.software {
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
        self.counters
            .count_response(path.method, outcome.as_ref().err().and_then(Reject::code));
        self.effects.push(Effect::Send {
            to: path.client,
            from: path.from,
            message,
        });
    }
}

fn write_reply(writer: &mut Writer, reply: &Reply) {
    match reply {
        Reply::Done => {}
        Reply::Mapped(address) => {
            writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, *address);
        }
        Reply::Discovered(discovered) => write_discovered(writer, discovered),
        Reply::Connected(connection) => {
            writer.number(AttributeType::CONNECTION_ID, connection.0);
        }
        Reply::Refreshed(lifetime) => {
            writer.number(AttributeType::LIFETIME, *lifetime);
        }
        Reply::Moved(lifetime, ticket) => {
            writer
                .number(AttributeType::LIFETIME, *lifetime)
                .attribute(AttributeType::MOBILITY_TICKET, ticket);
        }
        Reply::Allocated(allocated) => {
            for relayed in &allocated.relayed {
                writer.xor_address(AttributeType::XOR_RELAYED_ADDRESS, *relayed);
            }
            if let Some((family, code)) = allocated.failed {
                writer.address_error_code(family, code);
            }
            writer.number(AttributeType::LIFETIME, allocated.lifetime);
            if let Some(token) = &allocated.reserved {
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

/// What an error response may have to carry besides its code.
struct ErrorResponse<'a> {
    policy: &'a Policy,
    shared: &'a super::Shared,
    now: Instant,
    client: SocketAddr,
    realm: Option<&'a Realm>,
    /// Whoever asked may be a forged address: not one octet more than needed.
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
            Reject::Unknown(kinds) => {
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
