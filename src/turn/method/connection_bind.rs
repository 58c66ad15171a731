//! ConnectionBind: a connection of the client's becomes a data connection. RFC 6062 §5.4.

use crate::turn::allocation::AllocationId;
use crate::turn::auth::authenticate::AuthenticatedUser;
use crate::turn::auth::owner::Owner;
use crate::turn::effect::Effect;
use crate::turn::ids::time::Instant;
use crate::turn::policy::reject::Reject;
use crate::turn::respond::{Outcome, Reply};
use crate::turn::return_path::ReturnPath;
use crate::turn::shared::connection_ids::{ConnectionId, Unbindable};
use crate::turn::state::State;
use crate::wire::attribute::read_number;
use crate::wire::{AttributeType, ErrorCode, Message, Method};

/// Whom the connection waits for that a request is to bind: a client seals ConnectionBind, which comes on a connection of its own,
/// with what its allocation was made with.
pub fn waits_for(state: &State, request: &Message) -> Option<Owner> {
    if request.method() != Method::CONNECTION_BIND {
        return None;
    }
    state.shared.connections.waits_for(named(request)?)
}

fn named(request: &Message) -> Option<ConnectionId> {
    request
        .attribute(AttributeType::CONNECTION_ID)
        .and_then(read_number)
        .map(ConnectionId)
}

/// Answers, and then joins the connection to the peer's: what follows the answer on it is data.
pub fn answer(
    state: &mut State,
    now: Instant,
    request: &Message,
    path: &ReturnPath,
    caller: &AuthenticatedUser,
    existing: Option<AllocationId>,
) -> Result<Outcome, Reject> {
    if !path.client.five_tuple.transport.is_stream() || existing.is_some() {
        return Err(Reject::BAD_REQUEST);
    }
    let connection = named(request).ok_or(Reject::BAD_REQUEST)?;
    match state
        .shared
        .connections
        .claim(connection, &caller.identity())
    {
        Ok(()) => {}
        Err(Unbindable::Unknown) => return Err(Reject::BAD_REQUEST),
        Err(Unbindable::NotTheirs) => return Err(Reject::Code(ErrorCode::WRONG_CREDENTIALS)),
    }
    state.respond(now, path, &Ok(Reply::Done));
    state.effects.push(Effect::Splice {
        client: path.client,
        connection,
    });
    Ok(Outcome::Later)
}
