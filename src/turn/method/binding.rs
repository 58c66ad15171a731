//! Binding: where does a request come from? RFC 8489 §6.3.

use super::understood;
use crate::turn::five_tuple::Client;
use crate::turn::reject::Reject;
use crate::turn::respond::Reply;
use crate::turn::state::State;
use crate::wire::Message;

/// Answers without authentication: a reflexive address is no secret from whoever asks.
pub fn answer(state: &State, request: &Message, client: &Client) -> Result<Reply, Reject> {
    understood(&state.policy, request)?;
    Ok(Reply::Mapped(client.five_tuple.client))
}
