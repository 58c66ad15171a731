//! Every refusal of the web listener, in one table: code, name, HTTP status, what becomes of a WebSocket, words.

use serde_json::{Value, json};

macro_rules! refusals {
    ($($variant:ident $code:literal $name:literal $status:literal $close:expr, $words:literal;)*) => {
        /// Why something was refused. Displays as its words; [`Refusal::json`] is what goes to a client.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Refusal { $(#[doc = concat!("`", $code, "`: ", $words, ".")] $variant,)* }

        impl Refusal {
            /// Every refusal there is, in the order of the table.
            pub const ALL: &[Refusal] = &[$(Refusal::$variant,)*];

            /// The code that a program looks at; it never changes.
            pub fn code(self) -> &'static str {
                match self { $(Refusal::$variant => $code,)* }
            }

            /// The name, in the manner of DOMException names.
            pub fn name(self) -> &'static str {
                match self { $(Refusal::$variant => $name,)* }
            }

            /// The HTTP status, where it is told over HTTP.
            pub fn status(self) -> u16 {
                match self { $(Refusal::$variant => $status,)* }
            }

            /// The WebSocket close code, where it ends the connection; none where the connection goes on.
            pub fn close(self) -> Option<u16> {
                match self { $(Refusal::$variant => $close,)* }
            }

            /// What went wrong, in words.
            pub fn words(self) -> &'static str {
                match self { $(Refusal::$variant => $words,)* }
            }
        }
    };
}

refusals! {
    // at the door
    Origin          "origin"               "OriginError"             403 None,       "a page of another origin may not use this server";
    NotWebSocket    "not-websocket"        "UpgradeError"            426 None,       "this address speaks WebSocket; ask for an upgrade";
    BadRoom         "bad-room"             "RoomNameError"           400 Some(4400), "the room name is missing, too long, or has a character that is not allowed";
    BadPeers        "bad-peers"            "PeerLimitError"          400 Some(4400), "the number of peers asked for is not one that this server allows";
    TokenRequired   "token-required"       "AccessTokenError"        401 Some(4401), "this server opens rooms only with an access token";
    TokenInvalid    "token-invalid"        "AccessTokenError"        401 Some(4401), "the access token is not one for this room";
    TokenExpired    "token-expired"        "AccessTokenError"        401 Some(4401), "the access token has expired";
    Refused         "refused"              "AccessRefusedError"      403 Some(4403), "access to this room was refused";
    Unchecked       "unchecked"            "AccessCheckError"        503 Some(4503), "whether access is allowed could not be found out; try again soon";
    RoomFull        "room-full"            "RoomFullError"           409 Some(4409), "the room has as many peers as it takes";
    TooManyRooms    "too-many-rooms"       "TooManyRoomsError"       503 Some(4503), "this server has as many rooms as it takes";
    TooManyPeers    "too-many-connections" "TooManyConnectionsError" 503 None,       "this server has as many connections as it takes";
    Crowd           "too-many-from-address" "TooManyConnectionsError" 503 None,      "your address has as many connections to this server as one may have";
    Stopping        "stopping"             "ServerStoppingError"     503 Some(1001), "the server is stopping";
    // inside; the connection goes on
    TooLarge        "too-large"            "MessageTooLargeError"    413 None,       "the message is larger than this server takes";
    TooFast         "too-fast"             "RateLimitError"          429 None,       "messages come faster than this server takes them; this one was dropped";
    Binary          "binary"               "BinaryMessageError"      400 None,       "binary messages are not taken; send JSON as text";
    BadJson         "bad-json"             "MessageSyntaxError"      400 None,       "the message is not JSON";
    BadMessage      "bad-message"          "MessageFormatError"      400 None,       "the message is not an object with a \"type\", or its \"to\" is not a string";
    UnknownType     "unknown-type"         "MessageTypeError"        400 None,       "the message has a type that is not offer, answer, candidate, bye or message";
    NoSuchPeer      "no-such-peer"         "NoSuchPeerError"         404 None,       "nobody of that id is in the room";
    // inside; the connection ends
    Huge            "too-large"            "MessageTooLargeError"    413 Some(1009), "the message is far larger than this server takes";
    Flood           "too-fast"             "RateLimitError"          429 Some(4429), "messages kept coming faster than this server takes them";
    Idle            "idle"                 "IdleError"               408 Some(4408), "nothing was said for too long";
    Unfinished      "unfinished"           "UnfinishedMessageError"  408 Some(4412), "a message was begun and did not end in time";
    Slow            "slow"                 "SlowReaderError"         408 Some(4411), "messages were read too slowly";
    Replaced        "replaced"             "ReplacedError"           409 Some(4410), "this peer resumed on another connection";
    // ICE servers
    NotOpen         "not-open"             "AccessRefusedError"      403 None,       "ICE servers are handed out only to pages of this server that name a room, and to this machine";
    BadKey          "bad-key"              "AuthorizationError"      401 None,       "the key or its bearer token is wrong";
    BadRequest      "bad-request"          "RequestFormatError"      400 None,       "the request is not what this address takes";
    BadTtl          "bad-ttl"              "LifetimeError"           400 None,       "the ttl is not a number of seconds that this server allows";
    BadName         "bad-name"             "NameError"               400 None,       "the customIdentifier is not a text of 1 to 256 octets without control characters";
}

impl Refusal {
    /// `{"type":"error","code":…,"name":…,"message":…}`, the message followed by `detail` where there is one.
    pub fn json(self, detail: Option<&str>) -> Value {
        let message = match detail {
            Some(detail) => format!("{}: {detail}", self.words()),
            None => self.words().to_owned(),
        };
        json!({"type": "error", "code": self.code(), "name": self.name(), "message": message})
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.words())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_the_documentation_has_every_code() {
        let documentation = include_str!("mod.rs");
        for refusal in Refusal::ALL {
            let row = format!("//! | `{}` | {} |", refusal.code(), refusal.name());
            assert!(documentation.contains(&row), "no row begins with {row}");
        }
    }

    #[test]
    fn words_fit_into_a_close_frame() {
        assert!(
            Refusal::ALL
                .iter()
                .all(|refusal| refusal.words().len() <= 123)
        );
    }
}
