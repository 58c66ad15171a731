//! The data of a request that its response needs. It is stored with the allocation or connection
//! while a socket is bound or a peer is connected to.

use crate::turn::ids::five_tuple::Client;
use crate::wire::integrity::{Key, Seal};
use crate::wire::{AttributeType, Message, Method, TransactionId};
use std::net::SocketAddr;

/// The data of a request that its response needs.
#[derive(Clone, Debug)]
pub struct ReturnPath {
    /// The sender of the request.
    pub client: Client,
    /// The request's method.
    pub method: Method,
    /// Another shard received the request and forwarded it to this one.
    pub from_shard: bool,
    /// The request's transaction id.
    pub transaction: TransactionId,
    /// The key and integrity attribute for the response; `None` until the request is authenticated.
    pub sealed: Option<(Key, Seal)>,
    /// The request had a FINGERPRINT, so the response has one.
    pub fingerprint: bool,
    /// The server address that the response leaves from, if it differs from the request's
    /// destination (RFC 5780).
    pub from: Option<SocketAddr>,
    /// The request's ORIGIN, which can choose the realm of a challenge.
    pub origin: Option<Box<str>>,
    /// The realm for which the request was sealed with a valid key although its nonce was stale.
    /// The challenge repeats this realm, so that the client need not derive another key.
    pub proven_realm: Option<Box<str>>,
}

impl ReturnPath {
    /// The return path of a request that is not authenticated yet.
    pub fn new(client: &Client, request: &Message) -> ReturnPath {
        ReturnPath {
            client: *client,
            method: request.method(),
            from_shard: false,
            transaction: request.transaction(),
            sealed: None,
            fingerprint: request.has_fingerprint(),
            from: None,
            origin: request.text(AttributeType::ORIGIN).map(Box::from),
            proven_realm: None,
        }
    }
}
