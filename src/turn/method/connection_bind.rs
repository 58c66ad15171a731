//! ConnectionBind: a client's connection becomes a data connection. RFC 6062 §5.4.

use crate::turn::auth::owner::Owner;
use crate::turn::effect::Effect;
use crate::turn::ids::connection_id::ConnectionId;
use crate::turn::method::request::AuthenticatedRequest;
use crate::turn::policy::reject::Reject;
use crate::turn::shared::directory::ClaimError;
use crate::turn::state::response::{Outcome, Success};
use crate::turn::state::{State, response};
use crate::wire::attribute::read_number;
use crate::wire::{AttributeType, ErrorCode, Message, Method};

/// The owner of the data connection that a ConnectionBind request names. The request arrives on a
/// connection without an allocation, but it is sealed with the credentials of the allocation's
/// owner.
pub fn connection_owner(state: &State, request: &Message) -> Option<Owner> {
    if request.method() != Method::CONNECTION_BIND {
        return None;
    }
    let id = connection_id(request)?;
    state.shared.directory.connection_owner(id)
}

fn connection_id(request: &Message) -> Option<ConnectionId> {
    request
        .attribute(AttributeType::CONNECTION_ID)
        .and_then(read_number)
        .map(ConnectionId)
}

/// Responds, then joins the client's connection to the peer's: octets behind the response are data.
pub fn handle(state: &mut State, request: &AuthenticatedRequest) -> Result<Outcome, Reject> {
    let client = request.path.client;
    if !client.five_tuple.transport.is_stream() || request.existing.is_some() {
        return Err(Reject::BAD_REQUEST);
    }
    let connection = connection_id(request.message).ok_or(Reject::BAD_REQUEST)?;
    state
        .shared
        .directory
        .claim_connection(connection, &request.user.identity())
        .map_err(|error| match error {
            ClaimError::Unknown => Reject::BAD_REQUEST,
            ClaimError::NotOwner => Reject::Code(ErrorCode::WRONG_CREDENTIALS),
        })?;
    // The response must precede the effect that turns the connection into a data connection.
    response::send(state, request.now, request.path, &Ok(Success::Empty));
    state.output.push(Effect::Splice { client, connection });
    Ok(Outcome::Pending)
}
