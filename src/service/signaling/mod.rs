//! Signaling: who is in a room, and what they say to each other until their connection stands.
//!
//! `GET /signal?room=NAME` upgrades to a WebSocket that carries JSON in text messages. Parameters:
//!
//! | parameter | meaning |
//! |---|---|
//! | `room` | the room's name: 1 to 64 letters, digits or `-_.~` unless configured otherwise |
//! | `token` | the room access token, where the server wants one ([`RoomTokens`]) or its authentication hook looks at it |
//! | `peers` | how many peers the room takes, said by the first of them; 2 when nobody says, 16 at most |
//! | `resume` | the token of an earlier welcome: the peer gets that id back |
//!
//! # From the server
//!
//! | message | when |
//! |---|---|
//! | `{"type":"welcome","id":ID,"peers":[ID…],"iceServers":[…],"ttl":SECONDS,"resume":TOKEN,"resumed":BOOL,"limit":N}` | first; `peers` are the others, in the order in which they came; `iceServers` goes into `RTCPeerConnection` as it is and is valid for `ttl` seconds; only STUN for whom the relay is not open ([`Open`](crate::service::ice_servers::Open)) |
//! | `{"type":"joined","id":ID}` | another peer came |
//! | `{"type":"left","id":ID}` | another peer is gone: closed, said bye and broke off, or was lost and did not resume in time |
//! | `{"type":"error","code":CODE,"name":NAME,"message":WORDS}` | something was refused; see below |
//!
//! # From a peer
//!
//! | message | meaning between peers (the server only reads `type` and `to`) |
//! |---|---|
//! | `{"type":"offer","to":ID?,…}` | a session description; the call page puts it as `"sdp"` |
//! | `{"type":"answer","to":ID?,…}` | the answer to one |
//! | `{"type":"candidate","to":ID?,"candidate":{…} or null}` | a trickled candidate as `RTCIceCandidate.toJSON()` has it; null ends them |
//! | `{"type":"message","to":ID?,…}` | anything else; the call page sends `"error"` (what went wrong with it) and `"path"` (what it measures) |
//! | `{"type":"bye","to":ID?}` | the sender hangs up |
//!
//! Each goes to `to`, or to all others in the room, with `"from":ID` set by the server. The order between two peers is
//! kept. Who was in the room first makes the offer when somebody joins; a newcomer that gets none within a second or two
//! makes it itself. Both may offer later (perfect negotiation): of two peers the one whose id is the smaller, by code
//! units, is the polite one.
//!
//! # What is refused
//!
//! Refusals before the upgrade (`origin`, `not-websocket`, `too-many-connections`, `too-many-from-address`) are HTTP answers with the error message as their body. All
//! others are told inside the WebSocket, because a browser shows a page nothing of a failed upgrade, and either leave
//! the connection as it is or end it with the close code given here.
//!
//! | code | name | over HTTP | WebSocket | when |
//! |---|---|---|---|---|
//! | `origin` | OriginError | 403 | – | the `Origin` header is neither this host's nor a listed one |
//! | `not-websocket` | UpgradeError | 426 | – | no upgrade was asked for |
//! | `bad-room` | RoomNameError | 400 | 4400 | no room name, or not one that the bounds allow |
//! | `bad-peers` | PeerLimitError | 400 | 4400 | `peers` is not a number from 2 to the most allowed |
//! | `token-required` | AccessTokenError | 401 | 4401 | no access token |
//! | `token-invalid` | AccessTokenError | 401 | 4401 | a token for something else |
//! | `token-expired` | AccessTokenError | 401 | 4401 | a token that was good |
//! | `refused` | AccessRefusedError | 403 | 4403 | the authentication hook said no |
//! | `unchecked` | AccessCheckError | 503 | 4503 | the authentication hook did not answer properly in time |
//! | `room-full` | RoomFullError | 409 | 4409 | the room has all its peers |
//! | `too-many-rooms` | TooManyRoomsError | 503 | 4503 | no room more |
//! | `too-many-connections` | TooManyConnectionsError | 503 | – | no connection more |
//! | `too-many-from-address` | TooManyConnectionsError | 503 | – | no connection more of this address |
//! | `stopping` | ServerStoppingError | 503 | 1001 | the server stops |
//! | `too-large` | MessageTooLargeError | 413 | goes on; 1009 from four times the size | a message over the size |
//! | `too-fast` | RateLimitError | 429 | goes on; 4429 when it does not end | messages over the rate; told once a second |
//! | `binary` | BinaryMessageError | 400 | goes on | a binary message |
//! | `bad-json` | MessageSyntaxError | 400 | goes on | not JSON |
//! | `bad-message` | MessageFormatError | 400 | goes on | not an object, no `type`, `to` not a string |
//! | `unknown-type` | MessageTypeError | 400 | goes on | a `type` not in the table above |
//! | `no-such-peer` | NoSuchPeerError | 404 | goes on | `to` is not another peer of the room |
//! | `idle` | IdleError | 408 | 4408 | no message for the idle time |
//! | `unfinished` | UnfinishedMessageError | 408 | 4412 | a message was begun and did not end in time |
//! | `slow` | SlowReaderError | 408 | 4411 | the queue to this peer was full |
//! | `replaced` | ReplacedError | 409 | 4410 | the peer resumed on another connection |
//! | `not-open` | AccessRefusedError | 403 | – | `GET /ice-servers` by somebody it is not open for |
//! | `bad-key` | AuthorizationError | 401 | – | wrong API key or bearer token |
//! | `bad-request` | RequestFormatError | 400 | – | parameters or body that cannot be read |
//! | `bad-ttl` | LifetimeError | 400 | – | a `ttl` that is not allowed |
//! | `bad-name` | NameError | 400 | – | a `customIdentifier` that no user name can have |
//!
//! # Staying and going
//!
//! A ping goes out every 2 s; a peer of which nothing is heard for 5 s, or whose connection breaks, is lost. For 3 s
//! more its place is kept and what is sent to it waits (bounded); if it comes back with `resume` in that time the
//! others notice nothing, else they are told `left`. It may come back with its id later too, as `joined`. A peer that
//! closes its WebSocket is gone at once.

mod bounds;
mod connection;
mod doors;
mod hook;
mod message;
mod outbox;
mod rate;
mod refusal;
mod rooms;
mod token;
mod whole;

pub use crate::service::signaling::bounds::Bounds;
pub use crate::service::signaling::connection::{Admission, Signaling, upgrade};
pub use crate::service::signaling::doors::Ticket;
pub use crate::service::signaling::hook::{Asker, Hook};
pub use crate::service::signaling::refusal::Refusal;
pub use crate::service::signaling::rooms::{Counts, Rooms};
pub use crate::service::signaling::token::{ResumeTokens, RoomTokens};
