//! The messages as JSON: what the server says, and what it lets peers say to each other.

use serde_json::{Map, Value, json};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::service::ice_servers::Answer;
use crate::service::signaling::refusal::Refusal;

/// A message that one peer sends to another, or to all others.
pub struct Forwarded {
    /// Whom it is for; all others in the room when it does not say.
    pub to: Option<String>,
    /// Whether it says good-bye: the sender is about to leave.
    pub bye: bool,
    body: Map<String, Value>,
}

/// What a peer is told first.
pub struct Welcome<'a> {
    /// Its own id.
    pub id: &'a str,
    /// The ids of the others in the room, in the order in which they came.
    pub peers: &'a [String],
    /// The servers for its `RTCPeerConnection`.
    pub servers: &'a Answer,
    /// The token by which it resumes its id.
    pub resume: &'a str,
    /// Whether it resumed: the others never saw it go.
    pub resumed: bool,
    /// How many peers the room takes.
    pub limit: usize,
}

impl Forwarded {
    /// Reads a text message of a peer. Only `type` and `to` are looked at.
    pub fn parse(text: &str) -> Result<Forwarded, Refusal> {
        let value: Value = serde_json::from_str(text).map_err(|_| Refusal::BadJson)?;
        let Value::Object(body) = value else {
            return Err(Refusal::BadMessage);
        };
        let kind = body
            .get("type")
            .and_then(Value::as_str)
            .ok_or(Refusal::BadMessage)?;
        if !TYPES.contains(&kind) {
            return Err(Refusal::UnknownType);
        }
        let to = match body.get("to") {
            None | Some(Value::Null) => None,
            Some(Value::String(to)) => Some(to.clone()),
            Some(_) => return Err(Refusal::BadMessage),
        };
        Ok(Forwarded {
            to,
            bye: kind == "bye",
            body,
        })
    }

    /// The message as the others get it: as it came, with `from` set to the sender's id whatever it said itself.
    pub fn from(mut self, id: &str) -> Utf8Bytes {
        self.body.insert("from".into(), Value::String(id.into()));
        Value::Object(self.body).to_string().into()
    }
}

impl Welcome<'_> {
    /// The message.
    pub fn text(&self) -> Utf8Bytes {
        let message = json!({
            "type": "welcome", "id": self.id, "peers": self.peers,
            "iceServers": self.servers.ice_servers, "ttl": self.servers.ttl,
            "resume": self.resume, "resumed": self.resumed, "limit": self.limit,
        });
        message.to_string().into()
    }
}

/// Tells that the peer `id` came into the room.
pub fn joined(id: &str) -> Utf8Bytes {
    json!({"type": "joined", "id": id}).to_string().into()
}

/// Tells that the peer `id` is gone.
pub fn left(id: &str) -> Utf8Bytes {
    json!({"type": "left", "id": id}).to_string().into()
}

/// Tells what was refused.
pub fn error(refusal: Refusal, detail: Option<&str>) -> Utf8Bytes {
    refusal.json(detail).to_string().into()
}

/// The types that peers may send; each is passed on.
const TYPES: [&str; 5] = ["offer", "answer", "candidate", "bye", "message"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_pass_as_they_came_and_cannot_fake_their_sender() {
        let text =
            r#"{"type":"candidate","candidate":null,"to":"bob","from":"eve","x":[1,{"y":"é"}]}"#;
        let message = Forwarded::parse(text).unwrap();
        assert_eq!(message.to.as_deref(), Some("bob"));
        let value: Value = serde_json::from_str(message.from("ann").as_str()).unwrap();
        let wanted = json!({"type": "candidate", "candidate": null, "to": "bob", "from": "ann", "x": [1, {"y": "é"}]});
        assert_eq!(value, wanted);
    }

    #[test]
    fn what_is_not_a_message_is_refused() {
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
            assert_eq!(Forwarded::parse(text).err(), Some(refusal), "{text:.40}");
        }
    }
}
