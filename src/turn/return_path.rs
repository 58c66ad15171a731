//! How an answer finds its request: kept while sockets are bound, or a peer is connected to, for it.

use crate::turn::ids::five_tuple::Client;
use crate::wire::integrity::{Key, Seal};
use crate::wire::{AttributeType, Message, Method, TransactionId};
use std::net::SocketAddr;

/// The way back to whoever sent a request.
#[derive(Clone, Debug)]
pub struct ReturnPath {
    /// Who asked.
    pub client: Client,
    /// What was asked.
    pub method: Method,
    /// Whether another shard read the request, and passed it on.
    pub passed: bool,
    /// In which transaction.
    pub transaction: TransactionId,
    /// How the answer is sealed; `None` until the request is authenticated.
    pub sealed: Option<(Key, Seal)>,
    /// Whether the request bore a FINGERPRINT, so that the answer does.
    pub fingerprint: bool,
    /// From which of the server's addresses the answer leaves, where it is another than was written to (RFC 5780).
    pub from: Option<SocketAddr>,
    /// What the request said of its ORIGIN: it may choose the realm of a challenge.
    pub origin: Option<Box<str>>,
    /// The realm for which the request showed a good key, where nothing but its nonce was stale.
    pub proven: Option<Box<str>>,
}

impl ReturnPath {
    /// The way back to whoever sent `request`, unauthenticated.
    pub fn of(client: &Client, request: &Message) -> ReturnPath {
        ReturnPath {
            client: *client,
            method: request.method(),
            passed: false,
            transaction: request.transaction(),
            sealed: None,
            fingerprint: request.has_fingerprint(),
            from: None,
            origin: request.text(AttributeType::ORIGIN).map(Box::from),
            proven: None,
        }
    }
}
