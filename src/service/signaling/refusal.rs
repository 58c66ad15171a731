//! Every refusal of the web listener in one table: code, name, HTTP status, WebSocket close code,
//! text.

use serde_json::{Value, json};

macro_rules! refusals {
    ($($variant:ident $code:literal $name:literal $status:literal $close:expr, $text:literal;)*) => {
        /// Why a request was refused. Displays as its text; [`Refusal::json`] is what a client
        /// receives.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Refusal { $(#[doc = concat!("`", $code, "`: ", $text, ".")] $variant,)* }

        impl Refusal {
            /// Every refusal, in the order of the table.
            pub const ALL: &[Refusal] = &[$(Refusal::$variant,)*];

            /// The code for programs, stable across releases.
            pub fn code(self) -> &'static str {
                match self { $(Refusal::$variant => $code,)* }
            }

            /// The name, in the style of DOMException names.
            pub fn name(self) -> &'static str {
                match self { $(Refusal::$variant => $name,)* }
            }

            /// The status of an HTTP response.
            pub fn status(self) -> u16 {
                match self { $(Refusal::$variant => $status,)* }
            }

            /// The close code of a WebSocket; none if the connection stays open or was never
            /// upgraded.
            pub fn close_code(self) -> Option<u16> {
                match self { $(Refusal::$variant => $close,)* }
            }

            /// The explanation for people.
            pub fn text(self) -> &'static str {
                match self { $(Refusal::$variant => $text,)* }
            }
        }
    };
}

refusals! {
    // before or on entering a room
    Origin              "origin"                "OriginError"             403 None,       "pages of this origin may not use this server";
    NotWebSocket        "not-websocket"         "UpgradeError"            426 None,       "WebSocket endpoint; upgrade required";
    BadRoom             "bad-room"              "RoomNameError"           400 Some(4400), "the room name is missing, too long, or contains a forbidden character";
    BadPeers            "bad-peers"             "PeerLimitError"          400 Some(4400), "the requested number of peers is not allowed";
    TokenRequired       "token-required"        "AccessTokenError"        401 Some(4401), "this server requires an access token";
    TokenInvalid        "token-invalid"         "AccessTokenError"        401 Some(4401), "the access token is not valid for this room";
    TokenExpired        "token-expired"         "AccessTokenError"        401 Some(4401), "the access token has expired";
    RefusedByHook       "refused"               "AccessRefusedError"      403 Some(4403), "access to this room was refused";
    HookUnavailable     "unchecked"             "AccessCheckError"        503 Some(4503), "access could not be checked; try again later";
    RoomFull            "room-full"             "RoomFullError"           409 Some(4409), "the room is full";
    TooManyRooms        "too-many-rooms"        "TooManyRoomsError"       503 Some(4503), "the server has reached its limit of rooms";
    TooManyConnections  "too-many-connections"  "TooManyConnectionsError" 503 None,       "the server has reached its limit of connections";
    TooManyFromAddress  "too-many-from-address" "TooManyConnectionsError" 503 None,       "too many connections from your network";
    Stopping            "stopping"              "ServerStoppingError"     503 Some(1001), "the server is shutting down";
    // in a room; the connection stays open
    TooLarge            "too-large"             "MessageTooLargeError"    413 None,       "the message is too large";
    TooFast             "too-fast"              "RateLimitError"          429 None,       "too many messages; this one was dropped";
    Binary              "binary"                "BinaryMessageError"      400 None,       "binary messages are not supported; send JSON as text";
    BadJson             "bad-json"              "MessageSyntaxError"      400 None,       "the message is not JSON";
    BadMessage          "bad-message"           "MessageFormatError"      400 None,       "the message is not an object with a \"type\", or its \"to\" is not a string";
    UnknownType         "unknown-type"          "MessageTypeError"        400 None,       "the message type is not offer, answer, candidate, bye or message";
    NoSuchPeer          "no-such-peer"          "NoSuchPeerError"         404 None,       "no peer with this id is in the room";
    // in a room; the connection ends
    FarTooLarge         "too-large"             "MessageTooLargeError"    413 Some(1009), "the message is far too large";
    PersistentlyTooFast "too-fast"              "RateLimitError"          429 Some(4429), "too many messages for too long";
    Idle                "idle"                  "IdleError"               408 Some(4408), "idle for too long";
    Unfinished          "unfinished"            "UnfinishedMessageError"  408 Some(4412), "a message was begun and not finished in time";
    Slow                "slow"                  "SlowReaderError"         408 Some(4411), "messages were read too slowly";
    Replaced            "replaced"              "ReplacedError"           409 Some(4410), "this peer resumed on another connection";
    // ICE servers
    NotPermitted        "not-open"              "AccessRefusedError"      403 None,       "credentials need a room token here, unless you open the page on the server itself; its operator sets ice_open";
    BadKey              "bad-key"               "AuthorizationError"      401 None,       "wrong key or bearer token";
    BadRequest          "bad-request"           "RequestFormatError"      400 None,       "malformed request";
    BadTtl              "bad-ttl"               "LifetimeError"           400 None,       "the ttl is not a number of seconds that this server allows";
    BadName             "bad-name"              "NameError"               400 None,       "the customIdentifier is not a text of 1 to 256 octets without control characters";
}

impl Refusal {
    /// `{"type":"error","code":…,"name":…,"message":…}`, the message followed by `detail` if there
    /// is one.
    pub fn json(self, detail: Option<&str>) -> Value {
        let message = match detail {
            Some(detail) => format!("{}: {detail}", self.text()),
            None => self.text().to_owned(),
        };
        json!({"type": "error", "code": self.code(), "name": self.name(), "message": message})
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_every_code() {
        let documentation = include_str!("mod.rs");
        for refusal in Refusal::ALL {
            let row = format!("//! | `{}` | {} |", refusal.code(), refusal.name());
            assert!(documentation.contains(&row), "no row begins with {row}");
        }
    }

    #[test]
    fn texts_fit_into_a_close_frame() {
        assert!(
            Refusal::ALL
                .iter()
                .all(|refusal| refusal.text().len() <= 123)
        );
    }
}
