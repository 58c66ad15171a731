//! Binding: returns the client's address as the server sees it (RFC 8489 §6.3). If the server
//! listens on two addresses and two ports, also NAT behavior discovery (RFC 5780 §6.1).

use crate::turn::ids::five_tuple::Transport;
use crate::turn::ids::return_path::ReturnPath;
use crate::turn::method::request::check_attributes;
use crate::turn::policy::Policy;
use crate::turn::policy::discovery::Change;
use crate::turn::policy::reject::Reject;
use crate::turn::state::State;
use crate::turn::state::response::{Discovered, Success};
use crate::wire::attribute::read_number;
use crate::wire::{AttributeType, Message};
use std::net::SocketAddr;

/// Returns the client's address. Authentication is not needed, because the client could learn its
/// address anywhere.
pub fn handle(state: &State, request: &Message, path: &mut ReturnPath) -> Result<Success, Reject> {
    check_attributes(&state.policy, request)?;
    let five_tuple = path.client.five_tuple;
    if state.policy.discovery.is_empty() {
        return Ok(Success::Mapped(five_tuple.client));
    }
    let padding = request
        .attribute(AttributeType::PADDING)
        .map(|padding| padding.len().min(MAX_PADDING));
    let response_port = request.attribute(AttributeType::RESPONSE_PORT);
    if padding.is_some() && response_port.is_some() {
        return Err(Reject::BAD_REQUEST);
    }
    let origin = response_origin(&state.policy, request, path)?;
    if let Some(value) = response_port {
        // RFC 5780 §7.5 leaves open whether the two octets behind the port are padding or part of
        // the value.
        let &([p0, p1] | [p0, p1, _, _]) = value else {
            return Err(Reject::BAD_REQUEST);
        };
        let port = Some(u16::from_be_bytes([p0, p1]))
            .filter(|port| *port != 0)
            .ok_or(Reject::BAD_REQUEST)?;
        if five_tuple.transport == Transport::Udp {
            path.client.five_tuple.client.set_port(port);
        }
    }
    let discovery = state.policy.discovery_at(five_tuple.server);
    let other = discovery.and_then(|discovery| discovery.changed(five_tuple.server, Change::BOTH));
    Ok(Success::Discovered(Discovered {
        mapped: five_tuple.client,
        origin,
        other,
        padding,
    }))
}

/// The source of the response: over UDP, CHANGE-REQUEST can demand the server's other address or
/// port.
fn response_origin(
    policy: &Policy,
    request: &Message,
    path: &mut ReturnPath,
) -> Result<SocketAddr, Reject> {
    let server = path.client.five_tuple.server;
    let Some(value) = request.attribute(AttributeType::CHANGE_REQUEST) else {
        return Ok(server);
    };
    let flags = read_number(value).ok_or(Reject::BAD_REQUEST)?;
    let change = Change {
        address: flags & CHANGE_ADDRESS != 0,
        port: flags & CHANGE_PORT != 0,
    };
    let discovery = policy
        .discovery_at(server)
        .filter(|_| path.client.five_tuple.transport == Transport::Udp);
    let origin = discovery
        .and_then(|discovery| discovery.changed(server, change))
        .ok_or_else(|| Reject::UnknownAttributes(vec![AttributeType::CHANGE_REQUEST]))?;
    path.from = (origin != server).then_some(origin);
    Ok(origin)
}

/// RFC 5780 §7.2.
const CHANGE_ADDRESS: u32 = 0x4;
/// RFC 5780 §7.2.
const CHANGE_PORT: u32 = 0x2;
/// The largest padding of a response in octets: the MTU of Ethernet, a multiple of four. A response
/// has at most as much padding as its request, so that the server never amplifies.
const MAX_PADDING: usize = 1500;
