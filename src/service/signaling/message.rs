//! The messages as JSON: messages of the server, and messages that it forwards between peers.

use serde_json::{Map, Value, json};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::service::ice_servers::IceServersResponse;
use crate::service::signaling::refusal::Refusal;

/// A message from one peer to another, or to all others.
pub struct ForwardedMessage {
    /// The receiving peer; none for all others in the room.
    pub to: Option<String>,
    /// The type is `bye`: the sender is about to leave.
    pub is_bye: bool,
    body: Map<String, Value>,
}

/// The first message to a peer.
pub struct Welcome<'a> {
    /// The peer's own id.
    pub id: &'a str,
    /// The ids of the other peers, in the order of joining.
    pub peers: &'a [String],
    /// The servers for its `RTCPeerConnection`.
    pub servers: &'a IceServersResponse,
    /// The token with which it can resume its id.
    pub resume: &'a str,
    /// The peer resumed in time, so that no `left` was sent.
    pub resumed: bool,
    /// The size of the room.
    pub limit: usize,
}

impl ForwardedMessage {
    /// Parses a text message of a peer. Only `type` and `to` are interpreted.
    pub fn parse(text: &str) -> Result<ForwardedMessage, Refusal> {
        let value: Value = serde_json::from_str(text).map_err(|_| Refusal::BadJson)?;
        let Value::Object(body) = value else {
            return Err(Refusal::BadMessage);
        };
        let kind = body
            .get("type")
            .and_then(Value::as_str)
            .ok_or(Refusal::BadMessage)?;
        if !PEER_TYPES.contains(&kind) {
            return Err(Refusal::UnknownType);
        }
        let to = match body.get("to") {
            None | Some(Value::Null) => None,
            Some(Value::String(to)) => Some(to.clone()),
            Some(_) => return Err(Refusal::BadMessage),
        };
        Ok(ForwardedMessage {
            to,
            is_bye: kind == "bye",
            body,
        })
    }

    /// The message for its receivers: unchanged except that `from` is the sender's id, whatever the
    /// sender put there.
    pub fn into_text(mut self, from: &str) -> Utf8Bytes {
        self.body.insert("from".into(), Value::String(from.into()));
        Value::Object(self.body).to_string().into()
    }
}

impl Welcome<'_> {
    /// The message as JSON.
    pub fn to_text(&self) -> Utf8Bytes {
        let message = json!({
            "type": "welcome", "id": self.id, "peers": self.peers,
            "iceServers": self.servers.ice_servers, "ttl": self.servers.ttl,
            "resume": self.resume, "resumed": self.resumed, "limit": self.limit,
        });
        message.to_string().into()
    }
}

/// The peer `id` entered the room.
pub fn joined(id: &str) -> Utf8Bytes {
    json!({"type": "joined", "id": id}).to_string().into()
}

/// The peer `id` left the room.
pub fn left(id: &str) -> Utf8Bytes {
    json!({"type": "left", "id": id}).to_string().into()
}

/// A refusal.
pub fn error(refusal: Refusal, detail: Option<&str>) -> Utf8Bytes {
    refusal.json(detail).to_string().into()
}

/// The types that peers may send; all of them are forwarded.
const PEER_TYPES: [&str; 5] = ["offer", "answer", "candidate", "bye", "message"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_forwarded_unchanged_except_for_its_sender() {
        let text =
            r#"{"type":"candidate","candidate":null,"to":"bob","from":"eve","x":[1,{"y":"é"}]}"#;
        let message = ForwardedMessage::parse(text).unwrap();
        assert_eq!(message.to.as_deref(), Some("bob"));
        let value: Value = serde_json::from_str(message.into_text("ann").as_str()).unwrap();
        let expected = json!({"type": "candidate", "candidate": null, "to": "bob", "from": "ann", "x": [1, {"y": "é"}]});
        assert_eq!(value, expected);
    }

    #[test]
    fn an_invalid_message_is_refused() {
        for (text, refusal) in [
            ("", Refusal::BadJson),
            ("{", Refusal::BadJson),
            ("{\"type\":\"offer\"} x", Refusal::BadJson),
            (&"[".repeat(100_000), Refusal::BadJson),
            ("null", Refusal::BadMessage),
            ("[]", Refusal::BadMessage),
            ("{}", Refusal::BadMessage),
            ("{\"type\":1}", Refusal::BadMessage),
            ("{\"type\":\"offer\",\"to\":7}", Refusal::BadMessage),
            ("{\"type\":\"welcome\"}", Refusal::UnknownType),
            ("{\"type\":\"left\"}", Refusal::UnknownType),
        ] {
            assert_eq!(
                ForwardedMessage::parse(text).err(),
                Some(refusal),
                "{text:.40}"
            );
        }
    }
}
