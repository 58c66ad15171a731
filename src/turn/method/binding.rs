//! Binding: where does a request come from? RFC 8489 §6.3; and, with two addresses and two ports, what is the NAT in
//! between like? RFC 5780 §6.1.

use crate::turn::ids::five_tuple::Transport;
use crate::turn::method::request::understood;
use crate::turn::policy::Policy;
use crate::turn::policy::reject::Reject;
use crate::turn::respond::{Discovered, Reply};
use crate::turn::return_path::ReturnPath;
use crate::turn::state::State;
use crate::wire::attribute::read_number;
use crate::wire::{AttributeType, Message};
use std::net::SocketAddr;

/// Answers without authentication: a reflexive address is no secret from whoever asks.
pub fn answer(state: &State, request: &Message, path: &mut ReturnPath) -> Result<Reply, Reject> {
    understood(&state.policy, request)?;
    let five_tuple = path.client.five_tuple;
    if state.policy.discovery.is_empty() {
        return Ok(Reply::Mapped(five_tuple.client));
    }
    let padding = request
        .attribute(AttributeType::PADDING)
        .map(|padding| padding.len().min(LONGEST_PADDING));
    let response_port = request.attribute(AttributeType::RESPONSE_PORT);
    if padding.is_some() && response_port.is_some() {
        return Err(Reject::BAD_REQUEST);
    }
    let origin = origin(&state.policy, request, path)?;
    if let Some(value) = response_port {
        // RFC 5780 §7.5 leaves open whether the two octets behind the port are padding or part of the value.
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
    let other = discovery.and_then(|discovery| discovery.changed(five_tuple.server, true, true));
    Ok(Reply::Discovered(Discovered {
        mapped: five_tuple.client,
        origin,
        other,
        padding,
    }))
}

/// From where the response leaves: CHANGE-REQUEST may ask for another address or port, over UDP and where there is one.
fn origin(policy: &Policy, request: &Message, path: &mut ReturnPath) -> Result<SocketAddr, Reject> {
    let server = path.client.five_tuple.server;
    let Some(value) = request.attribute(AttributeType::CHANGE_REQUEST) else {
        return Ok(server);
    };
    let flags = read_number(value).ok_or(Reject::BAD_REQUEST)?;
    let (address, port) = (flags & CHANGE_ADDRESS != 0, flags & CHANGE_PORT != 0);
    let discovery = policy
        .discovery_at(server)
        .filter(|_| path.client.five_tuple.transport == Transport::Udp);
    let origin = discovery
        .and_then(|discovery| discovery.changed(server, address, port))
        .ok_or_else(|| Reject::Unknown(vec![AttributeType::CHANGE_REQUEST]))?;
    path.from = (origin != server).then_some(origin);
    Ok(origin)
}

/// RFC 5780 §7.2.
const CHANGE_ADDRESS: u32 = 0x4;
const CHANGE_PORT: u32 = 0x2;
/// An Ethernet's MTU, rounded up to four octets. The answer's padding is as long as the request's up to here, so that
/// nobody gets back more than was sent.
const LONGEST_PADDING: usize = 1500;
