//! Signaling: rooms in which peers exchange messages until their own connection is established.
//!
//! `GET /signal?room=NAME` upgrades to a WebSocket that carries JSON in text messages. Parameters:
//!
//! | parameter | meaning |
//! |---|---|
//! | `room` | the room's name: 1 to 64 letters, digits or `-_.~` |
//! | `token` | the room access token, if the server requires one ([`RoomTokens`]) or its authentication hook reads it |
//! | `peers` | the size of the room, requested by its first peer; 2 by default, 16 at most unless configured otherwise |
//! | `resume` | the token of an earlier welcome: the peer keeps that id |
//!
//! # From the server
//!
//! | message | when |
//! |---|---|
//! | `{"type":"welcome","id":ID,"peers":[ID…],"iceServers":[…],"ttl":SECONDS,"resume":TOKEN,"resumed":BOOL,"limit":N}` | first; `peers` are the others, in the order of joining; `iceServers` is the value for `RTCPeerConnection`, valid for `ttl` seconds; only STUN servers if the client may not use the relay ([`IceAccess`](crate::service::ice_servers::IceAccess)) |
//! | `{"type":"joined","id":ID}` | another peer joined |
//! | `{"type":"left","id":ID}` | another peer left: it closed its connection, sent `bye` before the connection broke, or lost the connection and did not resume in time |
//! | `{"type":"error","code":CODE,"name":NAME,"message":TEXT}` | something was refused; see below |
//!
//! # From a peer
//!
//! | message | meaning between peers (the server interprets only `type` and `to`) |
//! |---|---|
//! | `{"type":"offer","to":ID?,…}` | a session description; the call page sends it as `"sdp"` |
//! | `{"type":"answer","to":ID?,…}` | the answer to an offer |
//! | `{"type":"candidate","to":ID?,"candidate":{…} or null}` | a trickled candidate in the format of `RTCIceCandidate.toJSON()`; null after the last |
//! | `{"type":"message","to":ID?,…}` | anything else; the call page sends `"error"` (what failed on its side) and `"path"` (what it measures) |
//! | `{"type":"bye","to":ID?}` | the sender hangs up |
//!
//! Each message goes to `to`, or to all others in the room, with `"from":ID` set by the server. The
//! order between two peers is preserved. The peer that was in the room first makes the offer when
//! another joins; a newcomer that receives none within a second or two makes it itself. Both may
//! offer later (perfect negotiation): of two peers the one with the smaller id, compared by code
//! units, is the polite one.
//!
//! # Refusals
//!
//! Refusals before the upgrade (`origin`, `not-websocket`, `too-many-connections`,
//! `too-many-from-address`) are HTTP responses with the error message as their body. All others are
//! sent on the WebSocket, because a browser does not show a page why an upgrade failed; the
//! connection then stays open or ends with the close code given here.
//!
//! | code | name | over HTTP | WebSocket | when |
//! |---|---|---|---|---|
//! | `origin` | OriginError | 403 | – | the `Origin` header is neither this host's nor a listed one |
//! | `not-websocket` | UpgradeError | 426 | – | the request is no upgrade |
//! | `bad-room` | RoomNameError | 400 | 4400 | no room name, or an invalid one |
//! | `bad-peers` | PeerLimitError | 400 | 4400 | `peers` is not a number from 2 to the largest room size |
//! | `token-required` | AccessTokenError | 401 | 4401 | no access token |
//! | `token-invalid` | AccessTokenError | 401 | 4401 | a token for another room, or not of this server |
//! | `token-expired` | AccessTokenError | 401 | 4401 | an expired token |
//! | `refused` | AccessRefusedError | 403 | 4403 | the authentication hook refused |
//! | `unchecked` | AccessCheckError | 503 | 4503 | the authentication hook did not respond properly in time |
//! | `room-full` | RoomFullError | 409 | 4409 | the room is full |
//! | `too-many-rooms` | TooManyRoomsError | 503 | 4503 | the limit of rooms is reached |
//! | `too-many-connections` | TooManyConnectionsError | 503 | – | the limit of connections is reached |
//! | `too-many-from-address` | TooManyConnectionsError | 503 | – | the limit of connections from one address is reached |
//! | `stopping` | ServerStoppingError | 503 | 1001 | the server is shutting down |
//! | `too-large` | MessageTooLargeError | 413 | open; 1009 from four times the size | a message over the size limit |
//! | `too-fast` | RateLimitError | 429 | open; 4429 if it continues | messages over the rate limit; sent once a second |
//! | `binary` | BinaryMessageError | 400 | open | a binary message |
//! | `bad-json` | MessageSyntaxError | 400 | open | not JSON |
//! | `bad-message` | MessageFormatError | 400 | open | not an object, no `type`, `to` not a string |
//! | `unknown-type` | MessageTypeError | 400 | open | a `type` not in the table above |
//! | `no-such-peer` | NoSuchPeerError | 404 | open | `to` is not another peer in the room |
//! | `idle` | IdleError | 408 | 4408 | no message for the idle time |
//! | `unfinished` | UnfinishedMessageError | 408 | 4412 | a message was begun and not finished in time |
//! | `slow` | SlowReaderError | 408 | 4411 | the queue to this peer was full |
//! | `replaced` | ReplacedError | 409 | 4410 | the peer resumed on another connection |
//! | `not-open` | AccessRefusedError | 403 | – | `/ice-servers` without authorization: see [`IceAccess`](crate::service::ice_servers::IceAccess) |
//! | `bad-key` | AuthorizationError | 401 | – | wrong API key or bearer token |
//! | `bad-request` | RequestFormatError | 400 | – | malformed parameters or body |
//! | `bad-ttl` | LifetimeError | 400 | – | a `ttl` that is not allowed |
//! | `bad-name` | NameError | 400 | – | a `customIdentifier` that no user name can contain |
//!
//! # Losing a connection and resuming
//!
//! The server pings every 2 s. A connection that breaks, or is silent for 5 s, is lost. The peer
//! then has 3 s to resume: it keeps its place, and messages to it wait in its queue. If it
//! reconnects with `resume` in that time the others do not notice, otherwise they get `left`; it
//! may reconnect with the same id later, which they see as `joined`. A peer that closes its
//! WebSocket has left at once. A peer that sends no message for 2 h is disconnected.
//!
//! # Memory
//!
//! A connection holds at most its queue (256 messages, 1 MiB) and one incoming message (four times
//! 64 KiB, for at most 10 s: [`message_deadline`]). Its rate of messages is limited, so are rooms,
//! connections and the connections from one address ([`Limits`]).

mod connection_limit;
mod limits;
mod message;
mod message_deadline;
mod message_rate;
mod peer_queue;
mod peer_socket;
mod refusal;
mod room_hook;
mod rooms;
mod token;

pub use crate::service::signaling::connection_limit::ConnectionPermit;
pub use crate::service::signaling::limits::{DEFAULT_ROOM_SIZE, Limits, is_room_name};
pub use crate::service::signaling::peer_socket::{Admission, Signaling, upgrade};
pub use crate::service::signaling::refusal::Refusal;
pub use crate::service::signaling::room_hook::{HookRequest, RoomHook};
pub use crate::service::signaling::rooms::{RoomCounts, Rooms};
pub use crate::service::signaling::token::{ResumeTokens, RoomTokens};
